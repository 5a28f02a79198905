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
        let table = Table.dead(row.number)
        try scan(table, from: Key.number(position)) { (key, value) throws(HoldfastError) in
            let (position, dead) = try format("A dead letter of region '\(region)'") { () throws(FormatError) in
                try DeadRow.read(key, value, in: table)
            }
            return try body(DeadLetter(region, position, dead))
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
        var row = try regionRow(region)
        let parked = row.counters.dead &- before.counters.dead
        guard parked > 0 else { return (0, events) }
        row.attempts = 0
        setRegionRow(region, row)
        events += try noteEmpty(region, now: now)
        core.tally.regions[region, default: .init()].parked += parked
        return (parked, events)
    }

    /// Refuses a token of a queue that was removed and added again since.
    func checkQueue(_ queue: UInt32, of region: RegionID) throws(HoldfastError) {
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
    }

    /// One transaction settles at most so many dead letters.
    static var settledAtOnce: Int { 16_384 }
    /// One transaction settles at most so many bytes of dead letters, and one letter more.
    static var settledBytesAtOnce: Int { 64 << 20 }

    /// The dead letters of a region below a position that a selection names, in the order of their positions: as many as
    /// a transaction settles.
    private func deadRows(
        _ region: RegionID,
        _ selection: DeadLetterSelection,
        below end: UInt64
    ) throws(HoldfastError) -> (rows: [(position: UInt64, row: DeadRow)], isLast: Bool) {
        let table = Table.dead(try regionRow(region).number)
        var rows: [(UInt64, DeadRow)] = []
        var bytes = 0
        var isLast = true
        try scan(table) { (key, value) throws(HoldfastError) in
            let (position, row) = try format("A dead letter of region '\(region)'") { () throws(FormatError) in
                try DeadRow.read(key, value, in: table)
            }
            guard position < end else { return false }
            guard selection.matches(position, row.entry.write) else { return true }
            isLast = rows.count < Self.settledAtOnce && bytes < Self.settledBytesAtOnce
            if isLast { rows.append((position, row)) }
            bytes += row.entry.write.rawBytes
            return isLast
        }
        return (rows, isLast)
    }

    /// Puts dead letters from below the position `end` back at the end of their queue, as many as a transaction settles.
    ///
    /// They get new positions, and are not compared with what the queue has had.
    package mutating func retryDead(
        _ region: RegionID,
        _ selection: DeadLetterSelection,
        below end: UInt64,
        now: Timestamp
    ) throws(HoldfastError) -> Settled {
        try storeSingles(region)
        let (rows, isLast) = try deadRows(region, selection, below: end)
        guard !rows.isEmpty else { return Settled(count: 0, isLast: true) }
        let entries = rows.map { FrameContent.Entry(write: $0.row.entry.write, enqueuedAt: now) }
        let frames = PreparedFrame.split(entries).map {
            PreparedFrame($0, codec: core.codec, level: core.options.compressionLevel)
        }
        let bytes = frames.reduce(0) { $0 + UInt64($1.storedBytesMax) }
        let excess = try excess(of: region, adding: UInt64(entries.count), bytes: bytes, now: now)
        guard excess.isNone else {
            throw .full(
                region,
                limit: excess.entries > 0 ? "entries" : excess.untilStored != nil ? "bytes" : "age",
                "The queue of region '\(region)' has no room for \(entries.count) dead letters, and its oldest entries are "
                    + "not dropped for them: replay and acknowledge, or raise its limits."
            )
        }
        let before = try regionRow(region)
        for frame in frames { try store(frame, skipping: nil, in: region) }
        for (position, _) in rows { try delete(Key.number(position), in: .dead(before.number)) }
        var row = try regionRow(region)
        let count = UInt64(rows.count)
        row.counters.accepted = before.counters.accepted
        row.counters.retried &+= count
        row.counters.dead = row.counters.dead >= count ? row.counters.dead - count : 0
        setRegionRow(region, row)
        core.tally.regions[region, default: .init()].retried += count
        FaultPoint.reach(.retry)
        return Settled(count: count, isLast: isLast)
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
        let (rows, isLast) = try deadRows(region, selection, below: end)
        guard let first = rows.first?.position else { return Settled(count: 0, isLast: true) }
        var row = try regionRow(region)
        var start = first
        var end = first
        var count: UInt64 = 0
        var rawBytes: UInt64 = 0
        for index in rows.indices {
            try delete(Key.number(rows[index].position), in: .dead(row.number))
            end = rows[index].position
            count += 1
            rawBytes += UInt64(rows[index].row.entry.write.rawBytes)
            if index + 1 < rows.count, rows[index + 1].position == end + 1 { continue }
            let lost = LostRow(reason: .discarded, at: now, entries: count, rawBytes: rawBytes, anchor: .zero)
            try put(lost.encoded(), key: Key.lost(region, queue: row.number, first: start, last: end), in: .lost)
            (count, rawBytes) = (0, 0)
            if index + 1 < rows.count { start = rows[index + 1].position }
        }
        let dropped = UInt64(rows.count)
        row.counters.dead = row.counters.dead >= dropped ? row.counters.dead - dropped : 0
        row.counters.dropped &+= dropped
        setRegionRow(region, row)
        core.tally.regions[region, default: .init()].discarded += dropped
        FaultPoint.reach(.discard)
        return Settled(count: dropped, isLast: isLast)
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
