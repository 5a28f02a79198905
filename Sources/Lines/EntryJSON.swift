internal import Bytes
private import FoundationEssentials
internal import Holdfast
package import RegionFailover
package import ReplayFormat

/// In which form values are printed.
package enum ValueForm: String, CaseIterable, Sendable {
    case none
    case lengthAndHash = "len-hash"
    case hex, base64, utf8

    /// Whether the bytes can be had back.
    package var carriesBytes: Bool { self != .none && self != .lengthAndHash }
}

extension QueueEntry {
    /// The entry, with its value in a form.
    package func json(_ region: RegionID, _ form: ValueForm) -> JSON {
        .object(
            [("region", .string(region.rawValue)), ("position", .unsigned(position))] + write.members(form)
                + [("enqueuedAtMs", .integer(enqueuedAt.milliseconds))]
        )
    }
}

extension OutstandingWrite {
    /// The write's part of an object.
    package func members(_ form: ValueForm) -> [(String, JSON)] {
        var members: [(String, JSON)] = [
            ("origin", .string(origin.rawValue)), ("incarnation", .unsigned(incarnation)),
            ("sequence", .unsigned(sequence)), ("kind", .string(kind.name)),
        ]
        if let key = String(validating: key, as: UTF8.self) {
            members.append(("key", .string(key)))
        } else {
            members += form.members("key", key)
        }
        members += form.members("value", value)
        if !clock.isEmpty { members += form.members("clock", clock) }
        if let timestamp { members.append(("timestampMs", .integer(timestamp.milliseconds))) }
        return members
    }
}

extension ValueForm {
    /// The members of an object that say `bytes` under `name`.
    package func members(_ name: String, _ bytes: [UInt8]) -> [(String, JSON)] {
        switch self {
        case .none: []
        case .lengthAndHash:
            [("\(name)Bytes", .unsigned(UInt64(bytes.count))), ("\(name)Hash", .string(hashText(bytes)))]
        case .hex: [("\(name)Hex", .string(hexText(bytes)))]
        case .base64: [("\(name)Base64", .string(Data(bytes).base64EncodedString()))]
        case .utf8:
            if let text = String(validating: bytes, as: UTF8.self) {
                [(name, .string(text))]
            } else {
                [("\(name)Base64", .string(Data(bytes).base64EncodedString()))]
            }
        }
    }

    /// What a table's cell says of `bytes`.
    package func text(_ bytes: [UInt8]) -> String {
        switch self {
        case .none: ""
        case .lengthAndHash: "\(bytes.count) B \(hashText(bytes))"
        case .hex: hexText(bytes)
        case .base64: Data(bytes).base64EncodedString()
        case .utf8: String(validating: bytes, as: UTF8.self) ?? "base64:" + Data(bytes).base64EncodedString()
        }
    }
}

extension OutstandingWrite.Kind {
    /// The name in JSON.
    package var name: String { self == .put ? "put" : "delete" }
}

/// XXH3-64 of `bytes`, in 16 hexadecimal digits.
package func hashText(_ bytes: [UInt8]) -> String { hexadecimal(XXH3.hash64(bytes.span)) }

private func hexText(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}
