private import Glibc
internal import LMDB
private import Logging
private import Pages
internal import Platform
internal import ReplayFormat
internal import ReplayStore

/// A ledger that is open, with the lock on its directory.
struct OpenLedger: Sendable {
    var core: LedgerCore
    let directory: StoreDirectory
}

extension OpenLedger {
    private static let ownNames: Set<String> = ["LOCK", LedgerCore.dataName, LedgerCore.dataName + "-lock"]

    /// Makes a ledger in a directory that is empty or not there.
    static func create(_ path: String, _ mapSizeBytes: Int) throws(HoldfastError) -> OpenLedger {
        if !FileSystem.exists(path) {
            try ledgerSystem { () throws(SystemError) in try FileSystem.makeDirectory(path) }
        }
        let directory = try hold(path)
        let names = try ledgerSystem { () throws(SystemError) in try FileSystem.names(in: path) }
        guard names.allSatisfy(ownNames.contains) else {
            throw HoldfastError(
                code: .alreadyExists,
                message: "The directory '\(path)' is not empty. Choose a new one."
            )
        }
        let isThere = FileSystem.exists(path + "/" + LedgerCore.dataName)
        guard isThere || !directory.hadStore else {
            throw HoldfastError(
                code: .damaged,
                message: "A ledger was in '\(path)', and its \(LedgerCore.dataName) is gone. Look for the file, or for "
                    + "a mount that is missing. To begin anew, choose another directory."
            )
        }
        let (environment, file) = try openEnvironment(path, directory, mapSizeBytes)
        // LMDB has written two empty meta pages. They are on the disk before any other page can be, so that a making that
        // is interrupted can be told from a ledger: ``DataFile/isUnmade(_:)``.
        try ledgerSystem { () throws(SystemError) in try file.sync() }
        let lmdb = try ledgerEngine { () throws(LMDBError) in try environment.beginWrite() }
        guard try tables(lmdb) == nil else {
            throw HoldfastError(code: .alreadyExists, message: "There is a ledger at '\(path)' already. Open it.")
        }
        do throws(HoldfastError) {
            let core = try makeTables(lmdb, environment, file)
            try ledgerSystem { () throws(SystemError) in try FileSystem.syncDirectory(path) }
            try ledgerSystem { () throws(SystemError) in try FileSystem.syncDirectory(path + "/..") }
            try directory.noteStore()
            return OpenLedger(core: core, directory: directory)
        } catch {
            // Whoever wants a ledger hears that there is none, so there is none: also where the commit had got through.
            try? FileSystem.remove(path + "/" + LedgerCore.dataName)
            throw error
        }
    }

    /// Opens the ledger in a directory.
    static func open(
        _ path: String,
        _ mapSizeBytes: Int,
        _ limits: AppliedSet.Limits
    ) throws(HoldfastError) -> OpenLedger {
        let data = path + "/" + LedgerCore.dataName
        guard FileSystem.exists(data) else {
            let wasThere = FileSystem.exists(path + "/LOCK")
            throw HoldfastError(
                code: .notFound,
                message: wasThere
                    ? "'\(data)' is gone: the LOCK beside it says that something was here. Make no new ledger, in which "
                        + "every write would be new; look for the file, or for a mount that is missing."
                    : "There is no ledger here: '\(data)' is not there. Make one with create."
            )
        }
        let directory = try hold(path)
        let (environment, file) = try openEnvironment(path, directory, mapSizeBytes)
        let lmdb = try ledgerEngine { () throws(LMDBError) in try environment.beginWrite() }
        guard let tables = try self.tables(lmdb) else {
            throw HoldfastError(
                code: .notFound,
                message: "There is no ledger here: making the one in '\(path)' was interrupted. Make it again with "
                    + "create."
            )
        }
        let epoch = try epoch(lmdb, tables)
        let last = lmdb.number - 1
        // The tables were opened in this transaction: an abort would close them. Nothing is written.
        do throws(LMDBError) {
            try lmdb.commit()
        } catch {
            throw HoldfastError(error)
        }
        let core = try LedgerCore(environment, file, tables, epoch: epoch, last: last, limits: limits)
        try directory.noteStore()
        return OpenLedger(core: core, directory: directory)
    }

    /// Takes the directory.
    ///
    /// What is doubtful is logged where a store logs that is not told otherwise.
    private static func hold(_ path: String) throws(HoldfastError) -> StoreDirectory {
        try StoreDirectory.hold(path) { StoreOptions.standard.logger.notice("\($0)") }
    }

