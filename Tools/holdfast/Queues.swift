import ArgumentParser
import Holdfast
import ReplayStore

/// `holdfast queues`: what each region has not received.
struct Queues: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show each region's queue: how much waits, how long, and where everything else went.",
        discussion: """
            Works while another process has the store open.

            Example:
              holdfast queues ./store --format jsonl
            """
    )

    @OptionGroup var argument: StoreArgument
    @OptionGroup var format: FormatOption

    func run() throws {
        let (time, rows) = try argument.reader().look { (view) throws(HoldfastError) in
            (try view.machine().time, try view.regionRows())
        }
        let now = readingTime(time)
        let columns: [Column] = [
            .text("region"), .number("entries"), .number("raw"), .number("stored"), .number("oldest"), .number("head"),
            .number("next"), .number("accepted"), .number("acknowledged"), .number("drained"), .number("dropped"),
            .number("dead"), .number("lost"), .flags("flags"),
        ]
        let printer = ListPrinter(Output(), format.forList, columns)
        for (region, row) in rows {
            let queue = QueueStatistics(region, row)
            try printer.row(queue.json(now: now), queue.cells(now: now))
        }
        try printer.end(empty: "The deployment has no region.")
    }
}

extension QueueStatistics {
    /// How long the oldest entry has waited; nil when none waits.
    func oldestMilliseconds(now: Timestamp) -> Int64? {
        oldestEnqueuedAt.map { max(0, now.milliseconds(since: $0)) }
    }

    /// The numbers as `queues` and `snapshot` print them.
    func json(now: Timestamp) -> JSON {
        var members: [(String, JSON)] = [
            ("region", .string(region.rawValue)), ("entries", .unsigned(entries)), ("rawBytes", .unsigned(rawBytes)),
            ("storedBytes", .unsigned(storedBytes)),
            ("oldestMs", oldestMilliseconds(now: now).map { .integer($0) } ?? .null),
            ("headPosition", .unsigned(headPosition)), ("nextPosition", .unsigned(nextPosition)),
            ("accepted", .unsigned(accepted)), ("acknowledged", .unsigned(acknowledged)),
            ("drained", .unsigned(drained)),
            ("dropped", .unsigned(dropped)), ("dead", .unsigned(dead)), ("lost", .unsigned(lost)),
            ("needsResync", .bool(needsResync)), ("paused", .bool(isPaused)),
        ]
        if isPaused {
            if !pauseReason.isEmpty { members.append(("pauseReason", .string(pauseReason))) }
            if let pausedUntil { members.append(("pausedUntilMs", .integer(pausedUntil.milliseconds))) }
        }
        if let entries = limits.entriesMax { members.append(("limitEntries", .unsigned(entries))) }
        if let bytes = limits.bytesMax { members.append(("limitBytes", .unsigned(bytes))) }
        if limits.entriesMax != nil || limits.bytesMax != nil {
            members.append(("overflow", .string(limits.overflow.name)))
        }
        return .object(members)
    }

    fileprivate func cells(now: Timestamp) -> [String] {
        let counters = [accepted, acknowledged, drained, dropped, dead, lost].map { "\($0)" }
        return [
            region.rawValue, "\(entries)", bytesText(rawBytes), bytesText(storedBytes),
            oldestMilliseconds(now: now).map(durationText) ?? "-", "\(headPosition)", "\(nextPosition)",
        ] + counters + [flags.isEmpty ? "-" : flags.joined(separator: ",")]
    }

    /// What somebody should look at.
    var flags: [String] { (isPaused ? ["paused"] : []) + (needsResync ? ["needsResync"] : []) }
}
