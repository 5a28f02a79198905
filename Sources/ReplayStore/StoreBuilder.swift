private import Glibc
internal import LMDB
internal import Platform
package import ReplayFormat

/// Writes a whole new data file, from blocks and rows that somebody has: what compaction and load are made of.
///
/// Until ``complete()`` the file says that it is incomplete, and no store opens it.
package final class StoreBuilder {
    private let path: String
    private let file: String
    private let environment: Environment
    /// The directory, where it is a new store's.
    private let destination: StoreDestination?
    private var databases: [Table: Database] = [:]
    private var batch: [(table: Table, key: [UInt8], value: [UInt8])] = []
    private var batchBytes = 0
    private var lastKeys: [Table: [UInt8]] = [:]
    private let mistake: Mistake?

    /// What becomes of a value on its way to the file; nil for a pair that does not get there.
    package typealias Mistake = @Sendable (_ table: Table, _ key: [UInt8], _ value: [UInt8]) -> [UInt8]?

    /// A mistake that every builder of the task makes: for tests, which see that what was written is compared.
    @TaskLocal package static var mistake: Mistake?

    /// Bytes that are put in one transaction: LMDB keeps the pages of a transaction in memory.
    private static let batchBytesMax = 16 << 20

    /// Begins a new store at `path`, or the file `file` beside the data file of one that the caller holds.
    ///
    /// A new store's directory is empty or not there; it is held until the store is complete. What was made of one that is
    /// never complete goes with the builder.
    package init(_ path: String, file: String = DataFile.name) throws(HoldfastError) {
        self.path = path
        self.file = file
        mistake = Self.mistake
        let isNew = file == DataFile.name
        do throws(HoldfastError) {
            destination = isNew ? try StoreDestination(path) : nil
            if let destination { try destination.makeData() } else { try StoreDestination.makeFile(path + "/" + file) }
            environment = try engine { () throws(LMDBError) in
                try Environment(
                    path: isNew ? path : path + "/" + file,
                    isDirectory: isNew,
                    access: .bulk,
                    mapSizeBytes: StoreLimits.mapSizeBytes,
                    databasesMax: StoreLimits.databasesMax,
                    readersMax: StoreLimits.readersMax
                )
            }
        } catch {
            throw Self.explained(error, path)
        }
        try put([1], key: Key.text(Superblock.Name.incomplete.rawValue), in: .superblock)
        try flush()
        FaultPoint.reach(.buildBegin)
    }

    /// Adds a row: its fields, and their checksum.
    package func put(_ fields: [UInt8], key: [UInt8], in table: Table) throws(HoldfastError) {
        try putRaw(Row.seal(fields, key: key, in: table), key: key, in: table)
    }

    /// Adds a value as it is.
    package func putRaw(_ value: [UInt8], key: [UInt8], in table: Table) throws(HoldfastError) {
        let put = if let mistake { mistake(table, key, value) } else { value as [UInt8]? }
        guard let value = put else { return }
        batch.append((table, key, value))
        batchBytes += key.count + value.count + 16
        if batchBytes > Self.batchBytesMax { try flush() }
    }

    /// Makes a table even if nothing is put into it.
    package func make(_ table: Table) throws(HoldfastError) {
        try transact { (transaction) throws(LMDBError) in _ = try self.database(table, transaction) }
    }

    private func database(_ table: Table, _ transaction: borrowing Transaction) throws(LMDBError) -> Database {
        if let database = databases[table] { return database }
        guard let database = try transaction.database(table.name, create: true) else {
            preconditionFailure("mdb_dbi_open with MDB_CREATE gave no database")
        }
        databases[table] = database
        return database
    }

    /// Removes a pair that was put before.
    package func delete(_ key: [UInt8], in table: Table) throws(HoldfastError) {
        try flush()
        try transact { (transaction) throws(LMDBError) in
            try transaction.delete(key, in: try self.database(table, transaction))
        }
    }

    private func flush() throws(HoldfastError) {
        let pairs = batch
        batch = []
        batchBytes = 0
        try transact { (transaction) throws(LMDBError) in
            for pair in pairs {
                let database = try self.database(pair.table, transaction)
                // Appending fills the pages; keys that come out of order are put where they belong.
                let isNext = self.lastKeys[pair.table].map { $0.lexicographicallyPrecedes(pair.key) } ?? true
                if isNext { self.lastKeys[pair.table] = pair.key }
                try transaction.put(pair.key, pair.value.span, in: database, append: isNext)
            }
        }
        FaultPoint.reach(.buildFlush)
    }

    private func transact(_ body: (inout Transaction) throws(LMDBError) -> Void) throws(HoldfastError) {
        do throws(LMDBError) {
            var transaction = try environment.beginWrite()
            try body(&transaction)
            try transaction.commit()
        } catch {
            throw Self.explained(HoldfastError(error), path)
        }
    }

    private static func explained(_ error: HoldfastError, _ path: String) -> HoldfastError {
        error.at(path).whereFull(
            path,
            "The disk is full: the new store does not fit. What was written of it has been removed. Free space, or choose "
                + "another disk."
        )
    }

    /// Adds the superblock; on return everything is on the disk, and can be proved before it is called complete.
    package func finish(_ superblock: Superblock) throws(HoldfastError) {
        for table in [Table.superblock, .regions, .controller, .history, .lost, .dictionaries, .raft] {
            try make(table)
        }
        var superblock = superblock
        superblock.isIncomplete = false
        for (name, fields) in superblock.encoded() { try put(fields, key: Key.text(name.rawValue), in: .superblock) }
        try flush()
        FaultPoint.reach(.buildFinish)
        try sync()
    }

    /// Makes the file a whole store; on return that is on the disk, and its name with it, and a new store can be opened.
    package func complete() throws(HoldfastError) {
        try engine { () throws(LMDBError) in try environment.syncEachCommit() }
        let key = Key.text(Superblock.Name.incomplete.rawValue)
        try transact { (transaction) throws(LMDBError) in
            try transaction.delete(key, in: try self.database(.superblock, transaction))
        }
        FaultPoint.reach(.buildComplete)
        // Once more, so that both of LMDB's meta pages lead to a whole store: a reader of the file that this one replaces
        // can make LMDB take the older of the two.
        try transact { (transaction) throws(LMDBError) in
            let database = try self.database(.superblock, transaction)
            let format = Key.text(Superblock.Name.format.rawValue)
            if let value = try transaction.value(of: format, in: database) {
                try transaction.put(format, value.span, in: database)
            }
        }
        FaultPoint.reach(.buildCompleteAgain)
        try sync()
        try system { () throws(SystemError) in try FileSystem.syncDirectory(self.path) }
        try system { () throws(SystemError) in try FileSystem.syncDirectory(self.path + "/..") }
        FaultPoint.reach(.buildNamesSync)
        try destination?.done()
    }

    private func sync() throws(HoldfastError) {
        do throws(HoldfastError) {
            try syncAll()
        } catch {
            throw Self.explained(error, path)
        }
    }

    private func syncAll() throws(HoldfastError) {
        // LMDB leaves out pages that a transaction took and gave back: the file must be as long as it says all the same.
        let information = try engine { () throws(LMDBError) in try environment.information() }
        let pageSize = try engine { () throws(LMDBError) in try environment.pageSize() }
        let wanted = (Int64(information.lastPage) + 1) * Int64(pageSize)
        try system { () throws(SystemError) in
            let data = try File(self.path + "/" + self.file, O_RDWR)
            if try data.size() < wanted { try data.truncate(to: wanted) }
        }
        FaultPoint.reach(.buildLengthen)
        try engine { () throws(LMDBError) in try environment.sync() }
        FaultPoint.reach(.buildSync)
        // LMDB's own call leaves the file's size to the system in some modes: sync the file as a whole.
        try system { () throws(SystemError) in try File(self.path + "/" + self.file, O_RDWR).sync() }
        FaultPoint.reach(.buildFileSync)
    }
}
