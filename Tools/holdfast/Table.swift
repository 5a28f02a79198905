import Lines

/// A column of a table.
struct Column {
    var title: String
    /// Whether its cells are numbers, which stand at the right.
    var isNumber = false
    /// Colours a cell, given as it is and with what pads it.
    var paint: (@Sendable (Style, _ cell: String, _ padded: String) -> String)?

    static func text(_ title: String) -> Self { Self(title: title) }
    static func number(_ title: String) -> Self { Self(title: title, isNumber: true) }
    /// A column of verdicts.
    static func verdict(_ title: String) -> Self {
        Self(title: title) { style, cell, padded in
            switch cell {
            case "ok": style.green(padded)
            case "fail", "error": style.red(padded)
            default: style.yellow(padded)
            }
        }
    }
    /// A column of marks that somebody should look at, `-` where there is none.
    static func flags(_ title: String) -> Self {
        Self(title: title) { style, cell, padded in
            // No yellow: it cannot be read on a light background.
            cell == "-" ? padded : cell.contains("esync") ? style.red(padded) : style.magenta(padded)
        }
    }
}

/// Prints a list in the format that is wanted, row by row: it holds only the first rows of a table, for their widths.
final class ListPrinter {
    private let output: Output
    private let format: Format
    private let columns: [Column]
    private let style: Style
    /// Rows from which the widths are taken; nil once they are known.
    private var waiting: [[String]]? = []
    private var widths: [Int] = []
    private(set) var count = 0

    private static let rowsMeasured = 256

    init(_ output: Output, _ format: Format, _ columns: [Column], style: Style = Style()) {
        self.style = style
        self.output = output
        self.format = format
        self.columns = columns
    }

    /// Prints a row.
    func row(_ json: @autoclosure () -> JSON, _ cells: @autoclosure () -> [String]) throws {
        count += 1
        switch format {
        case .jsonl: try output.line(json())
        case .json:
            output.text(count == 1 ? "[" : ",\n")
            output.text(json().line)
            if count % 64 == 0 { try output.flush() }
        case .table:
            let row = cells().map { printable($0) }
            guard waiting != nil else { return try line(row) }
            waiting?.append(row)
            if waiting?.count == Self.rowsMeasured { try measure() }
        }
    }

    /// Hands over the rows so far.
    func flush() throws { try output.flush() }

    /// Prints what is left; `empty` is said where a table has no row, and `notes` are printed below a table.
    func end(empty: String, notes: [String] = []) throws {
        switch format {
        case .jsonl: break
        case .json: try output.line(count == 0 ? "[]" : "]")
        case .table:
            if count == 0 { talk(empty) } else { try measure() }
            for note in notes { try output.line(printable(note)) }
        }
        try output.flush()
    }

    private func measure() throws {
        guard let rows = waiting else { return }
        waiting = nil
        widths = columns.map(\.title.count)
        for row in rows {
            for (index, cell) in row.enumerated() { widths[index] = max(widths[index], min(60, cell.count)) }
        }
        try line(columns.map(\.title), isTitle: true)
        for row in rows { try line(row) }
    }

    private func line(_ cells: [String], isTitle: Bool = false) throws {
        var line = ""
        for (index, cell) in cells.enumerated() {
            let padding = String(repeating: " ", count: max(0, widths[index] - cell.count))
            if index > 0 { line += "  " }
            let padded = columns[index].isNumber ? padding + cell : index == cells.count - 1 ? cell : cell + padding
            line += isTitle ? padded : columns[index].paint?(style, cell, padded) ?? padded
        }
        while line.last == " " { line.removeLast() }
        try output.line(isTitle ? style.bold(line) : line)
    }
}

/// Prints one object in the format that is wanted: its facts as lines, or its JSON.
func printObject(_ format: Format, _ json: JSON, _ facts: [(String, String)]) throws {
    let output = Output()
    switch format {
    case .json, .jsonl: try output.line(json)
    case .table:
        let style = Style()
        let width = facts.map(\.0.count).max() ?? 0
        for (name, value) in facts {
            try output.line(style.bold(name) + String(repeating: " ", count: width - name.count + 2) + printable(value))
        }
    }
    try output.flush()
}

/// A number of bytes, for people.
func bytesText(_ count: UInt64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var (value, unit) = (Double(count), "B")
    for larger in units where value >= 1024 { (value, unit) = (value / 1024, larger) }
    return unit == "B" ? "\(count) B" : "\(decimal(value)) \(unit)"
}

/// So many of something, in words; `many` is needed where an s does not do.
func counted(_ count: UInt64, _ one: String, _ many: String? = nil) -> String {
    count == 1 ? "1 \(one)" : "\(count) \(many ?? one + "s")"
}

/// A number with one digit after the point.
func decimal(_ value: Double) -> String {
    guard value.isFinite, value.magnitude < 1e15 else { return "\(value)" }
    let tenths = Int64((value * 10).rounded())
    return "\(tenths < 0 ? "-" : "")\(tenths.magnitude / 10).\(tenths.magnitude % 10)"
}

/// A length of time, for people.
func durationText(_ milliseconds: Int64) -> String {
    switch milliseconds {
    case ..<1000: "\(milliseconds) ms"
    case ..<60_000: "\(decimal(Double(milliseconds) / 1000)) s"
    case ..<3_600_000: "\(milliseconds / 60_000) min \(milliseconds / 1000 % 60) s"
    case ..<172_800_000: "\(milliseconds / 3_600_000) h \(milliseconds / 60_000 % 60) min"
    default: "\(milliseconds / 86_400_000) d \(milliseconds / 3_600_000 % 24) h"
    }
}
