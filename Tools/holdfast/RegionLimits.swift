import ArgumentParser
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

extension Region {
    /// `holdfast region limits`.
    struct Limits: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "limits",
            abstract: "Show how much each queue may hold and holds, or set it.",
            discussion: """
                Without options it shows, also while another process has the store open. With options it sets what is \
                named and keeps the rest; 'none' takes a limit away. Where the next append to any region would drop entries \
                because of it, it only tells which, unless --yes is given.

                Sizes are as stored: 4096, 64MiB, 10GB. Lengths of time: 250ms, 30s, 5min, 2h, 7d.

                Examples:
                  holdfast region limits ./store
                  holdfast region limits ./store eu-west-1 --bytes 10GiB --age 7d
                  holdfast region limits ./store --total-bytes 100GiB
                """
        )

        @OptionGroup var argument: StoreArgument
        @Argument(help: "The region; all when left out.", transform: regionArgument)
        var region: RegionID?
        @Option(help: ArgumentHelp("The most entries, or none.", valueName: "n"))
        var entries: Limit<Count>?
        @Option(help: ArgumentHelp("The most bytes, or none.", valueName: "size"))
        var bytes: Limit<ByteCount>?
        @Option(help: ArgumentHelp("The longest that an entry may wait, or none.", valueName: "duration"))
        var age: Limit<LengthOfTime>?
        @Option(help: "What an append beyond a limit does.")
        var overflow: OverflowArgument?
        @Option(
            help: ArgumentHelp(
                "How much of the total is the region's own, 0 to 100, or none for an equal part of half of the rest.",
                valueName: "percent"
            )
        )
        var share: Limit<Count>?
        @Flag(help: "Take every limit of the region away first.")
        var none = false
        @Option(help: ArgumentHelp("The most entries in all queues together, or none.", valueName: "n"))
        var totalEntries: Limit<Count>?
        @Option(help: ArgumentHelp("The most bytes in all queues together, or none.", valueName: "size"))
        var totalBytes: Limit<ByteCount>?
        @Flag(help: "Do it, also where the next append drops entries because of it.")
        var yes = false
        @OptionGroup var format: FormatOption

        private var setsRegion: Bool {
            entries != nil || bytes != nil || age != nil || overflow != nil || share != nil || none
        }
        private var setsTotal: Bool { totalEntries != nil || totalBytes != nil }

        func validate() throws {
            if setsRegion, region == nil { throw ValidationError("Name the region whose limits are set.") }
            if let percent = share?.most?.value, percent > 100 {
                throw ValidationError("--share is 0 to 100 per cent of the total.")
            }
        }

        func run() async throws {
            if setsRegion || setsTotal {
                let isSet = try await argument.withController { controller in try await set(controller) }
                guard isSet else { return }
            }
            try show()
        }

        // MARK: Setting

        /// Sets the limits, or prints what the next append would drop because of them.
        private func set(_ controller: RegionFailoverController) async throws -> Bool {
            let queues = try await controller.statistics()
            var wanted: [RegionID: QueueLimits] = [:]
            if setsRegion, let region {
                guard let queue = queues.first(where: { $0.region == region }) else {
                    throw HoldfastError.unknownRegion(region)
                }
                wanted[region] = changed(queue.limits)
            }
            let total = changed(try await controller.totalLimits())
            let before = try await controller.dropEstimates()
            // What is dropped already under the present limits is not because of these.
            let drops = try await controller.dropEstimates(of: wanted, total: total).filter { region, estimate in
                estimate.entries > before[region]?.entries ?? 0
            }
            guard yes || drops.isEmpty else {
                try printPlan(drops)
                return false
            }
            // The one that can be refused goes first.
            for (region, limits) in wanted { try await controller.setLimits(limits, for: region) }
            if setsTotal { try await controller.setTotalLimits(total) }
            return true
        }

        private func changed(_ limits: QueueLimits) -> QueueLimits {
            var limits = none ? QueueLimits.unlimited : limits
            if let entries { limits.entriesMax = entries.most?.value }
            if let bytes { limits.bytesMax = bytes.most?.bytes }
            if let age { limits.ageMaxMilliseconds = age.most?.milliseconds }
            if let overflow { limits.overflow = overflow.policy }
            if let share { limits.sharePercent = share.most.map { UInt8(clamping: $0.value) } }
            return limits
        }

        private func changed(_ total: TotalLimits) -> TotalLimits {
            var total = total
            if let totalEntries { total.entriesMax = totalEntries.most?.value }
            if let totalBytes { total.bytesMax = totalBytes.most?.bytes }
            return total
        }

        private func printPlan(_ drops: [RegionID: DropEstimate]) throws {
            // An option is one word as it stands; what follows it may not be.
            let words = CommandLine.arguments.dropFirst().map {
                $0.contains("=") || !$0.hasPrefix("--") ? shellQuoted($0) : $0
            }
            let next = "holdfast \(words.joined(separator: " ")) --yes"
            var rows: [JSON] = []
            var facts = [("plan", "set the limits")]
            for (region, estimate) in drops.sorted(by: { $0.key < $1.key }) {
                guard let positions = estimate.positions else { continue }
                rows.append(
                    .object([
                        ("region", .string(region.rawValue)), ("entries", .unsigned(estimate.entries)),
                        ("first", .unsigned(positions.lowerBound)), ("last", .unsigned(positions.upperBound)),
                    ])
                )
                facts.append(
                    (
                        region.rawValue,
                        "the next append or tick drops \(estimate.entries) entries, positions "
                            + "\(positions.lowerBound) to \(positions.upperBound)"
                    )
                )
            }
            let members: [(String, JSON)] = [
                ("verb", .string("region limits")), ("store", .string(argument.store)),
                ("region", region.map { .string($0.rawValue) } ?? .null), ("drops", .array(rows)),
                ("next", .string(next)),
            ]
            facts.append(("nothing was done; do it", next))
            try printObject(format.forObject, .object([("plan", .object(members))]), facts)
        }

        // MARK: Showing

        private func show() throws {
            let (machine, total, rows) = try argument.reader().look { (view) throws(HoldfastError) in
                (try view.machine(), try view.totalLimits(), try view.regionRows())
            }
            if let region, !rows.contains(where: { $0.0 == region }) {
                throw HoldfastError.unknownRegion(region).at(argument.store)
            }
            let now = readingTime(machine.time)
            let columns: [Column] = [
                .text("region"), .number("entries"), .number("of"), .number("stored"), .number("of"),
                .number("oldest"), .number("of"), .text("overflow"), .number("share"), .number("use"),
            ]
            let printer = ListPrinter(Output(), format.forList, columns)
            let queues = rows.map { QueueStatistics($0.0, $0.1) }
            for queue in queues where region == nil || queue.region == region {
                try printer.row(queue.limitsJSON(now), queue.limitsCells(now, queues.map(\.limits)))
            }
            if region == nil || setsTotal { try printer.row(total.json(queues), total.cells(queues)) }
            try printer.end(empty: "The deployment has no region.")
        }
    }
}

