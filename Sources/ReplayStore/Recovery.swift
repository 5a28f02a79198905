private import Bytes
internal import Pages
private import Platform
internal import RegionFailover
internal import ReplayFormat
private import Zstd

/// The writing of a new store from salvaged rows.
struct Recovery {
    private let file: PageFile
    private let rows: SalvagedRows
    private let knowledge: StoreRecover.Knowledge
    /// Whether the rows are of the newest commit alone, and not of older ones too.
    private let isTrusted: Bool
    private let now: Timestamp
    private let codec = FrameCodec()
    private let configuration: FailoverConfiguration?

    /// More than any row or block has: a block of one value, with its key and clock, in a row of the ledger of what was lost.
    static let valueBytesMax = OutstandingWrite.valueSizeMax + 1 << 20

    init(
        _ file: PageFile,
        _ rows: SalvagedRows,
        _ knowledge: StoreRecover.Knowledge,
        isTrusted: Bool,
        now: Timestamp
    ) {
        self.file = file
        self.rows = rows
        self.knowledge = knowledge
        self.isTrusted = isTrusted
        self.now = now
        let fields = rows.controller[Key.controller(ControllerRows.Name.configuration.rawValue)]
        configuration = fields.flatMap { fields in try? ControllerRows.configuration(decoding: fields.span) }
        for (key, value) in rows.dictionaries {
            guard let (number, _, bytes) = try? DictionaryRow.read(key, value.span) else { continue }
            codec.add(dictionary: bytes, number: number)
        }
    }

    // MARK: The controller

    /// The regions: those of the configuration, or those that were found.
    private var regionNames: [RegionID] {
        configuration?.regions.sorted()
            ?? Set(rows.regions.keys).union(rows.blocks.keys.compactMap { rows.names[$0] }).union(unnamed.map(\.region))
            .sorted()
    }

    /// Queues with blocks whose region neither a row nor the operator names, with a name made of their number.
    private var unnamed: [(number: UInt32, region: RegionID)] {
        rows.blocks.keys.filter { rows.names[$0] == nil && knowledge.queues[$0] == nil }.sorted().compactMap { number in
            RegionID(utf8: Array("queue-\(number)".utf8)).map { (number, $0) }
        }
    }

    /// The controller's state, or a new one where it cannot be read, or is of an epoch before one that an event speaks of.
    func machine() throws(HoldfastError) -> (snapshot: FailoverMachine.Snapshot, isNew: Bool) {
        if let snapshot = try? MachineRows.load(regionNames, rows: rows.controller),
            (try? FailoverMachine(restoring: snapshot)) != nil, snapshot.epoch >= epochMax ?? 0
        {
            return (try withUnnamed(snapshot), false)
        }
        var configuration = self.configuration
        if configuration == nil, let local = knowledge.local {
            configuration = FailoverConfiguration(local: local, regions: Set(regionNames).union([local]).sorted())
        }
        guard let configuration else {
            throw HoldfastError(
                code: .damaged,
                message:
                    "The controller's rows cannot be read. Say which region is to be primary, with --local; the regions "
                    + "found are \(regionNames.map(\.rawValue).joined(separator: ", ")). Nothing was written."
            )
        }
        guard let epochMax = [epochMax, knowledge.epoch].compactMap(\.self).max() else {
            throw HoldfastError(
                code: .damaged,
                message:
                    "The controller's rows cannot be read, and no event speaks of an epoch. Say the greatest one that any "
                    + "region or receiver has seen, with --epoch; 1 where nothing was ever promoted. The new store's is one "
                    + "more. Nothing was written."
            )
        }
        var snapshot: FailoverMachine.Snapshot
        do throws(FailoverError) {
            snapshot = try FailoverMachine(configuration: configuration, now: now).snapshot
        } catch {
            throw HoldfastError(error)
        }
        // Never back: above every epoch that any row speaks of.
        snapshot.epoch = epochMax == .max ? .max : epochMax + 1
        return (try withUnnamed(snapshot), true)
    }

