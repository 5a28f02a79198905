import ArgumentParser
import Bytes
import FoundationEssentials
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// `holdfast dump`: everything in a store, as text.
struct Dump: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print everything in a store, as JSON lines.",
        discussion: """
            A header, the entries that are queued, every other row, and a trailer with the count and a digest; 'load' makes \
            a store of it again. It works while another process writes: the header fixes the last position of each \
            region, and the trailer tells which entries were acknowledged meanwhile. Where entries that it had not read \
            were drained, parked or dropped meanwhile it ends with exit code 75: take it again, use --consistent, or dump \
            a copy made by 'holdfast backup'. Where a block is damaged or missing, or a region's row is older than its \
            queue, it ends there with 65.

            Examples:
              holdfast dump ./store > store.jsonl
              holdfast dump ./store --entries-only --values utf8 | head
            """
    )

    @OptionGroup var argument: StoreArgument
    @Flag(help: "Only the entries, for people: it cannot be loaded.")
    var entriesOnly = false
    @Flag(help: "Refuse unless no process has the store open, so that the dump is of one moment.")
    var consistent = false
    @Option(help: "How values are printed: hex, base64 or utf8.")
    var values = ValueForm.base64

    func validate() throws {
        guard values.carriesBytes else {
            throw ValidationError("A dump carries the bytes: --values is hex, base64 or utf8.")
        }
    }

    func run() throws {
        let closed =
            consistent ? try ClosedStore(argument.store, otherwise: ", or dump without --consistent.") : nil
        defer { withExtendedLifetime(closed) {} }
        let reader = try closed?.reader ?? argument.reader()
        let header = try reader.dumpHeader(withRows: !entriesOnly)
        var printer = DumpPrinter(entriesOnly: entriesOnly)
        do {
            try printer.structure(header.json)
            var left: [JSON] = []
            for region in header.regions { left += try dump(region, of: header, reader, &printer) }
            for row in header.rows { try printer.structure(Self.json(row)) }
            try printer.end(left)
        } catch {
            // What is right is printed before it is said what is not.
            try? printer.flush()
            throw error
        }
    }

    /// Prints the entries of a region, and tells which of them were acknowledged before they could be read.
    private func dump(
        _ region: DumpHeader.Region,
        of header: DumpHeader,
        _ reader: StoreReader,
        _ printer: inout DumpPrinter
    ) throws -> [JSON] {
        let name = region.region
        guard let row = header.regionRows[name] else { return [] }
        let queue = QueueReader(reader, name, row, store: header.store, beyond: region.beyond)
        var left: [ClosedRange<UInt64>] = []
        if region.through >= region.head {
            let range = region.head...region.through
            try queue.forward(range) { block in
                switch block {
                case .damaged(let position, let reason):
                    throw Failure(
                        .damaged,
                        code: "damaged",
                        "Region \(name), block at position \(position): \(reason). The dump ends here.",
                        next: "holdfast check \(shellQuoted(argument.store)) --level full"
                    )
                case .gap(let positions): left += try explain(positions, name, row, queue)
                case .entries(let entries):
                    for entry in entries where range.contains(entry.position) {
                        try printer.entry(entry.json(name, values))
                    }
                }
                return true
            }
        }
        if let failure = queue.failureBeyond(argument.store) { throw failure }
        return left.map { $0.json(name) }
    }

    /// Why positions are not there: those that were acknowledged since the header was read.
    ///
    /// Refuses what the rows of the header do not explain, since they are what is loaded.
    private func explain(
        _ positions: ClosedRange<UInt64>,
        _ region: RegionID,
        _ row: RegionRow,
        _ queue: QueueReader
    ) throws -> [ClosedRange<UInt64>] {
        let gaps = try queue.gaps()
        let missing = gaps.missing(in: positions)
        guard missing.isEmpty else { throw Failure.missing(region, missing, argument.store, " The dump ends here.") }
        let left = gaps.left(in: positions)
        let isKnown = left.isEmpty && gaps.row?.counters.lost == row.counters.lost
        if !isKnown, !entriesOnly, let otherwise = Self.otherwise(row, gaps.row) {
            throw Failure(
                .inUse,
                code: "inUse",
                "Region \(region): \(otherwise) while the dump was made, and it had not read them. The dump ends here, "
                    + "since what it would say of them is not so. Take it again; or stop the writer and use --consistent; "
                    + "or dump a copy made by 'holdfast backup'.",
                next: "holdfast backup --help",
                [("region", .string(region.rawValue))]
            )
        }
        return left
    }

    /// How entries left a queue between two of its rows other than by being acknowledged; nil when none did.
    private static func otherwise(_ before: RegionRow, _ now: RegionRow?) -> String? {
        guard let now = now?.counters else { return "the region was removed" }
        let before = before.counters
        if now.drained != before.drained { return "entries were drained" }
        if now.dropped != before.dropped { return "entries were dropped" }
        if (now.dead, now.retried) != (before.dead, before.retried) { return "entries became dead letters" }
        return now.lost != before.lost ? "entries were found damaged or missing" : nil
    }

    private static func json(_ row: (table: Table, key: [UInt8], value: [UInt8])) -> JSON {
        .object([
            ("table", .string(row.table.name)),
            ("keyBase64", .string(Data(row.key).base64EncodedString())),
            ("valueBase64", .string(Data(row.value).base64EncodedString())),
        ])
    }
}

