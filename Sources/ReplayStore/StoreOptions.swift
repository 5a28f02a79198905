public import Logging

/// How a store is opened.
public struct StoreOptions: Sendable {
    /// The zstd level for blocks, 1 to 9, or 0 to store them raw; 1 by default.
    ///
    /// Higher levels cost more time for a few per cent of space.
    public var compressionLevel: Int
    /// Bytes of disk that are kept for acknowledgements when the disk is full; 1 MiB by default, at least 64 KiB.
    public var acknowledgeReserveBytes: Int
    /// Address space that is asked for; 4 TiB by default.
    ///
    /// Where the system refuses it, half is tried, down to 16 MiB.
    ///
    /// It costs no memory and no disk, and bounds what the store can grow to.
    public var mapSizeBytes: Int
    /// Where the store logs.
    ///
    /// It logs at info or below what is usual, above it what somebody should look at, and never keys or values.
    public var logger: Logger

    /// The default options, logging to `holdfast`.
    public static var standard: Self { Self() }

    /// Creates options.
    public init(
        compressionLevel: Int = 1,
        acknowledgeReserveBytes: Int = 1 << 20,
        mapSizeBytes: Int = StoreLimits.mapSizeBytes,
        logger: Logger = Logger(label: "holdfast")
    ) {
        self.compressionLevel = min(max(compressionLevel, 0), 9)
        self.acknowledgeReserveBytes = acknowledgeReserveBytes
        self.mapSizeBytes = mapSizeBytes
        self.logger = logger
    }
}

/// The bounds of one call and one transaction.
public enum StoreLimits {
    /// The most writes in one append: 65,536.
    public static let callEntriesMax = 65_536
    /// The most raw bytes in one append: 64 MiB.
    public static let callBytesMax = 64 << 20
    /// The most raw bytes in one append, counted for each of its regions: 256 MiB.
    public static let fanOutBytesMax = 256 << 20
    /// The most writes in one transaction, unless one call alone has more; the others wait, in order: 65,536.
    public static let transactionEntriesMax = 65_536
    /// The most raw bytes in one transaction, unless one call alone has more: 64 MiB.
    public static let transactionBytesMax = 64 << 20
    /// The most ranges of accepted identities that are remembered for a region and an origin: 65,536.
    public static let seenRangesMax = 65_536
    /// The most incarnations of them: 16.
    public static let seenIncarnationsMax = 16
    /// Read transactions that may be open at once, those of other processes too: 126.
    public static let readersMax = 126
    /// Address space that a store asks for unless its options say otherwise: 4 TiB.
    public static let mapSizeBytes = 4 << 40
    /// Sub-databases that may be open at once: three for each of 256 regions, and room for regions that come and go.
    package static let databasesMax = 2048
}
