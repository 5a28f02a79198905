private import Bytes

/// How the replay service sends one region's queue.
///
/// They are kept in the store, and a change takes effect within a second.
public struct ReplaySettings: Sendable, Hashable {
    /// What happens to an entry that its region has refused ``attemptsMax`` times.
    public enum Exhaustion: UInt8, Sendable, Hashable, CaseIterable {
        /// The replay to the region is paused, and says why; nothing is skipped.
        case halt = 0
        /// The entry is parked as a dead letter, and those behind it go on.
        case park = 1
        /// The entry is parked, and every later entry of its key with it, so that the key's order is kept.
        case parkKey = 2

        /// The name that the tool uses.
        public var name: String {
            switch self {
            case .halt: "halt"
            case .park: "park"
            case .parkKey: "parkKey"
            }
        }
        /// The policy of that name.
        public init?(name: String) {
            guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
            self = policy
        }
    }

    /// The most entries in a batch, at least 1; 256 by default.
    public var batchEntriesMax: UInt32
    /// The most bytes of keys, values and clocks in a batch; 1 MiB by default.
    ///
    /// A larger entry is a batch of its own.
    public var batchBytesMax: UInt32
    /// The most entries a second; nil for as fast as the region takes them.
    public var entriesPerSecondMax: UInt32?
    /// The most bytes of keys, values and clocks a second; nil for no limit.
    public var bytesPerSecondMax: UInt64?
    /// How long a send may take before it counts as failed, in milliseconds; 30 s by default.
    public var timeoutMilliseconds: UInt32
    /// The longest wait after a first failure, in milliseconds; 100 by default.
    ///
    /// It doubles with each further one.
    public var backoffBaseMilliseconds: UInt32
    /// The longest wait after any failure, in milliseconds; 30 s by default.
    public var backoffMaxMilliseconds: UInt32
    /// How often an entry is sent before ``exhaustion`` decides; nil for as often as it takes.
    public var attemptsMax: UInt32?
    /// What happens then.
    public var exhaustion: Exhaustion

    /// No rate, no end of attempts.
    public static let standard = Self()

    /// Creates settings; numbers below 1 count as 1.
    public init(
        batchEntriesMax: UInt32 = 256,
        batchBytesMax: UInt32 = 1 << 20,
        entriesPerSecondMax: UInt32? = nil,
        bytesPerSecondMax: UInt64? = nil,
        timeoutMilliseconds: UInt32 = 30_000,
        backoffBaseMilliseconds: UInt32 = 100,
        backoffMaxMilliseconds: UInt32 = 30_000,
        attemptsMax: UInt32? = nil,
        exhaustion: Exhaustion = .halt
    ) {
        self.batchEntriesMax = max(1, batchEntriesMax)
        self.batchBytesMax = max(1, batchBytesMax)
        self.entriesPerSecondMax = entriesPerSecondMax.map { max(1, $0) }
        self.bytesPerSecondMax = bytesPerSecondMax.map { max(1, $0) }
        self.timeoutMilliseconds = max(1, timeoutMilliseconds)
        self.backoffBaseMilliseconds = max(1, backoffBaseMilliseconds)
        self.backoffMaxMilliseconds = max(1, backoffMaxMilliseconds)
        self.attemptsMax = attemptsMax.map { max(1, $0) }
        self.exhaustion = exhaustion
    }

    private enum Flag {
        static let entriesRate: UInt8 = 1
        static let bytesRate: UInt8 = 2
        static let attemptsMax: UInt8 = 4
        static let all: UInt8 = 7
    }

    /// The fields of a row, without the checksum.
    package func encoded() -> [UInt8] {
        var flags: UInt8 = 0
        if entriesPerSecondMax != nil { flags |= Flag.entriesRate }
        if bytesPerSecondMax != nil { flags |= Flag.bytesRate }
        if attemptsMax != nil { flags |= Flag.attemptsMax }
        var bytes: [UInt8] = [flags]
        bytes.append(bigEndian: batchEntriesMax)
        bytes.append(bigEndian: batchBytesMax)
        bytes.append(bigEndian: entriesPerSecondMax ?? 0)
        bytes.append(bigEndian: bytesPerSecondMax ?? 0)
        bytes.append(bigEndian: timeoutMilliseconds)
        bytes.append(bigEndian: backoffBaseMilliseconds)
        bytes.append(bigEndian: backoffMaxMilliseconds)
        bytes.append(bigEndian: attemptsMax ?? 0)
        bytes.append(exhaustion.rawValue)
        return bytes
    }

    /// Reads what ``encoded()`` wrote.
    package init(decoding fields: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(fields)
        let flags = try reader.byte("flags")
        guard flags & ~Flag.all == 0 else { throw FormatError("replay flags \(flags) are unknown") }
        let batchEntries = try reader.number(UInt32.self, "batch entries")
        let batchBytes = try reader.number(UInt32.self, "batch bytes")
        let entriesRate = try reader.number(UInt32.self, "entries a second")
        let bytesRate = try reader.number(UInt64.self, "bytes a second")
        let timeout = try reader.number(UInt32.self, "time-out")
        let base = try reader.number(UInt32.self, "backoff base")
        let most = try reader.number(UInt32.self, "backoff maximum")
        let attempts = try reader.number(UInt32.self, "attempts")
        let exhaustion = try reader.byte("exhaustion")
        try reader.end("replay settings")
        guard let exhaustion = Exhaustion(rawValue: exhaustion) else {
            throw FormatError("exhaustion policy \(exhaustion) is unknown")
        }
        self.init(
            batchEntriesMax: batchEntries,
            batchBytesMax: batchBytes,
            entriesPerSecondMax: flags & Flag.entriesRate == 0 ? nil : entriesRate,
            bytesPerSecondMax: flags & Flag.bytesRate == 0 ? nil : bytesRate,
            timeoutMilliseconds: timeout,
            backoffBaseMilliseconds: base,
            backoffMaxMilliseconds: most,
            attemptsMax: flags & Flag.attemptsMax == 0 ? nil : attempts,
            exhaustion: exhaustion
        )
    }
}

extension TotalLimits {
    /// The fields of a row, without the checksum.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = [(entriesMax == nil ? 0 : 1) | (bytesMax == nil ? 0 : 2)]
        bytes.append(bigEndian: entriesMax ?? 0)
        bytes.append(bigEndian: bytesMax ?? 0)
        return bytes
    }

    /// Reads what ``encoded()`` wrote.
    package init(decoding fields: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(fields)
        let flags = try reader.byte("flags")
        guard flags & ~3 == 0 else { throw FormatError("limit flags \(flags) are unknown") }
        let entries = try reader.number(UInt64.self, "entries")
        let bytes = try reader.number(UInt64.self, "bytes")
        try reader.end("total limits")
        self.init(entriesMax: flags & 1 == 0 ? nil : entries, bytesMax: flags & 2 == 0 ? nil : bytes)
    }
}
