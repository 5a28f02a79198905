import ArgumentParser
import Holdfast

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
                Example:
                  holdfast region pause ./store eu-west-1 --reason 'maintenance until noon'
                """
        )

        @OptionGroup var target: Target
        @Option(help: "Why, for whoever looks; at most 1,024 bytes.")
        var reason = ""
        @Option(help: "When it is meant to end, in milliseconds since 1970 UTC: a note; only resume ends it.")
        var untilMs: Int64?

        func validate() throws {
            guard reason.utf8.count <= 1024 else { throw ValidationError("--reason has more than 1,024 bytes.") }
        }

        func run() async throws {
            try await target.change { controller in
                let until = untilMs.map { Timestamp(milliseconds: $0) }
                return try await controller.pause(target.region, reason: reason, until: until)
            }
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