    /// The same with a region more for each queue that nothing names, which is never promoted.
    ///
    /// The queue's entries come back there.
    private func withUnnamed(
        _ snapshot: FailoverMachine.Snapshot
    ) throws(HoldfastError) -> FailoverMachine.Snapshot {
        var configuration = snapshot.configuration
        let known = configuration.regions
        let placed = Set(try numbers(of: known).values)
        let new = unnamed.filter { !placed.contains($0.number) && !known.contains($0.region) }.map(\.region)
        guard !new.isEmpty else { return snapshot }
        guard known.count + new.count <= FailoverConfiguration.regionsMax else {
            throw HoldfastError(
                code: .damaged,
                message:
                    "No row tells whose \(new.count) queues are, and there is no room for as many regions. Say it with "
                    + "--queue NUMBER=REGION, or NUMBER=none for nobody's: \(new.map(\.rawValue).joined(separator: ", ")). "
                    + "Nothing was written."
            )
        }
        if configuration.tiers.isEmpty { configuration.tiers = [known] }
        configuration.regions += new
        do throws(FailoverError) {
            var machine = try FailoverMachine(restoring: snapshot)
            _ = try machine.configure(configuration, force: true, pending: [:], now: now)
            return machine.snapshot
        } catch {
            throw HoldfastError(error)
        }
    }

    private var epochMax: UInt64? {
        let row = rows.controller[Key.controller(ControllerRows.Name.epoch.rawValue)]
        let stored = row.flatMap { fields in try? ControllerRows.number(decoding: fields.span) }
        let told = rows.history.compactMap { number, value -> UInt64? in
            guard let event = try? EventRow.read(Key.number(number), value.span).1 else { return nil }
            return switch event.kind {
            case .demoted(let epoch), .promoted(_, let epoch, _), .switchedOver(_, let epoch, _): epoch
            default: nil
            }
        }
        return (told + [stored].compactMap(\.self)).max()
    }

    /// Whether events were written that are not among the rows, as far as the controller's rows tell.
    var isHistoryCut: Bool {
        let next = rows.nextEvent
        guard let configuration, configuration.historyCapacity > 0, next > 1, next < .max else { return false }
        return rows.history[next - 1] == nil
    }

    // MARK: Writing

    /// Writes the new store, and says what became of each region.
    func write(
        _ snapshot: FailoverMachine.Snapshot,
        to destination: String,
        as store: StoreID
    ) throws(HoldfastError) -> [StoreRecover.Region] {
        var numbers = try numbers(of: snapshot.configuration.regions)
        // Above every number that a row or a block has, whoever's it was.
        let last = (rows.queueNumbers + numbers.values).max() ?? 0
        let new = snapshot.configuration.regions.sorted().filter { numbers[$0] == nil }
        guard UInt64(last) + UInt64(new.count) < UInt64(UInt32.max) else {
            throw HoldfastError(
                code: .damaged,
                message: "A row speaks of queue \(last), which no store has had: nothing was written."
            )
        }
        for (offset, region) in new.enumerated() { numbers[region] = last + UInt32(offset) + 1 }
        let next = last + UInt32(new.count) + 1
        let queues = numbers.map {
            DumpHeader.Region(region: $0.key, queue: $0.value, head: 1, through: 0, anchors: [:])
        }
        let loader = try StoreLoader(destination, regions: queues, store: store)
        var results: [StoreRecover.Region] = []
        for (region, number) in numbers.sorted(by: { $0.key < $1.key }) {
            results.append(try writeQueue(region, number, loader))
            FaultPoint.reach(.recoverQueue)
        }
        for (key, found) in rows.lost where !results.contains(where: { $0.region == found.place.region }) {
            try loader.put(found.row.encoded(), key: key, in: .lost)
        }
        try writeController(snapshot, loader)
        for (key, value) in rows.dictionaries { try loader.add(table: .dictionaries, key: key, value: value) }
        for (key, value) in rows.raft { try loader.add(table: .raft, key: key, value: value) }
        var superblock = Superblock(store: store, created: now)
        let found = rows.superblock
        if let old = try? Superblock(decoding: { (name) throws(FormatError) in found[name] }) {
            (superblock.created, superblock.mode) = (old.created, old.mode)
        }
        superblock.nextQueue = next
        for (name, fields) in superblock.encoded() {
            try loader.put(fields, key: Key.text(name.rawValue), in: .superblock)
        }
        _ = try loader.finish(destination, leftMeanwhile: [])
        return results
    }

    /// The queue of each region, as the rows or the operator tell it.
    private func numbers(of regions: [RegionID]) throws(HoldfastError) -> [RegionID: UInt32] {
        var numbers: [RegionID: UInt32] = [:]
        for region in regions {
            let named = rows.names.filter { $0.value == region }.keys.max()
            numbers[region] = rows.regions[region]?.number ?? named
        }
        for case (let number, let region?) in knowledge.queues {
            guard regions.contains(region), numbers[region] ?? number == number, rows.names[number] ?? region == region
            else {
                throw HoldfastError(
                    code: .invalidConfiguration,
                    message:
                        "Queue \(number) cannot be of '\(region)': the rows say otherwise, or there is no such region. "
                        + "Nothing was written."
                )
            }
            numbers[region] = number
        }
        for (number, region) in unnamed where regions.contains(region) && numbers[region] == nil {
            numbers[region] = number
        }
        // Of one commit alone, one queue without a name and one region without a queue belong together.
        let without = regions.filter { numbers[$0] == nil }
        let free = unnamed.map(\.number).filter { !numbers.values.contains($0) }
        if isTrusted, without.count == 1, free.count == 1 { numbers[without[0]] = free[0] }
        return numbers
    }

