private import Bytes
private import Platform
public import RegionFailover
public import ReplayFormat

/// A write that its region did not take, set aside so that the writes behind it could go on.
public struct DeadLetter: Sendable, Hashable {
    /// Why it was set aside.
    public enum Cause: String, Sendable, Hashable {
        /// It was refused as often as the settings allow.
        case attempts
        /// A write of the same key was parked before it.
        case key
    }

    /// The region that has not received it.
    public var region: RegionID
    /// The position that it had in the queue.
    public var position: UInt64
    /// Why it was set aside.
    public var cause: Cause
    /// How often it was sent; 0 where only its key was the reason.
    public var attempts: UInt32
    /// What the receiver said last.
    public var reason: String
    /// When it was set aside, on the controller's clock.
    public var parkedAt: Timestamp
    /// When it was appended.
    public var enqueuedAt: Timestamp
    /// The write itself.
    public var write: OutstandingWrite

    init(_ region: RegionID, _ position: UInt64, _ row: DeadRow) {
        self.region = region
        self.position = position
        cause = row.cause == .attempts ? .attempts : .key
        attempts = row.attempts
        reason = row.reason
        parkedAt = row.parkedAt
        enqueuedAt = row.entry.enqueuedAt
        write = row.entry.write
    }
}

extension StoreView {
    /// A region's dead letters from a position on, in order, until `body` returns false.
    package func deadLetters(
        of region: RegionID,
        from position: UInt64 = 0,
        _ body: (DeadLetter) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let row = try regionRow(region) else { throw .unknownRegion(region) }
        try proveDeadLetters(region, row)
        let table = Table.dead(row.number)
        do throws(HoldfastError) {
            try scan(table, from: Key.number(position)) { (key, value) throws(HoldfastError) in
                let (position, dead) = try format("A dead letter of region '\(region)'") { () throws(FormatError) in
                    try DeadRow.read(key, value, in: table)
                }
                return try body(DeadLetter(region, position, dead))
            }
        } catch {
            var named = error
            if error.code == .damaged { named.region = named.region ?? region }
            throw named
        }
    }
}

/// Which dead letters.
public enum DeadLetterSelection: Sendable, Hashable {
    /// All of a region.
    case all
    /// Those at these positions.
    case positions(Set<UInt64>)
    /// Those of one key.
    case key([UInt8])

    package func matches(_ position: UInt64, _ write: OutstandingWrite) -> Bool {
        switch self {
        case .all: true
        case .positions(let positions): positions.contains(position)
        case .key(let key): write.key == key
        }
    }
}

/// Positions in order, those that follow each other as one range, with the bytes of their entries.
struct LostRanges {
    private(set) var ranges: [(positions: ClosedRange<UInt64>, rawBytes: UInt64)] = []

    mutating func add(_ position: UInt64, _ rawBytes: Int) {
        if let last = ranges.last, last.positions.upperBound &+ 1 == position {
            ranges[ranges.count - 1] = (last.positions.lowerBound...position, last.rawBytes + UInt64(rawBytes))
        } else {
            ranges.append((position...position, UInt64(rawBytes)))
        }
    }
}

