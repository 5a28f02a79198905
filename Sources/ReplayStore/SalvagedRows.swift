private import Bytes
internal import Pages
internal import RegionFailover
internal import ReplayFormat

/// The rows and blocks that were found in the leaves of a data file, each proved by its own checksum.
///
/// Where pages of older commits had to be read too, a row is there in several states: the newest is kept, which the numbers
/// in the row tell that only ever grow.
struct SalvagedRows {
    /// Where a block stands.
    struct BlockPlace: Sendable {
        var page: UInt64
        var header: BlockHeader
    }

    private(set) var superblock: [Superblock.Name: [UInt8]] = [:]
    private(set) var regions: [RegionID: RegionRow] = [:]
    private(set) var blocks: [UInt32: [BlockPlace]] = [:]
    private(set) var lost: [[UInt8]: (place: LostKey, row: LostRow)] = [:]
    private(set) var history: [UInt64: [UInt8]] = [:]
    private(set) var dictionaries: [[UInt8]: [UInt8]] = [:]
    private(set) var raft: [[UInt8]: [UInt8]] = [:]
    private(set) var seen: [UInt32: SalvagedSeen] = [:]
    private(set) var dead: [UInt32: [UInt64: [UInt8]]] = [:]
    /// The fields of the controller's rows, from the newest state that was found.
    private(set) var controller: [[UInt8]: [UInt8]] = [:]
    /// The region of each queue, as rows of any commit tell it: a number is never used for a second queue.
    private(set) var names: [UInt32: RegionID] = [:]
    /// Pairs whose checksum fits nothing.
    private(set) var damaged = 0

    /// Those of one page are of one moment.
    private var controllerPages: [[[UInt8]: [UInt8]]] = []
    /// Pairs of the tables of a queue whose number was not known yet.
    private var pending: [SalvagedPair] = []

    /// Every number of a queue that a row or a block speaks of.
    var queueNumbers: [UInt32] {
        let named = regions.values.map(\.number) + lost.values.map(\.place.queue)
        return named + blocks.keys + seen.keys + dead.keys
    }

    /// Takes the pairs of a leaf.
    mutating func take(_ pairs: [SalvagedPair], page: UInt64) {
        var controllerPage: [[UInt8]: [UInt8]] = [:]
        for pair in pairs {
            if let header = try? BlockHeader(verifying: pair.value.span), pair.key == Key.number(header.firstPosition) {
                blocks[header.queue, default: []].append(BlockPlace(page: page, header: header))
            } else if let fields = try? Row.open(pair.value.span, key: pair.key, in: .controller) {
                controllerPage[pair.key] = fields
            } else if !takeRow(pair) {
                pending.append(pair)
            }
        }
        if !controllerPage.isEmpty { controllerPages.append(controllerPage) }
    }

    private mutating func takeRow(_ pair: SalvagedPair) -> Bool {
        let (key, value) = (pair.key, pair.value)
        takeName(pair)
        if let (region, row) = try? RegionRow.read(key, value.span) {
            if let known = regions[region], !row.isNewer(than: known) { return true }
            regions[region] = row
        } else if let found = try? LostRow.read(key, value.span) {
            lost[key] = found
        } else if (try? EventRow.read(key, value.span)) != nil, let number = try? Key.number(from: key.span) {
            // No event has the greatest number: there is always a next one.
            if number < .max { history[number] = value }
        } else if (try? DictionaryRow.read(key, value.span)) != nil {
            dictionaries[key] = value
        } else if let fields = try? Row.open(value.span, key: key, in: .superblock) {
            guard let name = Superblock.Name(rawValue: String(decoding: key, as: UTF8.self)) else { return true }
            // The next queue's number only grows.
            if name == .queues, let known = superblock[name], !known.lexicographicallyPrecedes(fields) { return true }
            superblock[name] = fields
        } else if (try? Row.open(value.span, key: key, in: .raft)) != nil {
            raft[key] = value
        } else {
            return false
        }
        return true
    }

    /// Takes the region of a queue from a row that tells it, and nothing else: the row can be of an older commit.
    mutating func takeName(_ pair: SalvagedPair) {
        if let (region, row) = try? RegionRow.read(pair.key, pair.value.span) {
            names[row.number] = region
        } else if let (place, _) = try? LostRow.read(pair.key, pair.value.span) {
            names[place.queue] = place.region
        }
    }

    /// Whether there are blocks of a queue whose region no row has told.
    var hasUnnamedQueues: Bool { blocks.keys.contains { names[$0] == nil } }

    /// Settles what needed all of it: whose the rows of the numbered tables are, and which state of the controller is newest.
    mutating func settle() {
        var numbers = Set(blocks.keys)
        numbers.formUnion(regions.values.map(\.number))
        numbers.formUnion(lost.values.map(\.place.queue))
        let known = numbers.sorted()
        for pair in pending where !takeNumbered(pair, known) { damaged += 1 }
        pending = []
        let timeKey = Key.controller(ControllerRows.Name.time.rawValue)
        func time(_ page: [[UInt8]: [UInt8]]) -> Int64 {
            let fields = page[timeKey]
            let decoded = fields.flatMap { fields in try? ControllerRows.time(decoding: fields.span).0 }
            return decoded?.milliseconds ?? .min
        }
        let epochKey = Key.controller(ControllerRows.Name.epoch.rawValue)
        func epoch(_ page: [[UInt8]: [UInt8]]) -> UInt64 {
            page[epochKey].flatMap { fields in try? ControllerRows.number(decoding: fields.span) } ?? 0
        }
        for page in controllerPages.sorted(by: { (epoch($0), time($0)) > (epoch($1), time($1)) }) {
            controller.merge(page) { newest, _ in newest }
        }
        controllerPages = []
    }

