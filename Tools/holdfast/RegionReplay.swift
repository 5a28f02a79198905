import ArgumentParser
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// What happens to an entry that was refused as often as the settings allow, as the command line names it.
enum ExhaustionArgument: String, CaseIterable, ExpressibleByArgument, Sendable {
    case halt, park, parkKey

    fileprivate var policy: ReplaySettings.Exhaustion {
        switch self {
        case .halt: .halt
        case .park: .park
        case .parkKey: .parkKey
        }
    }
}

extension Region {
    /// `holdfast region replay`.
    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "replay",
            abstract: "Show how a region's queue is sent, or set it.",
            discussion: """
                Without options it shows, also while another process has the store open. With options it sets what is \
                named and keeps the rest; 'none' takes a limit away. Settings are kept in the store, and hold for \
                'replay' and for every service that sends from it.

                An entry that the region has refused --attempts-max times halts the replay, is parked as a dead letter, \
                or is parked with every later write of its key.

                Examples:
                  holdfast region replay ./store eu-west-1
                  holdfast region replay ./store eu-west-1 --rate 500 --timeout 10s
                  holdfast region replay ./store eu-west-1 --attempts-max 5 --exhausted parkKey
                """
        )

        @OptionGroup var argument: StoreArgument
        @Argument(help: "The region.", transform: regionArgument)
        var region: RegionID
        @Option(help: ArgumentHelp("The most entries in a batch.", valueName: "n"))
        var batchEntries: Count?
        @Option(help: ArgumentHelp("The most bytes in a batch.", valueName: "size"))
        var batchBytes: ByteCount?
        @Option(help: ArgumentHelp("The most entries a second, or none.", valueName: "n"))
        var rate: Limit<Count>?
        @Option(help: ArgumentHelp("The most bytes a second, or none.", valueName: "size"))
        var bytesRate: Limit<ByteCount>?
        @Option(help: ArgumentHelp("How long a send may take.", valueName: "duration"))
        var timeout: LengthOfTime?
        @Option(help: ArgumentHelp("How often an entry is sent that is refused, or none.", valueName: "n"))
        var attemptsMax: Limit<Count>?
        @Option(help: "What happens then.")
        var exhausted: ExhaustionArgument?
        @Option(help: ArgumentHelp("The longest wait after a first failure; it doubles.", valueName: "duration"))
        var backoffBase: LengthOfTime?
        @Option(help: ArgumentHelp("The longest wait after any failure.", valueName: "duration"))
        var backoffMax: LengthOfTime?
        @OptionGroup var format: FormatOption

        func validate() throws {
            let (day, large): (UInt64, UInt64) = (86_400_000, UInt64(UInt32.max))
            try Self.check(batchEntries?.value, "--batch-entries", 1...UInt64(StoreLimits.callEntriesMax))
            try Self.check(batchBytes?.bytes, "--batch-bytes", 1...UInt64(StoreLimits.callBytesMax), "1B to 64MiB")
            try Self.check(rate?.most?.value, "--rate", 1...large)
            try Self.check(bytesRate?.most?.bytes, "--bytes-rate", 1...UInt64.max, "1B or more")
            try Self.check(timeout?.milliseconds, "--timeout", 1...day, "1ms to 1d")
            try Self.check(attemptsMax?.most?.value, "--attempts-max", 1...large)
            try Self.check(backoffBase?.milliseconds, "--backoff-base", 1...day, "1ms to 1d")
            try Self.check(backoffMax?.milliseconds, "--backoff-max", 1...day, "1ms to 1d")
        }

        private static func check(
            _ value: UInt64?,
            _ name: String,
            _ range: ClosedRange<UInt64>,
            _ words: String? = nil
        ) throws {
            guard let value, !range.contains(value) else { return }
            throw ValidationError("\(name) is \(words ?? "\(range.lowerBound) to \(range.upperBound)").")
        }

        /// Refuses a first wait that is longer than the longest, also where one of them was set before.
        private func checkBackoff(_ settings: ReplaySettings) throws {
            guard backoffBase != nil || backoffMax != nil,
                settings.backoffBaseMilliseconds > settings.backoffMaxMilliseconds
            else { return }
            throw ValidationError(
                "--backoff-base, \(durationText(Int64(settings.backoffBaseMilliseconds))), is at most --backoff-max, "
                    + "which is \(durationText(Int64(settings.backoffMaxMilliseconds)))."
            )
        }

        private var setsAnything: Bool {
            batchEntries != nil || batchBytes != nil || rate != nil || bytesRate != nil || timeout != nil
                || attemptsMax != nil || exhausted != nil || backoffBase != nil || backoffMax != nil
        }

        func run() async throws {
            let settings: ReplaySettings
            if setsAnything {
                settings = try await argument.withController { controller in
                    let settings = changed(try await present(of: region, controller))
                    try checkBackoff(settings)
                    try await controller.setReplaySettings(settings, for: region)
                    return settings
                }
            } else {
                settings = try argument.reader().look { (view) throws(HoldfastError) in
                    guard try view.regionRow(region) != nil else { throw .unknownRegion(region) }
                    return try view.replaySettings(region)
                }
            }
            try printObject(format.forObject, settings.json(region), settings.facts(region))
        }

        /// The settings as they are; the standard ones, which is told, in place of damaged ones.
        private func present(
            of region: RegionID,
            _ controller: RegionFailoverController
        ) async throws(HoldfastError) -> ReplaySettings {
            do throws(HoldfastError) {
                return try await controller.replaySettings(for: region)
            } catch {
                guard error.code == .damaged else { throw error }
                talk("\(error.message)\nWhat is not given now is set to what a new region has.")
                return .standard
            }
        }

        private func changed(_ settings: ReplaySettings) -> ReplaySettings {
            var settings = settings
            if let batchEntries { settings.batchEntriesMax = UInt32(clamping: batchEntries.value) }
            if let batchBytes { settings.batchBytesMax = UInt32(clamping: batchBytes.bytes) }
            if let rate { settings.entriesPerSecondMax = rate.most.map { UInt32(clamping: $0.value) } }
            if let bytesRate { settings.bytesPerSecondMax = bytesRate.most?.bytes }
            if let timeout { settings.timeoutMilliseconds = UInt32(clamping: timeout.milliseconds) }
            if let attemptsMax { settings.attemptsMax = attemptsMax.most.map { UInt32(clamping: $0.value) } }
            if let exhausted { settings.exhaustion = exhausted.policy }
            if let backoffBase { settings.backoffBaseMilliseconds = UInt32(clamping: backoffBase.milliseconds) }
            if let backoffMax { settings.backoffMaxMilliseconds = UInt32(clamping: backoffMax.milliseconds) }
            return settings
        }
    }
}

