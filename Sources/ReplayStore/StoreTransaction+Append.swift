private import LMDB
private import Platform
import RegionFailover
import ReplayFormat

extension StoreTransaction {
    /// What is decided about a call for one region, before anything changes.
    private struct Admission {
        var region: RegionID
        /// Which writes of the call the queue has had, by index; they are not queued again.
        var duplicates: [Int]
        var accepted: Int
        /// What it takes as stored, at most.
        var bytes: UInt64 = 0
        /// What must leave the head first.
        var excess = Excess()
    }

    /// Queues a call's writes for each of its regions: for all of them, or for none.
    package mutating func append(_ call: AppendCall) throws(HoldfastError) -> [AppendReceipt] {
        if let expected = call.ifEpoch, expected != core.epoch {
            var error = HoldfastError(
                code: .staleEpoch,
                message: "The caller acts on epoch \(expected), but the epoch is \(core.epoch): the acting primary has "
                    + "changed. Read who it is now before you decide again."
            )
            error.count = core.epoch
            throw error
        }
        var admissions: [Admission] = []
        for region in call.regions { admissions.append(try admit(call, to: region)) }
        try findRoom(call, &admissions)
        var receipts: [AppendReceipt] = []
        for admission in admissions { receipts.append(try queue(call, admission)) }
        return receipts
    }

    /// Decides whether there is room for a call in each of its queues, and what must leave them for it.
    ///
    /// What never fits is said first, so that nobody waits for it.
    private mutating func findRoom(_ call: AppendCall, _ admissions: inout [Admission]) throws(HoldfastError) {
        guard admissions.contains(where: { $0.accepted > 0 }) else { return }
        var refusal = call.behind
        for index in admissions.indices where admissions[index].accepted > 0 {
            do throws(HoldfastError) {
                admissions[index].excess = try excess(
                    of: admissions[index].region,
                    adding: UInt64(admissions[index].accepted),
                    bytes: admissions[index].bytes,
                    now: call.enqueuedAt
                )
            } catch {
                guard error.isWantOfRoom else { throw error }
                refusal = refusal ?? error
            }
        }
        var total: [RegionID: Excess] = [:]
        do throws(HoldfastError) {
            total = try totalExcess(admissions.map { ($0.region, $0.bytes, UInt64($0.accepted)) })
        } catch {
            guard error.isWantOfRoom else { throw error }
            refusal = refusal ?? error
        }
        if let refusal { throw refusal }
        for index in admissions.indices {
            guard let more = total[admissions[index].region] else { continue }
            if let entries = more.entriesAtMost { admissions[index].excess.keep(entries: entries) }
            if let stored = more.storedAtMost { admissions[index].excess.keep(stored: stored) }
        }
    }

    /// The bytes that the call takes in one queue, as its limits count them: in a replica's store raw, otherwise as stored; the most of them for a single write, which is not compressed yet.
    private func bytesMax(_ call: AppendCall, without duplicates: [Int]) -> UInt64 {
        if core.isReplicated { return UInt64(call.rawBytes(without: duplicates)) }
        if let single = call.single {
            return UInt64(PreparedFrame.blockOverhead(1) + PreparedFrame.contentBytesMax(single))
        }
        // A frame of nothing but duplicates is not stored.
        var bytes: UInt64 = 0
        var start = 0
        var next = 0
        for frame in call.frames {
            let end = start + frame.count
            let first = next
            while next < duplicates.count, duplicates[next] < end { next += 1 }
            if next - first < frame.count { bytes += UInt64(frame.storedBytes(isSkipping: next > first)) }
            start = end
        }
        return bytes
    }

    private mutating func admit(_ call: AppendCall, to region: RegionID) throws(HoldfastError) -> Admission {
        let duplicates = try findDuplicates(call, region)
        var admission = Admission(region: region, duplicates: duplicates, accepted: call.count - duplicates.count)
        if admission.accepted > 0 { admission.bytes = bytesMax(call, without: duplicates) }
        return admission
    }

    /// The writes of the call that the queue has had, by index, in order.
    private mutating func findDuplicates(_ call: AppendCall, _ region: RegionID) throws(HoldfastError) -> [Int] {
        var duplicates = call.repeated
        for run in call.runs {
            let seen = try seenRanges(region, run.origin)
            if seen.isNew(incarnation: run.incarnation, first: run.firstSequence, last: run.lastSequence) { continue }
            for offset in 0..<run.count {
                let number = SeenRanges.Number(
                    incarnation: run.incarnation,
                    sequence: run.firstSequence + UInt64(offset)
                )
                let index = run.firstIndex + offset
                if seen.isForgotten(number), let floor = seen.floor {
                    throw Self.belowFloor(region, run.origin, number, floor, index)
                }
                if seen.contains(number) { duplicates.append(index) }
            }
        }
        return duplicates.sorted()
    }

