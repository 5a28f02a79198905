import ArgumentParser
import Holdfast
import LMDB
import Lines
import Platform
import ReplayFormat
import ReplayStore
import Zstd

/// `holdfast info`: what a store is.
struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a store is, who leads, and how much is queued.",
        discussion: """
            Works while another process has the store open. With --format prometheus it prints the metrics that a store \
            knows, in Prometheus' text format: for the node exporter's textfile collector, or for a look.

            Examples:
              holdfast info ./store
              holdfast info ./store --format prometheus > holdfast.prom
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(
        help: """
            table, json, jsonl or prometheus. Left out: a table on a terminal, otherwise JSON. With json and jsonl errors are \
            JSON on standard error.
            """
    )
    var format: InfoFormat?

    /// How `info` prints.
    enum InfoFormat: String, CaseIterable, ExpressibleByArgument {
        case table, json, jsonl, prometheus
    }

    func run() throws {
        guard format != .prometheus else { return try printMetrics() }
        let reader = try argument.reader()
        let (superblock, machine, rows) = try reader.look { (view) throws(HoldfastError) in
            (view.superblock, try view.machine(), try view.regionRows())
        }
        let size = try reader.fileSize()
        let user = try DirectoryLock.user(of: argument.store)
        let entries = rows.reduce(into: UInt64(0)) { $0 &+= $1.1.entries }
        let primary = machine.actingPrimary?.rawValue
        let mode = superblock.mode == .local ? "local" : "replicated"
        let compressor = FrameCodec.version
        try printObject(
            format.flatMap { Format(rawValue: $0.rawValue) } ?? (Output.isTerminal ? .table : .json),
            .object([
                ("store", .string(argument.store)), ("uuid", .string(superblock.store.description)),
                ("format", .unsigned(UInt64(superblock.version))),
                ("createdMs", .integer(superblock.created.milliseconds)),
                ("mode", .string(mode)),
                ("backedUpMs", superblock.backedUp.map { .integer($0.milliseconds) } ?? .null),
                ("incomplete", .bool(superblock.isIncomplete)), ("fileBytes", .integer(size)),
                ("actingPrimary", primary.map { .string($0) } ?? .null), ("epoch", .unsigned(machine.epoch)),
                ("regions", .unsigned(UInt64(rows.count))), ("entries", .unsigned(entries)),
                ("lmdb", .string(LMDB.Environment.version)), ("zstd", .string(compressor)),
                ("open", .bool(user != nil)), ("openedBy", user.map { .string($0) } ?? .null),
            ]),
            [
                ("store", argument.store), ("uuid", superblock.store.description), ("format", "\(superblock.version)"),
                ("created", timeText(superblock.created)),
                ("mode", superblock.isIncomplete ? "\(mode), incomplete: a load did not end" : mode),
                ("backup", superblock.backedUp.map { "made \(timeText($0))" } ?? "no, a store"),
                ("file size", bytesText(UInt64(max(0, size)))), ("acting primary", primary ?? "unknown"),
                ("epoch", "\(machine.epoch)"), ("regions", "\(rows.count)"), ("entries", "\(entries)"),
                ("lmdb", LMDB.Environment.version), ("zstd", compressor),
                ("opened by", user.map { Advice.withOwner($0) } ?? "nobody"),
            ]
        )
    }

    private func printMetrics() throws {
        let reader = try argument.reader()
        var exposition = try reader.look { (view) throws(HoldfastError) in
            StoreExposition(
                path: argument.store,
                superblock: view.superblock,
                machine: try view.machine(),
                rows: try view.regionRows(),
                settled: try view.ledgerCounts(),
                space: try view.space(),
                limits: try view.totalLimits(),
                fileBytes: 0,
                isOpen: false
            )
        }
        exposition.fileBytes = UInt64(max(0, try reader.fileSize()))
        exposition.isOpen = try DirectoryLock.user(of: argument.store) != nil
        let output = Output()
        output.text(exposition.text(now: readingTime(exposition.machine.time)))
        try output.flush()
    }
}
