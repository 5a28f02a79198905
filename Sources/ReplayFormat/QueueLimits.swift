/// How much one region's queue may hold, and what happens beyond.
public struct QueueLimits: Sendable, Hashable {
    /// What an append does that would take a queue over its limit.
    public enum Overflow: UInt8, Sendable, Hashable, CaseIterable {
        /// It is refused with `full`, and nothing changes.
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
    /// What happens beyond.
    public var overflow: Overflow

    /// No limit but the disk's.
    public static let unlimited = Self()

    /// Creates limits; a zero is a limit too: such a queue takes nothing.
    public init(entriesMax: UInt64? = nil, bytesMax: UInt64? = nil, overflow: Overflow = .reject) {
        self.entriesMax = entriesMax
        self.bytesMax = bytesMax
        self.overflow = overflow
    }
}