    private static func belowFloor(
        _ region: RegionID,
        _ origin: RegionID,
        _ number: SeenRanges.Number,
        _ floor: SeenRanges.Number,
        _ index: Int
    ) -> HoldfastError {
        var error = HoldfastError(
            code: .identityBelowFloor,
            message:
                "Write \(index), sequence \(number.sequence) of '\(origin)', incarnation \(number.incarnation), is "
                + "so old that nobody can know whether the queue of '\(region)' has had it: everything up to sequence "
                + "\(floor.sequence) of incarnation \(floor.incarnation) is forgotten. Nothing of the call was queued.",
            region: region
        )
        error.index = index
        error.identity = WriteIdentity(origin: origin, incarnation: number.incarnation, sequence: number.sequence)
        error.floor = WriteIdentity(origin: origin, incarnation: floor.incarnation, sequence: floor.sequence)
        return error
    }

    private mutating func queue(_ call: AppendCall, _ admission: Admission) throws(HoldfastError) -> AppendReceipt {
        let region = admission.region
        var events: [FailoverEvent] = []
        let droppedBefore = core.rows[region]?.counters.dropped ?? 0
        events += try drop(admission.excess, from: region, now: call.enqueuedAt)
        try remember(call, admission)
        let row = try regionRow(region)
        let first = row.nextPosition + UInt64(core.singles[region]?.count ?? 0)
        if admission.accepted > 0 {
            if let single = call.single {
                try queueSingle(single, region)
            } else {
                try storeSingles(region)
                try storeFrames(call, admission)
            }
        }
        core.tally.regions[region, default: .init()].accepted += admission.accepted
        core.tally.regions[region, default: .init()].acceptedBytes += call.rawBytes(without: admission.duplicates)
        core.tally.regions[region, default: .init()].duplicates += admission.duplicates.count
        return AppendReceipt(
            region: region,
            positions: first..<(first + UInt64(admission.accepted)),
            duplicates: admission.duplicates,
            dropped: (core.rows[region]?.counters.dropped ?? 0) - droppedBefore,
            durability: core.isReplicated ? .applied : .synced(transaction: lmdb.number),
            events: events
        )
    }

    private mutating func storeFrames(_ call: AppendCall, _ admission: Admission) throws(HoldfastError) {
        var start = 0
        var nextDuplicate = 0
        for frame in call.frames {
            let end = start + frame.count
            var skipped: [Bool]?
            while nextDuplicate < admission.duplicates.count, admission.duplicates[nextDuplicate] < end {
                skipped = skipped ?? Array(repeating: false, count: frame.count)
                skipped?[admission.duplicates[nextDuplicate] - start] = true
                nextDuplicate += 1
            }
            if skipped?.allSatisfy(\.self) != true { try store(frame, skipping: skipped, in: admission.region) }
            start = end
        }
    }

    // MARK: Blocks

    /// Puts one write with those of other callers, into a frame that is made when it is full or the transaction ends.
    private mutating func queueSingle(_ entry: FrameContent.Entry, _ region: RegionID) throws(HoldfastError) {
        let bytes = PreparedFrame.contentBytesMax(entry)
        if let waiting = core.singlesBytes[region], waiting + bytes > FrameContent.bytesTarget {
            try storeSingles(region)
        }
        core.singles[region, default: []].append(entry)
        core.singlesBytes[region, default: PreparedFrame.blockOverhead(FrameContent.entriesMax)] += bytes
        core.changes += 1
        if core.singles[region]?.count == FrameContent.entriesMax { try storeSingles(region) }
    }

    mutating func storeAllSingles() throws(HoldfastError) {
        for region in core.singles.keys.sorted() { try storeSingles(region) }
    }

    /// Stores the single writes that wait for a frame, so that what follows stands behind them.
    mutating func storeSingles(_ region: RegionID) throws(HoldfastError) {
        core.singlesBytes[region] = nil
        guard let entries = core.singles.removeValue(forKey: region), !entries.isEmpty else { return }
        let frame = PreparedFrame(entries[...], codec: core.codec, level: core.options.compressionLevel)
        try store(frame, skipping: nil, in: region)
    }