    private mutating func takeNumbered(_ pair: SalvagedPair, _ numbers: [UInt32]) -> Bool {
        for number in numbers {
            let table = Table.seen(number)
            if let range = try? SeenRow.range(pair.key, pair.value.span, in: table) {
                seen[number, default: SalvagedSeen()].add(range)
                return true
            }
            if case .floor(let origin)? = try? SeenKey(decoding: pair.key.span),
                let fields = try? Row.open(pair.value.span, key: pair.key, in: table),
                let (incarnation, sequence) = try? SeenRow.floor(decoding: fields.span)
            {
                seen[number, default: SalvagedSeen()].addFloor(origin, incarnation, sequence)
                return true
            }
            if let (position, _) = try? DeadRow.read(pair.key, pair.value.span, in: .dead(number)) {
                dead[number, default: [:]][position] = pair.value
                return true
            }
        }
        return false
    }
}

extension RegionRow {
    /// Whether it is of a later commit than another row of its region.
    fileprivate func isNewer(than other: RegionRow) -> Bool {
        func age(_ row: RegionRow) -> [UInt64] {
            let left = [row.counters.acknowledged, row.counters.drained, row.counters.dropped, row.counters.lost]
            return [UInt64(row.number), row.nextPosition, row.headPosition, left.reduce(0, &+), row.counters.retried]
        }
        return age(other).lexicographicallyPrecedes(age(self))
    }
}

/// The identities that a queue has had, as far as they were found.
struct SalvagedSeen {
    private struct Life: Hashable {
        var origin: RegionID
        var incarnation: UInt64
    }
    private var ranges: [Life: [ClosedRange<UInt64>]] = [:]
    private var floors: [RegionID: (incarnation: UInt64, sequence: UInt64)] = [:]

    mutating func add(_ range: SeenRow.Range) {
        ranges[Life(origin: range.origin, incarnation: range.incarnation), default: []].append(range.first...range.last)
    }

    mutating func add(_ write: OutstandingWrite) {
        let life = Life(origin: write.origin, incarnation: write.incarnation)
        var known = ranges.removeValue(forKey: life) ?? []
        defer { ranges[life] = known }
        guard let last = known.last, !last.contains(write.sequence) else {
            if known.isEmpty { known = [write.sequence...write.sequence] }
            return
        }
        if last.upperBound < .max, last.upperBound + 1 == write.sequence {
            known[known.count - 1] = last.lowerBound...write.sequence
        } else {
            known.append(write.sequence...write.sequence)
        }
    }

    mutating func addFloor(_ origin: RegionID, _ incarnation: UInt64, _ sequence: UInt64) {
        if let known = floors[origin], (incarnation, sequence) < (known.incarnation, known.sequence) { return }
        floors[origin] = (incarnation, sequence)
    }

    /// How many identities there are; nil where some were forgotten on purpose, below a floor.
    var count: UInt64? {
        guard floors.isEmpty else { return nil }
        return merged().reduce(0) { $0 &+ ($1.range.upperBound &- $1.range.lowerBound &+ 1) }
    }

    /// The ranges: those that touch are one, and none is below its origin's floor.
    private func merged() -> [(life: Life, range: ClosedRange<UInt64>)] {
        var result: [(life: Life, range: ClosedRange<UInt64>)] = []
        for (life, all) in ranges {
            var merged: [ClosedRange<UInt64>] = []
            for range in all.sorted(by: { $0.lowerBound < $1.lowerBound }) {
                var range = range
                if let floor = floors[life.origin] {
                    guard life.incarnation >= floor.incarnation else { continue }
                    if life.incarnation == floor.incarnation {
                        guard range.upperBound > floor.sequence else { continue }
                        if range.lowerBound <= floor.sequence { range = (floor.sequence + 1)...range.upperBound }
                    }
                }
                if let last = merged.last, last.upperBound == .max || last.upperBound + 1 >= range.lowerBound {
                    merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
                } else {
                    merged.append(range)
                }
            }
            result += merged.map { (life, $0) }
        }
        return result
    }

    /// The rows of the table `seen`, without checksums.
    func rows() -> [(key: [UInt8], fields: [UInt8])] {
        var rows = merged().map { life, range in
            (
                key: Key.seenRange(life.origin, incarnation: life.incarnation, first: range.lowerBound),
                fields: SeenRow.last(range.upperBound)
            )
        }
        for (origin, floor) in floors {
            rows.append((Key.seenFloor(origin), SeenRow.floor(floor.incarnation, floor.sequence)))
        }
        return rows
    }
}
