import ArgumentParser
import Holdfast
import Lines
import ReplayStore

extension StoreCheck.Level: ExpressibleByArgument {}

/// `holdfast check`: looks for damage.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look for bytes that are not what was written, and for numbers that contradict each other.",
        discussion: """
            quick reads the rows and both ends of each queue, also while another process has the store open; full reads \
            everything: each checksum, position, counter, ledger and chain; deep also every page of the file. Those two \
            need one moment, so no process may have the store open. Nothing is repaired or changed. Findings go to \
            standard output; the exit code is 65 when one is an error.

            Example:
              holdfast check ./store --level deep
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "How much is looked at.")
    var level = StoreCheck.Level.quick
    @OptionGroup var format: FormatOption

    func run() throws {
        let lock =
            level == .quick ? nil : try ClosedStore.lock(argument.store, otherwise: ", or check it with --level quick.")
        defer { withExtendedLifetime(lock) {} }
        var report = try StoreCheck.run(argument.store, level: level)
        for index in report.findings.indices {
            report.findings[index].message = Advice.naming(argument.store, report.findings[index].message)
            report.findings[index].action = Advice.naming(argument.store, report.findings[index].action)
        }
        switch format.forObject {
        case .table: try printTable(report)
        case .json, .jsonl:
            let output = Output()
            try output.line(report.json(level))
            try output.flush()
        }
        if !report.isClean { throw ExitStatus.damaged.exitCode }
    }

    /// So many findings of one kind a table shows: a file that was cut off has one for each page.
    private static let ofKindMax = 5

    /// The first findings of each kind, and behind the last of them how many more there are.
    private static func firstOfEach(_ findings: [StoreCheck.Finding]) -> [StoreCheck.Finding] {
        let kinds = Dictionary(grouping: findings.indices) { "\(findings[$0].code) \(findings[$0].table)" }.values
        let shown = kinds.flatMap { kind -> [(Int, StoreCheck.Finding)] in
            guard kind.count > ofKindMax else { return kind.map { ($0, findings[$0]) } }
            var last = findings[kind[ofKindMax]]
            let pages = kind.dropFirst(ofKindMax).compactMap { findings[$0].page }
            let range = pages.min().map { " (pages \($0) to \(pages.max() ?? $0))" } ?? ""
            last.message = "\(kind.count - ofKindMax) more of these\(range); --format json lists each."
            (last.first, last.last) = (nil, nil)
            return kind.prefix(ofKindMax).map { ($0, findings[$0]) } + [(kind[ofKindMax], last)]
        }
        return shown.sorted { $0.0 < $1.0 }.map(\.1)
    }

    private func printTable(_ report: StoreCheck.Report) throws {
        let output = Output()
        if !report.findings.isEmpty {
            let columns: [Column] = [
                .verdict("severity"), .text("code"), .text("region"), .text("positions"), .text("table"),
                .text("what was found, and what to do"),
            ]
            let printer = ListPrinter(output, .table, columns)
            for finding in Self.firstOfEach(report.findings) {
                try printer.row(
                    .null,
                    [
                        finding.severity.rawValue, finding.code, finding.region?.rawValue ?? "-", finding.positions,
                        finding.table.isEmpty ? "-" : finding.table, "\(finding.message) \(finding.action)",
                    ]
                )
            }
            try printer.end(empty: "")
        }
        let style = Style()
        let verdict = report.isClean ? style.green("clean") : style.red("damaged")
        let read =
            level != .quick ? ", \(report.blocks) blocks and \(report.entries) entries" : " and the ends of the queues"
        try output.line("\(verdict): \(report.regions) regions\(read) were checked (\(level.rawValue))")
        try output.flush()
    }
}

extension StoreCheck.Finding {
    fileprivate var positions: String {
        guard let first else { return "-" }
        guard let last, last != first else { return "\(first)" }
        return "\(first)-\(last)"
    }

    fileprivate var json: JSON {
        var members: [(String, JSON)] = [("code", .string(code)), ("severity", .string(severity.rawValue))]
        if let region { members.append(("region", .string(region.rawValue))) }
        if let first { members.append(("first", .unsigned(first))) }
        if let last { members.append(("last", .unsigned(last))) }
        if !table.isEmpty { members.append(("table", .string(table))) }
        if let page { members.append(("page", .unsigned(page))) }
        return .object(members + [("message", .string(message)), ("action", .string(action))])
    }
}

extension StoreCheck.Report {
    fileprivate func json(_ level: StoreCheck.Level) -> JSON {
        .object([
            ("clean", .bool(isClean)), ("level", .string(level.rawValue)),
            ("regions", .unsigned(UInt64(max(0, regions)))),
            ("blocks", .unsigned(UInt64(max(0, blocks)))), ("entries", .unsigned(entries)),
            ("findings", .array(findings.map(\.json))),
        ])
    }
}