    private func writeController(
        _ snapshot: FailoverMachine.Snapshot,
        _ loader: StoreLoader
    ) throws(HoldfastError) {
        var fields = rows.controller.filter { key, _ in
            guard let region = Key.replaySettingsRegion(key) else { return key.first == UInt8(ascii: "m") }
            return snapshot.configuration.regions.contains(region)
        }
        for (key, value) in MachineRows.rows(snapshot) { fields[key] = value }
        let kept = rows.history.keys.sorted().suffix(snapshot.configuration.historyCapacity)
        let last = kept.last ?? 0
        let eventsKey = Key.controller(ControllerRows.Name.events.rawValue)
        let stored = max(
            1,
            fields[eventsKey].flatMap { fields in try? ControllerRows.number(decoding: fields.span) } ?? 1
        )
        // Events come without a gap to the last: only those that do are kept.
        var number = stored - 1 > last || isTrusted ? stored - 1 : last
        fields[eventsKey] = ControllerRows.number(number + 1)
        while number > 0, let value = rows.history[number], kept.contains(number) {
            try loader.add(table: .history, key: Key.number(number), value: value)
            number -= 1
        }
        for (key, value) in fields { try loader.put(value, key: key, in: .controller) }
    }

    // MARK: A queue

    private func writeQueue(
        _ region: RegionID,
        _ number: UInt32,
        _ loader: StoreLoader
    ) throws(HoldfastError) -> StoreRecover.Region {
        let known = rows.regions[region].flatMap { $0.number == number ? $0 : nil }
        var result = StoreRecover.Region(region: region, isAcknowledgedUnknown: known == nil || !isTrusted)
        result.isNameUnknown = unnamed.contains { $0.region == region && $0.number == number }
        var row = known ?? RegionRow(number: number)
        var seen = rows.seen[number] ?? SalvagedSeen()
        let places = (rows.blocks[number] ?? []).sorted { $0.header.firstPosition < $1.header.firstPosition }
        var next = known?.headPosition ?? places.first?.header.firstPosition ?? 1
        // Of a trusted row's queue nothing stands beyond its end.
        let end = isTrusted ? known?.nextPosition ?? .max : .max
        var first: UInt64?
        var chain: Hash128?
        var gaps: [(range: ClosedRange<UInt64>, anchor: Hash128)] = []
        var index = 0
        while index < places.count {
            let position = places[index].header.firstPosition
            var group: [SalvagedRows.BlockPlace] = []
            while index < places.count, places[index].header.firstPosition == position {
                group.append(places[index])
                index += 1
            }
            // Of several states of one block, the one that continues the chain.
            group.sort { ($0.header.chainBefore == chain ? 0 : 1) < ($1.header.chainBefore == chain ? 0 : 1) }
            for place in group where place.header.lastPosition >= next && place.header.lastPosition < end {
                guard position <= next || place.header.lastPosition < .max - 1,
                    let entries = try self.entries(of: place)
                else { continue }
                var canonical = Canonical()
                var digest = place.header.chainBefore
                let from = max(next, position)
                if from > next {
                    gaps.append((next...(from - 1), digest))
                    chain = nil
                }
                for (offset, entry) in entries.enumerated() {
                    canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
                    if entry.position == from, chain == nil || first == nil {
                        loader.begin(region, at: from, chain: digest)
                        if let gap = gaps.last, gap.range.upperBound == from - 1 {
                            gaps[gaps.count - 1].anchor = digest
                        }
                    }
                    digest = canonical.advance(digest, over: offset)
                    guard entry.position >= from else { continue }
                    try loader.add(entry, to: region)
                    seen.add(entry.write)
                    first = first ?? entry.position
                }
                chain = digest
                next = place.header.lastPosition + 1
                break
            }
        }
        let tail = try loader.tail(of: region)
        if let known, next > known.nextPosition { result.isAcknowledgedUnknown = true }
        if next < row.nextPosition {
            gaps.append((next...(row.nextPosition - 1), tail.entries > 0 ? tail.chain : row.chain))
            next = row.nextPosition
        }
        row.nextPosition = next
        result.recovered = tail.entries
        result.lost = gaps.map(\.range)
        // A gap at the head has left the queue; the others are passed when the head comes to them.
        row.headPosition = first ?? next
        (row.entries, row.rawBytes) = (tail.entries, tail.rawBytes)
        row.oldestEnqueuedAt = tail.entries > 0 ? tail.oldest : row.oldestEnqueuedAt
        if tail.entries > 0 { row.chain = tail.chain }
        row.attempts = 0
        for letter in rows.dead[number] ?? [:] {
            try loader.add(table: .dead(number), key: Key.number(letter.key), value: letter.value)
            result.dead += 1
        }
        try balance(&row, region, gaps, known != nil, &result, loader)
        if let identities = seen.count, identities < row.counters.accepted {
            result.forgotten = row.counters.accepted - identities
        }
        for (key, fields) in seen.rows() { try loader.put(fields, key: key, in: .seen(number)) }
        try loader.put(row.encoded(), key: Key.region(region), in: .regions)
        return result
    }

