import ArgumentParser
import Holdfast
import Platform
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
            sequence.

            It goes on until it is interrupted, and then finishes what it is sending; a second interrupt kills the \
            command, whose entries stay queued. No other process can append meanwhile, since this one has the store \
            open: use --once between appends, or a ReplayService inside the process that appends.

            Examples:
              holdfast replay ./store --region eu --once --exec 'ssh eu apply-writes'
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
    @Flag(help: "Tell of each batch on standard error, and what the command writes there.")
    var verbose = false
    @Option(
        help: """
            table, json or jsonl: with json and jsonl the summary, what --verbose tells and errors are JSON on standard \
            error.
            """
    )
    var format: Format?

    private var asJSON: Bool { format == .json || format == .jsonl }

    func validate() throws {
        try values.checkCarriesBytes("replay")
        guard exec.utf8.contains(where: { $0 > 0x20 }) else { throw ValidationError("--exec is empty.") }
    }

    func run() async throws {
        // From here on a signal waits until somebody looks.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        let (end, summary) = try await argument.withController { controller in
            let before = try await statistics(controller)
            let receiver = ReplayReceiver(
                exec,
                controller,
                region,
                values,
                verbose ? (asJSON ? .json : .text) : .progress(of: before.entries)
            )
            defer { receiver.endProgress() }
            // The time-out of the settings ends a send that takes too long, and nothing else does after a first signal.
            let service = ReplayService(
                controller,
                sinks: [region: { batch in try await receiver.receive(batch) }],
                graceMilliseconds: Int64(UInt32.max)
            )
            let end = try await send(service, controller, signals)
            let after = try await statistics(controller)
            return (end, Summary(before, after, receiver.tally, service.status(of: region)?.redeliveries ?? 0))
        }
        if case .paused(let reason) = end {
            throw Failure(
                .other,
                code: "paused",
                "The replay to region '\(region)' is paused\(reason.isEmpty ? "" : ": \(reason)"). "
                    + "\(summary.received) entries were received, \(summary.left) wait.",
                next: "holdfast region resume \(shellQuoted(argument.store)) \(region)",
                [("region", .string(region.rawValue)), ("summary", summary.json(region))]
            )
        }
        talk(asJSON ? summary.json(region).line : summary.text(region, store: argument.store))
        if case .cancelled = end {
            throw Failure(.other, code: "cancelled", "The second signal cancelled the send; its entries stay queued.")
        }
    }

    private func statistics(_ controller: RegionFailoverController) async throws -> QueueStatistics {
        guard let queue = try await controller.statistics().first(where: { $0.region == region }) else {
            throw HoldfastError.unknownRegion(region)
        }
        return queue
    }

    // MARK: Running

    /// Why the replay ends.
    private enum End: Sendable {
        case empty
        case paused(String)
        case signalled, cancelled
    }

    private enum Event: Sendable {
        /// The service has ended.
        case ended
        /// It should.
        case stop(End)
        case nothing
    }

    /// Runs the service until there is a reason to stop.
    private func send(
        _ service: ReplayService,
        _ controller: RegionFailoverController,
        _ signals: UnixSignalsSequence
    ) async throws -> End {
        try await withThrowingTaskGroup(of: Event.self) { group in
            group.addTask {
                try await service.run()
                return .ended
            }
            group.addTask { try await watch(controller) }
            group.addTask { await Self.obey(signals, service) }
            var end: End?
            while let event = try await group.next() {
                switch event {
                case .nothing: continue
                case .ended:
                    group.cancelAll()
                    return end ?? .signalled
                case .stop(.cancelled):
                    end = .cancelled
                    group.cancelAll()
                case .stop(let reason):
                    end = end ?? reason
                    service.shutDown()
                }
            }
            return end ?? .signalled
        }
    }

    /// Lets the service end at a first signal, and returns at a second one.
    private static func obey(_ signals: UnixSignalsSequence, _ service: ReplayService) async -> Event {
        var isFirst = true
        for await _ in signals {
            guard isFirst else { return .stop(.cancelled) }
            isFirst = false
            service.shutDown()
        }
        return .nothing
    }

    /// How often the queue is looked at, in milliseconds.
    private static let lookEveryMilliseconds: Int64 = 250

    /// Returns when the queue is empty, or the replay is paused and nobody else can resume it.
    private func watch(_ controller: RegionFailoverController) async throws -> Event {
        while !Task.isCancelled {
            let queue = try await statistics(controller)
            if once, queue.entries == 0 { return .stop(.empty) }
            if queue.isPaused, once || queue.pausedUntil == nil { return .stop(.paused(queue.pauseReason)) }
            guard queue.entries > 0 else {
                // Ends early when it is cancelled, and the loop with it.
                try? await Task.sleep(for: .milliseconds(Self.lookEveryMilliseconds))
                continue
            }
            let point = try await controller.syncPoint(for: region)
            do throws(HoldfastError) {
                try await controller.wait(for: point, atMost: Self.lookEveryMilliseconds)
            } catch {
                guard error.code == .replayPending || error.code == .cancelled else { throw error }
            }
        }
        return .nothing
    }

    // MARK: Telling

    /// What came of it.
    private struct Summary: Sendable {
        var received: UInt64
        var parked: UInt64
        var left: UInt64
        var tally: ReplayReceiver.Tally
        var redelivered: UInt64

        init(_ before: QueueStatistics, _ after: QueueStatistics, _ tally: ReplayReceiver.Tally, _ redelivered: UInt64)
        {
            received = after.acknowledged &- before.acknowledged
            parked = after.dead >= before.dead ? after.dead - before.dead : 0
            left = after.entries
            self.tally = tally
            self.redelivered = redelivered
        }

        func json(_ region: RegionID) -> JSON {
            .object([
                ("region", .string(region.rawValue)), ("received", .unsigned(received)),
                ("batches", .unsigned(tally.received)), ("refused", .unsigned(tally.refused)),
                ("unavailable", .unsigned(tally.unavailable)), ("redelivered", .unsigned(redelivered)),
                ("parked", .unsigned(parked)), ("left", .unsigned(left)),
            ])
        }

        func text(_ region: RegionID, store: String) -> String {
            var text = "holdfast: region \(region) has received \(received) entries in \(tally.received) batches; "
            text += left == 0 ? "the queue is empty." : "\(left) wait."
            if tally.refused > 0 { text += " Refused: \(tally.refused) batches." }
            if tally.unavailable > 0 { text += " Could not be reached: \(tally.unavailable) times." }
            if parked > 0 {
                text += " Parked: \(parked).\n  holdfast dlq list \(shellQuoted(store)) --region \(region)"
            }
            return text
        }
    }
}
