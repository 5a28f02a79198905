import Holdfast
import ReplayStore

/// The rows of the live view: a line a region, with columns that stand under each other.
struct QueueRows {
    /// How wide each column is, and what is left out where the screen is narrow.
    struct Layout {
        var name = 0
        /// The widths of the columns of numbers; 0 for one that is left out.
        var numbers: [Int] = []
        var bar = 0
        /// The width of what a bar is followed by: how much of a limit is used.
        var use = 0
        var gap = 2
        var isShort = false
        /// Whether the marks stand in a line of their own, under their region.
        var marksBelow = false
    }

    let layout: Layout
    private let sight: QueueSight
    private let queues: [QueueStatistics]
    private let screen: Screen
    private let deepest: UInt64

    private static let titles = ["entries", "stored", "in/s", "out/s", "oldest", "left"]
    /// So wide at least, so that a column does not jump with every digit.
    private static let widthsMin = [7, 7, 5, 5, 6, 6]
    /// Which columns go first where even short texts do not fit.
    private static let leftOut = [1, 3, 2, 5, 4]
    private static let barMin = 6
    private static let barMax = 32
    private static let nameMin = 14
    /// Room for the words that stand among the names: region, total.
    private static let titleWidth = 6

    init(_ sight: QueueSight, _ queues: [QueueStatistics], layout: Layout? = nil, on screen: Screen) {
        self.sight = sight
        self.queues = queues
        self.screen = screen
        deepest = sight.look.queues.map(\.entries).max() ?? 0
        self.layout = layout ?? Self.layout(sight, queues, on: screen)
    }

    // MARK: Layout

    private static func layout(_ sight: QueueSight, _ queues: [QueueStatistics], on screen: Screen) -> Layout {
        let name = queues.map(\.region.rawValue.utf8.count).max() ?? 0
        let marks = queues.map { markText($0, sight).utf8.count }.max() ?? 0
        let hasUse = sight.look.totalUse != nil || queues.contains { $0.limitUse(at: sight.look.time) != nil }
        let use = hasUse ? 6 : 0
        // From the roomiest to the tightest: what is tried first costs least.
        let tries: [(isShort: Bool, gap: Int, marksBelow: Bool, cutsNames: Bool)] = [
            (false, 2, false, false), (true, 2, false, false), (true, 1, false, false), (true, 2, true, false),
            (true, 1, true, false), (true, 1, false, true), (true, 1, true, true),
        ]
        var last = Layout()
        for attempt in tries {
            if attempt.marksBelow, marks == 0 { continue }
            let numbers = widths(sight, queues, isShort: attempt.isShort)
            var layout = Layout(name: max(name, nameMin), numbers: numbers, bar: barMin, use: use)
            layout.gap = attempt.gap
            layout.isShort = attempt.isShort
            layout.marksBelow = attempt.marksBelow
            let inline = attempt.marksBelow || marks == 0 ? 0 : marks + attempt.gap
            if attempt.cutsNames {
                layout.name = max(
                    min(name, nameMin),
                    titleWidth,
                    screen.columns - (width(layout) - layout.name) - inline
                )
            }
            last = layout
            let left = screen.columns - width(layout) - inline
            guard left >= 0 else { continue }
            layout.bar = min(barMax, barMin + left)
            return layout
        }
        return narrowed(last, on: screen)
    }

    /// Leaves out columns until the rest fits.
    private static func narrowed(_ layout: Layout, on screen: Screen) -> Layout {
        var layout = layout
        if width(layout) > screen.columns { (layout.bar, layout.use) = (0, layout.use) }
        for column in leftOut where width(layout) > screen.columns { layout.numbers[column] = 0 }
        return layout
    }

    private static func width(_ layout: Layout) -> Int {
        let numbers = layout.numbers.filter { $0 > 0 }
        let bar = layout.bar + layout.use
        return layout.name + numbers.reduce(0) { $0 + $1 + layout.gap } + (bar > 0 ? layout.gap + bar : 0)
    }

    private static func widths(_ sight: QueueSight, _ queues: [QueueStatistics], isShort: Bool) -> [Int] {
        var widths = zip(titles, widthsMin).map { max($0.utf8.count, $1) }
        let rows = queues.map { numbers($0, sight, isShort) } + [totals(sight, isShort)]
        for row in rows {
            for (index, cell) in row.enumerated() { widths[index] = max(widths[index], cell.utf8.count) }
        }
        return widths
    }

    // MARK: Cells

    private static func numbers(_ queue: QueueStatistics, _ sight: QueueSight, _ isShort: Bool) -> [String] {
        numbers(
            entries: queue.entries,
            bytes: queue.storedBytes,
            sight.rates[queue.region],
            oldest: queue.oldestMilliseconds(now: sight.look.time),
            isShort
        )
    }

