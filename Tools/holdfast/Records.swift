import ArgumentParser
import Holdfast
import Lines
import Platform
import ReplayFormat
import ReplayStore

/// `holdfast records`: the entries that are queued.
struct Records: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the entries that are queued.",
        discussion: """
            No payload is printed unless --values asks for it. Works while another process has the store open: entries \
            that are acknowledged meanwhile may be missing, those appended meanwhile are not listed.

            Examples:
              holdfast records ./store --region eu-west-1 --from 100 --to 199
              holdfast records ./store --key-prefix user: --reverse --limit 10 --values utf8
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(
        name: .customLong("region"),
        help: ArgumentHelp("Only this region's queue; repeat it for several.", valueName: "region"),
        transform: regionArgument
    )
    var regions: [RegionID] = []
    @Option(help: "The first position.")
    var from: UInt64?
    @Option(help: "The last position.")
    var to: UInt64?
    @Option(help: "Only entries appended at this time or later, in milliseconds since 1970 UTC.")
    var since: Int64?
    @Option(help: "Only entries appended at this time or earlier, in milliseconds since 1970 UTC.")
    var until: Int64?
    @Option(help: "Only writes of this origin.", transform: regionArgument)
    var origin: RegionID?
    @Option(help: "Only keys that begin with this text.")
    var keyPrefix: String?
    @Option(help: "The most entries to list, over all regions.")
    var limit: UInt64?
    @Flag(help: "The last entries first.")
    var reverse = false
    @Option(help: "How values are printed.")
    var values = ValueForm.lengthAndHash
    @OptionGroup var format: FormatOption

    func validate() throws {
        if let from, let to, from > to { throw ValidationError("--from \(from) is beyond --to \(to).") }
        if let since, let until, since > until { throw ValidationError("--since is after --until.") }
        guard limit != 0 else { throw ValidationError("--limit is at least 1.") }
    }

    func run() throws {
        let reader = try argument.reader()
        let (store, rows) = try reader.look { (view) throws(HoldfastError) in
            var rows: [(region: RegionID, row: RegionRow, beyond: UInt64?)] = []
            for (region, row) in try view.regionRows() { rows.append((region, row, try view.blockBeyond(row))) }
            return (view.superblock.store, rows)
        }
        for region in regions where !rows.contains(where: { $0.region == region }) {
            throw HoldfastError.unknownRegion(region).at(argument.store)
        }
        let printer = ListPrinter(Output(), format.forList, QueueEntry.columns(values))
        var damaged = Damage()
        var left = limit ?? .max
        for (region, row, beyond) in rows where regions.isEmpty || regions.contains(region) {
            guard left > 0 else { break }
            let queue = QueueReader(reader, region, row, store: store, beyond: beyond)
            if let failure = queue.failureBeyond(argument.store) { damaged.beyond = damaged.beyond ?? failure }
            guard let range = range(queue) else { continue }
            let body = { (block: QueueReader.Block) in
                try list(block, region, queue, range, printer, &left, &damaged)
            }
            if reverse { try queue.backward(range, body) } else { try queue.forward(range, body) }
        }
        try printer.end(empty: "No entry is queued that fits.")
        if let failure = damaged.failure(argument.store) { throw failure }
    }

    /// The blocks that could not be read, and those that were not there.
    private struct Damage {
        var count: UInt64 = 0
        var blocks: [JSON] = []
        var missing: [(region: RegionID, range: ClosedRange<UInt64>)] = []
        var missingMore = 0
        /// A region whose row is older than its queue.
        var beyond: Failure?

        /// So many are named; all are counted.
        private static let namedMax: UInt64 = 1000

        mutating func note(_ region: RegionID, _ position: UInt64, _ reason: String) {
            count += 1
            guard count <= Self.namedMax else { return }
            blocks.append(
                .object([
                    ("region", .string(region.rawValue)), ("position", .unsigned(position)),
                    ("reason", .string(reason)),
                ])
            )
        }

        mutating func note(_ region: RegionID, missing ranges: [ClosedRange<UInt64>]) {
            for range in ranges {
                if missing.count < Self.namedMax { missing.append((region, range)) } else { missingMore += 1 }
            }
        }

        func failure(_ store: String) -> Failure? {
            if let first = missing.first {
                let others = missing.dropFirst().prefix(4).map {
                    ", region \($0.region): \($0.range.lowerBound) to \($0.range.upperBound)"
                }
                let more = missing.count + missingMore - 1 - others.count
                let rest = others.joined() + (more > 0 ? " and \(more) more ranges" : "")
                return Failure(
                    .damaged,
                    code: "damaged",
                    "Region \(first.region): positions \(positionsText([first.range]))\(rest) are missing, and nothing "
                        + "says what became of them\(count > 0 ? "; \(count) blocks were damaged" : ""). The other entries "
                        + "are listed.",
                    next: "holdfast check \(shellQuoted(store)) --level full",
                    [("missing", .array(missing.map { $0.range.json($0.region) })), ("blocks", .array(blocks))]
                )
            }
            guard count > 0, case .object(let first)? = blocks.first else { return beyond }
            let place = first.map { $0.1.stringValue ?? $0.1.line }
            return Failure(
                .damaged,
                code: "damaged",
                "\(count) block\(count == 1 ? " was" : "s were") damaged; the entries of the others are listed. The first "
                    + "is that of region '\(place[0])' at position \(place[1]): \(place[2]).",
                next: "holdfast check \(shellQuoted(store)) --level full",
                [("blocks", .array(blocks))]
            )
        }
    }

    private func range(_ queue: QueueReader) -> ClosedRange<UInt64>? {
        let first = max(from ?? 0, queue.head)
        let last = min(to ?? .max, queue.end - 1)
        return first <= last ? first...last : nil
    }

    private func list(
        _ block: QueueReader.Block,
        _ region: RegionID,
        _ queue: QueueReader,
        _ range: ClosedRange<UInt64>,
        _ printer: ListPrinter,
        _ left: inout UInt64,
        _ damaged: inout Damage
    ) throws -> Bool {
        switch block {
        case .damaged(let position, let reason):
            damaged.note(region, position, reason)
        case .gap(let positions):
            damaged.note(region, missing: try queue.gaps().missing(in: positions))
        case .entries(let entries):
            for entry in reverse ? entries.reversed() : entries where range.contains(entry.position) && fits(entry) {
                guard left > 0 else { return false }
                try printer.row(entry.json(region, values), entry.cells(region, values))
                left -= 1
            }
        }
        return left > 0
    }

    private func fits(_ entry: QueueEntry) -> Bool {
        if let since, entry.enqueuedAt.milliseconds < since { return false }
        if let until, entry.enqueuedAt.milliseconds > until { return false }
        if let origin, entry.write.origin != origin { return false }
        if let keyPrefix, !entry.write.key.starts(with: keyPrefix.utf8) { return false }
        return true
    }
}
