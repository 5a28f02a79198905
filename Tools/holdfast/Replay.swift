import ArgumentParser
import Holdfast
import Lines
import UnixSignals

/// `holdfast replay`: sends a queue to a shell command.
struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send a queue to a shell command, batch by batch: at least once, in order.",
        discussion: """
            The command is started once for each batch, with the entries as JSON lines on its standard input, in the \
            names of 'drain'. How it ends decides:

              0                     the region has them, durably: they leave the queue
              75, 126, 127, signal  the region cannot be reached: tried again as long as it takes
              any other             refused: an attempt (region replay --attempts-max); the last line on standard \
            error is the reason

            An exit above 128 that a shell gives for a signal counts as one. A command that takes longer than \
            'region replay --timeout' is killed with its children, and tried again. Its environment has \
            HOLDFAST_REGION, HOLDFAST_FIRST, HOLDFAST_THROUGH (positions), HOLDFAST_ATTEMPT and HOLDFAST_EPOCH. Its \
            input is whole whatever happens to this process; its standard output is that of 'holdfast'.

            A batch whose answer was lost is sent again: the receiver tells what it has by origin, incarnation and \
            sequence. The first failed send is told at once, later ones less and less often, all with --verbose.

            It goes on until it is interrupted, and waits while the replay is paused. Interrupted, it finishes what it is \
            sending; a second interrupt, at least 0.2 s later, kills the command, whose entries stay queued. It ends \
            when a send fails and nobody reads its standard output any more. No other process can append or resume a pause \
            meanwhile, since this one has the store open: use --once between appends, or a ReplayService inside the \
            process that appends.

            For cron: --once ends when the queue is empty, and fails with exit 1 when the replay is paused; \
            --give-up-after fails with exit 75 when a region cannot be reached: try later. Where entries were found \
            damaged the others are sent, and the exit is 65. An error of the store is told at once, and what was delivered \
            is acknowledged when the store can again; a damaged store ends the replay with exit 65, and with --once any \
            other error that stays for a second does, with 74 when the system refused a write.

            Examples:
              holdfast replay ./store --region eu --once --give-up-after 10min \\
                --exec 'ssh eu apply-writes'
              holdfast replay ./store --region eu --values utf8 \\
                --exec 'curl -sf --data-binary @- https://eu.example/writes || exit 75'
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The region whose queue is sent.", transform: regionArgument)
    var region: RegionID
    @Option(help: ArgumentHelp("What /bin/sh runs for each batch.", valueName: "command"))
    var exec: String
    @Option(help: "How values are given to it: hex, base64 or utf8.")
    var values = ValueForm.base64
    @Flag(help: "End when the queue is empty, and fail when the replay is paused.")
    var once = false
    @Option(
        help: ArgumentHelp(
            "Fail with exit 75 when entries wait and none has left the queue for so long; more than 'region replay "
                + "--timeout'. A pause does not count.",
            valueName: "duration"
        )
    )
    var giveUpAfter: LengthOfTime?
    @Flag(help: "Tell of each batch on standard error, and what the command writes there.")
    var verbose = false
    @Option(
        help: """
            table, json or jsonl: with json and jsonl the summary, what is told of batches and errors are JSON on standard \
            error, a line each.
            """
    )
    var format: Format?

    private var asJSON: Bool { format == .json || format == .jsonl }

    func validate() throws {
        try values.checkCarriesBytes("replay")
        guard exec.utf8.contains(where: { $0 > 0x20 }) else { throw ValidationError("--exec is empty.") }
        guard giveUpAfter?.milliseconds != 0 else { throw ValidationError("--give-up-after is at least 1ms.") }
    }

    func run() async throws {
        // From here on a signal waits until somebody looks.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        var (end, summary) = try await argument.withController { controller in
            let before = try await controller.statistics(of: region)
            let receiver = ReplayReceiver(
                exec,
                controller,
                region,
                values,
                ReplayTelling(isVerbose: verbose, asJSON: asJSON, entries: before.entries)
            )
            defer { receiver.endProgress() }
            let run = ReplayRun(
                controller,
                receiver,
                region,
                store: argument.store,
                once: once,
                giveUpAfterMilliseconds: giveUpAfter?.milliseconds
            )
            let end = try await run.send(signals)
            let after = try await controller.statistics(of: region)
            return (end, ReplaySummary(before, after, receiver.tally, redelivered: run.redelivered))
        }
        try summary.lookUp(argument.store)
        try tell(end, summary)
    }

    /// Says what came of it, and fails where it did not come out well.
    private func tell(_ end: ReplayRun.End, _ summary: ReplaySummary) throws {
        let store = shellQuoted(argument.store)
        var failure = failure(of: end)
        if summary.lost > 0 {
            let said = failure.map { "\($0.message) " } ?? ""
            let words = "\(said)\(summary.sentences) The region needs a resynchronisation."
            failure = Failure(.damaged, code: "damaged", words)
            failure?.next = "holdfast lost \(store) --region \(region)"
        } else {
            failure?.message += " \(summary.sentences)"
        }
        guard var failure else {
            return talk(asJSON ? summary.json.line : printable(summary.text(store: argument.store), keepingLines: true))
        }
        failure.add([
            ("message", .string(failure.message)), ("region", .string(region.rawValue)), ("summary", summary.json),
        ])
        throw failure
    }

    /// Why the replay has not come out well; nil where it has.
    private func failure(of end: ReplayRun.End) -> Failure? {
        let store = shellQuoted(argument.store)
        switch end {
        case .empty, .signalled, .outputClosed: return nil
        case .paused(let reason):
            let why = reason.isEmpty ? "" : ": \(printable(reason))"
            return Failure(
                .other,
                code: "paused",
                "The replay to region '\(region)' is paused\(why).",
                next: "holdfast region resume \(store) \(region)"
            )
        case .gaveUp(let milliseconds, let error):
            let why = error.map { " The store: \(Failure($0.at(argument.store)).message)" } ?? ""
            return Failure(
                .inUse,
                code: "gaveUp",
                "No entry has left the queue of region '\(region)' for \(durationText(milliseconds)).\(why)",
                next: "holdfast queues \(store)"
            )
        case .storeFailed(let error):
            var failure = Failure(error.at(argument.store))
            failure.message += " What the region has received meanwhile and the store could not note is sent again."
            return failure
        case .cancelled:
            return Failure(.other, code: "cancelled", "The second signal cancelled the send; its entries stay queued.")
        }
    }
}

extension RegionFailoverController {
    /// The numbers of one region's queue.
    func statistics(of region: RegionID) async throws -> QueueStatistics {
        guard let queue = try await statistics().first(where: { $0.region == region }) else {
            throw HoldfastError.unknownRegion(region)
        }
        return queue
    }
}
