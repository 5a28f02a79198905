/// The name of a region, such as `eu-west-1`.
///
/// A name is 1 to ``lengthMax`` bytes out of `A-Z a-z 0-9 . _ -`. Names are compared by their bytes, so that their order
/// is the order of keys on disk: text that looks the same but has other bytes, which Swift's `String` takes for equal,
/// cannot be a name at all.
public struct RegionID: Sendable, Hashable {
    /// How many bytes a name has at most.
    public static let lengthMax = 63

    /// The name as text; ASCII only.
    public let rawValue: String

    /// Creates a region name from text that comes from outside.
    ///
    /// Swift reads `RegionID("eu")`, with a literal, as the literal itself and traps on a bad one; pass a variable to get
    /// the error.
    ///
    /// - Parameter name: 1 to ``lengthMax`` bytes out of `A-Z a-z 0-9 . _ -`.
    /// - Throws: ``FailoverError/Code-swift.struct/invalidConfiguration`` with the field `region`, when `name` is not a
    ///   name.
    public init(_ name: String) throws(FailoverError) {
        guard Self.isName(name.utf8) else {
            let shown = String(decoding: name.utf8.prefix(Self.lengthMax + 1), as: UTF8.self)
            throw .invalidConfiguration(field: "region", "'\(shown)' is not the name of a region. \(Self.syntax)")
        }
        self.rawValue = name
    }

    /// Creates a region name from bytes, such as a key on disk.
    ///
    /// - Parameter utf8: 1 to ``lengthMax`` bytes out of `A-Z a-z 0-9 . _ -`; for anything else the result is nil.
    public init?(utf8: some Collection<UInt8>) {
        guard Self.isName(utf8) else { return nil }
        self.rawValue = String(decoding: utf8, as: UTF8.self)
    }

    private static let syntax = "A name is 1 to \(lengthMax) of A-Z a-z 0-9 . _ - and nothing else."

    private static func isName(_ bytes: some Collection<UInt8>) -> Bool {
        var length = 0
        for byte in bytes {
            length += 1
            guard length <= lengthMax, isNameByte(byte) else { return false }
        }
        return length > 0
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: false
        }
    }
}

extension RegionID: Comparable {
    /// Orders names by their bytes.
    ///
    /// A name is ASCII, for which the order of `String` is the order of bytes.
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

extension RegionID: CustomStringConvertible {
    /// The name itself.
    public var description: String { rawValue }
}

extension RegionID: ExpressibleByStringLiteral {
    /// Creates a region name from a literal in the source; traps when it is not a name.
    ///
    /// - Parameter value: 1 to ``lengthMax`` bytes out of `A-Z a-z 0-9 . _ -`.
    public init(stringLiteral value: String) {
        precondition(Self.isName(value.utf8), "'\(value)' is not the name of a region. \(Self.syntax)")
        self.rawValue = value
    }
}
