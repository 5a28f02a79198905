private import Bytes
package import RegionFailover

/// A write that its region did not take, set aside so that the writes behind it can go on: a row of a table `dead`.
///
/// The key is the position that it had in the queue.
package struct DeadRow: Sendable, Hashable {
    /// Why it was parked.
    package enum Cause: UInt8, Sendable, Hashable, CaseIterable {
        /// It was refused as often as the policy allows.
        case attempts = 1
        /// A write of the same key was parked before it.
        case key = 2

        /// The name that the tool prints.
        package var name: String { String(describing: self) }
    }

    package var cause: Cause
    /// How often it was sent.
    package var attempts: UInt32
    package var parkedAt: Timestamp
    /// What the receiver said last; at most ``reasonMax`` bytes of UTF-8.
    package var reason: String
    package var entry: FrameContent.Entry

    /// The longest reason, in bytes of UTF-8.
    package static let reasonMax = 1024

    /// The most bytes that the row of an entry takes, its key and checksum with it.
    ///
    /// `rawBytes`: The entry's bytes of key, value and clock.
    package static func bytesMax(rawBytes: Int) -> Int { rawBytes + reasonMax + 256 }

    package init(
        cause: Cause,
        attempts: UInt32,
        parkedAt: Timestamp,
        reason: String,
        entry: FrameContent.Entry
    ) {
        self.cause = cause
        self.attempts = attempts
        self.parkedAt = parkedAt
        self.reason = reason
        self.entry = entry
    }

    /// The row's fields, without the checksum.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = [cause.rawValue]
        bytes.append(bigEndian: attempts)
        bytes.append(bigEndian: parkedAt.milliseconds)
        let reason = Self.cut(reason).utf8
        bytes.append(bigEndian: UInt16(reason.count))
        bytes.append(contentsOf: reason)
        bytes.append(contentsOf: FrameContent.encode([entry]))
        return bytes
    }

    /// As much of a reason as fits, whole characters of Unicode.
    private static func cut(_ reason: String) -> Substring {
        let bytes = reason.utf8
        let end = bytes.index(bytes.startIndex, offsetBy: reasonMax, limitedBy: bytes.endIndex)
        // A string is cut at the last whole scalar before an index inside one.
        return reason[..<(end ?? bytes.endIndex)]
    }

    /// Reads what ``encoded()`` wrote.
    package init(decoding fields: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(fields)
        let cause = try reader.byte("cause")
        guard let cause = Cause(rawValue: cause) else { throw FormatError("cause \(cause) is unknown") }
        self.cause = cause
        attempts = try reader.number(UInt32.self, "attempts")
        parkedAt = Timestamp(milliseconds: try reader.signed("parked at"))
        let reasonLength = Int(try reader.number(UInt16.self, "reason length"))
        guard reasonLength <= Self.reasonMax else { throw FormatError("a reason of \(reasonLength) bytes") }
        let reason = try reader.array(reasonLength, "reason")
        self.reason = String(decoding: reason, as: UTF8.self)
        let content = try reader.array(reader.remaining, "entry")
        let entries = try FrameContent.decode(content.span)
        guard entries.count == 1 else { throw FormatError("a dead letter holds \(entries.count) entries") }
        entry = entries[0]
    }

    /// Reads a stored pair, and proves it.
    package static func read(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        in table: Table
    ) throws(FormatError) -> (position: UInt64, row: DeadRow) {
        let fields = try Row.open(value, key: key, in: table)
        return (try Key.number(from: key.span), try DeadRow(decoding: fields.span))
    }
}
