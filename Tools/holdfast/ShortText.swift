/// Texts of a few characters, for a view where every column counts.

/// A number in at most seven characters: exact below ten million, then with a letter for the thousands.
func shortCount(_ count: UInt64) -> String {
    guard count >= 10_000_000 else { return "\(count)" }
    return scaled(Double(count), by: 1000, ["", "k", "M", "G", "T", "P", "E"])
}

/// A number a second in at most six characters.
func shortRate(_ rate: Double) -> String {
    guard rate > 0, rate.isFinite else { return "0" }
    if rate < 0.05 { return "<0.1" }
    if rate < 99.95 { return rate.rounded() == rate ? "\(Int(rate))" : decimal(rate) }
    if rate < 99_999.5 { return "\(Int(rate.rounded()))" }
    return scaled(rate, by: 1000, ["", "k", "M", "G", "T", "P", "E"])
}

/// A number of bytes in at most seven characters.
func shortBytes(_ count: UInt64) -> String {
    count < 1000 ? "\(count) B" : scaled(Double(count), by: 1024, ["", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// A value with three digits at most and its unit.
private func scaled(_ value: Double, by step: Double, _ units: [String]) -> String {
    var (value, unit) = (value, 0)
    // 999.5 would be rounded to four digits.
    while value >= 999.5, unit + 1 < units.count { (value, unit) = (value / step, unit + 1) }
    guard value < 1e6 else { return "huge" }
    return (value < 9.95 ? decimal(value) : "\(Int(value.rounded()))") + units[unit]
}

/// A length of time in at most seven characters.
func shortDuration(_ milliseconds: Double) -> String {
    guard milliseconds < 8.64e11 else { return ">9999d" }
    let whole = Int64(max(0, milliseconds).rounded())
    func pair(_ first: Int64, _ unit: String, _ second: Int64, _ smaller: String) -> String {
        "\(first)\(unit)\(second < 10 ? "0" : "")\(second)\(smaller)"
    }
    let seconds = whole / 1000
    return switch whole {
    case ..<1000: "\(whole)ms"
    case ..<9_950: "\(decimal(Double(whole) / 1000))s"
    case ..<60_000: "\(seconds)s"
    case ..<3_600_000: pair(seconds / 60, "m", seconds % 60, "s")
    case ..<86_400_000: pair(seconds / 3600, "h", seconds / 60 % 60, "m")
    case ..<8_640_000_000: pair(seconds / 86_400, "d", seconds / 3600 % 24, "h")
    default: "\(seconds / 86_400)d"
    }
}

/// A share, as per cent.
func percentText(_ share: Double) -> String {
    guard share < 99.995 else { return ">9999%" }
    let percent = max(0, share) * 100
    // Not 100 before it is, and not 0 where something is.
    if share < 1, percent > 99 { return "99%" }
    return percent > 0 && percent < 1 ? "<1%" : "\(Int(percent))%"
}

/// How many columns of a terminal a text takes.
func columnCount(_ text: String) -> Int {
    let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
    return isPlain ? text.utf8.count : text.reduce(0) { $0 + columnCount($1) }
}

/// The same of a text with colours.
func visibleColumnCount(_ text: String) -> Int {
    var isEscape = false
    let shown = text.filter { character in
        if isEscape {
            isEscape = character != "m"
            return false
        }
        isEscape = character == "\u{1B}"
        return !isEscape
    }
    return columnCount(shown)
}

private func columnCount(_ character: Character) -> Int {
    character.unicodeScalars.reduce(0) { max($0, columnCount($1)) }
}

/// Two for the wide scalars of East Asia and for pictures, none for marks that go on others, one for the rest.
private func columnCount(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    switch scalar.value {
    case 0x1100...0x115F, 0x231A...0x231B, 0x2E80...0x303E, 0x3041...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3,
        0xF900...0xFAFF, 0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
        0x1F680...0x1F6FF, 0x1F900...0x1FAFF, 0x20000...0x3FFFD:
        return 2
    default: return 1
    }
}

/// `text` in at most `columns`, with `mark` in place of what was cut out of its middle.
func shortened(_ text: String, to columns: Int, _ mark: String) -> String {
    guard columnCount(text) > columns else { return text }
    let room = columns - columnCount(mark)
    guard room > 1 else { return clipped(text, to: columns) }
    let start = clipped(text, to: (room + 1) / 2)
    let end = String(clipped(String(text.reversed()), to: room - columnCount(start)).reversed())
    return start + mark + end
}

/// As much of the beginning of `text` as fits into `columns`.
func clipped(_ text: String, to columns: Int) -> String {
    guard columnCount(text) > columns else { return text }
    var (result, used) = ("", 0)
    for character in text {
        used += columnCount(character)
        guard used <= columns else { break }
        result.append(character)
    }
    return result
}
