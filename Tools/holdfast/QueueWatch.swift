import FoundationEssentials
import Holdfast
import Lines
import Platform
import ReplayStore

/// `holdfast queues --watch`: looks at a store again and again.
struct QueueWatch {
    let store: String
    let isJSON: Bool
    let intervalMilliseconds: Int64
    let count: Int?
    let style: Style

    /// What was seen last, and what is to be said of it.
    private struct State {
        var sight: QueueSight?
        var note: String?
        var failure: HoldfastError?
        /// Whether the last look differs from the one before in what must be said.
        var hasNews = false
    }

    /// Looks until it is told to end, or has looked often enough.
    ///
    /// A store that cannot be read at first is an error. One that goes away later is waited for.
    func run() throws {
        let environment = ProcessInfo.processInfo.environment
        var state = State()
        look(&state)
        if let failure = state.failure { throw failure }
        if Output.isTerminal, !isJSON, environment["TERM"] != "dumb" {
            try draw(&state, isUnicode: Self.isUnicode(environment))
        } else {
            try list(&state)
        }
        if let failure = state.failure { throw failure }
    }

    /// Whether the locale's characters are those of UTF-8.
    static func isUnicode(_ environment: [String: String]) -> Bool {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        let name = locale.lowercased()
        return name.contains("utf-8") || name.contains("utf8")
    }

    private func look(_ state: inout State) {
        do throws(HoldfastError) {
            // Opened anew each time, so that what is seen is what is there: also after a compaction or another store.
            let look = try QueueLook(at: store)
            state.hasNews = state.failure != nil
            if state.failure != nil { state.note = nil }
            state.failure = nil
            if let before = state.sight?.look, before.store != look.store {
                state.note = "Another store since \(timeText(look.time)): \(look.store)"
                state.hasNews = true
            }
            if let damage = look.damage(store)?.message, state.note != damage {
                state.note = damage
                state.hasNews = true
            }
            state.sight = QueueSight(look, after: state.sight?.look)
        } catch {
            state.hasNews = state.failure?.code != error.code
            state.failure = error
            state.note = "Not as of now: \(error.message)"
        }
    }

    // MARK: Lines

    private func list(_ state: inout State) throws {
        let output = Output()
        var (looks, due) = (0, System.monotonicNanoseconds)
        while true {
            if looks > 0 { look(&state) }
            looks += 1
            if state.hasNews { talk("holdfast: \(printable(state.note ?? "The store can be read again."))") }
            if state.failure == nil, let sight = state.sight {
                for queue in sight.look.queues { try output.line(line(queue, sight)) }
                try output.flush()
            }
            if let count, looks >= count { return }
            due = next(due)
            System.sleep(milliseconds: Self.wait(until: due))
        }
    }

    private func line(_ queue: QueueStatistics, _ sight: QueueSight) -> String {
        let (now, rate) = (sight.look.time, sight.rates[queue.region])
        let outlook = rate?.outlook(queue.entries)
        guard !isJSON else {
            var seconds = JSON.null
            if case .drained(let left)? = outlook { seconds = .double(left) }
            return JSON.object(
                [("atMs", .integer(now.milliseconds))] + queue.members(now: now) + [
                    ("inPerSecond", rate.map { .double($0.incoming) } ?? .null),
                    ("outPerSecond", rate.map { .double($0.outgoing) } ?? .null), ("secondsToDrained", seconds),
                ]
            ).line
        }
        let damage = sight.look.beyond[queue.region] == nil ? [] : ["damaged"]
        let marks = (damage + queue.marks(now: now)).map { $0.split(separator: " ").joined(separator: "-") }
        var words = [
            timeText(now), queue.region.rawValue, "entries=\(queue.entries)", "storedBytes=\(queue.storedBytes)",
            "in/s=\(rate.map { decimal($0.incoming) } ?? "-")", "out/s=\(rate.map { decimal($0.outgoing) } ?? "-")",
            "oldest=\(queue.oldestMilliseconds(now: now).map { shortDuration(Double($0)) } ?? "-")",
            "left=\(outlook?.text ?? "-")",
        ]
        if let use = queue.limitUse(at: now) { words.append("use=\(percentText(use))") }
        words.append("flags=\(marks.isEmpty ? "-" : marks.joined(separator: ","))")
        return words.joined(separator: " ")
    }

    // MARK: The view

