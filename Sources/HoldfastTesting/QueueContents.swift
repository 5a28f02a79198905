public import Holdfast
private import ReplayFormat
private import ReplayStore

/// Everything that a store holds of one region: its queue, its dead letters, and what its ledger says.
public struct QueueContents: Sendable, Hashable {
    /// A range of positions that left the queue without being received, as a row of the ledger names it.
    public struct Departure: Sendable, Hashable {
        /// Why they left: `dropped`, `expired`, `removed`, `damaged`, `missing` or `discarded`.
        public var reason: String
        /// The positions.
        public var positions: ClosedRange<UInt64>
        /// How many entries of the range the row accounts for.
        public var entries: UInt64

        /// Creates a departure.
        public init(reason: String, positions: ClosedRange<UInt64>, entries: UInt64) {
            self.reason = reason
            self.positions = positions
            self.entries = entries
        }

        /// Whether the entries' bytes were not what had been written.
        var isDamage: Bool { reason == LostRow.Reason.damaged.name || reason == LostRow.Reason.missing.name }
    }

    /// The queue's numbers.
    public var statistics: QueueStatistics
    /// The entries that can be read, in order.
    public var entries: [QueueEntry]
    /// The dead letters, in the order of their positions.
    public var deadLetters: [DeadLetter]
    /// What the ledger says of this queue.
    public var departures: [Departure]

    /// Creates contents.
    public init(
        statistics: QueueStatistics,
        entries: [QueueEntry],
        deadLetters: [DeadLetter],
        departures: [Departure]
    ) {
        self.statistics = statistics
        self.entries = entries
        self.deadLetters = deadLetters
        self.departures = departures
    }

    /// Reads what the store at `path` holds of each region, as of its last commit.
    ///
    /// No other handle of this process has it open. Entries whose block is damaged are left out.
    ///
    /// - Throws: ``Holdfast/HoldfastError``, with `notFound` where there is no store, `alreadyOpen`, `damaged`, `incomplete` or
    ///   `ioFailed`.
    public static func read(storeAt path: String) throws(HoldfastError) -> [RegionID: QueueContents] {
        let reader = try StoreReader.open(path)
        let codec = reader.codec
        var all: [RegionID: QueueContents] = try reader.look { (view) throws(HoldfastError) in
            var all: [RegionID: QueueContents] = [:]
            let store = view.superblock.store
            for (region, row) in try view.regionRows() {
                var contents = QueueContents(
                    statistics: QueueStatistics(region, row),
                    entries: [],
                    deadLetters: [],
                    departures: []
                )
                try view.scan(.queue(row.number)) { (_, value) throws(HoldfastError) in
                    let block = try? VerifiedBlock(value, store: store, queue: row.number, firstPosition: nil)
                    guard let entries = try? block?.entries(codec) else { return true }
                    contents.entries += entries.filter { $0.position >= row.headPosition }
                    return true
                }
                try view.deadLetters(of: region) { (letter) throws(HoldfastError) in
                    contents.deadLetters.append(letter)
                    return true
                }
                all[region] = contents
            }
            return all
        }
        do {
            try reader.ledger { item in
                guard case .success(let (place, row)) = item.row, let contents = all[place.region],
                    contents.statistics.queue == place.queue
                else { return true }
                all[place.region]?.departures.append(
                    Departure(reason: row.reason.name, positions: place.first...place.last, entries: row.entries)
                )
                return true
            }
        } catch let error as HoldfastError {
            throw error
        } catch {
            // The closure above throws nothing.
            throw HoldfastError(code: .ioFailed, message: "The ledger could not be read: \(error).")
        }
        return all
    }
}
