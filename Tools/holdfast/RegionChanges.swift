import ArgumentParser
import Holdfast
import Lines

extension Region {
    /// `holdfast region fail`.
    struct Fail: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Declare the acting primary failed, and promote the next region.",
            discussion: """
                Outstanding writes do not prevent the promotion; the answer tells how many there are. Hand the new \
                epoch to whatever must refuse the old primary.

                Example:
                  holdfast region fail ./store us-east-1 --if-epoch 1
                """
        )

        @OptionGroup var target: Target
        @OptionGroup var epoch: EpochOption

        func run() async throws {
            try await target.promote { controller in
                try await controller.demoteAndPromote(target.region, ifEpoch: epoch.ifEpoch)
            }
        }
    }

    /// `holdfast region switchover`.
    struct Switchover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hand the lead over to a live region that has received everything.",
            discussion: """
                Example:
                  holdfast region switchover ./store eu-west-1
                """
        )

        @OptionGroup var target: Target
        @OptionGroup var epoch: EpochOption

        func run() async throws {
            try await target.promote { controller in
                try await controller.switchover(to: target.region, ifEpoch: epoch.ifEpoch)
            }
        }
    }

    /// `holdfast region readmit`.
    struct Readmit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a recovered region back as a healthy secondary.",
            discussion: """
                Example:
                  holdfast region readmit ./store us-east-1 --maximum-pending 10
                """
        )

        @OptionGroup var target: Target
        @Option(help: "How many writes it may still have to receive.")
        var maximumPending: UInt64 = 0
        @Flag(help: "Whatever its state, and whatever it misses; never the acting primary.")
        var force = false
        @OptionGroup var epoch: EpochOption

        func run() async throws {
            try await target.change { controller in
                try await controller.readmit(
                    target.region,
                    maximumPending: maximumPending,
                    force: force,
                    ifEpoch: epoch.ifEpoch
                )
            }
        }
    }

    /// `holdfast region pause`.
    struct Pause: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Pause the replay to a region; appends go on.",
            discussion: """
                Who replays ends the pause himself at the time that --for or --until-ms gives, also after a restart: \
                'replay' and every ReplayService. Without one only 'region resume' ends it. A region that is paused \
                already gets the new reason and the new time.

                Examples:
                  holdfast region pause ./store eu-west-1 --reason 'db is moved' --for 1h
                  holdfast region pause ./store eu-west-1 --reason 'waits for the new schema'
                """
        )

        @OptionGroup var target: Target
        @Option(help: "Why, for whoever looks; at most 1,024 bytes.")
        var reason = ""
        @Option(name: .customLong("for"), help: ArgumentHelp("For how long.", valueName: "duration"))
        var length: LengthOfTime?
        @Option(help: "Until when instead, in milliseconds since 1970 UTC.")
        var untilMs: Int64?

        func validate() throws {
            guard reason.utf8.count <= 1024 else { throw ValidationError("--reason has more than 1,024 bytes.") }
            guard length == nil || untilMs == nil else { throw ValidationError("Say one of --for and --until-ms.") }
            guard length?.milliseconds != 0 else { throw ValidationError("--for is at least 1ms.") }
        }

        func run() async throws {
            var before: QueueStatistics?
            var after: QueueStatistics?
            try await target.change {
                Self.facts(before, after)
            } _: { controller in
                before = try await controller.statistics(of: target.region)
                let now = controller.now
                let until =
                    untilMs.map { Timestamp(milliseconds: $0) }
                    ?? length.map { now.advanced(by: Int64(clamping: $0.milliseconds)) }
                if let until, until <= now {
                    throw ValidationError("--until-ms \(until.milliseconds) is over: the time is \(timeText(now)).")
                }
                let events = try await controller.pause(target.region, reason: reason, until: until)
                after = try await controller.statistics(of: target.region)
                return events
            }
        }

        /// What the pause is now, and what it replaced.
        private static func facts(
            _ before: QueueStatistics?,
            _ after: QueueStatistics?
        ) -> [(name: String, json: JSON, text: String)] {
            guard let before, let after else { return [] }
            var facts: [(name: String, json: JSON, text: String)] = [
                ("pauseReason", .string(after.pauseReason), after.pauseReason.isEmpty ? "none" : after.pauseReason),
                (
                    "pausedUntilMs", after.pausedUntil.map { .integer($0.milliseconds) } ?? .null,
                    after.pausedUntil.map(timeText) ?? "it is resumed"
                ),
            ]
            guard before.isPaused else { return facts }
            let old = before.pauseReason.isEmpty ? "no reason" : "'\(before.pauseReason)'"
            let until = before.pausedUntil.map { ", until \(timeText($0))" } ?? ""
            facts.append(
                (
                    "replacedReason", .string(before.pauseReason),
                    "it was paused already, with \(old)\(until); this is instead of it"
                )
            )
            return facts
        }
    }

    /// `holdfast region resume`.
    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End the pause of the replay to a region.",
            discussion: """
                Example:
                  holdfast region resume ./store eu-west-1
                """
        )

        @OptionGroup var target: Target

        func run() async throws {
            try await target.change { controller in try await controller.resume(target.region) }
        }
    }

    /// `holdfast region clear-resync`.
    struct ClearResync: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "clear-resync",
            abstract: "Say that a region was brought up to date by other means, after writes for it were lost.",
            discussion: """
                Example:
                  holdfast region clear-resync ./store eu-west-1
                """
        )

        @OptionGroup var target: Target

        func run() async throws {
            try await target.change { controller in try await controller.clearResync(target.region) }
        }
    }
}
