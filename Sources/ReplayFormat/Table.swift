private import Bytes
package import RegionFailover

/// The sub-databases of a store.
package enum Table: Sendable, Hashable {
    case superblock
    case regions
    case queue(UInt32)
    case seen(UInt32)
    case dead(UInt32)
    case lost
    case controller
    case history
    case dictionaries
    case raft

    /// The sub-database's name in LMDB.
    package var name: String {
        switch self {
        case .superblock: "superblock"
        case .regions: "regions"
        case .queue(let number): "queue/\(number)"
        case .seen(let number): "seen/\(number)"
        case .dead(let number): "dead/\(number)"
        case .lost: "lost"
        case .controller: "controller"
        case .history: "history"
        case .dictionaries: "dictionaries"
        case .raft: "raft"
        }
    }

    /// The table that has `name`; nil when none has.
    package init?(name: String) {
        let plain: [Table] = [.superblock, .regions, .lost, .controller, .history, .dictionaries, .raft]
        if let table = plain.first(where: { $0.name == name }) {
            self = table
            return
        }
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let number = UInt32(parts[1]), String(number) == parts[1] else { return nil }
        switch parts[0] {
        case "queue": self = .queue(number)
        case "seen": self = .seen(number)
        case "dead": self = .dead(number)
        default: return nil
        }
    }

    /// Whether the values are rows, which end in a checksum, and not blocks, which have one of their own.
    package var hasRows: Bool { if case .queue = self { false } else { true } }
}

/// The checksum at the end of every row.
package enum Row {
    package static let checksumSize = 8

    /// XXH3-64 of the table's name, a zero byte, the key's length in two bytes, the key and the row's fields.
    private static func checksum(_ table: String, _ key: [UInt8], _ fields: Span<UInt8>) -> UInt64 {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(32 + key.count + fields.count)
        bytes.append(contentsOf: table.utf8)
        bytes.append(0)
        bytes.append(bigEndian: UInt16(key.count))
        bytes.append(contentsOf: key)
        bytes.append(copying: fields)
        return XXH3.hash64(bytes.span)
    }

    /// The value to store: `fields`, then their checksum.
    package static func seal(_ fields: [UInt8], key: [UInt8], in table: Table) -> [UInt8] {
        seal(fields, key: key, inTable: table.name)
    }

    /// The value to store in the table with that name.
    static func seal(_ fields: [UInt8], key: [UInt8], inTable table: String) -> [UInt8] {
        var value = fields
        value.append(bigEndian: checksum(table, key, fields.span))
        return value
    }

    /// The fields of a stored value.
    package static func open(_ value: Span<UInt8>, key: [UInt8], in table: Table) throws(FormatError) -> [UInt8] {
        try open(value, key: key, inTable: table.name)
    }

    /// The fields of a value of the table with that name.
    static func open(_ value: Span<UInt8>, key: [UInt8], inTable table: String) throws(FormatError) -> [UInt8] {
        guard value.count >= checksumSize else { throw FormatError("a row of \(value.count) bytes is too short") }
        let fields = value.extracting(..<(value.count - checksumSize))
        guard checksum(table, key, fields) == value.bigEndian(at: fields.count) else {
            throw FormatError("the row's checksum is wrong")
        }
        return fields.array
    }
}

/// The keys of the tables.
package enum Key {
    /// A number as a key: 8 bytes, big-endian, so that LMDB's byte order is the numbers' order.
    package static func number(_ value: UInt64) -> [UInt8] {
        var key: [UInt8] = []
        key.append(bigEndian: value)
        return key
    }

    /// The number that ``number(_:)`` wrote.
    package static func number(from key: Span<UInt8>) throws(FormatError) -> UInt64 {
        guard key.count == 8 else { throw FormatError("a key of \(key.count) bytes is no number") }
        return key.bigEndian(at: 0)
    }

    package static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    package static func region(_ region: RegionID) -> [UInt8] { Array(region.rawValue.utf8) }

    /// The key in `controller` of a region's role and state.
    package static func controllerRegion(_ region: RegionID) -> [UInt8] { Array("r\(region.rawValue)".utf8) }
    /// The key in `controller` of a value of the whole controller.
    package static func controller(_ name: String) -> [UInt8] { Array("m\(name)".utf8) }

    /// Whether a key in `controller` is of the machine's state, and not of how a queue is replayed.
    package static func isMachine(_ key: [UInt8]) -> Bool { key.first != UInt8(ascii: "p") }

    /// The region of a key in `controller` that ``replaySettings(_:)`` made; nil for every other key.
    package static func replaySettingsRegion(_ key: [UInt8]) -> RegionID? {
        isMachine(key) ? nil : RegionID(utf8: Array(key.dropFirst()))
    }

    /// The key in `controller` of how a region's queue is replayed.
    package static func replaySettings(_ region: RegionID) -> [UInt8] { Array("p\(region.rawValue)".utf8) }

    /// The key in `seen` of a range of accepted identities.
    package static func seenRange(_ origin: RegionID, incarnation: UInt64, first: UInt64) -> [UInt8] {
        var key = Array("r\(origin.rawValue)".utf8)
        key.append(0)
        key.append(bigEndian: incarnation)
        key.append(bigEndian: first)
        return key
    }

    /// The key in `seen` below which an origin's identities are forgotten.
    package static func seenFloor(_ origin: RegionID) -> [UInt8] { Array("f\(origin.rawValue)".utf8) }

    /// The key in `lost` of a range of positions.
    package static func lost(_ region: RegionID, queue: UInt32, first: UInt64, last: UInt64) -> [UInt8] {
        var key = lostPrefix(region, queue: queue)
        key.append(bigEndian: first)
        key.append(bigEndian: last)
        return key
    }

    /// What the keys in `lost` of one queue begin with.
    package static func lostPrefix(_ region: RegionID, queue: UInt32) -> [UInt8] {
        var key = Self.region(region)
        key.append(0)
        key.append(bigEndian: queue)
        return key
    }
}