extension QueueStatistics {
    fileprivate func limitsJSON(_ now: Timestamp) -> JSON {
        .object([
            ("region", .string(region.rawValue)), ("entries", .unsigned(entries)),
            ("limitEntries", limits.entriesMax.map { .unsigned($0) } ?? .null), ("storedBytes", .unsigned(storedBytes)),
            ("limitBytes", limits.bytesMax.map { .unsigned($0) } ?? .null),
            ("oldestMs", oldestMilliseconds(now: now).map { .integer($0) } ?? .null),
            ("limitAgeMs", limits.ageMaxMilliseconds.map { .unsigned($0) } ?? .null),
            ("overflow", .string(limits.overflow.name)),
            ("sharePercent", limits.sharePercent.map { .unsigned(UInt64($0)) } ?? .null),
            ("use", limitUse(at: now).map { .double($0) } ?? .null),
        ])
    }

    fileprivate func limitsCells(_ now: Timestamp, _ all: [QueueLimits]) -> [String] {
        let share = limits.sharePercent.map { "\($0) %" } ?? "(\(decimal(QueueLimits.unsetSharePercent(all))) %)"
        return [
            region.rawValue, "\(entries)", limits.entriesMax.map { "\($0)" } ?? "-", bytesText(storedBytes),
            limits.bytesMax.map(bytesText) ?? "-", oldestMilliseconds(now: now).map(durationText) ?? "-",
            limits.ageMaxMilliseconds.map { durationText(Int64(clamping: $0)) } ?? "-", limits.overflow.name, share,
            useText(limitUse(at: now)),
        ]
    }
}

extension TotalLimits {
    private static func sums(_ queues: [QueueStatistics]) -> (entries: UInt64, bytes: UInt64) {
        queues.reduce(into: (0, 0)) { sums, queue in
            sums.entries &+= queue.entries
            sums.bytes &+= queue.storedBytes
        }
    }

    /// The row of all queues together, which has no region.
    fileprivate func json(_ queues: [QueueStatistics]) -> JSON {
        let sums = Self.sums(queues)
        return .object([
            ("region", .null), ("entries", .unsigned(sums.entries)),
            ("limitEntries", entriesMax.map { .unsigned($0) } ?? .null), ("storedBytes", .unsigned(sums.bytes)),
            ("limitBytes", bytesMax.map { .unsigned($0) } ?? .null),
            ("use", use(of: queues).map { .double($0) } ?? .null),
        ])
    }

    fileprivate func cells(_ queues: [QueueStatistics]) -> [String] {
        let sums = Self.sums(queues)
        return [
            "(all)", "\(sums.entries)", entriesMax.map { "\($0)" } ?? "-", bytesText(sums.bytes),
            bytesMax.map(bytesText) ?? "-", "-", "-", "-", "-", useText(use(of: queues)),
        ]
    }
}

/// A share of a limit, for people.
private func useText(_ use: Double?) -> String { use.map { "\(decimal($0 * 100)) %" } ?? "-" }
