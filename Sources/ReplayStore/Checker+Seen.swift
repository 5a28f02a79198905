internal import RegionFailover
internal import ReplayFormat

extension Checker {
    /// Proves that what is queued was noted as seen, once.
    mutating func checkSeen(
        _ view: borrowing StoreView,
        _ region: RegionID,
        _ row: RegionRow
    ) throws(HoldfastError) {
        let table = Table.seen(row.number)
        var floors: [RegionID: SeenRanges.Number] = [:]
        var previous: SeenRow.Range?
        var seen: [RegionID: SeenRanges] = [:]
        try view.scan(table) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                if let range = try SeenRow.range(key, value, in: table) {
                    let floor = floors[range.origin]
                    if let floor, SeenRanges.Number(incarnation: range.incarnation, sequence: range.first) <= floor {
                        note("seen", table, "A range of '\(range.origin)' begins below its floor.", region: region)
                    }
                    if let previous, previous.origin == range.origin, previous.incarnation == range.incarnation,
                        range.first <= previous.last || range.first == previous.last + 1
                    {
                        note("seen", table, "Two ranges of '\(range.origin)' touch at \(range.first).", region: region)
                    }
                    previous = range
                    seen[range.origin, default: SeenRanges(floor: floor)]
                        .load(incarnation: range.incarnation, first: range.first, last: range.last)
                } else if case .floor(let origin) = try SeenKey(decoding: key.span) {
                    let fields = try Row.open(value, key: key, in: table)
                    let (incarnation, sequence) = try SeenRow.floor(decoding: fields.span)
                    floors[origin] = SeenRanges.Number(incarnation: incarnation, sequence: sequence)
                }
            } catch {
                note("row", table, "A row of what region '\(region)' has had: \(error.description)", region: region)
            }
            return true
        }
        // Below a floor identities were forgotten on purpose. Elsewhere it stays a warning: a recovery that did not find them
        // leaves a store that is whole in what it says, with nothing in it that tells it from this. Rows that a page hides are
        // an error before this: a tree has then fewer pairs than it says.
        let noted = seen.values.reduce(0) { $0 &+ $1.count }
        if floors.isEmpty, noted < row.counters.accepted {
            note(
                "seen",
                table,
                "Of the \(row.counters.accepted) writes that region '\(region)' has accepted, \(noted) are noted as seen: "
                    + "the others would be accepted again.",
                region: region,
                severity: .warning,
                action:
                    "Nothing that is queued is missing. Send no write of before again, or let the receiver tell: its "
                    + "ledger knows what it has applied."
            )
        }
        for (origin, numbers) in identities[region] ?? [:] {
            let sorted = numbers.sorted()
            if let twice = zip(sorted, sorted.dropFirst()).first(where: { $0 == $1 })?.0 {
                note(
                    "seen",
                    .queue(row.number),
                    "Sequence \(twice.sequence) of '\(origin)', incarnation \(twice.incarnation), is queued twice for "
                        + "'\(region)'.",
                    region: region
                )
            }
            let known = seen[origin] ?? SeenRanges(floor: floors[origin])
            let unknown = numbers.first { number in
                !known.contains(number) && !(known.floor.map { number <= $0 } ?? false)
            }
            if let unknown {
                note(
                    "seen",
                    table,
                    "Sequence \(unknown.sequence) of '\(origin)', incarnation \(unknown.incarnation), is queued for "
                        + "'\(region)', but not noted as seen: it could be queued twice.",
                    region: region
                )
            }
        }
    }
}
