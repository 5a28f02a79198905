import ArgumentParser
import Holdfast
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
                named and keeps the rest; 'none' takes a limit away. Where the next append would drop entries because \
                of it, it only tells which, unless --yes is given.

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
                "How much of the total is the region's own, 0 to 100, or none for half of an equal share.",
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
            var estimate = DropEstimate.nothing
            var wanted: QueueLimits?
            if setsRegion, let region {
                guard let queue = queues.first(where: { $0.region == region }) else {
                    throw HoldfastError.unknownRegion(region)
                }
                let limits = changed(queue.limits)
                estimate = try await controller.dropEstimate(of: limits, for: region)
                wanted = limits
            }
            let total = changed(try await controller.totalLimits())
            let shrinking = setsTotal ? Self.shrinking(queues, total, region, wanted) : []
            guard yes || estimate == .nothing && shrinking.isEmpty else {
                try printPlan(estimate, shrinking)
                return false
            }
            // The one that can be refused goes first.
            if let wanted, let region { try await controller.setLimits(wanted, for: region) }
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

        /// The regions whose next append drops their oldest entries, since all queues together hold more than they may.
        private static func shrinking(
            _ queues: [QueueStatistics],
            _ total: TotalLimits,
            _ region: RegionID?,
            _ wanted: QueueLimits?
        ) -> [RegionID] {
            let entries = queues.reduce(into: UInt64(0)) { $0 &+= $1.entries }
            let bytes = queues.reduce(into: UInt64(0)) { $0 &+= $1.storedBytes }
            guard entries > total.entriesMax ?? .max || bytes > total.bytesMax ?? .max else { return [] }
            return queues.filter { queue in
                let limits = queue.region == region ? wanted ?? queue.limits : queue.limits
                return limits.overflow == .dropOldest && queue.entries > 0
            }.map(\.region)
        }

        private func printPlan(_ estimate: DropEstimate, _ shrinking: [RegionID]) throws {
            // An option is one word as it stands; what follows it may not be.
            let words = CommandLine.arguments.dropFirst().map {
                $0.contains("=") || !$0.hasPrefix("--") ? shellQuoted($0) : $0
            }
            let next = "holdfast \(words.joined(separator: " ")) --yes"
            var members: [(String, JSON)] = [
                ("verb", .string("region limits")), ("store", .string(argument.store)),
                ("region", region.map { .string($0.rawValue) } ?? .null), ("drops", .unsigned(estimate.entries)),
            ]
            var facts: [(String, String)] = []
            if let positions = estimate.positions, let region {
                members.append(("first", .unsigned(positions.lowerBound)))
                members.append(("last", .unsigned(positions.upperBound)))
                facts.append(
                    (
                        "plan",
                        "set the limits; the next append or tick drops \(estimate.entries) entries of '\(region)', "
                            + "positions \(positions.lowerBound) to \(positions.upperBound)"
                    )
                )
            }
            if !shrinking.isEmpty {
                members.append(("dropForTotal", .array(shrinking.map { .string($0.rawValue) })))
                facts.append(
                    (
                        "total",
                        "all queues together hold more: appends to \(shrinking.map(\.rawValue).joined(separator: ", ")) "
                            + "drop the oldest there until it fits"
                    )
                )
            }
            members.append(("next", .string(next)))
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
                try printer.row(queue.limitsJSON(now), queue.limitsCells(now, regions: queues.count))
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

    fileprivate func limitsCells(_ now: Timestamp, regions: Int) -> [String] {
        // Without a share of its own a region has half of an equal one.
        let share = limits.sharePercent.map { "\($0) %" } ?? "(\(decimal(50 / Double(max(1, regions)))) %)"
        return [
            region.rawValue, "\(entries)", limits.entriesMax.map { "\($0)" } ?? "-", bytesText(storedBytes),
            limits.bytesMax.map(bytesText) ?? "-", oldestMilliseconds(now: now).map(durationText) ?? "-",
            limits.ageMaxMilliseconds.map { durationText(Int64(clamping: $0)) } ?? "-", limits.overflow.name, share,
            useText(limitUse(at: now)),
        ]
    }
}

extension TotalLimits {
    private func use(_ entries: UInt64, _ bytes: UInt64) -> Double? {
        let uses = [(entries, entriesMax), (bytes, bytesMax)].compactMap { use, most in
            most.map { $0 > 0 ? Double(use) / Double($0) : 1 }
        }
        return uses.max()
    }

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
            ("use", use(sums.entries, sums.bytes).map { .double($0) } ?? .null),
        ])
    }

    fileprivate func cells(_ queues: [QueueStatistics]) -> [String] {
        let sums = Self.sums(queues)
        return [
            "(all)", "\(sums.entries)", entriesMax.map { "\($0)" } ?? "-", bytesText(sums.bytes),
            bytesMax.map(bytesText) ?? "-", "-", "-", "-", "-", useText(use(sums.entries, sums.bytes)),
        ]
    }
}

/// A share of a limit, for people.
private func useText(_ use: Double?) -> String { use.map { "\(decimal($0 * 100)) %" } ?? "-" }
