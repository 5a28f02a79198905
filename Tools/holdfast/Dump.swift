import ArgumentParser
import Bytes
import FoundationEssentials
import Holdfast
import ReplayFormat
import ReplayStore

/// `holdfast dump`: everything in a store, as text.
struct Dump: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print everything in a store, as JSON lines.",
        discussion: """
            A header, the entries that are queued, every other row, and a trailer with the count and a digest; 'load' makes \
            a store of it again. It works while another process writes: the header fixes the last position of each \
            region, and the trailer tells which entries left meanwhile.

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
        try printer.structure(header.json)
        var gone: [JSON] = []
        for region in header.regions {
            guard let row = header.regionRows[region.region], region.through >= region.head else { continue }
            let queue = QueueReader(reader, row, store: header.store)
            var next = region.head
            try queue.forward(region.head...region.through) { block in
                switch block {
                case .damaged(let position, let reason):
                    throw Failure(
                        .damaged,
                        code: "damaged",
                        "Region \(region.region), block at position \(position): \(reason). The dump ends here.",
                        next: "holdfast check \(shellQuoted(argument.store)) --level full"
                    )
                case .entries(let entries):
                    for entry in entries where entry.position >= region.head && entry.position <= region.through {
                        if entry.position > next, region.anchors[entry.position] == nil {
                            try checkLeft(reader, region, next, entry.position - 1)
                            gone.append(Self.range(region.region, next, entry.position - 1))
                        }
                        try printer.entry(entry.json(region.region, values))
                        next = entry.position + 1
                    }
                }
                return true
            }
            if next <= region.through {
                try checkLeft(reader, region, next, region.through)
                gone.append(Self.range(region.region, next, region.through))
            }
        }
        for row in header.rows { try printer.structure(Self.json(row)) }
        try printer.end(gone)
    }

    /// Refuses positions that are missing though nobody has taken them out.
    private func checkLeft(
        _ reader: StoreReader,
        _ region: DumpHeader.Region,
        _ first: UInt64,
        _ last: UInt64
    ) throws {
        let name = region.region
        let head = try reader.look { (view) throws(HoldfastError) in try view.regionRow(name)?.headPosition }
        guard let head, head <= last else { return }
        throw Failure(
            .damaged,
            code: "damaged",
            "Region \(name): positions \(max(first, head)) to \(last) are missing. The dump ends here.",
            next: "holdfast check \(shellQuoted(argument.store)) --level full"
        )
    }

    private static func range(_ region: RegionID, _ first: UInt64, _ last: UInt64) -> JSON {
        .object([("region", .string(region.rawValue)), ("first", .unsigned(first)), ("last", .unsigned(last))])
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
        try output.flush()
    }
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
