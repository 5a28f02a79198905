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

    private var look: QueueLook { sight.look }

    init(_ sight: QueueSight, store: String, note: String? = nil, hint: String = "") {
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
        let room = max(1, screen.rows - 3 - below.count)
        let all = QueueRows(sight, look.queues, on: screen)
        let shown: QueueRows
        var more: [FrameLine] = []
        if all.lines.count <= room {
            shown = all
        } else {
            let ranked = look.queues.sorted { Self.comesFirst($0, $1, look.time) }
            // What fits depends on what is shown: the layout of all is good for any of them.
            var count = 0
            var used = 1
            while count < ranked.count {
                used += all.lineCount(ranked[count])
                guard used <= room || count == 0 else { break }
                count += 1
            }
            shown = QueueRows(sight, Array(ranked.prefix(count)), layout: all.layout, on: screen)
            let hidden = ranked.dropFirst(count)
            let marked = hidden.filter { !$0.marks(now: look.time).isEmpty }.count
            let marks = marked == 0 ? "" : ", \(marked) of them marked"
            more = [FrameLine("\(screen.ellipsis) and \(hidden.count) more\(marks)", marked == 0 ? .plain : .mark)]
        }
        return [title(on: screen), shown.heading] + shown.lines + more + [shown.total] + below
    }

    /// The deepest first; of the same depth the one that waits longest, then one with a mark.
    private static func comesFirst(_ first: QueueStatistics, _ second: QueueStatistics, _ now: Timestamp) -> Bool {
        if first.entries != second.entries { return first.entries > second.entries }
        let ages = (first.oldestMilliseconds(at: now), second.oldestMilliseconds(at: now))
        if ages.0 != ages.1 { return ages.0 > ages.1 }
        let marks = (first.marks(now: now).isEmpty, second.marks(now: now).isEmpty)
        if marks.0 != marks.1 { return marks.1 }
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
