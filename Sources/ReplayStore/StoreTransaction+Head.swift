private import Bytes
private import LMDB
private import Platform
internal import RegionFailover
import ReplayFormat

extension StoreTransaction {
    // MARK: The head

    /// Moves the head of a queue, and counts what leaves.
    ///
    /// Blocks are removed when their last entry has left; inside a block only the cursor moves.
    mutating func moveHead(
        _ region: RegionID,
        _ move: HeadMove,
        as departure: Departure,
        now: Timestamp
    ) throws(HoldfastError) -> [FailoverEvent] {
        let start = try regionRow(region)
        if case .to(let position) = move, position == start.nextPosition {
            try emptyQueue(region, as: departure)
            return []
        }
        var events: [FailoverEvent] = []
        while true {
            let block: VerifiedBlock?
            let damage: [FailoverEvent]
            do throws(HoldfastError) {
                (block, damage) = try headBlock(region, now: now)
            } catch {
                // What is behind holds the queue up, and is told who comes to it; what was to leave has left.
                guard case .to(let position) = move, try regionRow(region).headPosition >= position, isRefusal(error)
                else { throw error }
                break
            }
            events += damage
            guard let block else { break }
            var row = try regionRow(region)
            let available = block.header.lastPosition - row.headPosition + 1
            let count: UInt64
            switch move {
            case .to(let position):
                count = position > row.headPosition ? min(available, position - row.headPosition) : 0
            case .entriesAtMost(let most): count = row.entries > most ? min(available, row.entries - most) : 0
            case .storedAtMost(let bytes): count = row.storedBytes > bytes ? available : 0
            case .rawAtMost(let bytes): count = try countEntries(block, region, row, until: bytes)
            case .enqueuedBefore(let time):
                count =
                    block.header.firstEnqueuedAt < time ? try countEntries(block, region, row.headPosition, time) : 0
            }
            if count == 0 {
                // The head stays here, so the age of the queue is that of this entry.
                try setOldest(region, block)
                break
            }
            let isWhole = count == available
            if isWhole, row.headPosition == block.header.firstPosition {
                row.rawBytes =
                    row.rawBytes >= UInt64(block.header.rawBytes) ? row.rawBytes - UInt64(block.header.rawBytes) : 0
            } else {
                let range = row.headPosition..<(row.headPosition + count)
                let gone = try decode(block, region).reduce(0) { sum, entry in
                    range.contains(entry.position) ? sum + UInt64(entry.write.rawBytes) : sum
                }
                row.rawBytes = row.rawBytes >= gone ? row.rawBytes - gone : 0
            }
            if isWhole {
                try deleteBlock(block.header.firstPosition, of: row.number)
                row.storedBytes = row.storedBytes >= block.storedBytes ? row.storedBytes - block.storedBytes : 0
            }
            row.headPosition += count
            row.attempts = 0
            row.entries = row.entries >= count ? row.entries - count : 0
            row.counters.add(count, departure)
            setRegionRow(region, row)
        }
        return events
    }

    /// How many entries of a block, from the cursor on, were appended before a time.
    private func countEntries(
        _ block: VerifiedBlock,
        _ region: RegionID,
        _ head: UInt64,
        _ time: Timestamp
    ) throws(HoldfastError) -> UInt64 {
        UInt64(try decode(block, region).filter { $0.position >= head }.prefix { $0.enqueuedAt < time }.count)
    }

    /// How many entries of a block, from the cursor on, must leave until the queue holds no more than so many raw bytes.
    private func countEntries(
        _ block: VerifiedBlock,
        _ region: RegionID,
        _ row: RegionRow,
        until bytes: UInt64
    ) throws(HoldfastError) -> UInt64 {
        guard row.rawBytes > bytes else { return 0 }
        var (left, count) = (row.rawBytes, UInt64(0))
        for entry in try decode(block, region) where entry.position >= row.headPosition && left > bytes {
            left -= min(left, UInt64(entry.write.rawBytes))
            count += 1
        }
        return count
    }

    private mutating func setOldest(_ region: RegionID, _ block: VerifiedBlock) throws(HoldfastError) {
        var row = try regionRow(region)
        var oldest = block.header.firstEnqueuedAt
        if row.headPosition > block.header.firstPosition {
            oldest = try decode(block, region).first { $0.position == row.headPosition }?.enqueuedAt ?? oldest
        }
        guard oldest != row.oldestEnqueuedAt else { return }
        row.oldestEnqueuedAt = oldest
        setRegionRow(region, row)
    }

