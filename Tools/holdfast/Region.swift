import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast region`: looks at the regions' roles and states, and changes them.
struct Region: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at the regions' roles and states, and change them.",
        discussion: """
            Example, after the primary has died:
              holdfast region fail ./store us-east-1 --if-epoch 1
            """,
        subcommands: [
            Status.self, Fail.self, Heartbeat.self, Readmit.self, Switchover.self, Pause.self, Resume.self,
            ClearResync.self, Limits.self, Replay.self,
        ]
    )

    /// What every verb about one region takes.
    struct Target: ParsableArguments {
        @OptionGroup var argument: StoreArgument
        @Argument(help: "The region.", transform: regionArgument)
        var region: RegionID
        @OptionGroup var format: FormatOption

        /// Runs a command of the machine, and prints its events and what the region is now.
        ///
        /// `more`: What else there is to say, known once the command is done.
        func change(
            more: () -> [(name: String, json: JSON, text: String)] = { [] },
            _ body: (RegionFailoverController) async throws -> [FailoverEvent]
        ) async throws {
            let (events, status) = try await argument.withController { controller in
                let events = try await body(controller)
                return (events, controller.statuses.first { $0.region == region })
            }
            var members: [(String, JSON)] = [("region", .string(region.rawValue))]
            var facts = [("region", region.rawValue)]
            if let status {
                members += [("role", .string(status.role.rawValue)), ("state", .string(status.state.rawValue))]
                facts += [("role", status.role.rawValue), ("state", status.state.rawValue)]
            }
            members.append(("events", .array(events.map(\.json))))
            facts.append(("events", events.isEmpty ? "none" : events.map(\.name).joined(separator: ", ")))
            for fact in more() {
                members.append((fact.name, fact.json))
                facts.append((Self.labels[fact.name] ?? fact.name, fact.text))
            }
            try printObject(format.forObject, .object(members), facts)
        }

        /// What members are called in a table.
        private static let labels = ["pauseReason": "reason", "pausedUntilMs": "until", "replacedReason": "before"]

        /// Runs a command that changes the acting primary, and prints what came of it.
        func promote(_ body: (RegionFailoverController) async throws -> Promotion) async throws {
            let promotion = try await argument.withController(body)
            let pending = promotion.events.compactMap { event -> QueueSummary? in
                switch event.kind {
                case .promoted(_, _, let pending), .switchedOver(_, _, let pending): pending
                default: nil
                }
            }
            var facts = [
                ("before", promotion.failed.rawValue), ("acting primary", promotion.promoted.rawValue),
                ("epoch", "\(promotion.epoch)"), ("outstanding for it", counted(pending.first?.entries ?? 0, "write")),
            ]
            if pending.first?.needsResync == true {
                facts.append(("needs resync", "yes: writes for it were dropped or lost; copy the data from elsewhere"))
            }
            try printObject(
                format.forObject,
                .object([
                    ("failed", .string(promotion.failed.rawValue)), ("promoted", .string(promotion.promoted.rawValue)),
                    ("epoch", .unsigned(promotion.epoch)), ("events", .array(promotion.events.map(\.json))),
                ]),
                facts
            )
        }
    }

    /// `holdfast region status`.
    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show each region's role, state, silence and queue.",
            discussion: """
                The silence is what the store knows: as of the last commit of whoever has it open, without downtime.

                Examples:
                  holdfast region status ./store
                  holdfast region status ./store eu-west-1 --format json
                """
        )

        @OptionGroup var argument: StoreArgument
        @Argument(help: "Only this region.", transform: regionArgument)
        var region: RegionID?
        @OptionGroup var format: FormatOption

        func run() throws {
            let (machine, rows) = try argument.reader().look { (view) throws(HoldfastError) in
                (try view.machine(), try view.regionRows())
            }
            if let region, !rows.contains(where: { $0.0 == region }) {
                throw HoldfastError.unknownRegion(region).at(argument.store)
            }
            let columns: [Column] = [
                .text("region"), .text("role"), .text("state"), .number("silence"), .number("entries"),
                .number("oldest"),
                .flags("flags"),
            ]
            let now = readingTime(machine.time)
            let printer = ListPrinter(Output(), format.forList, columns)
            var pauses: [String] = []
            for status in machine.regions where region == nil || status.region == region {
                guard let row = rows.first(where: { $0.0 == status.region })?.1 else { continue }
                let queue = QueueStatistics(status.region, row)
                if let text = queue.pauseText { pauses.append(text) }
                let silence = machine.silenceMilliseconds(status)
                try printer.row(
                    machine.json(status, queue, now: now),
                    [
                        status.region.rawValue, status.role.rawValue, status.state.rawValue, durationText(silence),
                        "\(queue.entries)", queue.oldestMilliseconds(now: now).map(durationText) ?? "-",
                        queue.flags.isEmpty ? "-" : queue.flags.joined(separator: ","),
                    ]
                )
            }
            try printer.end(empty: "The deployment has no region.", notes: pauses)
        }
    }

    /// `holdfast region heartbeat`.
    struct Heartbeat: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say that a region was heard from now.",
            discussion: """
                Example:
                  holdfast region heartbeat ./store us-east-1
                """
        )

        @OptionGroup var target: Target

        func run() async throws {
            try await target.change { controller in try await controller.heartbeat(target.region) }
        }
    }
}

extension FailoverMachine.Snapshot {
    /// One region's role, state and queue.
    func json(_ status: RegionStatus, _ queue: QueueStatistics, now: Timestamp) -> JSON {
        guard case .object(let members) = queue.json(now: now) else { return .null }
        let own: [(String, JSON)] = [
            ("region", .string(status.region.rawValue)), ("role", .string(status.role.rawValue)),
            ("state", .string(status.state.rawValue)), ("silenceMs", .integer(silenceMilliseconds(status))),
        ]
        return .object(own + members.dropFirst())
    }
}
