import ArgumentParser
import Holdfast
import ReplayStore

/// `holdfast queues`: what each region has not received.
struct Queues: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show each region's queue: how much waits, how long, and where everything else went.",
        discussion: """
            Works while another process has the store open. With --watch it looks again and again: on a terminal as a view \
            that is drawn anew in place until q or Ctrl-C, elsewhere as a line a region and look, or with --format jsonl as \
            one JSON object a region and look. A bar is how much of its limits a queue uses; of one without limits, its \
            share of the deepest. 'left' is the time until the queue is empty as it goes on now.

            Examples:
              holdfast queues ./store --format jsonl
              holdfast queues ./store --watch --interval 2s
            """
    )

    @OptionGroup var argument: StoreArgument
    @OptionGroup var format: FormatOption
    @Flag(help: "Show every column of the table.")
    var wide = false
    @Flag(help: "Look again and again.")
    var watch = false
    @Option(
        help: ArgumentHelp("With --watch: how long between two looks, such as 500ms, 1s or 2m.", valueName: "time"),
        transform: intervalArgument
    )
    var interval: Int64 = 1000
    @Option(help: "With --watch: end after so many looks.")
    var count: Int?
    @Option(help: "Use colours: auto (on a terminal, unless NO_COLOR is set), always or never.")
    var color = ColorChoice.auto

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count is at least 1.") }
        guard !watch else {
            if format.format == .json { throw ValidationError("With --watch the formats are table and jsonl.") }
            return
        }
        if count != nil { throw ValidationError("--count needs --watch.") }
    }

    func run() throws {
        guard !watch else {
            return try QueueWatch(
                store: argument.store,
                isJSON: format.format == .jsonl,
                intervalMilliseconds: interval,
                count: count,
                style: Style(color)
            ).run()
        }
        let look = try QueueLook(at: argument.store)
        let hasLimits = look.queues.contains { $0.limitUse(at: look.time) != nil }
        let all = QueueStatistics.columns(hasLimits: hasLimits)
        let shown = all.filter { wide || !$0.isWide }
        let printer = ListPrinter(Output(), format.forList, shown.map(\.column), style: Style(color))
        for queue in look.queues {
            try printer.row(queue.json(now: look.time), shown.map { $0.cell(queue, look.time) })
        }
        try printer.end(empty: "The deployment has no region.")
    }
}

/// Reads a length of time from the command line, in milliseconds: a number and ms, s, m or h, or of seconds alone.
@Sendable private func intervalArgument(_ text: String) throws -> Int64 {
    let units: [(String, Int64)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000)]
    let range: ClosedRange<Int64> = 100...86_400_000
    for (unit, milliseconds) in units where text.hasSuffix(unit) {
        let number = text.dropLast(unit.count)
        guard let number = Double(number), number.isFinite, number > 0, number < 1e9 else { break }
        let interval = Int64((number * Double(milliseconds)).rounded())
        guard range.contains(interval) else { throw ValidationError("--interval is from 100ms to 24h.") }
        return interval
    }
    throw ValidationError("'\(text)' is no length of time: give a number and its unit, such as 500ms, 1s or 2m.")
}

/// A column of the table of queues.
struct QueueColumn {
    var column: Column
    /// Whether it is only shown where all are asked for.
    var isWide: Bool
    var cell: (QueueStatistics, Timestamp) -> String
}

extension QueueStatistics {
    /// The columns of the table; those that are not wide fit into 80 characters at ordinary numbers.
    fileprivate static func columns(hasLimits: Bool) -> [QueueColumn] {
        func column(
            _ column: Column,
            isWide: Bool = false,
            _ cell: @escaping (QueueStatistics, Timestamp) -> String
        ) -> QueueColumn {
            QueueColumn(column: column, isWide: isWide, cell: cell)
        }
        return [
            column(.text("region")) { queue, _ in queue.region.rawValue },
            column(.number("entries")) { queue, _ in "\(queue.entries)" },
            column(.number("raw"), isWide: true) { queue, _ in bytesText(queue.rawBytes) },
            column(.number("stored")) { queue, _ in bytesText(queue.storedBytes) },
            column(.number("oldest")) { queue, now in queue.oldestMilliseconds(now: now).map(durationText) ?? "-" },
            column(.number("use"), isWide: !hasLimits) { queue, now in
                queue.limitUse(at: now).map(percentText) ?? "-"
            },
            column(.number("head"), isWide: true) { queue, _ in "\(queue.headPosition)" },
            column(.number("next"), isWide: true) { queue, _ in "\(queue.nextPosition)" },
            column(.number("accepted")) { queue, _ in "\(queue.accepted)" },
            column(.number("acknowledged"), isWide: true) { queue, _ in "\(queue.acknowledged)" },
            column(.number("drained"), isWide: true) { queue, _ in "\(queue.drained)" },
            column(.number("dropped"), isWide: true) { queue, _ in "\(queue.dropped)" },
            column(.number("dead"), isWide: true) { queue, _ in "\(queue.dead)" },
            column(.number("retried"), isWide: true) { queue, _ in "\(queue.retried)" },
            column(.number("lost"), isWide: true) { queue, _ in "\(queue.lost)" },
            column(.number("attempts"), isWide: true) { queue, _ in "\(queue.attempts)" },
            column(.flags("flags")) { queue, now in
                let marks = queue.marks(now: now)
                return marks.isEmpty ? "-" : marks.joined(separator: ",")
            },
        ]
    }
}
