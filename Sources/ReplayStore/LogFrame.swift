package import RegionFailover
package import ReplayFormat
internal import Zstd

/// A frame as it travels in a replicated log: entries without positions, compressed by whoever proposed them.
///
/// Every replica stores these bytes: two versions of zstd can give different ones for the same entries.
package struct LogFrame: Sendable, Hashable {
    package var isCompressed: Bool
    /// The bytes of the content, uncompressed.
    package var contentLength: Int
    package var bytes: [UInt8]

    /// Frames of `writes`, each of at most 256 entries and 64 KiB, or of one larger entry.
    ///
    /// No dictionary is used: other replicas need not have it.
    package static func build(_ writes: [OutstandingWrite], enqueuedAt: Timestamp, level: Int) -> [LogFrame] {
        let codec = FrameCodec()
        let entries = writes.map { FrameContent.Entry(write: $0, enqueuedAt: enqueuedAt) }
        return PreparedFrame.split(entries).map { part in
            let frame = PreparedFrame(part, codec: codec, level: level)
            return LogFrame(
                isCompressed: frame.isCompressed,
                contentLength: frame.contentLength,
                bytes: frame.bytes
            )
        }
    }

    /// The entries.
    func entries(_ codec: FrameCodec) throws(FormatError) -> [FrameContent.Entry] {
        guard contentLength <= FrameContent.bytesMax else {
            throw FormatError("a frame of \(contentLength) bytes is longer than any")
        }
        guard isCompressed else {
            guard bytes.count == contentLength else { throw FormatError("a frame is not as long as it says") }
            return try FrameContent.decode(bytes.span)
        }
        let content: [UInt8]
        do throws(ZstdError) {
            content = try codec.decompress(bytes.span, count: contentLength, dictionary: nil)
        } catch {
            throw FormatError(error.description)
        }
        return try FrameContent.decode(content.span)
    }

    /// Appends the frame to a command.
    package func append(to bytes: inout [UInt8]) {
        bytes.append(isCompressed ? 1 : 0)
        bytes.append(varint: UInt64(contentLength))
        bytes.append(varint: UInt64(self.bytes.count))
        bytes.append(contentsOf: self.bytes)
    }

    /// Reads what ``append(to:)`` wrote.
    package init(_ reader: inout ByteReader) throws(FormatError) {
        isCompressed = try reader.flag("compressed")
        contentLength = try reader.length("content length", limit: FrameContent.bytesMax)
        let length = try reader.length("frame length", limit: reader.remaining)
        bytes = try reader.array(length, "frame")
    }

    private init(isCompressed: Bool, contentLength: Int, bytes: [UInt8]) {
        self.isCompressed = isCompressed
        self.contentLength = contentLength
        self.bytes = bytes
    }
}
