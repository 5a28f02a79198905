import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast queues`: what each region has not received.
struct Queues: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show each region's queue: how much waits, how long, and where everything else went.",
        discussion: """
            Works while another process has the store open. With --watch it looks again and again: on a terminal as a view \
            that is drawn anew in place until q or Ctrl-C, elsewhere as a line a region and look, or with --format jsonl as \
            one JSON object a region and look. A bar is how much of its limits a queue uses, and none where it has none; \
            where no queue has a limit, it is its share of the deepest. 'left' is the time until the queue is empty as it \
            goes on now: 'grows' where more comes in than goes out, 'stands' where nothing changes. Where not all regions \
            fit on the screen those with a mark come first; the arrow keys and Page Up and Page Down show the others.

            Each entry that was accepted is counted once more, as queued (entries), acknowledged, drained, dropped (by a \
            limit, or a dead letter given up with 'dlq drop'), dead (a dead letter) or lost (damaged or missing). 'lost' \
            lists the positions of those that were dropped or lost.

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
        help: ArgumentHelp(
            "With --watch: how long between two looks, such as 500ms or 2min; 1s.",
            valueName: "duration"
        )
    )
    var interval: LengthOfTime?
    @Option(help: "With --watch: end after so many looks.")
    var count: Int?
    @Option(help: "Use colours: auto (on a terminal, unless NO_COLOR is set), always or never.")
    var color = ColorChoice.auto

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count is at least 1.") }
        if let interval, !(100...86_400_000).contains(interval.milliseconds) {
            throw ValidationError("--interval is from 100ms to 24h.")
        }
        guard !watch else {
            if format.format == .json { throw ValidationError("With --watch the formats are table and jsonl.") }
            return
        }
        if count != nil { throw ValidationError("--count needs --watch.") }
        if interval != nil { throw ValidationError("--interval needs --watch.") }
    }

    func run() throws {
        guard !watch else {
            return try QueueWatch(
                store: argument.store,
                isJSON: format.format == .jsonl,
                intervalMilliseconds: Int64(interval?.milliseconds ?? 1000),
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
        try printer.end(empty: "The deployment has no region.", notes: look.queues.compactMap(\.pauseText))
        if let failure = look.damage(argument.store) { throw failure }
    }
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
