private import Bytes
package import RegionFailover
package import ReplayFormat
package import ReplayStore

/// What a command of the failover controller came to: the answer, or a refusal that changed nothing.
package enum FailoverOutcome: Sendable, Hashable {
    case done
    case events([FailoverEvent])
    case promotion(Promotion)
    case appended([AppendReceipt])
    case acknowledged(AcknowledgeReceipt)
    case drained(DrainReceipt)
    /// Entries that were parked, or dead letters that were settled; and whether none is left.
    case count(UInt64, isLast: Bool)
    case refused(HoldfastError)

    /// Everything that replicas must agree on, and the text of a refusal.
    package var row: RaftRows.Outcome {
        var bytes: [UInt8] = []
        switch self {
        case .done: bytes.append(0)
        case .events(let events):
            bytes.append(1)
            bytes.append(events: events)
        case .promotion(let promotion):
            bytes.append(2)
            bytes.append(region: promotion.failed)
            bytes.append(region: promotion.promoted)
            bytes.append(bigEndian: promotion.epoch)
            bytes.append(events: promotion.events)
        case .appended(let receipts):
            bytes.append(3)
            bytes.append(bigEndian: UInt16(receipts.count))
            for receipt in receipts {
                bytes.append(region: receipt.region)
                bytes.append(bigEndian: receipt.positions.lowerBound)
                bytes.append(bigEndian: UInt32(receipt.positions.count))
                bytes.append(varint: UInt64(receipt.duplicates.count))
                for index in receipt.duplicates { bytes.append(varint: UInt64(index)) }
                bytes.append(bigEndian: receipt.dropped)
                bytes.append(events: receipt.events)
            }
        case .acknowledged(let receipt):
            bytes.append(4)
            bytes.append(region: receipt.region)
            for value in [receipt.acknowledged, receipt.goneBefore, receipt.remaining] {
                bytes.append(bigEndian: value)
            }
            bytes.append(events: receipt.events)
        case .drained(let receipt):
            bytes.append(5)
            bytes.append(entries: receipt.entries)
            bytes.append(bigEndian: receipt.remaining)
            bytes.append(events: receipt.events)
        case .count(let count, let isLast):
            bytes.append(6)
            bytes.append(bigEndian: count)
            bytes.append(isLast ? 1 : 0)
        case .refused(let error):
            bytes.append(7)
            bytes.append(refusal: error)
            return RaftRows.Outcome(agreed: bytes, message: error.message)
        }
        return RaftRows.Outcome(agreed: bytes)
    }

    /// Reads what ``row`` made.
    package static func decode(_ row: RaftRows.Outcome) throws(FormatError) -> Self {
        var reader = ByteReader(row.agreed.span)
        let outcome = try decode(&reader, row.message)
        try reader.end("an outcome")
        return outcome
    }

    private static func decode(_ reader: inout ByteReader, _ message: String) throws(FormatError) -> Self {
        switch try reader.byte("outcome") {
        case 0: return .done
        case 1: return .events(try reader.events())
        case 2:
            let failed = try reader.region("region")
            let promoted = try reader.region("region")
            let epoch = try reader.number(UInt64.self, "epoch")
            let events = try reader.events()
            return .promotion(Promotion(failed: failed, promoted: promoted, epoch: epoch, events: events))
        case 3:
            var receipts: [AppendReceipt] = []
            for _ in 0..<(try reader.number(UInt16.self, "receipts")) { receipts.append(try reader.appendReceipt()) }
            return .appended(receipts)
        case 4:
            let region = try reader.region("region")
            let acknowledged = try reader.number(UInt64.self, "acknowledged")
            let gone = try reader.number(UInt64.self, "gone before")
            let remaining = try reader.number(UInt64.self, "remaining")
            return .acknowledged(
                AcknowledgeReceipt(
                    region: region,
                    acknowledged: acknowledged,
                    goneBefore: gone,
                    remaining: remaining,
                    events: try reader.events()
                )
            )
        case 5:
            let entries = try reader.entries()
            let remaining = try reader.number(UInt64.self, "remaining")
            return .drained(DrainReceipt(entries: entries, remaining: remaining, events: try reader.events()))
        case 6:
            let count = try reader.number(UInt64.self, "count")
            return .count(count, isLast: try reader.flag("is last"))
        case 7: return .refused(try reader.refusal(message))
        case let tag: throw FormatError("an outcome of the kind \(tag) is unknown")
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(events: [FailoverEvent]) {
        append(varint: UInt64(events.count))
        for event in events { append(field: EventRow.encoded(event)) }
    }

    /// Entries in frames of at most 256, each behind its positions.
    fileprivate mutating func append(entries: [QueueEntry]) {
        append(varint: UInt64(entries.count))
        for start in stride(from: 0, to: entries.count, by: FrameContent.entriesMax) {
            let part = entries[start..<Swift.min(start + FrameContent.entriesMax, entries.count)]
            for entry in part { append(bigEndian: entry.position) }
            let frame = part.map { FrameContent.Entry(write: $0.write, enqueuedAt: $0.enqueuedAt) }
            append(field: FrameContent.encode(frame[...]))
        }
    }

    fileprivate mutating func append(refusal error: HoldfastError) {
        append(field: Array(error.code.description.utf8))
        append(optional: error.region) { $0.append(region: $1) }
        append(optional: error.role) { $0.append(field: Array($1.rawValue.utf8)) }
        append(optional: error.state) { $0.append(field: Array($1.rawValue.utf8)) }
        append(optional: error.attempted) { $0.append(field: Array($1.utf8)) }
        append(optional: error.count) { $0.append(bigEndian: $1) }
        append(optional: error.field) { $0.append(field: Array($1.utf8)) }
        append(optional: error.index) { $0.append(varint: UInt64($1)) }
        append(optional: error.identity) { $0.append(identity: $1) }
        append(optional: error.floor) { $0.append(identity: $1) }
        append(error.neverFits ? 1 : 0)
    }

    fileprivate mutating func append(identity: WriteIdentity) {
        append(region: identity.origin)
        append(bigEndian: identity.incarnation)
        append(bigEndian: identity.sequence)
    }
}

extension ByteReader {
    fileprivate mutating func events() throws(FormatError) -> [FailoverEvent] {
        var events: [FailoverEvent] = []
        for _ in 0..<(try length("events", limit: remaining)) {
            let field = try field("event")
            events.append(try EventRow.decode(field.span))
        }
        return events
    }

    fileprivate mutating func appendReceipt() throws(FormatError) -> AppendReceipt {
        let region = try region("region")
        let first = try number(UInt64.self, "first position")
        let count = UInt64(try number(UInt32.self, "accepted"))
        guard first <= UInt64.max - count else { throw FormatError("positions beyond the last one") }
        var duplicates: [Int] = []
        for _ in 0..<(try length("duplicates", limit: remaining)) {
            duplicates.append(try length("duplicate", limit: StoreLimits.callEntriesMax))
        }
        return AppendReceipt(
            region: region,
            positions: first..<(first + count),
            duplicates: duplicates,
            dropped: try number(UInt64.self, "dropped"),
            durability: .applied,
            events: try events()
        )
    }

    fileprivate mutating func entries() throws(FormatError) -> [QueueEntry] {
        let count = try length("entries", limit: remaining)
        var entries: [QueueEntry] = []
        while entries.count < count {
            let part = min(FrameContent.entriesMax, count - entries.count)
            var positions: [UInt64] = []
            for _ in 0..<part { positions.append(try number(UInt64.self, "position")) }
            let content = try field("frame")
            let frame = try FrameContent.decode(content.span)
            guard frame.count == part else { throw FormatError("a frame holds \(frame.count) of \(part) entries") }
            for (position, entry) in zip(positions, frame) {
                entries.append(QueueEntry(position: position, enqueuedAt: entry.enqueuedAt, write: entry.write))
            }
        }
        return entries
    }

    fileprivate mutating func refusal(_ message: String) throws(FormatError) -> HoldfastError {
        let name = try text("code")
        guard let code = HoldfastError.Code(name: name) else { throw FormatError("the code '\(name)' is unknown") }
        var error = HoldfastError(code: code, message: message)
        error.region = try flag("region") ? try region("region") : nil
        error.role = try flag("role") ? RegionRole(rawValue: try text("role")) : nil
        error.state = try flag("state") ? RegionState(rawValue: try text("state")) : nil
        error.attempted = try flag("attempted") ? try text("attempted") : nil
        error.count = try flag("count") ? try number(UInt64.self, "count") : nil
        error.field = try flag("field") ? try text("field") : nil
        error.index = try flag("index") ? try length("index", limit: StoreLimits.callEntriesMax) : nil
        error.identity = try flag("identity") ? try identity() : nil
        error.floor = try flag("floor") ? try identity() : nil
        error.neverFits = try flag("never fits")
        return error
    }

    fileprivate mutating func identity() throws(FormatError) -> WriteIdentity {
        WriteIdentity(
            origin: try region("origin"),
            incarnation: try number(UInt64.self, "incarnation"),
            sequence: try number(UInt64.self, "sequence")
        )
    }
}