    mutating func store(
        _ frame: PreparedFrame,
        skipping skipped: [Bool]?,
        in region: RegionID
    ) throws(HoldfastError) {
        var row = try regionRow(region)
        let (header, block) = frame.block(
            store: core.superblock.store,
            queue: row.number,
            at: row.nextPosition,
            chain: &row.chain,
            skipping: skipped
        )
        let entries = UInt64(header.entries)
        try putRaw(block, key: Key.number(row.nextPosition), in: .queue(row.number), append: true)
        if row.entries == 0 { row.oldestEnqueuedAt = header.firstEnqueuedAt }
        row.nextPosition += entries
        row.entries += entries
        row.rawBytes &+= UInt64(header.rawBytes)
        row.storedBytes &+= UInt64(block.count + 8)
        row.counters.accepted &+= entries
        setRegionRow(region, row)
        FaultPoint.reach(.blockPut)
    }

    // MARK: Identities

    /// What a queue has had of one origin, read when it is first asked for.
    private mutating func seenRanges(_ region: RegionID, _ origin: RegionID) throws(HoldfastError) -> SeenRanges {
        if let known = core.seen[region]?[origin] { return known }
        let table = Table.seen(try regionRow(region).number)
        var floor: SeenRanges.Number?
        if let fields = try row(Key.seenFloor(origin), in: table) {
            let (incarnation, sequence) = try format("A floor of '\(table.name)'") { () throws(FormatError) in
                try SeenRow.floor(decoding: fields.span)
            }
            floor = SeenRanges.Number(incarnation: incarnation, sequence: sequence)
        }
        var seen = SeenRanges(floor: floor)
        try scan(table, from: Key.seenRange(origin, incarnation: 0, first: 0)) { (key, value) throws(HoldfastError) in
            let range = try format("A row of '\(table.name)'") { () throws(FormatError) in
                try SeenRow.range(key, value, in: table)
            }
            guard let range, range.origin == origin else { return false }
            seen.load(incarnation: range.incarnation, first: range.first, last: range.last)
            return true
        }
        core.seen[region, default: [:]][origin] = seen
        return seen
    }

    /// Notes the identities that the queue takes now.
    private mutating func remember(_ call: AppendCall, _ admission: Admission) throws(HoldfastError) {
        guard admission.accepted > 0 else { return }
        var origins: Set<RegionID> = []
        var nextDuplicate = 0
        let duplicates = admission.duplicates
        for run in call.runs {
            origins.insert(run.origin)
            // The parts of the run between its duplicates.
            var start = run.firstIndex
            let end = run.firstIndex + run.count
            func take(upTo stop: Int) {
                guard stop > start else { return }
                core.seen[admission.region]?[run.origin]?.insert(
                    incarnation: run.incarnation,
                    first: run.firstSequence + UInt64(start - run.firstIndex),
                    last: run.firstSequence + UInt64(stop - run.firstIndex - 1)
                )
            }
            while nextDuplicate < duplicates.count, duplicates[nextDuplicate] < end {
                if duplicates[nextDuplicate] >= start {
                    take(upTo: duplicates[nextDuplicate])
                    start = duplicates[nextDuplicate] + 1
                }
                nextDuplicate += 1
            }
            take(upTo: end)
        }
        for origin in origins {
            core.seen[admission.region]?[origin]?.trim(
                rangesMax: StoreLimits.seenRangesMax,
                incarnationsMax: StoreLimits.seenIncarnationsMax
            )
        }
    }

    /// Writes the rows of the table `seen` that changed.
    mutating func storeSeen() throws(HoldfastError) {
        for (region, origins) in core.seen {
            for (origin, seen) in origins where !seen.changes.isEmpty || seen.floorChanged {
                let table = Table.seen(try regionRow(region).number)
                for (number, last) in seen.changes {
                    let key = Key.seenRange(origin, incarnation: number.incarnation, first: number.sequence)
                    if let last {
                        try put(SeenRow.last(last), key: key, in: table)
                    } else {
                        try delete(key, in: table)
                    }
                }
                if seen.floorChanged, let floor = seen.floor {
                    let fields = SeenRow.floor(floor.incarnation, floor.sequence)
                    try put(fields, key: Key.seenFloor(origin), in: table)
                }
                core.seen[region]?[origin]?.changes = [:]
                core.seen[region]?[origin]?.floorChanged = false
            }
        }
    }
}