    private static func totals(_ sight: QueueSight, _ isShort: Bool) -> [String] {
        func sum(_ value: (QueueStatistics) -> UInt64) -> UInt64 {
            sight.look.queues.reduce(0) { sum, queue in
                let (result, overflow) = sum.addingReportingOverflow(value(queue))
                return overflow ? .max : result
            }
        }
        return numbers(
            entries: sum(\.entries),
            bytes: sum(\.storedBytes),
            sight.totalRate,
            oldest: sight.look.queues.compactMap { $0.oldestMilliseconds(now: sight.look.time) }.max(),
            isShort
        )
    }

    private static func numbers(
        entries: UInt64,
        bytes: UInt64,
        _ rate: QueueRate?,
        oldest: Int64?,
        _ isShort: Bool
    ) -> [String] {
        [
            isShort ? shortCount(entries) : "\(entries)", isShort ? shortBytes(bytes) : bytesText(bytes),
            rate.map { shortRate($0.incoming) } ?? "-", rate.map { shortRate($0.outgoing) } ?? "-",
            oldest.map { shortDuration(Double($0)) } ?? "-", rate?.outlook(entries).text ?? "-",
        ]
    }

    private static func markText(_ queue: QueueStatistics, _ sight: QueueSight) -> String {
        sight.look.marks(queue).joined(separator: ", ")
    }

    // MARK: Lines

    /// The names of the columns.
    var heading: FrameLine {
        var line = FrameLine()
        line.add(row("region", Self.titles), .bold)
        let bar = layout.bar + layout.use
        let title = layout.use > 0 ? "of limit" : "of deepest"
        if bar > 0 { line.add(gap + padded(title.utf8.count > bar ? "share" : title, to: bar), .bold) }
        return line
    }

    /// The regions' lines.
    var lines: [FrameLine] { queues.flatMap(lines) }

    /// How many lines a region takes.
    func lineCount(_ queue: QueueStatistics) -> Int {
        layout.marksBelow && !Self.markText(queue, sight).isEmpty ? 2 : 1
    }

    private func lines(_ queue: QueueStatistics) -> [FrameLine] {
        let use = queue.limitUse(at: sight.look.time)
        // The heading says of what a bar is a share: of the limit, or where none is set, of the deepest.
        let ofDeepest = deepest > 0 ? Double(queue.entries) / Double(deepest) : 0
        let share = use ?? (layout.use > 0 ? nil : ofDeepest)
        let name = shortened(queue.region.rawValue, to: layout.name, screen.ellipsis)
        var line = FrameLine(row(name, Self.numbers(queue, sight, layout.isShort)))
        addBar(to: &line, share, use)
        let marks = Self.markText(queue, sight)
        guard !marks.isEmpty else { return [line] }
        let paint: FrameLine.Paint = sight.look.urgency(queue) >= 3 ? .alarm : .mark
        guard layout.marksBelow else {
            line.add(gap)
            line.add(marks, paint)
            return [line]
        }
        return [line, FrameLine("  \(screen.isUnicode ? "└" : "`") \(marks)", paint)]
    }

    /// All regions together.
    var total: FrameLine {
        var line = FrameLine(row("total", Self.totals(sight, layout.isShort)), .bold)
        if let use = sight.look.totalUse { addBar(to: &line, use, use) }
        return line
    }

    private var gap: String { String(repeating: " ", count: layout.gap) }

    private func padded(_ text: String, to width: Int, right: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - columnCount(text)))
        return right ? space + text : text + space
    }

    private func row(_ name: String, _ numbers: [String]) -> String {
        var line = padded(name, to: layout.name)
        for (cell, width) in zip(numbers, layout.numbers) where width > 0 {
            line += gap + padded(cell, to: width, right: true)
        }
        return line
    }

    private func addBar(to line: inout FrameLine, _ share: Double?, _ use: Double?) {
        guard layout.bar + layout.use > 0 else { return }
        let bar =
            share.map { Self.bar($0, width: layout.bar, isUnicode: screen.isUnicode, hasTrack: use != nil) }
            ?? padded("", to: layout.bar)
        let paint: FrameLine.Paint = (use ?? 0) >= 0.8 ? .alarm : .plain
        line.add(gap)
        line.add(bar, paint)
        line.add(padded(use.map(percentText) ?? "", to: layout.use, right: true), paint)
    }

    /// A bar of at most `width` characters, in eighths of a character where the screen has them.
    static func bar(_ share: Double, width: Int, isUnicode: Bool, hasTrack: Bool) -> String {
        guard width > 0 else { return "" }
        let clamped = min(1, max(0, share))
        let steps = isUnicode ? 8 : 2
        var filled = Int((clamped * Double(width * steps)).rounded(.down))
        // Something is never drawn as nothing.
        if clamped > 0 { filled = max(1, filled) }
        let partial = isUnicode ? ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"] : ["", "-"]
        let bar = String(repeating: isUnicode ? "█" : "#", count: filled / steps) + partial[filled % steps]
        let track = hasTrack ? (isUnicode ? "·" : ".") : " "
        return bar + String(repeating: track, count: width - bar.count)
    }
}