/// Prints the lines of a dump, and keeps their count and digest.
struct DumpPrinter {
    private let output = Output()
    private let entriesOnly: Bool
    private var entries: UInt64 = 0
    private var digest = LineDigest()

    init(entriesOnly: Bool) { self.entriesOnly = entriesOnly }

    mutating func entry(_ json: JSON) throws {
        entries += 1
        try print(json)
    }

    /// A line that is no entry, which people do not want to see.
    mutating func structure(_ json: JSON) throws {
        if !entriesOnly { try print(json) }
    }

    private mutating func print(_ json: JSON) throws {
        let line = json.line
        digest.take(Array(line.utf8))
        try output.line(line)
    }

    mutating func end(_ gone: [JSON]) throws {
        if !entriesOnly {
            try output.line(
                JSON.object([
                    ("trailer", .string("holdfast")), ("entries", .unsigned(entries)), ("digest", .string(digest.text)),
                    ("acknowledgedMeanwhile", .array(gone)),
                ])
            )
        }
        try flush()
    }

    func flush() throws { try output.flush() }
}

/// A digest over lines: each one is hashed behind the digest before it, by XXH3-128.
struct LineDigest {
    private var digest = Hash128.zero

    mutating func take(_ line: [UInt8]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(line.count + 16)
        bytes.append(bigEndian: digest.high)
        bytes.append(bigEndian: digest.low)
        bytes.append(contentsOf: line)
        digest = XXH3.hash128(bytes.span)
    }

    /// Thirty-two hexadecimal digits.
    var text: String { digest.text }
}

extension Hash128 {
    /// Thirty-two hexadecimal digits.
    var text: String { hexadecimal(high) + hexadecimal(low) }

    /// Reads ``text``.
    init?(text: String) {
        guard text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
}

extension DumpHeader {
    /// The first line of a dump.
    var json: JSON {
        .object([
            ("dump", .string("holdfast")), ("version", .unsigned(1)),
            ("formatVersion", .unsigned(UInt64(Superblock.currentVersion))),
            ("storeUUID", .string(store.description)), ("createdMs", .integer(created.milliseconds)),
            ("regions", .array(regions.map(\.json))),
        ])
    }
}

extension DumpHeader.Region {
    /// A queue in the header: positions `head` to `through` follow.
    fileprivate var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("queue", .unsigned(UInt64(queue))), ("head", .unsigned(head)),
            ("through", .unsigned(through)),
            (
                "anchors",
                .array(
                    anchors.sorted { $0.key < $1.key }.map { position, digest in
                        .object([("before", .unsigned(position)), ("chain", .string(digest.text))])
                    }
                )
            ),
        ])
    }
}
