private import Bytes
internal import LMDB
internal import Pages
package import RegionFailover
package import ReplayFormat
package import Zstd

/// The store as of one moment, for reading: every row is checked as it is read.
package struct StoreView: ~Copyable {
    private let source: RowSource
    package let superblock: Superblock
    /// The bytes of rows after which a look that can be cut into several should end.
    package let lookBytes: Int
    /// Whether every table of the look's moment is among its own: not where they are those that the writer had open before.
    let knowsTables: Bool

    private init(_ source: consuming RowSource, _ superblock: Superblock, lookBytes: Int, knowsTables: Bool) {
        self.source = source
        self.superblock = superblock
        self.lookBytes = lookBytes
        self.knowsTables = knowsTables
    }

    /// Looks at the store through `lmdb`; `catalog` names the databases, or nil to open those that are there.
    static func open(_ lmdb: consuming Transaction, with catalog: StoreCatalog?) throws(HoldfastError) -> StoreView {
        if let catalog {
            return try open(.transaction(TransactionRows(lmdb: lmdb, databases: catalog.databases)), isNew: false)
        }
        let (databases, unknown) = try openAll(lmdb)
        return try open(.transaction(TransactionRows(lmdb: lmdb, databases: databases)), unknown)
    }

    /// Looks at the store in the pages of its file.
    ///
    /// `isComplete`: Whether a store is refused that is still being written from a dump or another store.
    static func open(
        _ snapshot: PageSnapshot,
        isComplete: Bool = true,
        lookBytes: Int = lookBytesMax
    ) throws(HoldfastError) -> StoreView {
        var trees: [Table: TreeRecord] = [:]
        var unknown: String?
        for (name, tree) in snapshot.tables {
            let name = String(decoding: name, as: UTF8.self)
            if let table = Table(name: name) { trees[table] = tree } else { unknown = unknown ?? name }
        }
        return try open(
            .pages(PageRows(snapshot: snapshot, trees: trees)),
            unknown,
            isComplete: isComplete,
            lookBytes: lookBytes
        )
    }

    static let lookBytesMax = 1 << 20

    private static func open(
        _ source: consuming RowSource,
        _ unknown: String? = nil,
        isNew: Bool = true,
        isComplete: Bool = true,
        lookBytes: Int = lookBytesMax
    ) throws(HoldfastError) -> StoreView {
        if isNew { try checkFormat(source, isComplete) }
        if let unknown {
            throw HoldfastError(
                code: .damaged,
                message:
                    "The data file has a table '\(unknown)', which no store has. It is not Holdfast's, or damaged."
            )
        }
        let superblock = try readSuperblock(source)
        return StoreView(source, superblock, lookBytes: lookBytes, knowsTables: isNew)
    }

    /// Opens every database that can be a store's; gives the first that cannot.
    private static func openAll(
        _ lmdb: borrowing Transaction
    ) throws(HoldfastError) -> (databases: [Table: Database], unknown: String?) {
        var names: [String] = []
        let main = try engine { () throws(LMDBError) in try lmdb.mainDatabase() }
        try lmdb.scan(main) { (key, _) throws(HoldfastError) in
            names.append(String(decoding: key, as: UTF8.self))
            return true
        }
        var databases: [Table: Database] = [:]
        var unknown: String?
        for name in names {
            guard let table = Table(name: name) else {
                unknown = unknown ?? name
                continue
            }
            let database = try engine { () throws(LMDBError) in try lmdb.database(name, create: false) }
            databases[table] = database
        }
        return (databases, unknown)
    }

    /// Refuses a newer format, before anything else is read that may have changed with it.
    ///
    /// The rows `format` and `incomplete` keep their place, their layout and their checksum in every version.
    private static func checkFormat(_ source: borrowing RowSource, _ isComplete: Bool) throws(HoldfastError) {
        guard source.has(.superblock) else {
            throw HoldfastError(
                code: .notFound,
                message: "The data file has no store in it: making one was interrupted. \(DataFile.makeAgain)"
            )
        }
        let unfinished = try row(Key.text(Superblock.Name.incomplete.rawValue), .superblock, source)
        guard unfinished == nil || !isComplete else { throw incomplete }
        let row = try row(Key.text(Superblock.Name.format.rawValue), .superblock, source)
        guard let row else {
            throw HoldfastError(FormatError("the superblock has no row 'format'"), in: "The superblock")
        }
        let (version, incompatible, _) = try format("The superblock") { () throws(FormatError) in
            try Superblock.format(decoding: row)
        }
        guard version <= Superblock.currentVersion, incompatible & ~Superblock.knownIncompatibleFeatures == 0 else {
            throw .tooNew(version, incompatible)
        }
    }

    /// What a store is refused with whose load or copy did not end.
    static var incomplete: HoldfastError {
        HoldfastError(
            code: .incomplete,
            message:
                "Writing this store, by a load or a copy, did not end, so it is not whole. If nobody is writing it "
                + "now, load or copy again into a new directory."
        )
    }

    private static func readSuperblock(_ source: borrowing RowSource) throws(HoldfastError) -> Superblock {
        var rows: [Superblock.Name: [UInt8]] = [:]
        for name in Superblock.Name.allCases {
            rows[name] = try row(Key.text(name.rawValue), .superblock, source)
        }
        return try format("The superblock") { () throws(FormatError) in
            try Superblock { (name) throws(FormatError) in rows[name] }
        }
    }

    private static func row(
        _ key: [UInt8],
        _ table: Table,
        _ source: borrowing RowSource
    ) throws(HoldfastError) -> [UInt8]? {
        guard let value = try source.value(of: key, in: table) else {
            try source.proveAbsence(of: key, in: table)
            return nil
        }
        return try format("A row of '\(table.name)'") { () throws(FormatError) in
            try Row.open(value.span, key: key, in: table)
        }
    }

    /// The fields of a row, checked; nil when there is none.
    package func row(_ key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        try Self.row(key, table, source)
    }

    /// The fields of a row of the table `controller`.
    package func controllerRow(_ key: [UInt8]) throws(HoldfastError) -> [UInt8]? { try row(key, in: .controller) }

    /// The fields of the rows of the table `controller` that are the machine's, by key, checked.
    ///
    /// How a queue is replayed is not among them: damage there is that region's alone.
    package func machineRows() throws(HoldfastError) -> [[UInt8]: [UInt8]] { try controllerRows(where: Key.isMachine) }

    /// Whether it is a replica's store whose log has configured no deployment yet.
    package func hasNoDeployment() throws(HoldfastError) -> Bool {
        guard superblock.mode != .local else { return false }
        let (rows, regions) = (try machineRows(), try regionRows())
        return rows.isEmpty && regions.isEmpty
    }

    /// The fields of every row of the table `controller`, by key, checked.
    package func controllerRows() throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        try controllerRows { _ in true }
    }

    private func controllerRows(
        where isWanted: ([UInt8]) -> Bool
    ) throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try scan(.controller) { (key, value) throws(HoldfastError) in
            guard isWanted(key) else { return true }
            rows[key] = try format("A row of 'controller'") { () throws(FormatError) in
                try Row.open(value, key: key, in: .controller)
            }
            return true
        }
        return rows
    }

    /// A region's row; nil when it is not part of the deployment.
    package func regionRow(_ region: RegionID) throws(HoldfastError) -> RegionRow? {
        guard let fields = try row(Key.region(region), in: .regions) else {
            try proveUnknown(region)
            return nil
        }
        return try format("The row of region '\(region)'") { () throws(FormatError) in
            try RegionRow(decoding: fields.span)
        }
    }

    /// How much all queues may hold together.
    package func totalLimits() throws(HoldfastError) -> TotalLimits {
        guard let fields = try controllerRow(Key.controller(ControllerRows.Name.limits.rawValue)) else {
            return .unlimited
        }
        return try format("The total limits") { () throws(FormatError) in try TotalLimits(decoding: fields.span) }
    }

    /// How a region's queue is replayed.
    package func replaySettings(_ region: RegionID) throws(HoldfastError) -> ReplaySettings {
        guard let fields = try controllerRow(Key.replaySettings(region)) else { return .standard }
        return try format("The replay settings of region '\(region)'") { () throws(FormatError) in
            try ReplaySettings(decoding: fields.span)
        }
    }

    /// Every region's row, in the order of the names' bytes.
    package func regionRows() throws(HoldfastError) -> [(RegionID, RegionRow)] {
        var rows: [(RegionID, RegionRow)] = []
        try scan(.regions) { (key, value) throws(HoldfastError) in
            let row = try format("A row of 'regions'") { () throws(FormatError) in
                try RegionRow.read(key, value)
            }
            rows.append(row)
            return true
        }
        try proveRegions(rows.map(\.0))
        return rows
    }

    /// The number that the next event gets, and how many are kept.
    func historyState() throws(HoldfastError) -> (next: UInt64, count: UInt64) {
        let key = Key.controller(ControllerRows.Name.events.rawValue)
        guard let fields = try controllerRow(key) else { return (1, 0) }
        let next = try format("The event number") { () throws(FormatError) in
            try ControllerRows.number(decoding: fields.span)
        }
        // LMDB's own count has no checksum; the first key tells how many there are.
        var first = next
        try scanKeys(.history) { (key) throws(HoldfastError) in
            first = try format("A key of 'history'") { () throws(FormatError) in try Key.number(from: key.span) }
            return false
        }
        return (next, first < next ? min(next - first, UInt64(FailoverConfiguration.historyCapacityMax) + 1) : 0)
    }

    /// The events that are kept, oldest first, with their numbers.
    package func history() throws(HoldfastError) -> [(number: UInt64, event: FailoverEvent)] {
        try proveHistory()
        var events: [(UInt64, FailoverEvent)] = []
        try scan(.history) { (key, value) throws(HoldfastError) in
            let event = try format("A row of 'history'") { () throws(FormatError) in
                try EventRow.read(key, value)
            }
            events.append(event)
            return true
        }
        return events
    }

    /// How many pairs a table says that it holds.
    package func count(_ table: Table) throws(HoldfastError) -> Int { try source.count(table) }

    /// The tables that are there, by name.
    package var tables: [Table] { source.tables.sorted { $0.name < $1.name } }

    /// Whether a table is there.
    package func has(_ table: Table) -> Bool { source.has(table) }

    /// Calls `body` with each pair from `start` on, in the order of the keys, until it returns false.
    package func scan(
        _ table: Table,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        try source.scan(table, from: start, body)
    }

    /// The same with the keys alone, without reading large values.
    package func scanKeys(
        _ table: Table,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8]) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        try source.scanKeys(table, from: start, body)
    }

    /// What the data file holds, as of the look.
    package struct Space: Sendable, Hashable {
        /// The number of the last transaction that changed the store.
        package var lastTransaction: UInt64
        /// Bytes of pages that are free inside the file.
        package var freeBytes: UInt64
    }

    /// Counts the free pages: it reads the whole free list.
    package func space() throws(HoldfastError) -> Space { try source.space() }

    /// Ends the look, and keeps the databases that it opened open.
    consuming func endKeepingHandles() throws(HoldfastError) {
        switch consume source {
        case .transaction(let rows):
            do throws(LMDBError) {
                try rows.lmdb.commit()
            } catch {
                throw HoldfastError(error)
            }
        case .pages: return
        }
    }

    /// The databases that the look's transaction has open.
    var databases: [Table: Database] {
        switch source {
        case .transaction(let rows): rows.databases
        case .pages: [:]
        }
    }
}

