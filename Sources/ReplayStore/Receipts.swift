public import RegionFailover
public import ReplayFormat

/// What an append to one region came to.
public struct AppendReceipt: Sendable, Hashable {
    /// How safe the writes are.
    public enum Durability: Sendable, Hashable {
        /// They survive a crash of the process, of the system and a loss of power.
        ///
        /// `transaction` is the number of the synced transaction that holds them, or of one after it.
        case synced(transaction: UInt64)
        /// The replicated log has them durably on most of its members, and they are applied here.
        case applied
    }

    /// The region whose queue took the writes.
    public var region: RegionID
    /// The positions of the writes that were queued, in the order of the call; empty when all were duplicates.
    public var positions: Range<UInt64>
    /// Which writes of the call had been accepted before, by index from 0.
    ///
    /// They were not queued again.
    public var duplicates: [Int]
    /// Entries that were dropped from the head of the queue to make room.
    public var dropped: UInt64
    /// How safe the writes are, duplicates too.
    public var durability: Durability
    /// The events that it caused.
    public var events: [FailoverEvent]

    package init(
        region: RegionID,
        positions: Range<UInt64>,
        duplicates: [Int],
        dropped: UInt64,
        durability: Durability,
        events: [FailoverEvent]
    ) {
        self.region = region
        self.positions = positions
        self.duplicates = duplicates
        self.dropped = dropped
        self.durability = durability
        self.events = events
    }

    /// How many writes were queued.
    public var accepted: Int { positions.count }
    /// The first position, or where the next write would stand when none was queued.
    public var first: UInt64 { positions.lowerBound }
    /// The last position, or the one before ``first`` when none was queued.
    public var through: UInt64 { positions.upperBound - 1 }
}

/// What an acknowledgement came to.
public struct AcknowledgeReceipt: Sendable, Hashable {
    /// The region that has received the entries.
    public var region: RegionID
    /// Entries that left the queue by it; 0 when all had left before.
    public var acknowledged: UInt64
    /// Entries of the range that had left before it, dropped for room or found damaged, so that nobody counted them as
    /// received.
    public var goneBefore: UInt64
    /// Entries that are still queued.
    public var remaining: UInt64
    /// The events that it caused: one `replayed` when the queue became empty.
    public var events: [FailoverEvent]

    package init(
        region: RegionID,
        acknowledged: UInt64,
        goneBefore: UInt64,
        remaining: UInt64,
        events: [FailoverEvent]
    ) {
        self.region = region
        self.acknowledged = acknowledged
        self.goneBefore = goneBefore
        self.remaining = remaining
        self.events = events
    }
}

/// What a drain took out of a queue.
public struct DrainReceipt: Sendable, Hashable {
    /// The entries, in order.
    ///
    /// They are not in the queue any more.
    public var entries: [QueueEntry]
    /// Entries that are still queued.
    public var remaining: UInt64
    /// The events that it caused: one `replayed` unless the queue was empty.
    public var events: [FailoverEvent]

    package init(entries: [QueueEntry], remaining: UInt64, events: [FailoverEvent]) {
        self.entries = entries
        self.remaining = remaining
        self.events = events
    }
}

/// The numbers of one region's queue, as of one moment.
public struct QueueStatistics: Sendable, Hashable {
    /// The region that has not received the entries.
    public var region: RegionID
    /// The queue's number: never used for a second queue.
    public var queue: UInt32
    /// The cursor: the first position that is still queued, or ``nextPosition`` when none is.
    public var headPosition: UInt64
    /// The position that the next entry gets.
    public var nextPosition: UInt64
    /// Entries that are queued.
    public var entries: UInt64
    /// Bytes of their keys, values and clocks.
    public var rawBytes: UInt64
    /// Bytes that they take as stored.
    public var storedBytes: UInt64
    /// When the oldest of them was appended; nil when none is queued.
    public var oldestEnqueuedAt: Timestamp?
    /// Entries that were ever given a position.
    public var accepted: UInt64
    /// Entries that left because the region received them.
    public var acknowledged: UInt64
    /// Entries that left by a drain.
    public var drained: UInt64
    /// Entries that left to make room.
    public var dropped: UInt64
    /// Entries that are dead letters now.
    public var dead: UInt64
    /// Entries that were damaged or missing.
    public var lost: UInt64
    /// Dead letters that were queued again, each at a new position.
    public var retried: UInt64
    /// How often the entry at the cursor was refused.
    public var attempts: UInt32
    /// Whether replay alone can no longer bring the region up to date.
    public var needsResync: Bool
    /// Whether replay to the region is paused.
    public var isPaused: Bool
    /// Why it is paused; empty when nobody said.
    public var pauseReason: String
    /// When the replay service ends the pause; nil for a pause that somebody must end.
    public var pausedUntil: Timestamp?
    /// How much the queue may hold.
    public var limits: QueueLimits

    package init(_ region: RegionID, _ row: RegionRow) {
        self.region = region
        queue = row.number
        headPosition = row.headPosition
        nextPosition = row.nextPosition
        entries = row.entries
        rawBytes = row.rawBytes
        storedBytes = row.storedBytes
        oldestEnqueuedAt = row.entries > 0 ? row.oldestEnqueuedAt : nil
        accepted = row.counters.accepted
        acknowledged = row.counters.acknowledged
        drained = row.counters.drained
        dropped = row.counters.dropped
        dead = row.counters.dead
        lost = row.counters.lost
        retried = row.counters.retried
        attempts = row.attempts
        needsResync = row.needsResync
        isPaused = row.isPaused
        pauseReason = row.pauseReason
        pausedUntil = row.pausedUntil
        limits = row.limits
    }
}

extension QueueStatistics {
    /// How long the oldest entry has waited, in milliseconds; 0 when none waits.
    public func oldestMilliseconds(at now: Timestamp) -> Int64 {
        oldestEnqueuedAt.map { max(0, now.milliseconds(since: $0)) } ?? 0
    }

    /// How much of its own limits the queue uses, of the one that is nearest: 1 when it is full; nil without limits.
    public func limitUse(at now: Timestamp) -> Double? {
        var uses: [Double] = []
        if let most = limits.entriesMax { uses.append(most > 0 ? Double(entries) / Double(most) : 1) }
        if let most = limits.bytesMax { uses.append(most > 0 ? Double(storedBytes) / Double(most) : 1) }
        if let most = limits.ageMaxMilliseconds {
            uses.append(most > 0 ? Double(oldestMilliseconds(at: now)) / Double(most) : 1)
        }
        return uses.max()
    }
}

extension TotalLimits {
    /// How much of them some queues use, of the one that is nearest: 1 when they are full; nil without a limit.
    package func use(of queues: [QueueStatistics]) -> Double? {
        func use(_ most: UInt64?, _ value: (QueueStatistics) -> UInt64) -> Double? {
            guard let most else { return nil }
            let sum = queues.reduce(0.0) { $0 + Double(value($1)) }
            return most > 0 ? sum / Double(most) : 1
        }
        return [use(entriesMax, \.entries), use(bytesMax, \.storedBytes)].compactMap { $0 }.max()
    }
}