    /// Takes out everything at once, in time that grows with the pages and not with the entries.
    private mutating func emptyQueue(_ region: RegionID, as departure: Departure) throws(HoldfastError) {
        var row = try regionRow(region)
        try empty(.queue(row.number))
        FaultPoint.reach(.queueEmpty)
        row.counters.add(row.entries, departure)
        row.headPosition = row.nextPosition
        row.attempts = 0
        row.entries = 0
        row.rawBytes = 0
        row.storedBytes = 0
        setRegionRow(region, row)
    }

    func decode(_ block: VerifiedBlock, _ region: RegionID) throws(HoldfastError) -> [QueueEntry] {
        try format("Region '\(region)', block at position \(block.header.firstPosition)") { () throws(FormatError) in
            try block.entries(core.codec)
        }
    }

    /// The first block of a queue, proved; nil when nothing is queued.
    ///
    /// On return the cursor stands inside it.
    ///
    /// Blocks that are damaged or missing on the way go to the `lost` ledger, the region is marked, and what is left is
    /// delivered: one bad block must not hold up a region.
    ///
    /// `decoding`: Whether a block counts as damaged, too, whose checksum is right but whose frame is not.
    mutating func headBlock(
        _ region: RegionID,
        now: Timestamp,
        decoding: Bool = false
    ) throws(HoldfastError) -> (VerifiedBlock?, [FailoverEvent]) {
        var events: [FailoverEvent] = []
        while true {
            let row = try regionRow(region)
            guard row.headPosition < row.nextPosition else { return (nil, events) }
            let (first, second) = try firstBlocks(row)
            if core.isReplicated { try checkNoRepair(first, row, region, decoding) }
            guard let first else {
                if try skipNoted(region, before: row.nextPosition) { continue }
                events += try quarantine(region, row.headPosition, row.nextPosition - 1, .missing, [], now: now)
                continue
            }
            let block = try? VerifiedBlock(
                first.bytes.span,
                store: core.superblock.store,
                queue: row.number,
                firstPosition: nil
            )
            let isDecodable = !decoding || block.flatMap { try? $0.frameEntries(core.codec) } != nil
            if let block, block.header.lastPosition < row.nextPosition, isDecodable {
                // The block is whole, and says itself where it stands. LMDB's keys have no checksum.
                let position = block.header.firstPosition
                guard position == first.position else {
                    try provePages()
                    try deleteBlock(first.position, of: row.number)
                    if block.header.lastPosition >= row.headPosition {
                        try putRaw(first.bytes, key: Key.number(position), in: .queue(row.number))
                    }
                    continue
                }
                guard position <= row.headPosition else {
                    if try skipNoted(region, before: position) { continue }
                    events += try quarantine(region, row.headPosition, position - 1, .missing, [], now: now)
                    continue
                }
                if block.header.lastPosition >= row.headPosition {
                    if !events.isEmpty { try setOldest(region, block) }
                    return (block, events)
                }
                // Everything in it has left, and what follows it is missing.
                try deleteBlock(position, of: row.number)
                _ = try recount(region, without: 0)
                continue
            }
            // Where a damaged block begins and ends, its neighbours tell, never beyond the end of the queue.
            let begin = first.position < row.nextPosition ? max(first.position, row.headPosition) : row.headPosition
            let end = second.map { $0 > begin ? min($0, row.nextPosition) : row.nextPosition } ?? row.nextPosition
            if begin > row.headPosition {
                events += try quarantine(region, row.headPosition, begin - 1, .missing, [], now: now)
                continue
            }
            try provePages()
            try deleteBlock(first.position, of: row.number)
            events += try quarantine(region, begin, max(begin, end - 1), .damaged, first.bytes, now: now)
        }
    }

    /// Refuses a replica's queue that would have to be repaired: its log has no such change, so that the replica would go a way
    /// of its own.
    private func checkNoRepair(
        _ first: (position: UInt64, bytes: [UInt8])?,
        _ row: RegionRow,
        _ region: RegionID,
        _ decoding: Bool
    ) throws(HoldfastError) {
        let block = first.flatMap { first in
            try? VerifiedBlock(
                first.bytes.span,
                store: core.superblock.store,
                queue: row.number,
                firstPosition: first.position
            )
        }
        if let block, block.header.firstPosition <= row.headPosition, block.header.lastPosition >= row.headPosition,
            block.header.lastPosition < row.nextPosition, !decoding || (try? block.frameEntries(core.codec)) != nil
        {
            return
        }
        let error = HoldfastError(
            code: .needsSnapshot,
            message:
                "The queue of region '\(region)' is damaged at position \(row.headPosition). A replica sets nothing aside: "
                + "it has stopped, and takes a snapshot of another member.",
            region: region
        )
        core.failure = core.failure ?? error
        throw error
    }

