private import Bytes
private import LMDB
private import Platform
package import RegionFailover
import ReplayFormat

/// How far the head of a queue moves.
enum HeadMove: Sendable {
    /// To a position, which then is the first that is queued.
    case to(UInt64)
    /// Until no more than so many entries are queued, whatever takes them out on the way.
    case entriesAtMost(UInt64)
    /// Over whole blocks, until what is stored is no more than this.
    case storedAtMost(UInt64)
    /// Until the raw bytes of what is queued are no more than this.
    case rawAtMost(UInt64)
    /// Over the entries that were appended before a time.
    case enqueuedBefore(Timestamp)
}

/// Which counter the entries are added to that leave at the head.
enum Departure: Sendable { case acknowledged, drained, dropped, dead }

extension StoreTransaction {
    // MARK: What callers ask for

    /// Takes out everything up to `position`, which the region has received.
    package mutating func acknowledge(
        _ region: RegionID,
        through position: UInt64,
        of batch: (entries: Int, goneBefore: UInt64)? = nil,
        now: Timestamp
    ) throws(HoldfastError) -> AcknowledgeReceipt {
        try storeSingles(region)
        let before = try regionRow(region)
        guard position < before.nextPosition else {
            var error = HoldfastError(
                code: .positionOutOfRange,
                message:
                    "Nothing has been queued for region '\(region)' at position \(position) yet: the last position "
                    + "is \(before.nextPosition - 1). Nothing was acknowledged.",
                region: region
            )
            error.count = before.nextPosition - 1
            throw error
        }
        var events: [FailoverEvent] = []
        if position >= before.headPosition {
            events += try moveHead(region, .to(position + 1), as: .acknowledged, now: now)
        }
        var row = try regionRow(region)
        let acknowledged = row.counters.acknowledged &- before.counters.acknowledged
        if acknowledged > 0 {
            row.acknowledgedSinceEmpty &+= acknowledged
            setRegionRow(region, row)
            events += try noteEmpty(region, now: now)
            core.tally.regions[region, default: .init()].acknowledged += acknowledged
            FaultPoint.reach(.acknowledge)
        }
        let gone = batch.map { min(UInt64($0.entries), before.gone &- $0.goneBefore) } ?? 0
        return AcknowledgeReceipt(
            region: region,
            acknowledged: acknowledged,
            goneBefore: gone,
            remaining: row.entries,
            events: events
        )
    }

    /// Records that everything for a region has been received, when its queue has just become empty.
    mutating func noteEmpty(_ region: RegionID, now: Timestamp) throws(HoldfastError) -> [FailoverEvent] {
        var row = try regionRow(region)
        guard row.entries == 0, row.acknowledgedSinceEmpty > 0 else { return [] }
        let event = FailoverEvent(kind: .replayed(entries: row.acknowledgedSinceEmpty), at: now, region: region)
        row.acknowledgedSinceEmpty = 0
        setRegionRow(region, row)
        try record([event])
        return [event]
    }

    /// Takes out at most `max` entries from the head, and gives them to the caller.
    ///
    /// `bytesMax`: The most raw bytes, unless the first entry alone has more.
    package mutating func drain(
        _ region: RegionID,
        max: Int,
        bytesMax: Int = .max,
        now: Timestamp
    ) throws(HoldfastError) -> DrainReceipt {
        try storeSingles(region)
        var entries: [QueueEntry] = []
        var events: [FailoverEvent] = []
        var bytes = 0
        while entries.count < max {
            do throws(HoldfastError) {
                let (block, damage) = try headBlock(region, now: now, decoding: true)
                events += damage
                guard let block else { break }
                let head = try regionRow(region).headPosition
                let isFirst = entries.isEmpty
                let part = try decode(block, region).filter { $0.position >= head }.prefix(max - entries.count)
                    .prefix { entry in
                        let isAlone = isFirst && entry.position == head
                        guard isAlone || entry.write.rawBytes <= bytesMax - bytes else { return false }
                        bytes = isAlone ? Swift.min(entry.write.rawBytes, bytesMax) : bytes + entry.write.rawBytes
                        return true
                    }
                guard let last = part.last else { break }
                events += try moveHead(region, .to(last.position + 1), as: .drained, now: now)
                entries += part
            } catch {
                // What comes before a block that holds the queue up is handed out.
                guard !entries.isEmpty, isRefusal(error) else { throw error }
                break
            }
        }
        if !entries.isEmpty {
            let event = FailoverEvent(kind: .replayed(entries: UInt64(entries.count)), at: now, region: region)
            try record([event])
            events.append(event)
            var row = try regionRow(region)
            if row.entries == 0, row.acknowledgedSinceEmpty > 0 {
                row.acknowledgedSinceEmpty = 0
                setRegionRow(region, row)
            }
            core.tally.regions[region, default: .init()].drained += UInt64(entries.count)
            FaultPoint.reach(.drain)
        }
        return DrainReceipt(entries: entries, remaining: try regionRow(region).entries, events: events)
    }

