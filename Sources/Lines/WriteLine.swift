private import FoundationEssentials
internal import Holdfast
package import ReplayFormat

/// A line of input that is no write.
///
/// It never repeats the line's content, which may be a secret.
package struct MalformedLine: Error {
    package var reason: String
    /// Whether the line lacks what who reads it could have given.
    package var lacksIncarnation = false

    package init(_ reason: String) { self.reason = reason }
}

extension OutstandingWrite {
    /// Reads a write from a line of JSON, in the names that `records`, `drain` and `dlq export` print.
    ///
    /// `incarnation` is that of a line that has none.
    package init(line: [UInt8], incarnation: UInt64?) throws(MalformedLine) {
        let members = try Self.members(line)
        let known: Set<String> = [
            "origin", "incarnation", "sequence", "kind", "timestampMs", "key", "keyBase64", "keyHex", "value",
            "valueBase64",
            "valueHex", "clock", "clockBase64", "clockHex",
            // What is printed with an entry and says nothing about the write.
            "region", "position", "enqueuedAtMs", "cause", "attempts", "parkedAtMs", "reason",
        ]
        for name in members.keys.sorted() where !known.contains(name) { throw Self.unknown(name) }
        func number(_ name: String) throws(MalformedLine) -> UInt64? {
            guard let value = members[name] else { return nil }
            guard let number = value.unsignedValue else {
                throw MalformedLine("\"\(name)\" is no whole number from 0 to 18446744073709551615")
            }
            return number
        }
        guard let sequence = try number("sequence") else { throw MalformedLine("\"sequence\" is missing") }
        guard let life = try number("incarnation") ?? incarnation else {
            var error = MalformedLine("\"incarnation\" is missing")
            error.lacksIncarnation = true
            throw error
        }
        guard let key = try Self.bytes("key", members, max: Self.keySizeMax) else {
            throw MalformedLine("\"key\" is missing")
        }
        guard let value = try Self.bytes("value", members, max: Self.valueSizeMax) else {
            throw MalformedLine("\"value\" is missing")
        }
        self.init(
            origin: try Self.origin(members),
            incarnation: life,
            sequence: sequence,
            key: key,
            value: value,
            kind: try Self.kind(members),
            timestamp: try Self.timestamp(members),
            clock: try Self.bytes("clock", members, max: Self.clockSizeMax) ?? []
        )
    }

    private static func members(_ line: [UInt8]) throws(MalformedLine) -> [String: JSON] {
        let json: JSON
        do throws(JSONError) {
            json = try JSON(parsing: line)
        } catch {
            throw MalformedLine(error.description)
        }
        guard let members = json.members else { throw MalformedLine("it is no JSON object") }
        return members
    }

    /// A name that is no plain word may be a secret that slipped out of its quotes, and is not repeated.
    private static func unknown(_ name: String) -> MalformedLine {
        let isWord =
            name.utf8.count <= 40
            && name.utf8.allSatisfy { byte in
                byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
                    || byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
            }
        if name == "valueHash" || name == "valueBytes" {
            return MalformedLine("it has no value, only its \"\(name)\"; print entries with --values base64")
        }
        return MalformedLine(isWord ? "the name \"\(name)\" is unknown" : "a name in it is unknown")
    }

    private static func origin(_ members: [String: JSON]) throws(MalformedLine) -> RegionID {
        guard let value = members["origin"] else { throw MalformedLine("\"origin\" is missing") }
        guard let name = value.stringValue, let origin = RegionID(utf8: name.utf8) else {
            throw MalformedLine("\"origin\" is no name of a region: 1 to 63 of A-Z a-z 0-9 . _ -")
        }
        return origin
    }

    private static func kind(_ members: [String: JSON]) throws(MalformedLine) -> Kind {
        guard let value = members["kind"] else { return .put }
        guard let kind = Kind.allCases.first(where: { $0.name == value.stringValue }) else {
            throw MalformedLine("\"kind\" is neither \"put\" nor \"delete\"")
        }
        return kind
    }

    private static func timestamp(_ members: [String: JSON]) throws(MalformedLine) -> Timestamp? {
        guard let value = members["timestampMs"] else { return nil }
        guard let milliseconds = value.signedValue else {
            throw MalformedLine("\"timestampMs\" is no whole number of milliseconds")
        }
        return Timestamp(milliseconds: milliseconds)
    }

    /// Bytes that are given as text, as base64 or as hexadecimal digits; nil when they are not given at all.
    private static func bytes(
        _ name: String,
        _ members: [String: JSON],
        max: Int
    ) throws(MalformedLine) -> [UInt8]? {
        let forms = ["", "Base64", "Hex"].filter { members[name + $0] != nil }
        guard let form = forms.first else { return nil }
        guard forms.count == 1 else { throw MalformedLine("\"\(name)\" is given twice, in two forms") }
        guard let text = members[name + form]?.stringValue else { throw MalformedLine("\"\(name + form)\" is no text") }
        let bytes: [UInt8]
        switch form {
        case "Base64":
            guard let decoded = base64Bytes(text) else { throw MalformedLine("\"\(name)Base64\" is no base64") }
            bytes = decoded
        case "Hex":
            guard let decoded = hexadecimalBytes(text) else {
                throw MalformedLine("\"\(name)Hex\" is no even number of hexadecimal digits")
            }
            bytes = decoded
        default: bytes = Array(text.utf8)
        }
        guard bytes.count <= max else {
            throw MalformedLine("the \(name) has \(bytes.count) bytes; at most \(max) are possible")
        }
        return bytes
    }
}

/// The bytes that base64 stands for, as it is written here; nil for anything else.
///
/// The last digit before the padding has bits that stand for nothing. They are zero: bytes have one text only.
package func base64Bytes(_ text: String) -> [UInt8]? {
    guard let data = Data(base64Encoded: text) else { return nil }
    let last = text.utf8.last { $0 != UInt8(ascii: "=") }
    let isCanonical =
        switch data.count % 3 {
        case 1: last.map("AQgw".utf8.contains) ?? false
        case 2: last.map("AEIMQUYcgkosw048".utf8.contains) ?? false
        default: true
        }
    guard isCanonical, text.utf8.count == (data.count + 2) / 3 * 4 else { return nil }
    return Array(data)
}

/// The bytes that hexadecimal digits stand for; nil when they are not such digits, or not pairs of them.
private func hexadecimalBytes(_ text: String) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return nil }
        bytes.append(high << 4 | low)
    }
    return bytes
}