    /// Moves the head over a gap that the ledger names already, as a recovered queue has them; false where it names none.
    private mutating func skipNoted(_ region: RegionID, before end: UInt64) throws(HoldfastError) -> Bool {
        var row = try regionRow(region)
        let prefix = Key.lostPrefix(region, queue: row.number)
        var isNoted = false
        try scan(.lost, from: prefix + Key.number(row.headPosition)) { (key, value) throws(HoldfastError) in
            guard key.starts(with: prefix) else { return false }
            let (place, lost) = try format("A row of 'lost'") { () throws(FormatError) in try LostRow.read(key, value) }
            isNoted =
                place.first == row.headPosition && place.last == end - 1
                && (lost.reason == .damaged || lost.reason == .missing)
            return false
        }
        guard isNoted else { return false }
        row.headPosition = end
        setRegionRow(region, row)
        return true
    }

    /// The first block of a queue and where it stands, and where the second one stands.
    private func firstBlocks(
        _ row: RegionRow
    ) throws(HoldfastError) -> (first: (position: UInt64, bytes: [UInt8])?, second: UInt64?) {
        var first: (UInt64, [UInt8])?
        var second: UInt64?
        try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
            let position = try format("A key of 'queue/\(row.number)'") { () throws(FormatError) in
                try Key.number(from: key.span)
            }
            guard first == nil else {
                second = position
                return false
            }
            var bytes: [UInt8] = []
            bytes.append(copying: value)
            first = (position, bytes)
            return true
        }
        return (first, second)
    }

    /// Moves a range of positions to the `lost` ledger.
    private mutating func quarantine(
        _ region: RegionID,
        _ first: UInt64,
        _ last: UInt64,
        _ reason: LostRow.Reason,
        _ block: [UInt8],
        now: Timestamp
    ) throws(HoldfastError) -> [FailoverEvent] {
        var row = try regionRow(region)
        let count = min(last - first + 1, row.entries)
        row.headPosition = last + 1
        row.attempts = 0
        row.entries -= count
        row.counters.lost &+= count
        setRegionRow(region, row)
        let rawBytes = try recount(region, without: BlockHeader.claimedRawBytes(block.span))
        // Where the chain goes on: before the next block, or after the last entry.
        let (next, _) = try firstBlocks(row)
        let anchor = next.flatMap { next in
            try? VerifiedBlock(
                next.bytes.span,
                store: core.superblock.store,
                queue: row.number,
                firstPosition: next.position
            ).header.chainBefore
        }
        let lost = LostRow(
            reason: reason,
            at: now,
            entries: count,
            rawBytes: rawBytes,
            anchor: anchor ?? (next == nil ? row.chain : .zero),
            block: block
        )
        try put(lost.encoded(), key: Key.lost(region, queue: row.number, first: first, last: last), in: .lost)
        let found = StoreMetrics.Tally.Lost(first: first, last: last, entries: count, reason: reason)
        core.tally.regions[region, default: .init()].lost.append(found)
        FaultPoint.reach(.quarantine)
        return try markResync(region, now: now)
    }

    /// Counts bytes again after damage, since what a damaged block said of itself cannot be believed.
    ///
    /// Where other blocks are damaged too, what is missing is theirs as well: then the one that has gone had what it said,
    /// `claim`, and at most that.
    ///
    /// Gives the raw bytes that have gone.
    private mutating func recount(
        _ region: RegionID,
        without claim: UInt64
    ) throws(HoldfastError) -> UInt64 {
        var row = try regionRow(region)
        var rawBytes: UInt64 = 0
        var storedBytes: UInt64 = 0
        var isWhole = true
        let store = core.superblock.store
        let codec = core.codec
        try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
            storedBytes += UInt64(value.count + 8)
            let position = try format("A key of 'queue/\(row.number)'") { () throws(FormatError) in
                try Key.number(from: key.span)
            }
            let block = try? VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
            guard let block else {
                isWhole = false
                return true
            }
            if position >= row.headPosition {
                rawBytes += UInt64(block.header.rawBytes)
            } else if let entries = try? block.entries(codec) {
                rawBytes += entries.reduce(0) { $1.position >= row.headPosition ? $0 + UInt64($1.write.rawBytes) : $0 }
            }
            return true
        }
        let missing = row.rawBytes - min(row.rawBytes, rawBytes)
        let gone = isWhole ? missing : min(claim, missing)
        row.rawBytes = rawBytes + (isWhole ? 0 : missing - gone)
        row.storedBytes = storedBytes
        setRegionRow(region, row)
        return gone
    }
}
