import Holdfast
import HoldfastTesting

/// What the values are.
enum ValueKind: String, Sendable, CaseIterable {
    /// Orders in JSON: the same names, other numbers and words.
    case json
    /// Statements of a graph, one a line, with long names that repeat.
    case triples
    /// Bytes that nothing can compress.
    case random
}

/// Keys and values that a seed decides, in the form that each store takes.
final class Records: Sendable {
    /// Every record one behind the other: the key's length in two bytes, little-endian, the key, the value.
    let bytes: [UInt8]
    /// Where each begins, and where the last one ends.
    let offsets: [UInt64]
    private let keys: [[UInt8]]
    private let values: [[UInt8]]
    /// The bytes of keys and values.
    let payloadBytes: Int

    /// How many.
    var count: Int { keys.count }

    /// Makes `count` records with values of `valueSize` bytes.
    init(_ kind: ValueKind, valueSize: Int, count: Int, seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var bytes: [UInt8] = []
        var offsets: [UInt64] = [0]
        var keys: [[UInt8]] = []
        var values: [[UInt8]] = []
        for number in 0..<count {
            let key = Array("order-\(Self.padded(number, to: 8))".utf8)
            let value = Self.value(kind, valueSize, number, &random)
            bytes.append(UInt8(key.count & 255))
            bytes.append(UInt8(key.count >> 8))
            bytes += key
            bytes += value
            offsets.append(UInt64(bytes.count))
            keys.append(key)
            values.append(value)
        }
        self.bytes = bytes
        self.offsets = offsets
        self.keys = keys
        self.values = values
        payloadBytes = bytes.count - 2 * count
    }

    /// The region whose writes they are.
    static let origin: RegionID = "us-east-1"

    /// Some of them as Holdfast takes them; the first has that sequence.
    func writes(_ range: Range<Int>, firstSequence: UInt64) -> [OutstandingWrite] {
        range.map { index in
            OutstandingWrite(
                origin: Self.origin,
                incarnation: 1,
                sequence: firstSequence + UInt64(index - range.lowerBound),
                key: keys[index],
                value: values[index]
            )
        }
    }

    // MARK: Values

    private static let words = [
        "blue", "lamp", "table", "oak", "small", "garden", "chair", "steel", "round", "mirror", "cotton", "set", "of",
        "four", "with", "green", "cover", "returned", "gift", "wrapped", "urgent", "please", "ring", "twice", "leave",
        "at", "the", "door", "second", "floor", "ask", "for",
    ]
    private static let predicates = ["price", "weight", "madeBy", "soldIn", "category", "label", "seeAlso", "stock"]

    private static func padded(_ number: Int, to width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    private static func value(_ kind: ValueKind, _ size: Int, _ number: Int, _ random: inout SplitMix64) -> [UInt8] {
        switch kind {
        case .json: json(size, number, &random)
        case .triples: triples(size, number, &random)
        case .random: (0..<size).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
    }

    private static func json(_ size: Int, _ number: Int, _ random: inout SplitMix64) -> [UInt8] {
        let customer = padded(Int(random.next() % 100_000), to: 5)
        let cents = Int(random.next() % 50_000)
        let pieces = Int(random.next() % 9) + 1
        var text = #"{"order":\#(number),"customer":"c-\#(customer)","pieces":\#(pieces),"cents":\#(cents),"note":""#
        while text.utf8.count < size { text += words[Int(random.next() % UInt64(words.count))] + " " }
        // Cut to the size that was asked for, and still an object.
        return Array(text.utf8.prefix(size - 2)) + Array(#""}"#.utf8)
    }

    private static func triples(_ size: Int, _ number: Int, _ random: inout SplitMix64) -> [UInt8] {
        var text = ""
        while text.utf8.count < size {
            let predicate = predicates[Int(random.next() % UInt64(predicates.count))]
            text += "<http://example.org/product/\(number)> <http://example.org/vocabulary#\(predicate)> "
            text += "\"\(random.next() % 100_000)\"^^<http://www.w3.org/2001/XMLSchema#integer> .\n"
        }
        return Array(text.utf8.prefix(size))
    }
}