extension StoreTransaction {
    /// Sets entries at the head of a queue aside as dead letters.
    ///
    /// `positions`: The first must be at the cursor; what has left meanwhile is passed over.
    package mutating func park(
        _ region: RegionID,
        queue: UInt32,
        _ positions: ClosedRange<UInt64>,
        cause: DeadRow.Cause,
        attempts: UInt32,
        reason: String,
        now: Timestamp
    ) throws(HoldfastError) -> (parked: UInt64, events: [FailoverEvent]) {
        try storeSingles(region)
        try checkQueue(queue, of: region)
        let before = try regionRow(region)
        guard positions.upperBound < before.nextPosition else {
            throw HoldfastError(
                code: .positionOutOfRange,
                message: "Nothing has been queued for region '\(region)' at position \(positions.upperBound) yet.",
                region: region
            )
        }
        var events: [FailoverEvent] = []
        while true {
            let (block, damage) = try headBlock(region, now: now, decoding: true)
            events += damage
            let head = try regionRow(region).headPosition
            guard let block, head <= positions.upperBound, head >= positions.lowerBound else { break }
            let part = try decode(block, region).filter { $0.position >= head && $0.position <= positions.upperBound }
            guard let last = part.last else { break }
            for entry in part {
                let row = DeadRow(
                    cause: cause,
                    attempts: attempts,
                    parkedAt: now,
                    reason: reason,
                    entry: FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt)
                )
                try put(row.encoded(), key: Key.number(entry.position), in: .dead(before.number))
            }
            events += try moveHead(region, .to(last.position + 1), as: .dead, now: now)
            FaultPoint.reach(.park)
        }
        let parked = try regionRow(region).counters.dead &- before.counters.dead
        guard parked > 0 else { return (0, events) }
        events += try noteEmpty(region, now: now)
        core.tally.regions[region, default: .init()].parked += parked
        return (parked, events)
    }

    /// Refuses a token of a queue that was removed and added again since.
    package func checkQueue(_ queue: UInt32, of region: RegionID) throws(HoldfastError) {
        guard try regionRow(region).number == queue else {
            throw HoldfastError(
                code: .staleToken,
                message: "Queue \(queue) of region '\(region)' was removed, and another one was added since. Nothing "
                    + "changed: ask again.",
                region: region
            )
        }
    }

    /// What one transaction has done to dead letters.
    package struct Settled: Sendable {
        package var count: UInt64
        /// Whether none is left of those that were meant.
        package var isLast: Bool

        package init(count: UInt64, isLast: Bool) {
            self.count = count
            self.isLast = isLast
        }
    }

    /// Gives dead letters from below the position `end` up, as many as a transaction settles.
    ///
    /// They count as dropped, and the ledger keeps their positions.
    package mutating func dropDead(
        _ region: RegionID,
        _ selection: DeadLetterSelection,
        below end: UInt64,
        now: Timestamp
    ) throws(HoldfastError) -> Settled {
        var row = try regionRow(region)
        let table = Table.dead(row.number)
        var chosen = ChosenLetters(region, table, selection, below: end)
        try scan(table) { (key, value) throws(HoldfastError) in try chosen.take(key, value) }
        let rows = chosen.rows
        guard !rows.isEmpty else { return Settled(count: 0, isLast: true) }
        var ranges = LostRanges()
        for letter in rows {
            try delete(Key.number(letter.position), in: table)
            ranges.add(letter.position, letter.row.entry.write.rawBytes)
        }
        try put(ranges, reason: .discarded, of: region, row.number, now: now)
        let dropped = UInt64(rows.count)
        row.counters.dead = row.counters.dead >= dropped ? row.counters.dead - dropped : 0
        row.counters.dropped &+= dropped
        setRegionRow(region, row)
        core.tally.regions[region, default: .init()].discarded += dropped
        FaultPoint.reach(.discard)
        return Settled(count: dropped, isLast: chosen.isLast)
    }

    /// Notes in the ledger where dead letters were.
    mutating func put(
        _ lost: LostRanges,
        reason: LostRow.Reason,
        of region: RegionID,
        _ queue: UInt32,
        now: Timestamp
    ) throws(HoldfastError) {
        for (range, rawBytes) in lost.ranges {
            let entries = range.upperBound - range.lowerBound + 1
            let row = LostRow(reason: reason, at: now, entries: entries, rawBytes: rawBytes, anchor: .zero)
            let key = Key.lost(region, queue: queue, first: range.lowerBound, last: range.upperBound)
            try put(row.encoded(), key: key, in: .lost)
        }
    }

    /// Notes how often the entries at the cursor were sent in vain.
    package mutating func setAttempts(
        _ attempts: UInt32,
        at position: UInt64,
        of region: RegionID,
        queue: UInt32
    ) throws(HoldfastError) {
        try checkQueue(queue, of: region)
        var row = try regionRow(region)
        guard row.headPosition == position, row.attempts != attempts else { return }
        row.attempts = attempts
        setRegionRow(region, row)
    }

    /// Sets how a region's queue is replayed.
    package mutating func setReplaySettings(_ settings: ReplaySettings, of region: RegionID) throws(HoldfastError) {
        _ = try regionRow(region)
        try put(settings.encoded(), key: Key.replaySettings(region), in: .controller)
        core.changedQueues.insert(region)
    }
}
