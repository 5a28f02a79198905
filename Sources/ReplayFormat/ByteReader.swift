private import Bytes

/// Bytes that are not what the format says; `description` tells what was expected.
package struct FormatError: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// Reads fields one after another, and throws where the bytes end too early.
package struct ByteReader: ~Escapable {
    private let bytes: Span<UInt8>
    private(set) var offset = 0

    @_lifetime(copy bytes)
    package init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    /// How many bytes are left.
    package var remaining: Int { bytes.count - offset }

    private mutating func take(_ count: Int, _ field: StaticString) throws(FormatError) -> Int {
        guard count >= 0, count <= remaining else { throw FormatError("\(field) ends too early") }
        defer { offset += count }
        return offset
    }

    package mutating func byte(_ field: StaticString) throws(FormatError) -> UInt8 {
        bytes[try take(1, field)]
    }

    /// A byte that is 0 or 1.
    package mutating func flag(_ field: StaticString) throws(FormatError) -> Bool {
        let value = try byte(field)
        guard value <= 1 else { throw FormatError("\(field) is \(value), neither 0 nor 1") }
        return value == 1
    }

    package mutating func number<Value: FixedWidthInteger & UnsignedInteger>(
        _ type: Value.Type,
        _ field: StaticString
    ) throws(FormatError) -> Value {
        let width = Value.bitWidth / 8
        let start = try take(width, field)
        if width == 8 { return Value(truncatingIfNeeded: bytes.bigEndian(at: start)) }
        var value: Value = 0
        for index in start..<(start + width) { value = value &<< 8 | Value(truncatingIfNeeded: bytes[index]) }
        return value
    }

    package mutating func signed(_ field: StaticString) throws(FormatError) -> Int64 {
        Int64(bitPattern: try number(UInt64.self, field))
    }

    package mutating func array(_ count: Int, _ field: StaticString) throws(FormatError) -> [UInt8] {
        let start = try take(count, field)
        return bytes.extracting(start..<(start + count)).array
    }

    /// A number in LEB128: seven bits a byte, low bits first, the high bit set on all bytes but the last.
    package mutating func varint(_ field: StaticString) throws(FormatError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = bytes[try take(1, field)]
            let bits = UInt64(byte & 0x7F)
            guard shift < 63 || bits <= 1 else { throw FormatError("\(field) is more than 64 bits") }
            value |= bits &<< shift
            if byte < 0x80 { return value }
            shift += 7
            guard shift < 70 else { throw FormatError("\(field) is more than 64 bits") }
        }
    }

    /// A count or a length, which must be at most `limit`.
    package mutating func length(_ field: StaticString, limit: Int) throws(FormatError) -> Int {
        let value = try varint(field)
        guard value <= UInt64(limit) else { throw FormatError("\(field) is \(value), more than \(limit)") }
        return Int(value)
    }

    /// Throws unless every byte was read.
    package func end(_ what: StaticString) throws(FormatError) {
        guard remaining == 0 else { throw FormatError("\(what) has \(remaining) bytes too many") }
    }
}

extension [UInt8] {
    package mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }
}
