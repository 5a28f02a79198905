import ArgumentParser
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// `holdfast recover`: a new store of what a damaged one still holds.
struct Recover: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new store of what can be read in a damaged one.",
        discussion: """
            Reads the data file page by page, takes every row and block whose own checksum is right, and writes them to a new \
            store with an identity of its own, which is verified. The damaged store is only read, also when it opens no more, \
            and no process may have it open. What could not be read is named by region and positions, goes to the ledger of \
            what was lost, and marks its region as needing a resynchronisation. The exit code is 65 when something is missing.

            Example:
              holdfast recover ./store --to ./recovered
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The new store's directory: empty, or not there.", completion: .directory)
    var to: String
    @Option(help: "The region to be primary, if the controller's rows cannot be read.", transform: regionArgument)
    var local: RegionID?
    @Option(
        help: ArgumentHelp(
            "The greatest epoch that any region or receiver has seen, if the controller's rows cannot be read.",
            valueName: "number"
        )
    )
    var epoch: UInt64?
    @Option(
        name: .customLong("queue"),
        help: ArgumentHelp(
            "Whose a queue is, if the row of its region cannot be read; none for nobody's. Can be given again.",
            valueName: "number=region"
        ),
        transform: QueueOwner.init
    )
    var queues: [QueueOwner] = []
    @OptionGroup var format: FormatOption

    func run() throws {
        try checkNewDirectory(to)
        let lock = try ClosedStore.lock(argument.store, otherwise: ": a store that opens needs no recovery.")
        defer { withExtendedLifetime(lock) {} }
        let report = try showingProgress { (note) throws(HoldfastError) in
            try StoreRecover.run(
                argument.store,
                to: to,
                knowing: StoreRecover.Knowledge(
                    local: local,
                    epoch: epoch,
                    queues: Dictionary(queues.map { ($0.queue, $0.region) }) { _, last in last }
                ),
                now: Timestamp(milliseconds: SystemTime().wallMilliseconds),
                progress: note
            )
        }
        switch format.forObject {
        case .table: try printTable(report)
        case .json, .jsonl:
            let output = Output()
            try output.line(report.json(to))
            try output.flush()
        }
        if !report.isComplete { throw ExitStatus.damaged.exitCode }
    }

    private func printTable(_ report: StoreRecover.Report) throws {
        let output = Output()
        let printer = ListPrinter(
            output,
            .table,
            [.text("region"), .number("recovered"), .number("dead letters"), .text("lost"), .text("what is not known")]
        )
        for region in report.regions {
            try printer.row(
                .null,
                [
                    region.region.rawValue, "\(region.recovered)", "\(region.dead)", region.lostText,
                    region.unknownText,
                ]
            )
        }
        try printer.end(empty: "")
        let style = Style()
        let verdict = report.isComplete ? style.green("complete") : style.red("incomplete")
        try output.line("\(verdict): \(to) is a new store, synced and verified, with the identity \(report.store)")
        try output.line(
            "\(report.leaves) leaves were read"
                + (report.damagedPairs > 0 ? "; \(report.damagedPairs) pairs in them are damaged" : "")
        )
        if report.missingPairs > 0 {
            try output.line(
                "\(counted(report.missingPairs, "pair")) of the tables are on no leaf that could be read: beside what is "
                    + "named as lost, identities, events, dead letters or settings can be missing."
            )
        }
        if report.isMixed {
            try output.line(
                "Nothing told which pages are the newest: limits, pauses and other settings can be older ones. Compare them."
            )
        }
        if report.isControllerNew {
            try output.line(
                "The controller's state could not be read, or was an older one: it begins anew, with epoch \(report.epoch), "
                    + "one above the greatest that is known."
            )
        }
        if report.isHistoryCut { try output.line("The newest events of the history are not there.") }
        if report.isDifferent {
            try output.line(
                "No row is known to be missing, and yet the digest is not that of the damaged store: a row was left out that "
                    + "this program does not know. Compare the two with 'holdfast dump'."
            )
        }
        for region in report.regions where region.forgotten > 0 {
            try output.line(
                "\(region.region): nothing tells the identities of \(region.forgotten) of its accepted writes any more. "
                    + "Appended again they are queued again."
            )
        }
        for region in report.regions where region.isNameUnknown {
            try output.line(
                "\(region.region): no row tells whose queue this was. If you know, recover again into another directory, with "
                    + "--queue \(region.region.rawValue.dropFirst("queue-".count))=REGION."
            )
        }
        let hasLost = report.regions.contains { !$0.lost.isEmpty || $0.unaccounted > 0 }
        if hasLost {
            try output.line(
                "What was lost keeps its identity: appended again it is taken for a duplicate, so append it under a new "
                    + "incarnation, or bring the region up to date by other means."
            )
        }
        let store = shellQuoted(to)
        try output.line("next: holdfast \(hasLost ? "lost" : "queues") \(store)")
        try output.flush()
    }
}

/// A queue of the damaged store, and the region whose it is.
struct QueueOwner: Sendable {
    let queue: UInt32
    /// Nil for nobody.
    let region: RegionID?

    init(_ text: String) throws {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, let queue = UInt32(parts[0]) else {
            throw ValidationError("'\(text)' is not a queue's number, '=', and the name of a region or none.")
        }
        self.queue = queue
        region = parts[1] == "none" ? nil : try regionArgument(parts[1])
    }
}

extension StoreRecover.Region {
    fileprivate var lostText: String {
        guard !lost.isEmpty else { return unaccounted > 0 ? "\(unaccounted) of unknown positions" : "-" }
        let count = lost.reduce(0) { $0 + UInt64($1.count) }
        let named = lost.prefix(8).map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        let more = lost.count > named.count ? " and more" : ""
        return "\(count): " + named.joined(separator: ", ") + more
            + (unaccounted > 0 ? ", and \(unaccounted) of unknown positions" : "")
    }

    fileprivate var unknownText: String {
        isAcknowledgedUnknown ? "unknown-ack: some may have been acknowledged, or be missing" : "-"
    }

    fileprivate var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("recovered", .unsigned(recovered)), ("dead", .unsigned(dead)),
            (
                "lost",
                .array(
                    lost.map { .object([("first", .unsigned($0.lowerBound)), ("last", .unsigned($0.upperBound))]) }
                )
            ), ("unaccounted", .unsigned(unaccounted)), ("unknownAck", .bool(isAcknowledgedUnknown)),
            ("forgotten", .unsigned(forgotten)), ("nameUnknown", .bool(isNameUnknown)),
        ])
    }
}

extension StoreRecover.Report {
    fileprivate func json(_ path: String) -> JSON {
        .object([
            ("store", .string(path)), ("storeUUID", .string(store.description)), ("complete", .bool(isComplete)),
            ("treeWhole", .bool(isTreeWhole)), ("mixed", .bool(isMixed)), ("missingPairs", .unsigned(missingPairs)),
            ("controllerNew", .bool(isControllerNew)), ("epoch", .unsigned(epoch)),
            ("historyCut", .bool(isHistoryCut)), ("different", .bool(isDifferent)),
            ("leaves", .unsigned(leaves)), ("damagedPairs", .integer(Int64(damagedPairs))),
            ("regions", .array(regions.map(\.json))),
        ])
    }
}
