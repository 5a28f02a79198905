package import Bytes
package import RegionFailover

/// Everything about one queue but its entries: a row of the table `regions`.
package struct RegionRow: Sendable, Hashable {
    /// Names the tables of the queue; a number is never used for a second queue.
    package var number: UInt32
    /// The position that the next entry gets.
    package var nextPosition: UInt64 = 1
    /// The cursor: the first position that is still queued, or `nextPosition` when none is.
    package var headPosition: UInt64 = 1
    /// Entries that are queued.
    package var entries: UInt64 = 0
    /// Bytes of their keys, values and clocks.
    package var rawBytes: UInt64 = 0
    /// Bytes of the blocks that hold them, keys included.
    package var storedBytes: UInt64 = 0
    /// When the first of them was appended; without meaning when none is.
    package var oldestEnqueuedAt = Timestamp(milliseconds: 0)
    /// The chain's digest after the last entry that was ever queued.
    package var chain = Hash128.zero
    package var counters = Counters()
    /// Entries acknowledged since the queue was last empty: what the event `replayed` tells.
    package var acknowledgedSinceEmpty: UInt64 = 0
    /// How often the entry at the cursor was handed out and not acknowledged, as of the last time that was stored.
    package var attempts: UInt32 = 0
    package var needsResync = false
    package var isPaused = false
    /// When a pause is meant to end; nil when nobody said.
    package var pausedUntil: Timestamp?
    package var pauseReason = ""
    package var limits = QueueLimits()

    /// Where every entry that was accepted has gone.
    ///
    /// Each entry is in one of them, or queued.
    package struct Counters: Sendable, Hashable {
        package var accepted: UInt64 = 0
        package var acknowledged: UInt64 = 0
        package var drained: UInt64 = 0
        package var dropped: UInt64 = 0
        package var dead: UInt64 = 0
        package var lost: UInt64 = 0
        /// Dead letters that were queued again, each at a new position.
        package var retried: UInt64 = 0

        package init() {}
    }

    package init(number: UInt32) { self.number = number }

    /// Whether accepted = queued + acknowledged + drained + dropped + dead + lost.
    package var isBalanced: Bool {
        let gone = [counters.acknowledged, counters.drained, counters.dropped, counters.dead, counters.lost]
        return gone.reduce(entries, &+) == counters.accepted
    }

    /// The longest reason of a pause, in bytes of UTF-8.
    package static let pauseReasonMax = 1024

    private static let version: UInt8 = 1
    private enum Flag {
        static let needsResync: UInt8 = 1
        static let isPaused: UInt8 = 2
        static let pausedUntil: UInt8 = 4
        static let entriesMax: UInt8 = 8
        static let bytesMax: UInt8 = 16
        static let ageMax: UInt8 = 32
        static let share: UInt8 = 64
        static let all: UInt8 = 127
    }

    /// The row's fields, without the checksum.
    package func encoded() -> [UInt8] {
        var flags: UInt8 = 0
        if needsResync { flags |= Flag.needsResync }
        if isPaused { flags |= Flag.isPaused }
        if pausedUntil != nil { flags |= Flag.pausedUntil }
        if limits.entriesMax != nil { flags |= Flag.entriesMax }
        if limits.bytesMax != nil { flags |= Flag.bytesMax }
        if limits.ageMaxMilliseconds != nil { flags |= Flag.ageMax }
        if limits.sharePercent != nil { flags |= Flag.share }
        var bytes: [UInt8] = [Self.version, flags]
        bytes.reserveCapacity(210)
        bytes.append(bigEndian: number)
        for value in [nextPosition, headPosition, entries, rawBytes, storedBytes] { bytes.append(bigEndian: value) }
        bytes.append(bigEndian: oldestEnqueuedAt.milliseconds)
        bytes.append(bigEndian: chain.high)
        bytes.append(bigEndian: chain.low)
        for value in [counters.accepted, counters.acknowledged, counters.drained] { bytes.append(bigEndian: value) }
        for value in [counters.dropped, counters.dead, counters.lost, counters.retried] {
            bytes.append(bigEndian: value)
        }
        bytes.append(bigEndian: acknowledgedSinceEmpty)
        bytes.append(bigEndian: attempts)
        bytes.append(bigEndian: pausedUntil?.milliseconds ?? 0)
        bytes.append(bigEndian: limits.entriesMax ?? 0)
        bytes.append(bigEndian: limits.bytesMax ?? 0)
        bytes.append(bigEndian: limits.ageMaxMilliseconds ?? 0)
        bytes.append(limits.sharePercent ?? 0)
        bytes.append(limits.overflow.rawValue)
        let reason = pauseReason.utf8.prefix(Self.pauseReasonMax)
        bytes.append(bigEndian: UInt16(reason.count))
        bytes.append(contentsOf: reason)
        return bytes
    }

    /// Reads a stored pair, and proves it.
    package static func read(_ key: [UInt8], _ value: Span<UInt8>) throws(FormatError) -> (RegionID, RegionRow) {
        guard let region = RegionID(utf8: key) else { throw FormatError("the key is no region name") }
        let fields = try Row.open(value, key: key, in: .regions)
        return (region, try RegionRow(decoding: fields.span))
    }

    /// Reads what ``encoded()`` wrote.
    package init(decoding fields: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(fields)
        let version = try reader.byte("row version")
        guard version == Self.version else { throw FormatError("region row version \(version) is unknown") }
        let flags = try reader.byte("row flags")
        guard flags & ~Flag.all == 0 else { throw FormatError("region row flags \(flags) are unknown") }
        number = try reader.number(UInt32.self, "queue number")
        nextPosition = try reader.number(UInt64.self, "next position")
        headPosition = try reader.number(UInt64.self, "head position")
        entries = try reader.number(UInt64.self, "entries")
        rawBytes = try reader.number(UInt64.self, "raw bytes")
        storedBytes = try reader.number(UInt64.self, "stored bytes")
        oldestEnqueuedAt = Timestamp(milliseconds: try reader.signed("oldest time"))
        chain = try reader.hash("chain")
        counters.accepted = try reader.number(UInt64.self, "accepted")
        counters.acknowledged = try reader.number(UInt64.self, "acknowledged")
        counters.drained = try reader.number(UInt64.self, "drained")
        counters.dropped = try reader.number(UInt64.self, "dropped")
        counters.dead = try reader.number(UInt64.self, "dead")
        counters.lost = try reader.number(UInt64.self, "lost")
        counters.retried = try reader.number(UInt64.self, "retried")
        acknowledgedSinceEmpty = try reader.number(UInt64.self, "acknowledged since empty")
        attempts = try reader.number(UInt32.self, "attempts")
        let until = Timestamp(milliseconds: try reader.signed("paused until"))
        let entriesMax = try reader.number(UInt64.self, "entry limit")
        let bytesMax = try reader.number(UInt64.self, "byte limit")
        let age = try reader.number(UInt64.self, "age limit")
        let share = try reader.byte("share")
        let overflow = try reader.byte("overflow")
        guard let overflow = QueueLimits.Overflow(rawValue: overflow) else {
            throw FormatError("overflow policy \(overflow) is unknown")
        }
        let reasonLength = Int(try reader.number(UInt16.self, "reason length"))
        guard reasonLength <= Self.pauseReasonMax else { throw FormatError("a reason of \(reasonLength) bytes") }
        let reason = try reader.array(reasonLength, "pause reason")
        try reader.end("a region row")
        needsResync = flags & Flag.needsResync != 0
        isPaused = flags & Flag.isPaused != 0
        pausedUntil = flags & Flag.pausedUntil == 0 ? nil : until
        pauseReason = String(decoding: reason, as: UTF8.self)
        limits = QueueLimits(
            entriesMax: flags & Flag.entriesMax == 0 ? nil : entriesMax,
            bytesMax: flags & Flag.bytesMax == 0 ? nil : bytesMax,
            ageMaxMilliseconds: flags & Flag.ageMax == 0 ? nil : age,
            overflow: overflow,
            sharePercent: flags & Flag.share == 0 ? nil : share
        )
        guard nextPosition > 0, headPosition > 0, headPosition <= nextPosition, entries <= nextPosition - headPosition
        else {
            throw FormatError("the cursor \(headPosition) is beyond the next position \(nextPosition)")
        }
    }
}
