import Platform

/// A line on standard error that tells how far something is: on a terminal, and only when it lasts more than a second.
struct Progress {
    private let unit: String
    private var total: Int64?
    private let isWanted = File(adopting: 2, path: "stderr").isTerminal
    private let started = System.monotonicNanoseconds
    private var printed: UInt64 = 0

    private static let second: UInt64 = 1_000_000_000

    /// Begins; `total` is what `done` comes to at the end, nil when nobody knows.
    init(_ unit: String, total: Int64? = nil) {
        self.unit = unit
        self.total = total
    }

    /// Tells how many units were done, and how much of the total.
    mutating func note(_ count: UInt64, done: Int64, of newTotal: Int64? = nil) {
        if count.isMultiple(of: 64) { noteStep(count, done: done, of: newTotal) }
    }

    /// The same for steps of some length, where asking for the time each time costs nothing.
    mutating func noteStep(_ count: UInt64, done: Int64, of newTotal: Int64? = nil) {
        guard isWanted else { return }
        let now = System.monotonicNanoseconds
        guard now - started > Self.second, now - max(started, printed) > Self.second / 5 else { return }
        printed = now
        total = newTotal ?? total
        let seconds = Double(now - started) / Double(Self.second)
        var text = "\(count) \(unit), \(UInt64(Double(count) / seconds)) a second"
        if let total, done > 0, total >= done {
            let left = seconds * Double(total - done) / Double(done)
            text += ", \(Int(100 * Double(done) / Double(total))) %, \(durationText(Int64(min(left, 1e9) * 1000))) left"
        }
        Self.show("\r\u{1B}[K" + text)
    }

    /// Takes the line away.
    func end() {
        if printed > 0 { Self.show("\r\u{1B}[K") }
    }

    private static func show(_ text: String) {
        try? File(adopting: 2, path: "stderr").write(Array(text.utf8))
    }
}