    /// Makes the sums add up again: what no row accounts for goes to the ledger of what was lost.
    private func balance(
        _ row: inout RegionRow,
        _ region: RegionID,
        _ gaps: [(range: ClosedRange<UInt64>, anchor: Hash128)],
        _ isRowKnown: Bool,
        _ result: inout StoreRecover.Region,
        _ loader: StoreLoader
    ) throws(HoldfastError) {
        var ledger: [[UInt8]: LostRow] = [:]
        for (key, found) in rows.lost where found.place.region == region && found.place.queue == row.number {
            ledger[key] = found.row
        }
        for (range, anchor) in gaps {
            let key = Key.lost(region, queue: row.number, first: range.lowerBound, last: range.upperBound)
            ledger[key] = LostRow(
                reason: .missing,
                at: now,
                entries: range.upperBound - range.lowerBound + 1,
                rawBytes: 0,
                anchor: anchor
            )
        }
        func sum(_ reasons: [LostRow.Reason]) -> UInt64 {
            ledger.values.reduce(0) { reasons.contains($1.reason) ? $0 &+ $1.entries : $0 }
        }
        row.counters.dropped = sum([.dropped, .expired, .discarded])
        row.counters.lost = sum([.damaged, .missing])
        row.counters.dead = result.dead
        row.counters.retried = min(row.counters.retried, row.nextPosition - 1)
        row.counters.accepted = row.nextPosition - 1 - row.counters.retried
        let counters = row.counters
        let told = [counters.acknowledged, counters.drained, counters.dropped, counters.dead, counters.lost]
        let accounted = told.reduce(row.entries, &+)
        if accounted > counters.accepted {
            // Older states came back: what they held was counted as acknowledged.
            let surplus = accounted - counters.accepted
            let fromAcknowledged = min(surplus, counters.acknowledged)
            row.counters.acknowledged -= fromAcknowledged
            row.counters.accepted += surplus - fromAcknowledged
            result.isAcknowledgedUnknown = true
        } else if accounted < counters.accepted {
            let missing = counters.accepted - accounted
            if isRowKnown {
                let last = max(1, row.headPosition - 1)
                let key = Key.lost(region, queue: row.number, first: 1, last: last)
                var lost = ledger[key] ?? LostRow(reason: .missing, at: now, entries: 0, rawBytes: 0, anchor: .zero)
                lost.entries &+= missing
                ledger[key] = lost
                row.counters.lost &+= missing
                result.unaccounted = missing
            } else {
                // Nothing tells what became of what stood before: it left the queue.
                row.counters.acknowledged &+= missing
            }
        }
        let isIncomplete = !gaps.isEmpty || result.unaccounted > 0 || result.isAcknowledgedUnknown
        row.needsResync = row.needsResync || isIncomplete
        for (key, lost) in ledger { try loader.put(lost.encoded(), key: key, in: .lost) }
    }

    /// The entries of a block, read again; nil where it cannot be decoded.
    private func entries(of place: SalvagedRows.BlockPlace) throws(HoldfastError) -> [QueueEntry]? {
        let key = Key.number(place.header.firstPosition)
        let pairs = try pages { () throws(PageError) in
            try file.pairs(ofLeaf: place.page, of: key, valueMax: Self.valueBytesMax)
        }
        for pair in pairs {
            let header = place.header
            let block = try? VerifiedBlock(
                pair.value.span,
                store: header.store,
                queue: header.queue,
                firstPosition: header.firstPosition
            )
            if let block, block.header == header, let entries = try? block.entries(codec) { return entries }
        }
        return nil
    }
}