extension ReplaySettings {
    fileprivate func json(_ region: RegionID) -> JSON {
        .object([
            ("region", .string(region.rawValue)), ("batchEntries", .unsigned(UInt64(batchEntriesMax))),
            ("batchBytes", .unsigned(UInt64(batchBytesMax))),
            ("rate", entriesPerSecondMax.map { .unsigned(UInt64($0)) } ?? .null),
            ("bytesRate", bytesPerSecondMax.map { .unsigned($0) } ?? .null),
            ("timeoutMs", .unsigned(UInt64(timeoutMilliseconds))),
            ("attemptsMax", attemptsMax.map { .unsigned(UInt64($0)) } ?? .null),
            ("exhausted", .string(exhaustion.name)), ("backoffBaseMs", .unsigned(UInt64(backoffBaseMilliseconds))),
            ("backoffMaxMs", .unsigned(UInt64(backoffMaxMilliseconds))),
        ])
    }

    fileprivate func facts(_ region: RegionID) -> [(String, String)] {
        let refused =
            switch exhaustion {
            case .halt: "the replay is paused"
            case .park: "the entry is parked as a dead letter"
            case .parkKey: "the entry is parked, and every later one of its key"
            }
        return [
            ("region", region.rawValue),
            (
                "batch",
                "at most \(counted(UInt64(batchEntriesMax), "entry", "entries")), \(bytesText(UInt64(batchBytesMax)))"
            ),
            ("entries a second", entriesPerSecondMax.map { "at most \($0)" } ?? "as many as the region takes"),
            ("bytes a second", bytesPerSecondMax.map { "at most \(bytesText($0))" } ?? "as many as the region takes"),
            ("a send may take", durationText(Int64(timeoutMilliseconds))),
            (
                "an entry is sent",
                attemptsMax.map { "at most \(counted(UInt64($0), "time"))" } ?? "as often as it takes"
            ),
            ("then", attemptsMax == nil ? "\(refused), if there were a limit (--attempts-max)" : refused),
            (
                "wait after a failure",
                "up to \(durationText(Int64(backoffBaseMilliseconds))), doubling up to "
                    + durationText(Int64(backoffMaxMilliseconds))
            ),
        ]
    }
}
