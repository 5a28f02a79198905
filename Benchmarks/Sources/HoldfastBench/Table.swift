import Foundation

/// The table for people.
enum Table {
    /// One kind of work: a line a contestant.
    ///
    /// For each of Holdfast's two settings it has the ratio, the goal and whether that is met. A ratio that loses is marked.
    static func text(_ result: WorkResult) -> String {
        guard !result.figures.isEmpty else { return "\n[\(result.work.name)] None of these contestants takes part." }
        let rounds = result.rounds == 1 ? "1 round" : "median of \(result.rounds) rounds"
        var lines = ["", "\(result.work.title)", "[\(result.work.name), \(rounds)]"]
        lines.append(
            row(
                ["peer", result.work.unit, "CPU ns/entry"] + ["raw/peer", "", "goal", "met?"]
                    + ["zstd/peer", "", "goal", "met?"]
            )
        )
        for figures in result.figures {
            var cells = [figures.name, number(figures.median)]
            cells.append(figures.cpuNanosecondsPerEntry.map { number($0) } ?? "")
            for ours in WorkResult.ours {
                guard let comparison = result.comparison(ours, figures) else {
                    cells += ["", "", "", ""]
                    continue
                }
                cells.append(String(format: "%.2f", comparison.ratio))
                cells.append(comparison.isLost ? "lost" : "")
                cells.append(comparison.goal.map { String(format: "%g", $0) } ?? "-")
                cells.append(comparison.isMet.map { $0 ? "yes" : "NO" } ?? "-")
            }
            lines.append(row(cells))
        }
        return lines.joined(separator: "\n")
    }

    /// One line about all goals.
    static func summary(_ results: [WorkResult]) -> String {
        let judged = results.flatMap(\.comparisons).filter { $0.goal != nil }
        let met = judged.count { $0.isMet == true }
        return "\n\(met) of \(judged.count) goals met."
    }

    private static let widths = [29, 13, 12, 8, 4, 5, 4, 10, 4, 5, 4]

    private static func row(_ cells: [String]) -> String {
        var line = ""
        for (index, cell) in cells.enumerated() {
            let room = String(repeating: " ", count: max(0, widths[index] - cell.count))
            line += (index == 0 ? "  " + cell + room : " " + room + cell)
        }
        while line.last == " " { line.removeLast() }
        return line
    }

    private static func number(_ value: Double) -> String {
        guard value >= 100 else { return String(format: "%.2f", value) }
        var digits = String(Int(value.rounded()))
        var grouped = ""
        while digits.count > 3 {
            grouped = "," + digits.suffix(3) + grouped
            digits.removeLast(3)
        }
        return digits + grouped
    }
}
