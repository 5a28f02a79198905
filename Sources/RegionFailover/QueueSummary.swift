/// What waits in the queue of one region, read in the transaction in which the machine decides.
public struct QueueSummary: Sendable, Hashable {
    /// An empty queue, neither paused nor in need of a resync.
    public static let empty = Self()

    /// How many writes the region has not received.
    public var entries: UInt64
    /// Their payload, uncompressed, in bytes.
    public var bytes: UInt64
    /// How long the oldest of them has waited at the time of the call, in milliseconds; 0 when there is none.
    public var oldestMilliseconds: Int64
    /// How many writes were parked because the region refused them again and again.
    public var dead: UInt64
    /// Whether writes for the region were dropped or damaged, so that replay alone cannot bring it up to date.
    public var needsResync: Bool
    /// Whether replay to the region is paused.
    public var isPaused: Bool

    /// Creates a summary.
    ///
    /// - Parameters:
    ///   - entries: How many writes the region has not received.
    ///   - bytes: Their payload, uncompressed, in bytes.
    ///   - oldestMilliseconds: How long the oldest of them has waited, in milliseconds; 0 when there is none.
    ///   - dead: How many writes were parked.
    ///   - needsResync: Whether replay alone cannot bring the region up to date.
    ///   - isPaused: Whether replay to the region is paused.
    public init(
        entries: UInt64 = 0,
        bytes: UInt64 = 0,
        oldestMilliseconds: Int64 = 0,
        dead: UInt64 = 0,
        needsResync: Bool = false,
        isPaused: Bool = false
    ) {
        self.entries = entries
        self.bytes = bytes
        self.oldestMilliseconds = oldestMilliseconds
        self.dead = dead
        self.needsResync = needsResync
        self.isPaused = isPaused
    }
}
