/// A JSON value whose members keep their order, so that the same thing is always printed the same way.
package enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    case double(Double)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    package static func == (lhs: JSON, rhs: JSON) -> Bool { lhs.line == rhs.line }

    /// The value on one line, without spaces.
    package var line: String {
        var text: [UInt8] = []
        write(into: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Adds the value's text to `text`.
    package func write(into text: inout [UInt8]) {
        switch self {
        case .null: text.append(contentsOf: "null".utf8)
        case .bool(let value): text.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): text.append(contentsOf: String(value).utf8)
        case .unsigned(let value): text.append(contentsOf: String(value).utf8)
        case .double(let value): text.append(contentsOf: String(value).utf8)
        case .string(let value): Self.write(value, into: &text)
        case .array(let values):
            text.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                value.write(into: &text)
            }
            text.append(UInt8(ascii: "]"))
        case .object(let members):
            text.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                Self.write(member.0, into: &text)
                text.append(UInt8(ascii: ":"))
                member.1.write(into: &text)
            }
            text.append(UInt8(ascii: "}"))
        }
    }

    private static let digits = Array("0123456789abcdef".utf8)

    private static func write(_ string: String, into text: inout [UInt8]) {
        text.append(UInt8(ascii: "\""))
        var previous: UInt8 = 0
        for byte in string.utf8 {
            defer { previous = byte }
            switch byte {
            case UInt8(ascii: "\""): text.append(contentsOf: #"\""#.utf8)
            case UInt8(ascii: "\\"): text.append(contentsOf: #"\\"#.utf8)
            case UInt8(ascii: "\n"): text.append(contentsOf: #"\n"#.utf8)
            case UInt8(ascii: "\r"): text.append(contentsOf: #"\r"#.utf8)
            case UInt8(ascii: "\t"): text.append(contentsOf: #"\t"#.utf8)
            case 0..<0x20, 0x7F:
                text.append(contentsOf: #"\u00"#.utf8)
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            // U+0080 to U+009F, which a terminal may obey: the first of their two bytes is there already.
            case 0x80..<0xA0 where previous == 0xC2:
                text.removeLast()
                text.append(contentsOf: #"\u00"#.utf8)
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }
}

/// Text that is no JSON, or not the JSON that was expected.
package struct JSONError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}

extension JSON {
    /// Reads one JSON value.
    ///
    /// An error names the place in the text, and never repeats the text, which may be a secret.
    package init(parsing text: [UInt8]) throws(JSONError) {
        var reader = JSONReader(text)
        self = try reader.document()
    }

    /// The members of an object; nil for anything else.
    package var members: [String: JSON]? {
        guard case .object(let members) = self else { return nil }
        return Dictionary(members, uniquingKeysWith: { _, last in last })
    }

    /// A number from 0 on, also when it is written as a string.
    package var unsignedValue: UInt64? {
        switch self {
        case .unsigned(let value): value
        case .integer(let value): UInt64(exactly: value)
        case .string(let text): text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } ? UInt64(text) : nil
        default: nil
        }
    }

    /// A whole number, also when it is written as a string.
    package var signedValue: Int64? {
        switch self {
        case .unsigned(let value): Int64(exactly: value)
        case .integer(let value): value
        case .string(let text):
            text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 || $0 == UInt8(ascii: "-") } ? Int64(text) : nil
        default: nil
        }
    }

    /// A text; nil for anything else.
    package var stringValue: String? { if case .string(let text) = self { text } else { nil } }

    /// Truth; nil for anything else.
    package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
}
