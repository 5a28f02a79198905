import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast snapshot`: the controller's whole state.
struct Snapshot: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the controller's whole state at one moment as one JSON object.",
        discussion: """
            Works while another process has the store open, as of its last commit. Always JSON.

            Example:
              holdfast snapshot ./store
            """
    )

    @OptionGroup var argument: StoreArgument
    @OptionGroup var format: FormatOption

    func run() throws {
        let (superblock, machine, rows) = try argument.reader().look { (view) throws(HoldfastError) in
            (view.superblock, try view.machine(), try view.regionRows())
        }
        let now = readingTime(machine.time)
        let regions = machine.regions.compactMap { status -> JSON? in
            guard let row = rows.first(where: { $0.0 == status.region })?.1 else { return nil }
            return machine.json(status, QueueStatistics(status.region, row), now: now)
        }
        let output = Output()
        try output.line(
            .object([
                ("uuid", .string(superblock.store.description)), ("epoch", .unsigned(machine.epoch)),
                ("timeMs", .integer(machine.time.milliseconds)),
                ("lastTickMs", machine.lastTick.map { .integer($0.milliseconds) } ?? .null),
                ("actingPrimary", machine.actingPrimary.map { .string($0.rawValue) } ?? .null),
                ("configuration", machine.configuration.json), ("regions", .array(regions)), ("appliedIndex", .null),
            ])
        )
        try output.flush()
    }
}
