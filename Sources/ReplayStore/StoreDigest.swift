package import Bytes
package import RegionFailover
package import ReplayFormat

/// A digest of what a store means, whatever its blocks look like on the disk.
///
/// Two stores that have had the same calls at the same times have the same digest, and a call that changes nothing does not
/// change it: the controller's clock does not go in. The article "On-disk format" lists what
/// goes in. Of what is queued only the chain's digest goes in, so a full check belongs before it.
package struct StoreDigest: Sendable, Hashable {
    /// One region's part.
    package struct Region: Sendable, Hashable {
        package var region: RegionID
        package var digest: Hash128
        package var row: RegionRow
    }

    /// The digest of everything.
    package var whole: Hash128
    /// The parts of the regions, in the order of their names' bytes.
    package var regions: [Region]

    /// The digest of the store that `view` looks at.
    package init(_ view: borrowing StoreView) throws(HoldfastError) {
        var sum = Sum()
        try view.scan(.controller) { (key, value) throws(HoldfastError) in
            let fields = try view.fields(key, value, .controller)
            if let state = ControllerRows.timeless(key, fields) { sum.take(.controller, key, state) }
            return true
        }
        try view.scan(.history) { (key, value) throws(HoldfastError) in
            sum.take(.event, key, try view.fields(key, value, .history))
            return true
        }
        var ledger = try view.ledgerItems()
        regions = []
        for (region, row) in try view.regionRows() {
            let own = ledger.removeValue(forKey: LedgerOwner(region: region, queue: row.number)) ?? []
            let digest = try view.digest(of: region, row, own)
            regions.append(Region(region: region, digest: digest, row: row))
            var fields: [UInt8] = []
            fields.append(bigEndian: digest.high)
            fields.append(bigEndian: digest.low)
            sum.take(.region, Key.region(region), fields)
        }
        // What is left is of queues that are gone, with their regions or before them.
        for owner in ledger.keys.sorted() { for item in ledger[owner] ?? [] { sum.take(.lost, item.key, item.fields) } }
        whole = sum.digest
    }
}

/// What an item of the digest is about.
///
/// The numbers are in the digest: none is ever used for another thing.
private enum ItemKind: UInt8 {
    case controller = 1
    case event = 2
    case region = 3
    case seen = 4
    case dead = 5
    case lost = 6
}

/// A digest that grows by items.
private struct Sum {
    private(set) var digest = Hash128.zero

    mutating func take(_ kind: ItemKind, _ key: [UInt8], _ fields: [UInt8]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(24 + key.count + fields.count)
        bytes.append(bigEndian: digest.high)
        bytes.append(bigEndian: digest.low)
        bytes.append(kind.rawValue)
        bytes.append(bigEndian: UInt16(key.count))
        bytes.append(contentsOf: key)
        bytes.append(contentsOf: fields)
        digest = XXH3.hash128(bytes.span)
    }
}

/// The queue that rows of the ledger are about.
private struct LedgerOwner: Hashable, Comparable {
    var region: RegionID
    var queue: UInt32

    static func < (lhs: Self, rhs: Self) -> Bool { (lhs.region, lhs.queue) < (rhs.region, rhs.queue) }
}

extension RegionRow {
    /// The fields that mean the same whatever the blocks look like.
    fileprivate var logicalFields: [UInt8] {
        var row = self
        row.number = 0
        row.storedBytes = 0
        // Without an entry it says nothing, and is what it happened to be.
        if row.entries == 0 { row.oldestEnqueuedAt = Timestamp(milliseconds: 0) }
        return row.encoded()
    }
}

extension StoreView {
    /// The fields of a stored pair, checked.
    fileprivate func fields(_ key: [UInt8], _ value: Span<UInt8>, _ table: Table) throws(HoldfastError) -> [UInt8] {
        do throws(FormatError) {
            return try Row.open(value, key: key, in: table)
        } catch {
            throw HoldfastError(error, in: "A row of '\(table.name)'")
        }
    }

    /// The rows of the ledger as items, by the queue that they are about, in the order of their positions.
    fileprivate func ledgerItems() throws(HoldfastError) -> [LedgerOwner: [(key: [UInt8], fields: [UInt8])]] {
        var items: [LedgerOwner: [(key: [UInt8], fields: [UInt8])]] = [:]
        try scan(.lost) { (key, value) throws(HoldfastError) in
            let (place, row) = try format("A row of 'lost'") { () throws(FormatError) in try LostRow.read(key, value) }
            var fields: [UInt8] = [row.reason.rawValue]
            fields.append(bigEndian: place.first)
            fields.append(bigEndian: place.last)
            fields.append(bigEndian: row.at.milliseconds)
            fields.append(bigEndian: row.entries)
            fields.append(bigEndian: row.rawBytes)
            items[LedgerOwner(region: place.region, queue: place.queue), default: []]
                .append((Key.region(place.region), fields))
            return true
        }
        return items
    }

    /// One region's part of the digest.
    fileprivate func digest(
        of region: RegionID,
        _ row: RegionRow,
        _ ledger: [(key: [UInt8], fields: [UInt8])]
    ) throws(HoldfastError) -> Hash128 {
        var sum = Sum()
        sum.take(.region, Key.region(region), row.logicalFields)
        for (kind, table) in [(ItemKind.seen, Table.seen(row.number)), (.dead, .dead(row.number))] {
            try scan(table) { (key, value) throws(HoldfastError) in
                sum.take(kind, key, try fields(key, value, table))
                return true
            }
        }
        for item in ledger { sum.take(.lost, item.key, item.fields) }
        return sum.digest
    }
}
