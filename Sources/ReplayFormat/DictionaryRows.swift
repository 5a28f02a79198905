private import Bytes

/// The rows of the table `dictionaries`: trained zstd dictionaries, by number.
///
/// Each is there twice: one flipped bit would otherwise take every block with it that names the dictionary.
package enum DictionaryRow {
    /// How often each dictionary is stored.
    package static let copies: UInt8 = 2
    /// The most bytes in a dictionary.
    package static let bytesMax = 64 << 10

    /// The key of a copy, counted from 0.
    package static func key(_ number: UInt32, copy: UInt8) -> [UInt8] {
        var key: [UInt8] = []
        key.append(bigEndian: number)
        key.append(copy)
        return key
    }

    /// Reads a stored pair, and proves it: the dictionary's number, which copy it is, and its bytes.
    package static func read(
        _ key: [UInt8],
        _ value: Span<UInt8>
    ) throws(FormatError) -> (number: UInt32, copy: UInt8, bytes: [UInt8]) {
        let fields = try Row.open(value, key: key, in: .dictionaries)
        var reader = ByteReader(key.span)
        let number = try reader.number(UInt32.self, "dictionary")
        let copy = try reader.byte("copy")
        try reader.end("the key of a dictionary")
        guard number > 0, copy < copies else { throw FormatError("copy \(copy) of dictionary \(number)") }
        guard (8...bytesMax).contains(fields.count) else {
            throw FormatError("a dictionary of \(fields.count) bytes")
        }
        return (number, copy, fields)
    }
}
