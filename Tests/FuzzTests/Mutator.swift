import HoldfastTesting

/// Makes a new input of one that is known: the same seed makes the same inputs.
struct Mutator {
    var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func number(below end: Int) -> Int { Int.random(in: 0..<max(1, end), using: &random) }

    mutating func isOne(of count: Int) -> Bool { number(below: count) == 0 }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[number(below: elements.count)] }

    /// Numbers at which lengths and counts go wrong.
    private static let extremes: [UInt64] = [
        0, 1, 2, 7, 8, 9, 127, 128, 255, 256, 257, 511, 1023, 4096, 65_535, 65_536, 1 << 24, 17_039_360, 17_039_361,
        1 << 31 - 1, 1 << 31, 1 << 32 - 1, 1 << 32, 1 << 63 - 1, 1 << 63, .max - 255, .max - 1, .max,
    ]

    mutating func extreme() -> UInt64 { pick(Self.extremes) }

    /// One to a few changes of a corpus member, spliced with another one now and then.
    mutating func mutate(_ corpus: [[UInt8]]) -> [UInt8] {
        var bytes = pick(corpus)
        if isOne(of: 6) { bytes = splice(bytes, pick(corpus)) }
        for _ in 0...number(below: isOne(of: 4) ? 8 : 2) { change(&bytes) }
        return bytes
    }

    private mutating func splice(_ first: [UInt8], _ second: [UInt8]) -> [UInt8] {
        Array(first.prefix(number(below: first.count + 1)) + second.suffix(number(below: second.count + 1)))
    }

    /// Flips, sets, inserts, deletes, copies, truncates, or writes a number that may be a length.
    mutating func change(_ bytes: inout [UInt8]) {
        guard !bytes.isEmpty else { return bytes.append(UInt8.random(in: 0...255, using: &random)) }
        let place = number(below: bytes.count)
        switch number(below: 10) {
        case 0, 1: bytes[place] ^= 1 << UInt8(number(below: 8))
        case 2, 3: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 4: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        case 5: bytes.removeSubrange(place..<min(bytes.count, place + 1 + number(below: 8)))
        case 6:
            let end = min(bytes.count, place + 1 + number(below: 32))
            bytes.insert(contentsOf: Array(bytes[place..<end]), at: number(below: bytes.count))
        case 7: bytes.removeLast(number(below: isOne(of: 4) ? bytes.count : min(bytes.count, 16)))
        case 8: write(extreme(), width: pick([1, 2, 4, 8]), into: &bytes, at: place)
        default:
            // A number in LEB128.
            var rest = extreme()
            var varint: [UInt8] = []
            while rest >= 0x80 {
                varint.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            varint.append(UInt8(truncatingIfNeeded: rest))
            bytes.replaceSubrange(place..<min(bytes.count, place + 1 + number(below: 2)), with: varint)
        }
    }

    private mutating func write(_ value: UInt64, width: Int, into bytes: inout [UInt8], at place: Int) {
        let isLittle = isOne(of: 2)
        for index in 0..<width where place + index < bytes.count {
            let shift = 8 * (isLittle ? index : width - 1 - index)
            bytes[place + index] = UInt8(truncatingIfNeeded: value >> UInt64(shift))
        }
    }

    // MARK: Text

    private static let words = [
        "0", "-1", "18446744073709551615", "18446744073709551614", "18446744073709551616", "9223372036854775807",
        "-9223372036854775808", "1e400", "1.5", "null", "true", "[]", "{}", "\"\"", "\"\\ud800\"", "\"\\u0000\"",
        "[[[[[[[[[[[[[[[[", "{\"a\":", "\\", "\"", "\u{7f}", ",", ":", "}", "]",
    ]

    /// The same for lines of text: lines are moved, and numbers and words changed, as often as bytes.
    mutating func mutateText(_ corpus: [[UInt8]]) -> [UInt8] {
        var lines = pick(corpus).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map {
            Array($0)
        }
        for _ in 0...number(below: isOne(of: 4) ? 8 : 2) {
            let place = number(below: lines.count)
            switch number(below: 8) {
            case 0: lines.insert(lines[place], at: number(below: lines.count))
            case 1 where lines.count > 1: lines.remove(at: place)
            case 2: lines.swapAt(place, number(below: lines.count))
            case 3, 4: changeNumber(&lines[place])
            case 5:
                lines[place].insert(contentsOf: Array(pick(Self.words).utf8), at: number(below: lines[place].count + 1))
            default: change(&lines[place])
            }
        }
        return Array(lines.joined(separator: [UInt8(ascii: "\n")]))
    }

    /// Puts another word where a number stands.
    mutating func changeNumber(_ line: inout [UInt8]) {
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        let starts = line.indices.filter { isDigit(line[$0]) && ($0 == 0 || !isDigit(line[$0 - 1])) }
        guard !starts.isEmpty else { return change(&line) }
        let start = pick(starts)
        let end = line[start...].firstIndex { !isDigit($0) } ?? line.count
        let word = isOne(of: 2) ? "\(extreme())" : pick(Self.words)
        line.replaceSubrange(start..<end, with: Array(word.utf8))
    }
}
