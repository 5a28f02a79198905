private import Bytes
package import RegionFailover

/// What a store is: the rows of the table `superblock`.
package struct Superblock: Sendable, Hashable {
    /// Who may change the store.
    package enum Mode: Sendable, Hashable {
        /// Callers do.
        case local
        /// Only the log of the cluster with this id does.
        case replicated(cluster: [UInt8])
    }

    /// The version of the bytes; a newer one is refused.
    package var version: UInt32 = Self.currentVersion
    /// Features that a program must know to touch the store.
    package var incompatibleFeatures: UInt64 = 0
    /// Features that a program must know to write to it.
    package var readCompatibleFeatures: UInt64 = 0
    package var store: StoreID
    package var created: Timestamp
    package var mode: Mode = .local
    /// The number that the next new queue gets.
    package var nextQueue: UInt32 = 1
    /// Whether a load of this store has not ended yet.
    package var isIncomplete = false
    /// When this copy of a store was made, if it is a backup; nil for a store.
    package var backedUp: Timestamp?

    package static let currentVersion: UInt32 = 1
    package static let knownIncompatibleFeatures: UInt64 = 0
    package static let knownReadCompatibleFeatures: UInt64 = 0

    package init(store: StoreID, created: Timestamp) {
        self.store = store
        self.created = created
    }

    /// The names of the rows.
    ///
    /// ``Name/incomplete`` is there only while a load runs, ``Name/backup`` only in a backup.
    package enum Name: String, CaseIterable, Sendable {
        case format, store, mode, queues, incomplete, backup
    }

    /// The fields of each row, without checksums, by name.
    package func encoded() -> [(Name, [UInt8])] {
        var format: [UInt8] = []
        format.append(bigEndian: version)
        format.append(bigEndian: incompatibleFeatures)
        format.append(bigEndian: readCompatibleFeatures)
        var identity: [UInt8] = []
        identity.append(bigEndian: store.high)
        identity.append(bigEndian: store.low)
        identity.append(bigEndian: created.milliseconds)
        var modeRow: [UInt8] = [0]
        if case .replicated(let cluster) = mode { modeRow = [1] + cluster }
        var queues: [UInt8] = []
        queues.append(bigEndian: nextQueue)
        var rows: [(Name, [UInt8])] = [(.format, format), (.store, identity), (.mode, modeRow), (.queues, queues)]
        if isIncomplete { rows.append((.incomplete, [1])) }
        if let backedUp {
            var backup: [UInt8] = []
            backup.append(bigEndian: backedUp.milliseconds)
            rows.append((.backup, backup))
        }
        return rows
    }

    /// Reads the rows; `fields` gives those of a name, or nil when there is no such row.
    package init(decoding fields: (Name) throws(FormatError) -> [UInt8]?) throws(FormatError) {
        func row(_ name: Name) throws(FormatError) -> [UInt8] {
            guard let found = try fields(name) else {
                throw FormatError("the superblock has no row '\(name.rawValue)'")
            }
            return found
        }
        let identity = try row(.store)
        var reader = ByteReader(identity.span)
        store = StoreID(high: try reader.number(UInt64.self, "store"), low: try reader.number(UInt64.self, "store"))
        created = Timestamp(milliseconds: try reader.signed("created"))
        try reader.end("the row 'store'")
        (version, incompatibleFeatures, readCompatibleFeatures) = try Self.format(decoding: try row(.format))
        let modeRow = try row(.mode)
        switch modeRow.first {
        case 0 where modeRow.count == 1: mode = .local
        case 1: mode = .replicated(cluster: Array(modeRow.dropFirst()))
        default: throw FormatError("the superblock's mode is unknown")
        }
        let queues = try row(.queues)
        var queueReader = ByteReader(queues.span)
        nextQueue = try queueReader.number(UInt32.self, "next queue")
        try queueReader.end("the row 'queues'")
        isIncomplete = try fields(.incomplete) != nil
        if let backup = try fields(.backup) {
            var backupReader = ByteReader(backup.span)
            backedUp = Timestamp(milliseconds: try backupReader.signed("backed up"))
            try backupReader.end("the row 'backup'")
        }
    }

    /// Reads the row that tells whether the rest can be read: version and features.
    package static func format(decoding fields: [UInt8]) throws(FormatError) -> (UInt32, UInt64, UInt64) {
        var reader = ByteReader(fields.span)
        let version = try reader.number(UInt32.self, "version")
        guard version > 0 else { throw FormatError("format version 0 was never written") }
        let incompatible = try reader.number(UInt64.self, "incompatible features")
        let readCompatible = try reader.number(UInt64.self, "read-compatible features")
        // A newer version may have more to say here.
        if version == currentVersion { try reader.end("the row 'format'") }
        return (version, incompatible, readCompatible)
    }
}
