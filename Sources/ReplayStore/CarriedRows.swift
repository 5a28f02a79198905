private import Bytes
internal import RegionFailover
internal import ReplayFormat

/// Sums over the rows that a store has in common with one that is written anew, table by table.
///
/// Blocks and dictionaries are not among them: those are written anew, and the chain's digest, which is in the row of a region,
/// proves the entries. Nor is the superblock, which is compared as a whole.
struct CarriedRows: Sendable, Equatable {
    /// The same whatever the order in which the rows come.
    struct Sum: Sendable, Equatable {
        var rows: UInt64 = 0
        var high: UInt64 = 0
        var low: UInt64 = 0
    }

    private(set) var sums: [Table: Sum] = [:]

    init() {}

    /// The rows of the store that `view` looks at.
    init(_ view: borrowing StoreView) throws(HoldfastError) {
        let regions = try view.regionRows()
        let known = Set(regions.map(\.1.number))
        for (region, row) in regions { take(region, row) }
        for table in view.tables where Self.isCarried(table, known) {
            try view.scan(table) { (key, value) throws(HoldfastError) in
                take(table, key, value)
                return true
            }
        }
    }

    /// Whether the rows of a table are the same in both stores, byte for byte.
    ///
    /// `queues`: The queues that there are: what a removed region left behind is an empty table.
    static func isCarried(_ table: Table, _ queues: Set<UInt32>) -> Bool {
        switch table {
        case .superblock, .regions, .queue, .dictionaries: false
        case .seen(let number), .dead(let number): queues.contains(number)
        case .lost, .controller, .history, .raft: true
        }
    }

    mutating func take(_ table: Table, _ key: [UInt8], _ value: Span<UInt8>) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(2 + key.count + value.count)
        bytes.append(bigEndian: UInt16(key.count))
        bytes.append(contentsOf: key)
        bytes.append(copying: value)
        let hash = XXH3.hash128(bytes.span)
        var sum = sums[table] ?? Sum()
        sum.rows += 1
        sum.high &+= hash.high
        sum.low &+= hash.low
        sums[table] = sum
    }

    /// Takes the row of a region, but for the bytes of its blocks.
    mutating func take(_ region: RegionID, _ row: RegionRow) {
        var row = row
        row.storedBytes = 0
        take(.regions, Key.region(region), row.encoded().span)
    }

    /// The first table, by name, whose rows are others.
    func difference(from other: Self) -> Table? {
        Set(sums.keys).union(other.sums.keys).filter { sums[$0] != other.sums[$0] }.min { $0.name < $1.name }
    }

    func rows(of table: Table) -> UInt64 { sums[table]?.rows ?? 0 }
}
