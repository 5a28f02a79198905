internal import LMDB
internal import Platform

/// Keeps disk space reserved ahead of the data file, so that a full disk is met by an append, before anything is
/// written, and an acknowledgement still fits.
///
/// The space is reserved with `fallocate`, and the file is made that long before LMDB writes to it: LMDB leaves out pages
/// that a transaction took and gave back, and a file that ends before its last page cannot be told from one that was cut
/// off. LMDB writes copies of pages, so even a removal needs
/// some; the last ``StoreOptions/acknowledgeReserveBytes`` are never given to appends.
enum SpaceKeeper {
    /// The most that is reserved ahead at once: 64 MiB.
    private static let aheadMax: Int64 = 64 << 20
    /// The least: 1 MiB.
    private static let aheadMin: Int64 = 1 << 20

    private static let outOfSpace: Set<CInt> = [28, 122, 27]

    /// Makes room for `appends`; the error is for each of them when there is none.
    static func reserve(for appends: [StoreWriter.Append], _ core: StoreCore) -> HoldfastError? {
        let pageSize = Int64(core.pageSize)
        guard let information = try? core.environment.information() else { return nil }
        let used = (Int64(information.lastPage) + 1) * pageSize
        let reserve = Int64(reserveBytes(core.options))
        let wanted = appends.isEmpty ? 0 : bytesMax(appends, core)
        let needed = used + wanted + reserve
        if let full = fullMap(needed, core, wanted) { return full }
        guard needed > core.reservedEnd else { return nil }
        // Pages that a reader holds which is no more would make the file grow for nothing.
        _ = try? core.environment.clearStaleReaders()
        let ahead = min(max(used / 4, aheadMin), aheadMax)
        for end in [needed + ahead, needed] {
            do throws(SystemError) {
                try core.dataFile.allocate(from: max(core.reservedEnd, 0), to: end, keepingSize: false)
                core.reservedEnd = end
                return nil
            } catch {
                guard outOfSpace.contains(error.number) else {
                    if let size = try? core.dataFile.size(), size < end { try? core.dataFile.truncate(to: end) }
                    // A file system without fallocate: go by what it says is free.
                    return appends.isEmpty ? nil : lowOnDisk(core, wanted + reserve)
                }
            }
        }
        guard !appends.isEmpty, !fits(wanted + reserve, core) else { return nil }
        return .full(
            nil,
            limit: "disk",
            "The disk is full: \(wanted) bytes for new writes do not fit beside the \(reserve) kept for acknowledgements. "
                + "Nothing of the call was queued. Free space on the disk, or replay and acknowledge."
        )
    }

    /// What is kept for acknowledgements, within reason.
    static func reserveBytes(_ options: StoreOptions) -> Int {
        min(max(options.acknowledgeReserveBytes, 64 << 10), 1 << 40)
    }

    /// Whether pages that are free inside the file are enough.
    private static func fits(_ bytes: Int64, _ core: StoreCore) -> Bool {
        guard let transaction = try? core.environment.beginRead(), let pages = try? transaction.freePages() else {
            return false
        }
        // Some of them cannot be used yet, and large blocks need pages that stand together.
        return Int64(pages) * Int64(core.pageSize) / 4 >= bytes
    }

    private static func lowOnDisk(_ core: StoreCore, _ bytes: Int64) -> HoldfastError? {
        guard let free = try? FileSystem.freeBytes(at: core.dataFile.path), free < UInt64(bytes) else { return nil }
        guard !fits(bytes, core) else { return nil }
        return .full(
            nil,
            limit: "disk",
            "The disk is full: \(free) bytes are free, and \(bytes) are needed. Nothing of the call was queued. Free "
                + "space on the disk, or replay and acknowledge."
        )
    }

    /// The address space can be small where the system limits it.
    private static func fullMap(_ needed: Int64, _ core: StoreCore, _ wanted: Int64) -> HoldfastError? {
        guard wanted > 0, needed > Int64(core.environment.mapSizeBytes),
            !fits(wanted + Int64(reserveBytes(core.options)), core)
        else { return nil }
        return .full(
            nil,
            limit: "map",
            "The store's address space of \(core.environment.mapSizeBytes) bytes is used up. Nothing of the call was "
                + "queued. Raise the process's limit on address space, or replay and acknowledge."
        )
    }

    /// The most that a transaction with these appends can add to the file: the blocks, a page for each that is begun,
    /// and the copies of the pages on the way to them.
    private static func bytesMax(_ appends: [StoreWriter.Append], _ core: StoreCore) -> Int64 {
        var bytes = 0
        for append in appends {
            let call = append.call
            let blocks = call.frames.reduce(call.single == nil ? 0 : 512) { $0 + $1.storedBytesMax + 2 * core.pageSize }
            bytes += (blocks + call.rawBytes / 64) * call.regions.count
            if call.single != nil { bytes += call.rawBytes }
        }
        return Int64(bytes + 64 * core.pageSize)
    }
}
