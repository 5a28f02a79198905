private import Bytes
package import LMDB
package import RegionFailover
package import ReplayFormat
package import Zstd

/// The store as of one moment, for reading: every row is checked as it is read.
package struct StoreView: ~Copyable {
    let lmdb: Transaction
    package let databases: [Table: Database]
    package let superblock: Superblock

    private init(lmdb: consuming Transaction, databases: [Table: Database], superblock: Superblock) {
        self.lmdb = lmdb
        self.databases = databases
        self.superblock = superblock
    }

    /// Looks at the store through `lmdb`; `catalog` names the databases, or nil to open those that are there.
    static func open(
        _ lmdb: consuming Transaction,
        with catalog: StoreCatalog?,
        isComplete: Bool = true
    ) throws(HoldfastError) -> StoreView {
        var databases = catalog?.databases ?? [:]
        if catalog == nil {
            let database = try engine { () throws(LMDBError) in try lmdb.database(Table.superblock.name, create: false)
            }
            try checkFormat(lmdb, database.map { [.superblock: $0] } ?? [:], isComplete)
            databases = try openAll(lmdb)
        }
        let superblock = try readSuperblock(lmdb, databases)
        return StoreView(lmdb: lmdb, databases: databases, superblock: superblock)
    }

    private static func openAll(_ lmdb: borrowing Transaction) throws(HoldfastError) -> [Table: Database] {
        var names: [String] = []
        do throws(LMDBError) {
            var cursor = try lmdb.cursor(try lmdb.mainDatabase())
            var found = try cursor.first()
            while found {
                names.append(String(decoding: cursor.key.array, as: UTF8.self))
                found = try cursor.next()
            }
        } catch {
            throw HoldfastError(error)
        }
        var databases: [Table: Database] = [:]
        for name in names {
            guard let table = Table(name: name) else {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "The data file has a table '\(name)', which no store has. It is not Holdfast's, or damaged."
                )
            }
            let database = try engine { () throws(LMDBError) in try lmdb.database(name, create: false) }
            databases[table] = database
        }
        return databases
    }

    /// Refuses a newer format, before anything else is read that may have changed with it.
    ///
    /// The rows `format` and `incomplete` keep their place, their layout and their checksum in every version.
    private static func checkFormat(
        _ lmdb: borrowing Transaction,
        _ superblock: [Table: Database],
        _ isComplete: Bool
    ) throws(HoldfastError) {
        guard !superblock.isEmpty else {
            throw HoldfastError(
                code: .notFound,
                message: "The data file has no store in it: making one was interrupted. Run 'holdfast init' again."
            )
        }
        let unfinished = try row(Key.text(Superblock.Name.incomplete.rawValue), .superblock, lmdb, superblock)
        guard unfinished == nil || !isComplete else { throw incomplete }
        let row = try row(Key.text(Superblock.Name.format.rawValue), .superblock, lmdb, superblock)
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

    private static func readSuperblock(
        _ lmdb: borrowing Transaction,
        _ databases: [Table: Database]
    ) throws(HoldfastError) -> Superblock {
        var rows: [Superblock.Name: [UInt8]] = [:]
        for name in Superblock.Name.allCases {
            rows[name] = try row(Key.text(name.rawValue), .superblock, lmdb, databases)
        }
        return try format("The superblock") { () throws(FormatError) in
            try Superblock { (name) throws(FormatError) in rows[name] }
        }
    }

    private static func row(
        _ key: [UInt8],
        _ table: Table,
        _ lmdb: borrowing Transaction,
        _ databases: [Table: Database]
    ) throws(HoldfastError) -> [UInt8]? {
        guard let database = databases[table] else { return nil }
        let value = try engineValue(key, database, lmdb)
        guard let value else { return nil }
        return try format("A row of '\(table.name)'") { () throws(FormatError) in
            try Row.open(value.span, key: key, in: table)
        }
    }

    private static func engineValue(
        _ key: [UInt8],
        _ database: Database,
        _ lmdb: borrowing Transaction
    ) throws(HoldfastError) -> [UInt8]? {
        do throws(LMDBError) {
            return try lmdb.value(of: key, in: database)
        } catch {
            throw HoldfastError(error)
        }
    }

    /// The fields of a row, checked; nil when there is none.
    package func row(_ key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        try Self.row(key, table, lmdb, databases)
    }

    /// The fields of a row of the table `controller`.
    package func controllerRow(_ key: [UInt8]) throws(HoldfastError) -> [UInt8]? { try row(key, in: .controller) }

    /// The fields of every row of the table `controller`, by key, checked.
    package func controllerRows() throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        guard let database = databases[.controller] else { return [:] }
        return try Self.rows(of: .controller, lmdb, database)
    }

    /// The fields of every row of a small table, by key, checked.
    static func rows(
        of table: Table,
        _ lmdb: borrowing Transaction,
        _ database: Database
    ) throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try scan(lmdb, database, from: []) { (key, value) throws(HoldfastError) in
            rows[key] = try format("A row of '\(table.name)'") { () throws(FormatError) in
                try Row.open(value, key: key, in: table)
            }
            return true
        }
        return rows
    }

    /// A region's row; nil when it is not part of the deployment.
    package func regionRow(_ region: RegionID) throws(HoldfastError) -> RegionRow? {
        guard let fields = try row(Key.region(region), in: .regions) else { return nil }
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
        try scan(.history) { (key, _) throws(HoldfastError) in
            first = try format("A key of 'history'") { () throws(FormatError) in try Key.number(from: key.span) }
            return false
        }
        return (next, first < next ? min(next - first, UInt64(FailoverConfiguration.historyCapacityMax) + 1) : 0)
    }

    /// The events that are kept, oldest first, with their numbers.
    package func history() throws(HoldfastError) -> [(number: UInt64, event: FailoverEvent)] {
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

    /// How many pairs a table holds.
    package func count(_ table: Table) throws(HoldfastError) -> Int {
        guard let database = databases[table] else { return 0 }
        do throws(LMDBError) {
            return max(0, try lmdb.count(database))
        } catch {
            throw HoldfastError(error)
        }
    }

    /// The tables that are there, by name.
    package var tables: [Table] { databases.keys.sorted { $0.name < $1.name } }

    /// Calls `body` with each pair from `start` on, in the order of the keys, until it returns false.
    package func scan(
        _ table: Table,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let database = databases[table] else { return }
        try Self.scan(lmdb, database, from: start, body)
    }

    static func scan(
        _ lmdb: borrowing Transaction,
        _ database: Database,
        from start: [UInt8],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        do {
            var cursor = try lmdb.cursor(database)
            var found = try start.isEmpty ? cursor.first() : cursor.seek(start)
            while found {
                guard try body(cursor.key.array, cursor.value) else { return }
                found = try cursor.next()
            }
        } catch let error as LMDBError {
            throw HoldfastError(error)
        } catch let error as HoldfastError {
            throw error
        } catch {
            preconditionFailure("only the two above are thrown: \(error)")
        }
    }

    /// Ends the look, and keeps the databases that it opened open.
    consuming func endKeepingHandles() throws(HoldfastError) {
        do throws(LMDBError) {
            try lmdb.commit()
        } catch {
            throw HoldfastError(error)
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
