internal import LMDB
internal import Platform
internal import RegionFailover
package import ReplayFormat
package import Zstd

/// What the writer thread knows of the store: the rows that every transaction needs, as of the last commit and with the
/// changes of the transaction that runs.
///
/// It belongs to the writer thread. After an abort it is read again from the disk: there is one truth, and no undo.
package final class StoreCore {
    let environment: Environment
    /// Keeps disk space for what is written.
    let space: SpaceKeeper
    let options: StoreOptions
    package let codec: FrameCodec
    var superblock: Superblock
    var rows: [RegionID: RegionRow] = [:]
    var seen: [RegionID: [RegionID: SeenRanges]] = [:]
    var databases: [Table: Database] = [:]
    /// The fencing number, which the controller keeps here so that an append can be refused by it.
    package var epoch: UInt64 = 0
    /// How much all queues may hold together.
    var totalLimits = TotalLimits.unlimited
    /// How many events are kept.
    package var historyCapacity = 0
    var nextEvent: UInt64 = 1
    var historyCount: UInt64 = 0
    /// Whether every leaf was read since the store was opened, and no page has two owners.
    var arePagesProved = false
    /// The number of the transaction that all this is of.
    var lastTransaction: UInt64 = 0

    // Of the transaction that runs:
    var singles: [RegionID: [FrameContent.Entry]] = [:]
    var singlesBytes: [RegionID: Int] = [:]
    var changedRows: Set<RegionID> = []
    /// The queues whose rows or settings changed, for whoever waits for it.
    var changedQueues: Set<RegionID> = []
    var superblockChanged = false
    var eventsChanged = false
    /// How many changes there are to commit.
    var changes = 0
    /// Set when LMDB failed: the whole transaction is aborted then, not only the call that met it.
    var failure: HoldfastError?
    /// How long the last commit took, with its syncs.
    var commitNanoseconds: UInt64 = 0
    /// What happened to queues, for the metrics once it is durable.
    var tally = StoreMetrics.Tally()

    init(
        environment: Environment,
        dataFile: File,
        options: StoreOptions,
        superblock: Superblock
    ) throws(HoldfastError) {
        self.environment = environment
        self.options = options
        self.codec = FrameCodec()
        self.superblock = superblock
        let pageSize = try engine { () throws(LMDBError) in try environment.pageSize() }
        self.space = SpaceKeeper(dataFile, environment, pageSize: pageSize, options: options)
    }

    /// Whether a replicated log alone changes the store.
    ///
    /// Then limits are on raw bytes, since blocks differ between replicas, and nothing damaged is set aside: that would be a
    /// change that the log does not have.
    var isReplicated: Bool { superblock.mode != .local }

    /// The bytes of a queue that its limits are about.
    func limitedBytes(_ row: RegionRow) -> UInt64 { isReplicated ? row.rawBytes : row.storedBytes }

    /// Notes that a transaction has committed; LMDB gives one that has written nothing no number.
    func committed(_ number: UInt64) throws(LMDBError) {
        lastTransaction = min(number, try environment.information().lastTransaction)
    }

    /// Forgets what a transaction that is not committed has changed, and reads everything again.
    func reload() throws(HoldfastError) {
        beginTransaction()
        rows = [:]
        seen = [:]
        databases = [:]
        try load()
    }

    func beginTransaction() {
        singles = [:]
        singlesBytes = [:]
        changedRows = []
        changedQueues = []
        superblockChanged = false
        eventsChanged = false
        changes = 0
        failure = nil
        tally = StoreMetrics.Tally()
    }

    /// Reads the superblock and the rows of the regions, and opens every database of the store.
    ///
    /// The databases are opened in a write transaction that commits, which changes nothing on the disk: a handle opened
    /// in any other is gone when that ends.
    ///
    /// `proving`: Whether it is refused where the rows are older than what they are about.
    func load(proving: Bool = false) throws(HoldfastError) {
        let lmdb = try engine { () throws(LMDBError) in try environment.beginWrite() }
        lastTransaction = lmdb.number - 1
        let view = try StoreView.open(lmdb, with: nil)
        if proving { try view.proveRowsAreNewest() }
        superblock = view.superblock
        for (region, row) in try view.regionRows() { rows[region] = row }
        (nextEvent, historyCount) = try view.historyState()
        let epoch = try view.controllerRow(Key.controller(ControllerRows.Name.epoch.rawValue))
        self.epoch =
            try epoch.map { fields throws(HoldfastError) in
                try format("The epoch") { () throws(FormatError) in try ControllerRows.number(decoding: fields.span) }
            } ?? 0
        totalLimits = try view.totalLimits()
        databases = view.databases
        try view.loadDictionaries(into: codec)
        try view.endKeepingHandles()
    }

    /// The names that other threads may read.
    var catalog: StoreCatalog { StoreCatalog(databases: databases, store: superblock.store) }
}

/// The open databases of a store, for read transactions of other threads.
package struct StoreCatalog: Sendable {
    var databases: [Table: Database]
    package var store: StoreID
}