    private static func openEnvironment(
        _ path: String,
        _ directory: StoreDirectory,
        _ mapSizeBytes: Int
    ) throws(HoldfastError) -> (Environment, File) {
        let data = path + "/" + LedgerCore.dataName
        try directory.take(data)
        let file = try ledgerSystem { () throws(SystemError) in try File(regular: data, O_RDWR | O_CREAT) }
        if try DataFile.isUnmade(file) {
            try ledgerSystem { () throws(SystemError) in try file.truncate(to: 0) }
        } else {
            do throws(HoldfastError) {
                try directory.prove(data)
            } catch {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "The file '\(data)' cannot be opened: a page of it is damaged, or it is shorter than it says. "
                        + "Nothing was touched. " + HoldfastError.ledgerAdvice
                )
            }
        }
        guard !FileSystem.isLink(data + "-lock") else { throw .isLink(beside: data + "-lock") }
        try ledgerSystem { () throws(SystemError) in try StoreDirectory.makeLockFile(data + "-lock") }
        let environment = try ledgerEngine { () throws(LMDBError) in
            try Environment(
                path: data,
                isDirectory: false,
                access: .readWrite,
                mapSizeBytes: mapSizeBytes,
                databasesMax: LedgerTable.allCases.count,
                readersMax: StoreLimits.readersMax
            )
        }
        try ledgerEngine { () throws(LMDBError) in _ = try environment.clearStaleReaders() }
        return (environment, file)
    }

    private static func makeTables(
        _ began: consuming Transaction,
        _ environment: Environment,
        _ file: File
    ) throws(HoldfastError) -> LedgerCore {
        var lmdb = began
        func table(_ table: LedgerTable, _ lmdb: borrowing Transaction) throws(HoldfastError) -> Database {
            do throws(LMDBError) {
                guard let database = try lmdb.database(table.rawValue, create: true) else {
                    preconditionFailure("a table that is to be made is there")
                }
                return database
            } catch {
                throw HoldfastError(error)
            }
        }
        let tables = LedgerTables(
            ledger: try table(.ledger, lmdb),
            applied: try table(.applied, lmdb),
            state: try table(.state, lmdb)
        )
        let value = Row.seal(LedgerRow.format(), key: LedgerRow.formatKey, in: LedgerTable.ledger)
        let last = lmdb.number
        do throws(LMDBError) {
            try lmdb.put(LedgerRow.formatKey, value.span, in: tables.ledger)
            try lmdb.commit()
        } catch {
            throw HoldfastError(error)
        }
        let limits = AppliedSet.Limits()
        return try LedgerCore(environment, file, tables, epoch: FencingEpoch(), last: last, limits: limits)
    }

    /// The tables; nil when there is no whole ledger in the file.
    private static func tables(_ lmdb: borrowing Transaction) throws(HoldfastError) -> LedgerTables? {
        func table(_ table: LedgerTable, _ lmdb: borrowing Transaction) throws(HoldfastError) -> Database? {
            do throws(LMDBError) {
                return try lmdb.database(table.rawValue, create: false)
            } catch {
                throw HoldfastError(error)
            }
        }
        guard let ledger = try table(.ledger, lmdb) else { return nil }
        try checkFormat(lmdb, ledger)
        guard let applied = try table(.applied, lmdb), let state = try table(.state, lmdb) else {
            throw .ledgerRow("A table", FormatError("it is missing"))
        }
        return LedgerTables(ledger: ledger, applied: applied, state: state)
    }

    /// Refuses a newer format, before anything else is read that may have changed with it.
    private static func checkFormat(
        _ lmdb: borrowing Transaction,
        _ ledger: Database
    ) throws(HoldfastError) {
        guard let fields = try row(LedgerRow.formatKey, lmdb, ledger) else {
            throw .ledgerRow("The row 'format'", FormatError("it is missing"))
        }
        let version = try ledgerFormat("The row 'format'") { () throws(FormatError) in
            try LedgerRow.format(decoding: fields.span)
        }
        guard version <= LedgerRow.currentVersion else {
            throw HoldfastError(
                code: .formatTooNew,
                message: "The ledger has format \(version); this version of Holdfast knows format "
                    + "\(LedgerRow.currentVersion). Nothing was touched. Use a newer one."
            )
        }
    }

    private static func epoch(
        _ lmdb: borrowing Transaction,
        _ tables: LedgerTables
    ) throws(HoldfastError) -> FencingEpoch {
        guard let fields = try row(LedgerRow.epochKey, lmdb, tables.ledger) else { return FencingEpoch() }
        return try ledgerFormat("The row 'epoch'") { () throws(FormatError) in
            FencingEpoch(highest: try Key.number(from: fields.span))
        }
    }

    private static func row(
        _ key: [UInt8],
        _ lmdb: borrowing Transaction,
        _ ledger: Database
    ) throws(HoldfastError) -> [UInt8]? {
        let value: [UInt8]?
        do throws(LMDBError) {
            value = try lmdb.value(of: key, in: ledger)
        } catch {
            throw HoldfastError(error)
        }
        guard let value else { return nil }
        return try ledgerFormat("The row '\(String(decoding: key, as: UTF8.self))'") { () throws(FormatError) in
            try Row.open(value.span, key: key, in: LedgerTable.ledger)
        }
    }
}
