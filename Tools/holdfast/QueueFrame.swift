import Holdfast
import ReplayStore

/// What the live view is drawn on.
struct Screen {
    var rows: Int
    var columns: Int
    /// Whether it shows more than ASCII.
    var isUnicode: Bool
    var style: Style

    var ellipsis: String { isUnicode ? "…" : "..." }
}

/// A line in the making: texts with their colours, cut off at the edge of the screen.
struct FrameLine {
    enum Paint {
        case plain, bold, alarm, mark
    }

    private var spans: [(text: String, paint: Paint)] = []
    private(set) var width = 0

    init(_ text: String = "", _ paint: Paint = .plain) { add(text, paint) }

    mutating func add(_ text: String, _ paint: Paint = .plain) {
        guard !text.isEmpty else { return }
        spans.append((text, paint))
        width += columnCount(text)
    }

    /// The line as it is sent to the screen, without spaces at its end.
    func text(on screen: Screen) -> String {
        var (result, left) = ("", screen.columns)
        for (index, span) in spans.enumerated() where left > 0 {
            var text = clipped(span.text, to: left)
            left -= columnCount(text)
            if index == spans.count - 1 { while text.last == " " { text.removeLast() } }
            result += Self.painted(text, span.paint, screen.style)
        }
        return result
    }

    private static func painted(_ text: String, _ paint: Paint, _ style: Style) -> String {
        switch paint {
        case .plain: text
        case .bold: style.bold(text)
        case .alarm: style.red(text)
        case .mark: style.magenta(text)
        }
    }
}

/// The live view of a store's queues: what it draws follows from what was seen and from the screen alone.
struct QueueFrame {
    let sight: QueueSight
    let store: String
    /// What went wrong, or changed, for the line above the last.
    let note: String?
    /// How to leave, and how often it looks.
    let hint: String
    /// How many regions are passed over, of those that do not fit all at once.
    let offset: Int

    private var look: QueueLook { sight.look }

    init(_ sight: QueueSight, store: String, note: String? = nil, hint: String = "", offset: Int = 0) {
        self.offset = offset
        self.sight = sight
        self.store = store
        self.note = note
        self.hint = hint
    }

    /// The lines, at most as many as the screen has, none wider than it.
    func lines(on screen: Screen) -> [String] {
        frame(on: screen).prefix(max(1, screen.rows)).map { $0.text(on: screen) }
    }

    private func frame(on screen: Screen) -> [FrameLine] {
        let below = (note == nil ? [] : [noteLine(on: screen)]) + [FrameLine(hint)]
        guard !look.queues.isEmpty else {
            return [title(on: screen), FrameLine("The deployment has no region.")] + below
        }
        // The title, the names of the columns and the total.
        let room = room(on: screen)
        let all = QueueRows(sight, look.queues, on: screen)
        let shown: QueueRows
        var more: [FrameLine] = []
        if all.lines.count <= room {
            shown = all
        } else {
            let ranked = look.queues.sorted(by: comesFirst)
            let start = min(offset, ranked.count - Self.count(ranked.reversed(), all, room))
            let count = Self.count(ranked.dropFirst(start), all, room)
            shown = QueueRows(sight, Array(ranked[start..<(start + count)]), layout: all.layout, on: screen)
            let hidden = ranked[..<start] + ranked[(start + count)...]
            let marked = hidden.filter { !look.marks($0).isEmpty }.count
            let marks = marked == 0 ? "" : ", \(marked) of them marked"
            let place = start == 0 ? "" : ", \(start) of them above"
            more = [
                FrameLine("\(screen.ellipsis) and \(hidden.count) more\(marks)\(place)", marked == 0 ? .plain : .mark)
            ]
        }
        return [title(on: screen), shown.heading] + shown.lines + more + [shown.total] + below
    }

    /// The lines that there are for regions: without the title, the names of the columns, the total and what is below.
    private func room(on screen: Screen) -> Int { max(1, screen.rows - 3 - (note == nil ? 1 : 2)) }

    /// How many of the first `queues` fit, at least one, with a line that says how many do not.
    ///
    /// What fits depends on what is shown: the layout of all is good for any of them.
    private static func count(_ queues: some Sequence<QueueStatistics>, _ all: QueueRows, _ room: Int) -> Int {
        var (count, used) = (0, 1)
        for queue in queues {
            used += all.lineCount(queue)
            guard used <= room || count == 0 else { break }
            count += 1
        }
        return max(1, count)
    }

    /// How many regions can be passed over at most, so that the screen stays full.
    func offsetMax(on screen: Screen) -> Int {
        let all = QueueRows(sight, look.queues, on: screen)
        guard !look.queues.isEmpty, all.lines.count > room(on: screen) else { return 0 }
        let ranked = look.queues.sorted(by: comesFirst)
        return ranked.count - Self.count(ranked.reversed(), all, room(on: screen))
    }

    /// The one that needs attention most first, then the deepest; of the same depth the one that waits longest.
    private func comesFirst(_ first: QueueStatistics, _ second: QueueStatistics) -> Bool {
        let urgency = (look.urgency(first), look.urgency(second))
        if urgency.0 != urgency.1 { return urgency.0 > urgency.1 }
        if first.entries != second.entries { return first.entries > second.entries }
        let ages = (first.oldestMilliseconds(at: look.time), second.oldestMilliseconds(at: look.time))
        if ages.0 != ages.1 { return ages.0 > ages.1 }
        return first.region < second.region
    }

    private func title(on screen: Screen) -> FrameLine {
        let time = timeText(look.time)
        let primary = look.actingPrimary.map { "\($0.rawValue) leads" } ?? "no primary"
        let middle = "  \(primary), epoch \(look.epoch)  "
        var room = screen.columns - columnCount(middle) - columnCount(time)
        var line = FrameLine()
        let name = printable(store)
        if room >= min(12, columnCount(name)) {
            line.add(shortened(name, to: room, screen.ellipsis), .bold)
            line.add(middle)
        } else {
            room = screen.columns - columnCount(time) - 2
            line.add(shortened(name, to: max(1, room), screen.ellipsis), .bold)
            line.add("  ")
        }
        line.add(String(repeating: " ", count: max(0, screen.columns - line.width - columnCount(time))) + time)
        return line
    }

    private func noteLine(on screen: Screen) -> FrameLine {
        FrameLine(clipped(printable(note ?? ""), to: screen.columns), .alarm)
    }
}