/// A block that was read and proved.
package struct VerifiedBlock: Sendable {
    package var header: BlockHeader
    /// The block's bytes.
    package var bytes: [UInt8]

    /// What it takes as stored, its key with it.
    package var storedBytes: UInt64 { UInt64(bytes.count + 8) }

    /// Proves a block by its checksum, and that it stands where it should.
    package init(
        _ bytes: Span<UInt8>,
        store: StoreID,
        queue: UInt32,
        firstPosition: UInt64?
    ) throws(FormatError) {
        header = try BlockHeader(verifying: bytes, store: store, queue: queue, firstPosition: firstPosition)
        self.bytes = bytes.array
    }

    /// The entries that are in the queue, with their positions.
    package func entries(_ codec: FrameCodec) throws(FormatError) -> [QueueEntry] {
        var position = header.firstPosition
        var entries: [QueueEntry] = []
        entries.reserveCapacity(header.entries)
        for (index, entry) in try frameEntries(codec).enumerated() where header.skipped?[index] != true {
            entries.append(QueueEntry(position: position, enqueuedAt: entry.enqueuedAt, write: entry.write))
            position += 1
        }
        return entries
    }

    /// Every entry of the frame, the skipped ones too.
    package func frameEntries(_ codec: FrameCodec) throws(FormatError) -> [FrameContent.Entry] {
        let frame = bytes.span.extracting(header.size..<(header.size + header.frameLength))
        let entries: [FrameContent.Entry]
        if header.isCompressed {
            let content: [UInt8]
            do throws(ZstdError) {
                content = try codec.decompress(
                    frame,
                    count: header.contentLength,
                    dictionary: header.dictionary
                )
            } catch {
                throw FormatError(error.description)
            }
            entries = try FrameContent.decode(content.span)
        } else {
            entries = try FrameContent.decode(frame)
        }
        guard entries.count == header.frameEntries else {
            throw FormatError("the frame holds \(entries.count) entries, its header says \(header.frameEntries)")
        }
        return entries
    }
}
