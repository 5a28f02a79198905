private import Bytes
package import RegionFailover

/// The sub-databases of a receiver's ledger.
package enum LedgerTable: String, Sendable, CaseIterable {
    /// What the ledger is: the version of its format, and the highest epoch.
    case ledger
    /// The identities that were applied: ranges and floors, with the keys of the table `seen` of a store.
    case applied
    /// What the receiver keeps, under keys of its own.
    case state
}

extension Row {
    /// The value to store in a table of a ledger: `fields`, then their checksum.
    package static func seal(_ fields: [UInt8], key: [UInt8], in table: LedgerTable) -> [UInt8] {
        seal(fields, key: key, inTable: table.rawValue)
    }

    /// The fields of a value that was stored in a table of a ledger.
    package static func open(
        _ value: Span<UInt8>,
        key: [UInt8],
        in table: LedgerTable
    ) throws(FormatError) -> [UInt8] {
        try open(value, key: key, inTable: table.rawValue)
    }
}

/// The rows of the table `ledger`.
package enum LedgerRow {
    /// The version of the bytes; a newer one is refused.
    package static let currentVersion: UInt32 = 1

    /// The key of the version.
    package static let formatKey = Key.text("format")
    /// The key of the highest epoch.
    package static let epochKey = Key.text("epoch")

    /// The version's fields.
    package static func format(_ version: UInt32 = currentVersion) -> [UInt8] {
        var fields: [UInt8] = []
        fields.append(bigEndian: version)
        return fields
    }

    /// Reads the version; a newer one may have more behind it.
    package static func format(decoding fields: Span<UInt8>) throws(FormatError) -> UInt32 {
        var reader = ByteReader(fields)
        let version = try reader.number(UInt32.self, "version")
        guard version > 0 else { throw FormatError("format version 0 was never written") }
        if version == currentVersion { try reader.end("the row 'format'") }
        return version
    }
}

/// A pair of the table `applied`, read back.
package enum AppliedPair: Sendable, Hashable {
    case range(origin: RegionID, incarnation: UInt64, first: UInt64, last: UInt64)
    /// The greatest identity that may have been forgotten.
    case floor(origin: RegionID, incarnation: UInt64, sequence: UInt64)

    /// Reads a stored pair, and proves it.
    package init(_ key: [UInt8], _ value: Span<UInt8>) throws(FormatError) {
        let decoded = try SeenKey(decoding: key.span)
        let fields = try Row.open(value, key: key, in: LedgerTable.applied)
        switch decoded {
        case .range(let origin, let incarnation, let first):
            let last = try SeenRow.last(decoding: fields.span)
            self = .range(origin: origin, incarnation: incarnation, first: first, last: last)
        case .floor(let origin):
            let (incarnation, sequence) = try SeenRow.floor(decoding: fields.span)
            self = .floor(origin: origin, incarnation: incarnation, sequence: sequence)
        }
    }
}
