package import Bytes
package import RegionFailover

/// A range of positions that left a queue other than by being received: a row of the table `lost`.
package struct LostRow: Sendable, Hashable {
    /// Why the entries left.
    package enum Reason: UInt8, Sendable, Hashable, CaseIterable {
        /// A limit was reached, and the policy was to drop the oldest.
        case dropped = 1
        /// They were older than the limit.
        case expired = 2
        /// Their region was removed by force.
        case removed = 3
        /// Their block was damaged; its bytes are in the row.
        case damaged = 4
        /// Their block was not there.
        case missing = 5
        /// They were dead letters, and were given up by hand.
        case discarded = 6

        /// The name that the tool prints.
        package var name: String { String(describing: self) }
    }

    package var reason: Reason
    package var at: Timestamp
    /// Entries in the range that this row accounts for.
    package var entries: UInt64
    /// Their raw bytes; 0 when nobody could tell.
    package var rawBytes: UInt64
    /// The chain's digest after the range, from which it goes on.
    package var anchor: Hash128
    /// The damaged block as it was found.
    package var block: [UInt8]

    package init(
        reason: Reason,
        at: Timestamp,
        entries: UInt64,
        rawBytes: UInt64,
        anchor: Hash128,
        block: [UInt8] = []
    ) {
        self.reason = reason
        self.at = at
        self.entries = entries
        self.rawBytes = rawBytes
        self.anchor = anchor
        self.block = block
    }

    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = [reason.rawValue]
        bytes.append(bigEndian: at.milliseconds)
        bytes.append(bigEndian: entries)
        bytes.append(bigEndian: rawBytes)
        bytes.append(bigEndian: anchor.high)
        bytes.append(bigEndian: anchor.low)
        bytes.append(contentsOf: block)
        return bytes
    }

    package init(decoding fields: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(fields)
        let reason = try reader.byte("reason")
        guard let reason = Reason(rawValue: reason) else { throw FormatError("reason \(reason) is unknown") }
        self.reason = reason
        at = Timestamp(milliseconds: try reader.signed("time"))
        entries = try reader.number(UInt64.self, "entries")
        rawBytes = try reader.number(UInt64.self, "raw bytes")
        anchor = try reader.hash("anchor")
        block = try reader.array(reader.remaining, "block")
    }
}

extension LostRow {
    /// Reads a stored pair, and proves it.
    package static func read(_ key: [UInt8], _ value: Span<UInt8>) throws(FormatError) -> (LostKey, LostRow) {
        let fields = try Row.open(value, key: key, in: .lost)
        return (try LostKey(decoding: key.span), try LostRow(decoding: fields.span))
    }
}

/// The key of a ``LostRow``, read back.
package struct LostKey: Sendable, Hashable {
    package var region: RegionID
    package var queue: UInt32
    package var first: UInt64
    package var last: UInt64

    package init(decoding key: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(key)
        let name = try reader.array(key.count - 21, "region")
        guard let region = RegionID(utf8: name), try reader.byte("separator") == 0 else {
            throw FormatError("a key of the ledger names no region")
        }
        self.region = region
        queue = try reader.number(UInt32.self, "queue")
        first = try reader.number(UInt64.self, "first position")
        last = try reader.number(UInt64.self, "last position")
        guard first <= last else { throw FormatError("a range of the ledger ends before it begins") }
    }
}

/// A key of the table `seen`, read back.
package enum SeenKey: Sendable, Hashable {
    case range(origin: RegionID, incarnation: UInt64, first: UInt64)
    case floor(origin: RegionID)

    package init(decoding key: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(key)
        switch try reader.byte("kind") {
        case UInt8(ascii: "r"):
            guard let origin = RegionID(utf8: try reader.array(key.count - 18, "origin")),
                try reader.byte("separator") == 0
            else { throw FormatError("a key of the seen table names no origin") }
            self = .range(
                origin: origin,
                incarnation: try reader.number(UInt64.self, "incarnation"),
                first: try reader.number(UInt64.self, "first sequence")
            )
        case UInt8(ascii: "f"):
            guard let origin = RegionID(utf8: try reader.array(key.count - 1, "origin")) else {
                throw FormatError("a key of the seen table names no origin")
            }
            self = .floor(origin: origin)
        case let kind: throw FormatError("a key of the seen table has kind \(kind)")
        }
    }
}

/// The values of the table `seen`.
package enum SeenRow {
    /// A range's last sequence.
    package static func last(_ sequence: UInt64) -> [UInt8] { Key.number(sequence) }

    /// Reads a range's last sequence.
    package static func last(decoding fields: Span<UInt8>) throws(FormatError) -> UInt64 {
        try Key.number(from: fields)
    }

    /// A range of accepted identities.
    package struct Range: Sendable, Hashable {
        package var origin: RegionID
        package var incarnation: UInt64
        package var first: UInt64
        package var last: UInt64
    }

    /// Reads a stored pair, and proves it; nil for a floor.
    package static func range(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        in table: Table
    ) throws(FormatError) -> Range? {
        guard case .range(let origin, let incarnation, let first) = try SeenKey(decoding: key.span) else { return nil }
        let fields = try Row.open(value, key: key, in: table)
        let last = try last(decoding: fields.span)
        guard last >= first else { throw FormatError("a range of the seen table ends before it begins") }
        return Range(origin: origin, incarnation: incarnation, first: first, last: last)
    }

    /// A floor: the greatest identity that may have been forgotten.
    package static func floor(_ incarnation: UInt64, _ sequence: UInt64) -> [UInt8] {
        Key.number(incarnation) + Key.number(sequence)
    }

    /// Reads a floor.
    package static func floor(decoding fields: Span<UInt8>) throws(FormatError) -> (UInt64, UInt64) {
        var reader = ByteReader(fields)
        let incarnation = try reader.number(UInt64.self, "incarnation")
        let sequence = try reader.number(UInt64.self, "sequence")
        try reader.end("a floor")
        return (incarnation, sequence)
    }
}
