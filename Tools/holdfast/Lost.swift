import ArgumentParser
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// `holdfast lost`: the ledger of what left a queue without being received.
struct Lost: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List every range of entries that left a queue without being received.",
        discussion: """
            A row for each range, with its reason: dropped to make room, expired, removed with its region, damaged, missing, \
            or discarded, which is a dead letter given up with 'dlq drop'. 'queues' counts what was dropped, expired or \
            discarded as dropped, and what was damaged or missing as lost. The bytes of a damaged block are kept; --values prints them. Rows of regions that are gone are listed too. Works \
            while another process has the store open.

            Examples:
              holdfast lost ./store --region eu-west-1
              holdfast lost ./store --values base64 --format jsonl
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "Only what was queued for this region.", transform: regionArgument)
    var region: RegionID?
    @Option(help: "How the bytes of damaged blocks are printed.")
    var values = ValueForm.lengthAndHash
    @OptionGroup var format: FormatOption

    private static let columns: [Column] = [
        .text("region"), .number("queue"), .number("first"), .number("through"), .number("entries"), .number("raw"),
        .text("reason"), .text("noted"),
    ]

    func run() throws {
        let reader = try argument.reader()
        let columns = values == .none ? Self.columns : Self.columns + [.text("block")]
        let printer = ListPrinter(Output(), format.forList, columns)
        var damaged: (count: Int, first: String)?
        try reader.ledger(of: region) { item in
            switch item.row {
            case .success(let (place, row)): try printer.row(json(place, row), cells(place, row))
            case .failure(let error): damaged = ((damaged?.count ?? 0) + 1, damaged?.first ?? error.description)
            }
            return true
        }
        if let region, printer.count == 0 {
            let row = try reader.look { (view) throws(HoldfastError) in try view.regionRow(region) }
            guard row != nil else { throw HoldfastError.unknownRegion(region).at(argument.store) }
        }
        try printer.end(empty: "Nothing was lost.")
        if let damaged {
            throw Failure(
                .damaged,
                code: "damaged",
                "\(damaged.count) row\(damaged.count == 1 ? "" : "s") of the ledger cannot be read, and the others are "
                    + "listed. The first: \(damaged.first).",
                next: "holdfast check \(shellQuoted(argument.store)) --level full"
            )
        }
    }

    private func json(_ place: LostKey, _ row: LostRow) -> JSON {
        let isKept = !row.block.isEmpty
        return .object(
            [
                ("region", .string(place.region.rawValue)), ("queue", .unsigned(UInt64(place.queue))),
                ("first", .unsigned(place.first)), ("through", .unsigned(place.last)),
                ("entries", .unsigned(row.entries)), ("rawBytes", .unsigned(row.rawBytes)),
                ("reason", .string(row.reason.name)), ("atMs", .integer(row.at.milliseconds)),
                ("blockKept", .bool(isKept)),
            ] + (isKept ? values.members("block", row.block) : [])
        )
    }

    private func cells(_ place: LostKey, _ row: LostRow) -> [String] {
        let cells = [
            place.region.rawValue, "\(place.queue)", "\(place.first)", "\(place.last)", "\(row.entries)",
            bytesText(row.rawBytes), row.reason.name, timeText(row.at),
        ]
        return values == .none ? cells : cells + [row.block.isEmpty ? "-" : values.text(row.block)]
    }
}