    /// Takes entries from the head to make room: a row of the ledger says which, and the region needs a resync.
    mutating func dropHead(
        _ region: RegionID,
        _ move: HeadMove,
        _ reason: LostRow.Reason,
        now: Timestamp
    ) throws(HoldfastError) -> [FailoverEvent] {
        let before = try regionRow(region)
        var events = try moveHead(region, move, as: .dropped, now: now)
        let after = try regionRow(region)
        let dropped = after.counters.dropped &- before.counters.dropped
        guard dropped > 0 else { return events }
        let lost = LostRow(
            reason: reason,
            at: now,
            entries: dropped,
            rawBytes: before.rawBytes &- after.rawBytes,
            anchor: .zero
        )
        try noteDropped(region, after.number, before.headPosition, after.headPosition - 1, lost)
        core.tally.regions[region, default: .init()].dropped += dropped
        FaultPoint.reach(reason == .expired ? .expire : .drop)
        events += try markResync(region, now: now)
        return events
    }

    /// Adds a dropped range to the ledger, as part of the row before it where that one is a neighbour: a queue that is
    /// full for a week has one row, not one a write.
    private mutating func noteDropped(
        _ region: RegionID,
        _ queue: UInt32,
        _ first: UInt64,
        _ last: UInt64,
        _ row: LostRow
    ) throws(HoldfastError) {
        var row = row
        var begin = first
        var neighbour: (key: [UInt8], first: UInt64, row: LostRow)?
        let prefix = Key.lostPrefix(region, queue: queue)
        try scan(.lost, from: prefix) { (key, value) throws(HoldfastError) in
            guard key.starts(with: prefix) else { return false }
            // A row that cannot be read is nobody's neighbour.
            guard let (place, found) = try? LostRow.read(key, value) else { return true }
            if place.last &+ 1 == first, found.reason == row.reason { neighbour = (key, place.first, found) }
            return true
        }
        if let neighbour {
            try delete(neighbour.key, in: .lost)
            begin = neighbour.first
            row.entries &+= neighbour.row.entries
            row.rawBytes &+= neighbour.row.rawBytes
        }
        try put(row.encoded(), key: Key.lost(region, queue: queue, first: begin, last: last), in: .lost)
    }

    /// Marks a region as one that replay alone cannot bring up to date.
    ///
    /// One event, the first time.
    mutating func markResync(_ region: RegionID, now: Timestamp) throws(HoldfastError) -> [FailoverEvent] {
        var row = try regionRow(region)
        guard !row.needsResync else { return [] }
        row.needsResync = true
        setRegionRow(region, row)
        let event = FailoverEvent(kind: .resyncNeeded, at: now, region: region)
        try record([event])
        return [event]
    }
}

extension RegionRow.Counters {
    mutating func add(_ count: UInt64, _ departure: Departure) {
        switch departure {
        case .acknowledged: acknowledged &+= count
        case .drained: drained &+= count
        case .dropped: dropped &+= count
        case .dead: dead &+= count
        }
    }
}

extension RegionRow {
    /// Entries that nobody received: dropped, or damaged.
    package var gone: UInt64 { counters.dropped &+ counters.lost }
}
