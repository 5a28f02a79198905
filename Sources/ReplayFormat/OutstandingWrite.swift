public import RegionFailover

/// A write that a region has not received yet.
///
/// ``origin``, ``incarnation`` and ``sequence`` are its identity: two writes with the same three are the same write, and
/// only the first is queued.
public struct OutstandingWrite: Sendable, Hashable {
    /// What the write does to its key.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// Sets the key to the value.
        case put = 0
        /// Removes the key.
        case delete = 1
    }

    /// The region whose log holds the write.
    public var origin: RegionID
    /// Which life of the origin's log numbered the write; greater in each life.
    ///
    /// Without it an origin that restarts and counts from 1 again would have its new writes dropped as duplicates.
    public var incarnation: UInt64
    /// The write's number in that log.
    public var sequence: UInt64
    /// The key that it changes; at most ``keySizeMax`` bytes.
    public var key: [UInt8]
    /// What it does to the key.
    public var kind: Kind
    /// The new value; at most ``valueSizeMax`` bytes.
    public var value: [UInt8]
    /// When the origin made it, for a receiver that settles conflicts by time; nil when unknown.
    public var timestamp: Timestamp?
    /// What a receiver needs beside the time to settle conflicts, such as a vector clock; opaque here, empty when unused.
    ///
    /// At most ``clockSizeMax`` bytes.
    public var clock: [UInt8]

    /// The most bytes in a key: 65,535.
    public static let keySizeMax = 65_535
    /// The most bytes in a value: 16 MiB.
    public static let valueSizeMax = 16 << 20
    /// The most bytes in a clock: 65,535.
    public static let clockSizeMax = 65_535

    /// Creates a write from bytes.
    public init(
        origin: RegionID,
        incarnation: UInt64,
        sequence: UInt64,
        key: [UInt8],
        value: [UInt8],
        kind: Kind = .put,
        timestamp: Timestamp? = nil,
        clock: [UInt8] = []
    ) {
        self.origin = origin
        self.incarnation = incarnation
        self.sequence = sequence
        self.key = key
        self.kind = kind
        self.value = value
        self.timestamp = timestamp
        self.clock = clock
    }

    /// Creates a write whose key and value are texts, stored as UTF-8.
    public init(
        origin: RegionID,
        incarnation: UInt64,
        sequence: UInt64,
        key: String,
        value: String,
        kind: Kind = .put,
        timestamp: Timestamp? = nil,
        clock: [UInt8] = []
    ) {
        self.init(
            origin: origin,
            incarnation: incarnation,
            sequence: sequence,
            key: Array(key.utf8),
            value: Array(value.utf8),
            kind: kind,
            timestamp: timestamp,
            clock: clock
        )
    }

    /// What tells this write from every other one.
    public var identity: WriteIdentity {
        WriteIdentity(origin: origin, incarnation: incarnation, sequence: sequence)
    }

    /// The bytes that limits and counters call raw: key, value and clock.
    public var rawBytes: Int { key.count + value.count + clock.count }

    /// The key as text; bytes that are no UTF-8 become U+FFFD.
    public var keyText: String { String(decoding: key, as: UTF8.self) }
    /// The value as text; bytes that are no UTF-8 become U+FFFD.
    public var valueText: String { String(decoding: value, as: UTF8.self) }
}

/// What tells one write from another: the log that numbered it, that log's life, and the number.
public struct WriteIdentity: Sendable, Hashable {
    /// The region whose log holds the write.
    public var origin: RegionID
    /// Which life of that log.
    public var incarnation: UInt64
    /// The number in that life.
    public var sequence: UInt64

    /// Creates an identity.
    public init(origin: RegionID, incarnation: UInt64, sequence: UInt64) {
        self.origin = origin
        self.incarnation = incarnation
        self.sequence = sequence
    }
}

/// A write in a queue.
public struct QueueEntry: Sendable, Hashable {
    /// The entry's number in its queue: from 1, without gaps, never used again.
    public var position: UInt64
    /// When it was appended, on the controller's clock.
    public var enqueuedAt: Timestamp
    /// The write itself.
    public var write: OutstandingWrite

    /// Creates an entry.
    public init(position: UInt64, enqueuedAt: Timestamp, write: OutstandingWrite) {
        self.position = position
        self.enqueuedAt = enqueuedAt
        self.write = write
    }
}
