/// How much one region's queue may hold, and what happens beyond.
public struct QueueLimits: Sendable, Hashable {
    /// What an append does that would take a queue over its limit.
    public enum Overflow: UInt8, Sendable, Hashable, CaseIterable {
        /// It is refused with `full`, and nothing changes; a caller can ask to wait for room.
        case reject = 0
        /// The oldest entries make room. They are counted as dropped, named in the `lost` ledger, and the region is
        /// marked as needing a resynchronisation.
        case dropOldest = 1

        /// The name that the tool and the scenario language use.
        public var name: String { self == .reject ? "reject" : "dropOldest" }
        /// The policy of that name.
        public init?(name: String) {
            guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
            self = policy
        }
    }

    /// The most entries; nil for no limit.
    public var entriesMax: UInt64?
    /// The most bytes as stored, so after compression and with what describes the entries; nil for no limit.
    public var bytesMax: UInt64?
    /// The longest that an entry may wait, in milliseconds; nil for no limit.
    public var ageMaxMilliseconds: UInt64?
    /// What happens beyond.
    public var overflow: Overflow
    /// How much of the total limits is this region's own, in per cent; nil for an equal part of half of what is left.
    ///
    /// Whatever the other queues hold, this one can hold that much. What nobody has a claim on is for whoever comes first.
    /// The shares of all regions are 100 % at most.
    public var sharePercent: UInt8?

    /// No limit but the disk's.
    public static let unlimited = Self()

    /// Creates limits; a zero is a limit too: such a queue takes nothing.
    public init(
        entriesMax: UInt64? = nil,
        bytesMax: UInt64? = nil,
        ageMaxMilliseconds: UInt64? = nil,
        overflow: Overflow = .reject,
        sharePercent: UInt8? = nil
    ) {
        self.entriesMax = entriesMax
        self.bytesMax = bytesMax
        self.ageMaxMilliseconds = ageMaxMilliseconds
        self.overflow = overflow
        self.sharePercent = sharePercent
    }
}

/// How much all queues of a store may hold together.
///
/// Each region has a share of it that the others cannot take: ``QueueLimits/sharePercent``.
public struct TotalLimits: Sendable, Hashable {
    /// The most entries; nil for no limit.
    public var entriesMax: UInt64?
    /// The most bytes as stored; nil for no limit.
    public var bytesMax: UInt64?

    /// No limit but the disk's.
    public static let unlimited = Self()

    /// Creates limits.
    public init(entriesMax: UInt64? = nil, bytesMax: UInt64? = nil) {
        self.entriesMax = entriesMax
        self.bytesMax = bytesMax
    }
}
