internal import Pages
private import Platform
internal import RegionFailover
internal import ReplayFormat
internal import Zstd

/// The writing of a new store from salvaged rows.
struct Recovery {
    let file: PageFile
    let rows: SalvagedRows
    private let knowledge: StoreRecover.Knowledge
    /// Whether the rows are of the newest commit alone, and not of older ones too.
    let isTrusted: Bool
    let now: Timestamp
    let codec = FrameCodec()
    private let configuration: FailoverConfiguration?
    /// Queues with blocks whose region neither a row nor the operator names, with a name made of their number.
    let unnamed: [(number: UInt32, region: RegionID)]

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
        unnamed = rows.blocks.keys.filter { rows.names[$0] == nil && knowledge.queues[$0] == nil }.sorted()
            .compactMap { number in RegionID(utf8: Array("queue-\(number)".utf8)).map { (number, $0) } }
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
        // A store without events has no such row.
        if number > 0 || fields[eventsKey] != nil { fields[eventsKey] = ControllerRows.number(number + 1) }
        while number > 0, let value = rows.history[number], kept.contains(number) {
            try loader.add(table: .history, key: Key.number(number), value: value)
            number -= 1
        }
        for (key, value) in fields { try loader.put(value, key: key, in: .controller) }
    }
}
