import ArgumentParser
import Holdfast
import Lines
import ReplayStore

extension DeadLetterQueue {
    /// `holdfast dlq retry`.
    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Queue dead letters again, behind everything that waits.",
            discussion: """
                Each gets a new position. Under 'parkKey' all of a key go together, since a write whose key still has \
                a dead letter is parked again, behind that: a part of them is refused with exit 1.

                Example:
                  holdfast dlq retry ./store --region eu-west-1 --key user:7
                """
        )

        @OptionGroup var argument: StoreArgument
        @Option(help: "The region that has not received them.", transform: regionArgument)
        var region: RegionID
        @OptionGroup var selection: Selection
        @OptionGroup var format: FormatOption

        func validate() throws { try selection.checkGiven() }

        func run() async throws {
            let (retried, left) = try await argument.withController { controller in
                let found = try await controller.deadPositions(region, selection.selection)
                try selection.checkFound(found, region, argument.store)
                try await checkKeys(controller, found)
                let retried = try await controller.retryDeadLetters(region, selection.selection)
                return (retried, try await controller.pending(for: region).dead)
            }
            try printObject(
                format.forObject,
                .object([
                    ("region", .string(region.rawValue)), ("retried", .unsigned(retried)), ("dead", .unsigned(left)),
                ]),
                [("region", region.rawValue), ("queued again", "\(retried)"), ("dead letters left", "\(left)")]
            )
        }

        /// Refuses a part of a key's dead letters where the rest would park them again, in another order.
        private func checkKeys(_ controller: RegionFailoverController, _ found: Set<UInt64>) async throws {
            guard !selection.positions.isEmpty else { return }
            guard try await controller.replaySettings(for: region).exhaustion == .parkKey else { return }
            var (chosen, left): (Set<[UInt8]>, [DeadLetter]) = ([], [])
            try await controller.eachDeadLetter(region) { letter in
                if found.contains(letter.position) { chosen.insert(letter.write.key) }
            }
            try await controller.eachDeadLetter(region) { letter in
                guard left.count < Self.lettersNamed, !found.contains(letter.position) else { return }
                if chosen.contains(letter.write.key) { left.append(letter) }
            }
            guard let first = left.first else { return }
            let positions = left.map { "\($0.position)" }.joined(separator: ", ")
            let more = left.count < Self.lettersNamed ? "" : " and perhaps others"
            throw Failure(
                .other,
                code: "partOfKey",
                "Under 'parkKey' the dead letters of a key are retried together: \(positions)\(more) are of the same keys, "
                    + "would park again what is retried, and come before it. Nothing was queued.",
                next: "holdfast dlq retry \(shellQuoted(argument.store)) --region \(region) --key "
                    + shellQuoted(first.write.keyText),
                [("region", .string(region.rawValue)), ("positions", .array(left.map { .unsigned($0.position) }))]
            )
        }

        /// So many of those that are left are named.
        private static let lettersNamed = 8
    }

    /// `holdfast dlq drop`.
    struct Drop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give dead letters up: their region never gets them from here.",
            discussion: """
                They count as dropped, and the ledger of what was lost ('holdfast lost') keeps their positions, with \
                the reason discarded. Without --yes it only tells which ones; 'dlq export' keeps a copy.

                Example:
                  holdfast dlq drop ./store --region eu-west-1 --position 17 --yes
                """
        )

        @OptionGroup var argument: StoreArgument
        @Option(help: "The region that has not received them.", transform: regionArgument)
        var region: RegionID
        @OptionGroup var selection: Selection
        @Flag(help: "Do it: without this, it only tells its plan.")
        var yes = false
        @OptionGroup var format: FormatOption

        func validate() throws { try selection.checkGiven() }

        func run() async throws {
            guard yes else { return try printPlan() }
            let (dropped, left) = try await argument.withController { controller in
                let found = try await controller.deadPositions(region, selection.selection)
                try selection.checkFound(found, region, argument.store)
                let dropped = try await controller.dropDeadLetters(region, selection.selection)
                return (dropped, try await controller.pending(for: region).dead)
            }
            try printObject(
                format.forObject,
                .object([
                    ("region", .string(region.rawValue)), ("dropped", .unsigned(dropped)), ("dead", .unsigned(left)),
                ]),
                [("region", region.rawValue), ("dropped", "\(dropped)"), ("dead letters left", "\(left)")]
            )
        }

        private func printPlan() throws {
            var found: Set<UInt64> = []
            let letters = DeadLetterReader(try argument.reader(), region, selection.selection)
            try letters.forward { found.insert($0.position) }
            try selection.checkFound(found, region, argument.store)
            let ranges = Self.ranges(found)
            let named = ranges.prefix(Self.rangesNamed)
            let next = "holdfast dlq drop \(shellQuoted(argument.store)) --region \(region) \(selection.words) --yes"
            try printObject(
                format.forObject,
                .object([
                    (
                        "plan",
                        .object([
                            ("verb", .string("dlq drop")), ("store", .string(argument.store)),
                            ("region", .string(region.rawValue)), ("letters", .unsigned(UInt64(found.count))),
                            (
                                "positions",
                                .array(
                                    named.map {
                                        .object([
                                            ("first", .unsigned($0.lowerBound)), ("last", .unsigned($0.upperBound)),
                                        ])
                                    }
                                )
                            ),
                            ("next", .string(next)),
                        ])
                    )
                ]),
                [
                    (
                        "plan",
                        "give up \(found.count) dead letter\(found.count == 1 ? "" : "s"): '\(region)' never gets "
                            + "\(found.count == 1 ? "it" : "them") from here"
                    ),
                    ("positions", Self.text(named, of: ranges.count)),
                    ("nothing was done; do it", next),
                ]
            )
        }

        /// So many ranges are named; all are counted.
        private static let rangesNamed = 1000

        private static func ranges(_ positions: Set<UInt64>) -> [ClosedRange<UInt64>] {
            var ranges: [ClosedRange<UInt64>] = []
            for position in positions.sorted() {
                if let last = ranges.last, last.upperBound + 1 == position {
                    ranges[ranges.count - 1] = last.lowerBound...position
                } else {
                    ranges.append(position...position)
                }
            }
            return ranges
        }

        private static func text(_ ranges: ArraySlice<ClosedRange<UInt64>>, of count: Int) -> String {
            guard count > 0 else { return "none" }
            let words = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            return words.joined(separator: ", ") + (count > ranges.count ? " and more" : "")
        }
    }
}

extension DeadLetterQueue.Selection {
    /// The selection as it is typed.
    fileprivate var words: String {
        if let key { return "--key \(shellQuoted(key))" }
        return positions.isEmpty ? "--all" : positions.map { "--position \($0)" }.joined(separator: " ")
    }
}

extension RegionFailoverController {
    /// The positions of the dead letters that a selection names.
    fileprivate func deadPositions(_ region: RegionID, _ selection: DeadLetterSelection) async throws -> Set<UInt64> {
        var found: Set<UInt64> = []
        try await eachDeadLetter(region) { letter in
            if selection.matches(letter.position, letter.write) { found.insert(letter.position) }
        }
        return found
    }

    /// Calls `body` with every dead letter of a region, in the order of their positions; few are held at once.
    fileprivate func eachDeadLetter(_ region: RegionID, _ body: (DeadLetter) -> Void) async throws {
        var next: UInt64 = 0
        while true {
            let letters = try await deadLetters(for: region, from: next, limit: 256)
            guard let last = letters.last else { return }
            for letter in letters { body(letter) }
            next = last.position + 1
        }
    }
}
