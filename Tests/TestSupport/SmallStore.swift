import HoldfastTesting
public import ReplayStore

extension StoreOptions {
    /// Little on the disk, little address space, since hundreds of tests have a store open at one time, and no log.
    public static var small: StoreOptions {
        StoreOptions(acknowledgeReserveBytes: 64 << 10, mapSizeBytes: 1 << 30, logger: .silent)
    }
}