    private func draw(_ state: inout State, isUnicode: Bool) throws {
        let events = try TerminalEvents()
        let terminal = TerminalScreen()
        var (looks, due) = (1, System.monotonicNanoseconds)
        let isWhole = intervalMilliseconds % 1000 == 0 && intervalMilliseconds < 60_000
        let every = isWhole ? "\(intervalMilliseconds / 1000) s" : durationText(intervalMilliseconds)
        let hint = "A look every \(every). q or Ctrl-C ends."
        var lines: [String] = []
        var offset = 0
        func show(_ scroll: Scroll? = nil) throws {
            guard let sight = state.sight else { return }
            let size = terminal.size
            let screen = Screen(rows: size.rows, columns: size.columns, isUnicode: isUnicode, style: style)
            if let scroll {
                let most = QueueFrame(sight, store: store, note: state.note).offsetMax(on: screen)
                offset = max(0, min(most, offset + scroll.rows(on: screen)))
            }
            lines = QueueFrame(sight, store: store, note: state.note, hint: hint, offset: offset).lines(on: screen)
            try terminal.show(lines, on: size)
        }
        var ending: CInt?
        do {
            try terminal.enter()
            try show()
            due = next(due)
            watching: while looks < count ?? .max {
                switch events.next(within: Self.wait(until: due)) {
                case .none:
                    guard System.monotonicNanoseconds >= due else { continue }
                    look(&state)
                    looks += 1
                    due = next(due)
                    try show()
                case .resized: try show()
                case .suspended:
                    try terminal.leave()
                    events.suspend()
                    try terminal.enter()
                    try show()
                case .typed(let keys):
                    if keys.contains(UInt8(ascii: "q")) { break watching }
                    if let scroll = Scroll(keys) { try show(scroll) }
                case .ended(let signal):
                    ending = signal
                    break watching
                }
            }
        } catch {
            try? terminal.leave()
            throw error
        }
        // What was seen last stays in the terminal's own lines, without the one that says how to leave.
        try? terminal.leave(keeping: lines.last == hint ? lines.dropLast() : lines)
        guard let ending else {
            if count == nil { state.failure = nil }
            return
        }
        events.end()
        System.end(bySignal: ending)
    }

    /// A key that moves what is shown.
    enum Scroll: String, CaseIterable {
        case up = "\u{1B}[A"
        case down = "\u{1B}[B"
        case pageUp = "\u{1B}[5~"
        case pageDown = "\u{1B}[6~"

        /// The key that was typed; nil for any other.
        init?(_ keys: [UInt8]) {
            let text = String(decoding: keys, as: UTF8.self)
            guard let key = Self.allCases.first(where: { text.hasPrefix($0.rawValue) }) else { return nil }
            self = key
        }

        func rows(on screen: Screen) -> Int {
            let page = max(1, screen.rows - 6)
            return switch self {
            case .up: -1
            case .down: 1
            case .pageUp: -page
            case .pageDown: page
            }
        }
    }

    /// When the next look is due: late ones are left out.
    private func next(_ due: UInt64) -> UInt64 {
        let interval = UInt64(intervalMilliseconds) * 1_000_000
        return max(due + interval, System.monotonicNanoseconds)
    }

    private static func wait(until due: UInt64) -> Int64 {
        let now = System.monotonicNanoseconds
        return now >= due ? 0 : Int64(clamping: (due - now) / 1_000_000 + 1)
    }
}

/// The terminal's other screen, on which the view is drawn in place.
final class TerminalScreen {
    private let output = Output()

    /// Its size as it is now.
    var size: TerminalSize { Output.terminalSize ?? TerminalSize(rows: 24, columns: 80) }

    /// Switches to it, without a cursor and without the breaking of lines that are too long.
    func enter() throws {
        output.text("\u{1B}[?1049h\u{1B}[?25l\u{1B}[?7l")
        try output.flush()
    }

    /// Switches back, and prints what is to stay.
    func leave(keeping lines: [String] = []) throws {
        output.text("\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l")
        for line in lines { output.text(line + "\n") }
        try output.flush()
    }

    /// Draws over what is there: each line to its end, then what is left below.
    func show(_ lines: [String], on size: TerminalSize) throws {
        let ended = lines.map { line in
            // After a character in the last column the cursor still stands on it, and would erase it.
            visibleColumnCount(line) < size.columns ? line + "\u{1B}[K" : line
        }
        // To the next line before what is below is erased; on the last line of the screen there is nothing below.
        let rest = lines.count < size.rows ? "\r\n\u{1B}[J" : ""
        output.text("\u{1B}[H" + ended.joined(separator: "\r\n") + rest)
        try output.flush()
    }
}
