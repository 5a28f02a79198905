import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast diff`: what one store has that another one has not.
struct Diff: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare two stores: what each has that the other one has not.",
        discussion: """
            A row for each range of writes, by identity: queued in one and not in the other, and what became of it there \
            (never accepted, left the queue, forgotten); accepted in one and never in the other; queued in both with \
            another content. Positions are given where they mean the same in both. What differs without a write \
            missing has a row 'state'. Both stores are checked first, and must be closed. The exit code is 0 when they are \
            equal, 1 when they differ.

            Examples:
              holdfast diff ./store ./backup
              holdfast diff ./a ./b --region eu-west-1 --format jsonl
            """
    )

    @Argument(help: "The first store's directory.", completion: .directory)
    var first: String
    @Argument(help: "The second store's directory.", completion: .directory)
    var second: String
    @Option(help: "Only this region.", transform: regionArgument)
    var region: RegionID?
    @OptionGroup var format: FormatOption

    private static let columns: [Column] = [
        .text("region"), .text("only in"), .text("what"), .text("origin"), .number("incarnation"), .number("first"),
        .number("last"), .number("writes"), .text("positions"), .text("in the other"),
    ]

    func validate() throws {
        try checkPath(first)
        try checkPath(second)
    }

    func run() throws {
        let (here, there) = (try ClosedStore(first), try ClosedStore(second))
        try here.checkIsWhole()
        try there.checkIsWhole()
        let printer = ListPrinter(Output(), format.forList, Self.columns)
        var isKnown = region == nil
        for difference in try StoreDiff.regions(here.reader, there.reader) where isWanted(difference.region) {
            isKnown = true
            for item in difference.items {
                try printer.row(json(difference.region, item), cells(difference.region, item))
            }
        }
        if let region, !isKnown { throw HoldfastError.unknownRegion(region).at(first) }
        for state in try StoreDiff.state(here.reader, there.reader) where isWanted(state.region) {
            let names = state.names.joined(separator: ", ")
            try printer.row(
                .object(
                    (state.region.map { [("region", .string($0.rawValue))] } ?? []) + [
                        ("what", .string("state")), ("differs", .array(state.names.map { .string($0) })),
                    ]
                ),
                [state.region?.rawValue ?? "-", "-", "state", "-", "-", "-", "-", "-", "-", names]
            )
        }
        try printer.end(empty: "Nothing differs.")
        if printer.count > 0 { throw ExitStatus.other.exitCode }
    }

    private func isWanted(_ name: RegionID?) -> Bool { region == nil || name == region }

    private func json(_ region: RegionID, _ item: StoreDiff.Item) -> JSON {
        var members: [(String, JSON)] = [
            ("region", .string(region.rawValue)), ("in", .string(item.side == .first ? "a" : "b")),
            ("what", .string(item.kind.rawValue)),
        ]
        if let range = item.range {
            members += [
                ("origin", .string(range.origin.rawValue)), ("incarnation", .unsigned(range.incarnation)),
                ("first", .unsigned(range.first)), ("last", .unsigned(range.last)),
            ]
        }
        if let positions = item.positions {
            members += [
                ("firstPosition", .unsigned(positions.lowerBound)), ("lastPosition", .unsigned(positions.upperBound)),
            ]
        }
        if let other = item.other { members.append(("other", .string(other.rawValue))) }
        return .object(members)
    }

    private func cells(_ region: RegionID, _ item: StoreDiff.Item) -> [String] {
        let side = item.kind == .content ? "both" : item.side == .first ? first : second
        let range = item.range.map { range in
            let count = range.countLessOne == .max ? "all" : "\(range.countLessOne + 1)"
            return [range.origin.rawValue, "\(range.incarnation)", "\(range.first)", "\(range.last)", count]
        }
        let positions = item.positions.map { "\($0.lowerBound)-\($0.upperBound)" }
        return [region.rawValue, side, item.kind.rawValue] + (range ?? Array(repeating: "-", count: 5))
            + [positions ?? "-", item.other?.rawValue ?? "-"]
    }
}
