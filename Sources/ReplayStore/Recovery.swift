private import Bytes
internal import Pages
private import Platform
internal import RegionFailover
internal import ReplayFormat
private import Zstd

/// The writing of a new store from salvaged rows.
struct Recovery {
    private let file: PageFile
    private var rows: SalvagedRows
    /// Whether the rows are of the newest commit alone, and not of older ones too.
    private let isTrusted: Bool
    private let now: Timestamp
    private let codec = FrameCodec()
    private let configuration: FailoverConfiguration?

    init(_ file: PageFile, _ rows: SalvagedRows, isTrusted: Bool, now: Timestamp) {
        self.file = file
        self.rows = rows
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

    /// Queues with blocks whose region no row names, with a name made of their number.
    private var unnamed: [(number: UInt32, region: RegionID)] {
        rows.blocks.keys.filter { rows.names[$0] == nil }.sorted().compactMap { number in
            RegionID(utf8: Array("queue-\(number)".utf8)).map { (number, $0) }
        }
    }

    /// The controller's state, or a new one where it cannot be read.
    mutating func machine(
        local: RegionID?
    ) throws(HoldfastError) -> (snapshot: FailoverMachine.Snapshot, isNew: Bool) {
        if let snapshot = try? MachineRows.load(regionNames, rows: rows.controller),
            (try? FailoverMachine(restoring: snapshot)) != nil
        {
            return (try withUnnamed(snapshot), false)
        }
        var configuration = self.configuration
        if configuration == nil, let local {
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
        let placed = Set(numbers(of: known).values)
        let new = unnamed.filter { !placed.contains($0.number) && !known.contains($0.region) }.map(\.region)
        guard !new.isEmpty else { return snapshot }
        if configuration.tiers.isEmpty { configuration.tiers = [known] }
        configuration.regions += new.prefix(FailoverConfiguration.regionsMax - known.count)
        do throws(FailoverError) {
            var machine = try FailoverMachine(restoring: snapshot)
            _ = try machine.configure(configuration, force: true, pending: [:], now: now)
            return machine.snapshot
        } catch {
            throw HoldfastError(error)
        }
    }

    private var epochMax: UInt64 {
        let row = rows.controller[Key.controller(ControllerRows.Name.epoch.rawValue)]
        let stored = row.flatMap { fields in try? ControllerRows.number(decoding: fields.span) } ?? 0
        let told = rows.history.compactMap { number, value -> UInt64? in
            guard let event = try? EventRow.read(Key.number(number), value.span).1 else { return nil }
            return switch event.kind {
            case .demoted(let epoch), .promoted(_, let epoch, _), .switchedOver(_, let epoch, _): epoch
            default: nil
            }
        }
        return max(stored, told.max() ?? 0)
    }

    // MARK: Writing

    /// Writes the new store, and says what became of each region.
    func write(
        _ snapshot: FailoverMachine.Snapshot,
        to destination: String,
        as store: StoreID
    ) throws(HoldfastError) -> [StoreRecover.Region] {
        var numbers = numbers(of: snapshot.configuration.regions)
        let last = numbers.values.max() ?? 0
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

    /// The queue of each region, as far as a row tells it.
    private func numbers(of regions: [RegionID]) -> [RegionID: UInt32] {
        var numbers: [RegionID: UInt32] = [:]
        for region in regions {
            let named = rows.names.filter { $0.value == region }.keys.max()
            numbers[region] = rows.regions[region]?.number ?? named
        }
        for (number, region) in unnamed where regions.contains(region) && numbers[region] == nil {
            numbers[region] = number
        }
        // One queue without a name and one region without a queue belong together.
        let without = regions.filter { numbers[$0] == nil }
        let free = Set(rows.blocks.keys).subtracting(numbers.values)
        if without.count == 1, free.count == 1 { numbers[without[0]] = free.first }
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
        let pairs = try pages { () throws(PageError) in try file.pairs(ofLeaf: place.page) }
        let key = Key.number(place.header.firstPosition)
        for pair in pairs where pair.key == key {
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
