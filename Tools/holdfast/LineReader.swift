import Holdfast
import Lines
import Platform

/// Lines of a file or of standard input, read piece by piece.
struct LineReader {
    /// A line, without what ends it.
    enum Line {
        case text([UInt8])
        /// It has more than ``LineReader/lengthMax`` bytes, and was passed over.
        case tooLong
    }

    /// The most bytes in a line: whatever the tool prints it can read.
    ///
    /// A byte of a text is at most six in JSON, `\u0001`; in hexadecimal digits and in base64 it is fewer. The names and the
    /// numbers beside them are far less than 1 MiB.
    static let lengthMax =
        6 * (OutstandingWrite.valueSizeMax + OutstandingWrite.keySizeMax + OutstandingWrite.clockSizeMax) + 1 << 20
    private static let pieceBytes = 256 << 10

    private let file: File
    /// The size of the file; nil when it is none, such as a pipe.
    let size: Int64?
    /// The bytes that were read so far.
    private(set) var bytesRead: Int64 = 0
    /// The number of the last line, from 1.
    private(set) var number: UInt64 = 0
    private var piece: [UInt8] = []
    private var start = 0
    private var isAtEnd = false

    /// Reads the file at `path`, or standard input when there is none or it is `-`.
    init(_ path: String?) throws(SystemError) {
        if let path, path != "-" {
            file = try File(path, 0)
            let size = try file.size()
            self.size = size > 0 ? size : nil
        } else {
            file = File(adopting: 0, path: "standard input")
            size = nil
        }
    }

    /// The next line; nil at the end.
    mutating func next() throws(SystemError) -> Line? {
        var line: [UInt8] = []
        var isTooLong = false
        while true {
            if start == piece.count {
                piece = isAtEnd ? [] : try file.read(atMost: Self.pieceBytes)
                start = 0
                bytesRead += Int64(piece.count)
                isAtEnd = piece.isEmpty
            }
            if isAtEnd {
                guard !line.isEmpty || isTooLong else { return nil }
                number += 1
                return isTooLong ? .tooLong : .text(line)
            }
            let end = piece[start...].firstIndex(of: UInt8(ascii: "\n"))
            let part = piece[start..<(end ?? piece.count)]
            start = end.map { $0 + 1 } ?? piece.count
            if isTooLong || line.count + part.count > Self.lengthMax {
                isTooLong = true
                line = []
            } else {
                line.append(contentsOf: part)
            }
            guard end == nil else {
                number += 1
                return isTooLong ? .tooLong : .text(line)
            }
        }
    }
}
