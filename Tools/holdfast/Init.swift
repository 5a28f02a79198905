import ArgumentParser
import Holdfast
import Lines
import Platform

/// What an append does that would take a queue over its limit, as the command line names it.
enum OverflowArgument: String, CaseIterable, ExpressibleByArgument, Sendable {
    case reject, dropOldest

    var policy: QueueLimits.Overflow { self == .reject ? .reject : .dropOldest }
}

/// `holdfast init`: makes a store.
struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a store for a fresh deployment.",
        discussion: """
            The directory is made with mode 0700; its parent must be there. The local region is primary, the others \
            are secondary, all are healthy, and the epoch is 1.

            Example:
              holdfast init ./store --local us --regions us,eu,ap \\
                --tiers 'us,eu;ap' --suspect-after-ms 15000
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The region that is primary at first.", transform: regionArgument)
    var local: RegionID
    @Option(help: "All regions, with commas between them.", transform: regionsArgument)
    var regions: [RegionID]
    @Option(
        help: ArgumentHelp(
            "The regions that may be promoted, best tier first: commas inside a tier, semicolons between tiers. "
                + "Without it all regions are one tier.",
            valueName: "a,b;c"
        ),
        transform: { text in
            try text.split(separator: ";", omittingEmptySubsequences: false).map { try regionsArgument(String($0)) }
        }
    )
    var tiers: [[RegionID]] = []
    @Option(help: "How long a region may be silent before it becomes suspect.")
    var suspectAfterMs: Int64 = 15_000
    @Option(help: "How many events the history keeps; 0 keeps none.")
    var historyCapacity = 256
    @Option(help: "The most entries in each queue.")
    var limitEntries: UInt64?
    @Option(help: "The most bytes in each queue, as stored.")
    var limitBytes: UInt64?
    @Option(help: "What an append beyond a limit does.")
    var overflow = OverflowArgument.reject
    @OptionGroup var format: FormatOption

    func run() async throws {
        let store = argument.store
        try checkNewDirectory(store)
        let configuration = FailoverConfiguration(
            local: local,
            regions: regions,
            tiers: tiers,
            suspectAfterMilliseconds: suspectAfterMs,
            historyCapacity: historyCapacity
        )
        let limits = QueueLimits(entriesMax: limitEntries, bytesMax: limitBytes, overflow: overflow.policy)
        let controller = try await RegionFailoverController.create(
            at: store,
            configuration: configuration,
            limits: limits,
            options: .tool
        )
        let identity = controller.storeID
        await controller.close()
        if case .overlay(let name)? = try? FileSystem.kind(at: store) {
            talk("holdfast: \(store) is on \(name): keep it on a volume of its own, so that it outlives the container.")
        }
        let names = regions.map(\.rawValue)
        try printObject(
            format.forObject,
            .object([
                ("store", .string(store)), ("uuid", .string(identity.description)), ("local", .string(local.rawValue)),
                ("regions", .array(names.map { .string($0) })), ("epoch", .unsigned(1)),
            ]),
            [
                ("made", store), ("uuid", identity.description), ("primary", local.rawValue),
                ("regions", names.joined(separator: ", ")),
                ("next", "holdfast append \(shellQuoted(store)) --region \(names.last ?? "") --incarnation 0 FILE"),
            ]
        )
    }
}
