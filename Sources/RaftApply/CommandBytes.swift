private import Bytes
import RegionFailover
import ReplayFormat
import ReplayStore

// The parts that commands and outcomes are made of.

extension [UInt8] {
    /// Bytes after their number.
    mutating func append(field: [UInt8]) {
        append(varint: UInt64(field.count))
        append(contentsOf: field)
    }

    /// A byte 0, or a byte 1 and the value.
    mutating func append<Value>(optional value: Value?, _ body: (inout [UInt8], Value) -> Void) {
        append(value == nil ? 0 : 1)
        if let value { body(&self, value) }
    }

    mutating func append(epoch: UInt64?) { append(optional: epoch) { $0.append(bigEndian: $1) } }

    mutating func append(selection: DeadLetterSelection) {
        switch selection {
        case .all: append(0)
        case .positions(let positions):
            append(1)
            append(varint: UInt64(positions.count))
            for position in positions.sorted() { append(bigEndian: position) }
        case .key(let key):
            append(2)
            append(field: key)
        }
    }
}

extension ByteReader {
    mutating func field(_ name: StaticString) throws(FormatError) -> [UInt8] {
        try array(try length(name, limit: remaining), name)
    }

    mutating func text(_ name: StaticString) throws(FormatError) -> String {
        let bytes = try field(name)
        guard let text = String(validating: bytes, as: UTF8.self) else { throw FormatError("\(name) is no text") }
        return text
    }

    mutating func time(_ name: StaticString) throws(FormatError) -> Timestamp? {
        try flag(name) ? Timestamp(milliseconds: try signed(name)) : nil
    }

    mutating func epoch() throws(FormatError) -> UInt64? {
        try flag("epoch") ? try number(UInt64.self, "epoch") : nil
    }

    mutating func selection() throws(FormatError) -> DeadLetterSelection {
        switch try byte("selection") {
        case 0: return .all
        case 1:
            var positions: Set<UInt64> = []
            for _ in 0..<(try length("positions", limit: remaining / 8)) {
                positions.insert(try number(UInt64.self, "position"))
            }
            return .positions(positions)
        case 2: return .key(try field("key"))
        default: throw FormatError("a selection of dead letters is unknown")
        }
    }
}
