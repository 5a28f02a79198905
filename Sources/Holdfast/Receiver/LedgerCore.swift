internal import Bytes
private import Glibc
internal import LMDB
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// An open ledger: the file, and what is known of it as of the last commit.
///
/// A value: a transaction works on a copy, which takes the place of the first when it has committed.
struct LedgerCore: Sendable {
    static let dataName = "ledger.mdb"

    let environment: Environment
    let file: File
    let pageSize: Int
    let tables: LedgerTables
    /// The identities, of the origins that were met since the ledger was opened.
    private var applied: AppliedSet
    private(set) var epoch: FencingEpoch
    /// The number of the transaction that all this is of.
    private var lastTransaction: UInt64
    /// Why the ledger does nothing any more, from here on.
    private(set) var poison: HoldfastError?
    /// Where the file was when it was opened.
    private let place: OpenFiles
    private let limits: AppliedSet.Limits

    init(
        _ environment: Environment,
        _ file: File,
        _ tables: LedgerTables,
        epoch: FencingEpoch,
        last: UInt64,
        limits: AppliedSet.Limits
    ) throws(HoldfastError) {
        self.environment = environment
        self.file = file
        self.tables = tables
        self.epoch = epoch
        lastTransaction = last
        place = OpenFiles(file, of: "ledger", kept: "applied")
        self.limits = limits
        pageSize = try ledgerEngine { () throws(LMDBError) in try environment.pageSize() }
        applied = AppliedSet(origins: [], limits: limits)
    }

    // MARK: Transactions

    /// Applies what is new of `writes`: `body`, and the marks, in one transaction.
    mutating func apply<Value>(
        _ writes: [OutstandingWrite],
        epoch sender: UInt64?,
        _ body: ([OutstandingWrite], inout LedgerState) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        if let gone = place.gone { throw gone }
        let lmdb = try ledgerEngine { () throws(LMDBError) in try environment.beginWrite() }
        try checkAlone(last: lmdb.number - 1)
        let isHigher = try sender.map { (sender) throws(HoldfastError) in try epoch.admit(sender) } ?? false
        try load(writes, lmdb)
        let new = try insert(writes)
        var state = LedgerState(lmdb, tables.state)
        let value = try body(new, &state)
        try store(&state)
        if isHigher {
            let fields = Key.number(epoch.highest)
            let sealed = Row.seal(fields, key: LedgerRow.epochKey, in: LedgerTable.ledger)
            try state.put(sealed, for: LedgerRow.epochKey, in: tables.ledger)
        }
        if let failure = state.failure { throw failure }
        guard state.changes > 0 else { return value }
        try commit(state)
        return value
    }

    /// Reads as of the last commit.
    mutating func read<Value>(
        _ body: (borrowing LedgerState) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        try body(LedgerState(try beginRead(), tables.state))
    }

    /// The writes that are new, in their order, each once.
    mutating func filter(_ writes: [OutstandingWrite]) throws(HoldfastError) -> [OutstandingWrite] {
        // What it says is new has its effect next.
        if let gone = place.gone { throw gone }
        try load(writes, try beginRead())
        // What it inserts goes with the copy; the rows that were read stay.
        var copy = self
        return try copy.insert(writes)
    }

    private mutating func beginRead() throws(HoldfastError) -> Transaction {
        let lmdb = try ledgerEngine { () throws(LMDBError) in try environment.beginRead() }
        try checkAlone(last: lmdb.number)
        return lmdb
    }

    /// Refuses to go on from what another process has done: the identities in memory are not those on the disk then.
    private mutating func checkAlone(last: UInt64) throws(HoldfastError) {
        guard last != lastTransaction else { return }
        let foreign = place.foreignWriter
        poison = .ledgerPoisoned(by: foreign)
        throw foreign
    }

    // MARK: Identities

    /// Notes the writes as applied, and gives those that are new.
    private mutating func insert(_ writes: [OutstandingWrite]) throws(HoldfastError) -> [OutstandingWrite] {
        let new = try applied.insert(writes.map(\.identity))
        if new.count < writes.count { try Self.checkRepeated(writes, new) }
        return new.map { writes[$0] }
    }

    /// Refuses two different writes of one identity, of which only the first would be applied.
    private static func checkRepeated(_ writes: [OutstandingWrite], _ new: [Int]) throws(HoldfastError) {
        var first: [WriteIdentity: Int] = [:]
        for index in new { first[writes[index].identity] = index }
        for (index, write) in writes.enumerated() {
            guard let earlier = first[write.identity], writes[earlier] != write else { continue }
            throw .appliedConflict(write.identity, index: index, earlier: earlier)
        }
    }

    /// Reads the rows of the writes' origins, unless they are known; refuses more writes than a call may have.
    private mutating func load(
        _ writes: [OutstandingWrite],
        _ lmdb: borrowing Transaction
    ) throws(HoldfastError) {
        guard writes.count <= StoreLimits.callEntriesMax else {
            throw .tooLarge(
                "A call holds at most \(StoreLimits.callEntriesMax) writes; this one has \(writes.count). Split it.",
                index: nil,
                limit: "callEntriesMax"
            )
        }
        let wanted = Set(writes.map(\.origin))
        var missing = wanted.subtracting(applied.origins ?? [])
        if missing.isEmpty { return }
        if missing.count + (applied.origins?.count ?? 0) > limits.origins {
            // Everything is on the disk, so what is not needed now can be read again.
            applied = AppliedSet(origins: [], limits: limits)
            missing = wanted
        }
        for origin in missing { try applied.load(origin, try rows(of: origin, lmdb)) }
    }

    private func rows(
        of origin: RegionID,
        _ lmdb: borrowing Transaction
    ) throws(HoldfastError) -> [AppliedRow] {
        var rows: [AppliedRow] = []
        let floorKey = Key.seenFloor(origin)
        if let value = try ledgerEngine({ () throws(LMDBError) in try lmdb.value(of: floorKey, in: tables.applied) }) {
            rows.append(try Self.row(floorKey, value.span))
        }
        let start = Key.seenRange(origin, incarnation: 0, first: 0)
        let prefix = start.dropLast(16)
        try scanLedger(lmdb, tables.applied, from: start) { (key, value) throws(HoldfastError) in
            guard key.starts(with: prefix) else { return false }
            rows.append(try Self.row(key, value))
            return true
        }
        return rows
    }

    private static func row(_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> AppliedRow {
        let pair: AppliedPair
        do throws(FormatError) {
            pair = try AppliedPair(key, value)
        } catch {
            throw .ledgerRow("A row of what was applied", error)
        }
        switch pair {
        case .range(let origin, let incarnation, let first, let last):
            return AppliedRow(origin: origin, incarnation: incarnation, first: first, last: last)
        case .floor(let origin, let incarnation, let sequence):
            return .floor(origin, SeenRanges.Number(incarnation: incarnation, sequence: sequence))
        }
    }

    /// Writes the rows of identities that changed.
    private mutating func store(_ state: inout LedgerState) throws(HoldfastError) {
        let changes = applied.takeChanges()
        for key in changes.removed { try state.delete(Self.key(of: key), in: tables.applied) }
        for row in changes.stored {
            let key = Self.key(of: row.key)
            let fields =
                switch row.key.kind {
                case .range: SeenRow.last(row.last)
                case .floor: SeenRow.floor(row.key.incarnation, row.last)
                }
            try state.put(Row.seal(fields, key: key, in: LedgerTable.applied), for: key, in: tables.applied)
        }
    }

    private static func key(of key: AppliedRow.Key) -> [UInt8] {
        switch key.kind {
        case .range: Key.seenRange(key.origin, incarnation: key.incarnation, first: key.first)
        case .floor: Key.seenFloor(key.origin)
        }
    }

    // MARK: Committing

    private mutating func commit(_ state: consuming LedgerState) throws(HoldfastError) {
        try extend(changes: state.changes, bytes: state.bytes)
        let last = lastTransaction
        do throws(LMDBError) {
            try state.commit()
            lastTransaction = try environment.information().lastTransaction
        } catch {
            var mapped = HoldfastError(error)
            // While the last transaction is still that one, LMDB wrote no meta page, so nothing of this one is there.
            let isUnwritten = (try? environment.information().lastTransaction) == last
            if isUnwritten, isOutOfSpace(error), !environment.isPanicked {
                mapped.code = .full
                mapped.field = "disk"
                throw mapped
            }
            mapped.code = .poisoned
            mapped.message =
                "A commit failed, so nobody knows whether it is on the disk, and the ledger does nothing any more. Close "
                + "it, open it again, and apply the same writes again: those that did arrive are not new."
            poison = mapped
            throw mapped
        }
    }

    /// Whether the disk had no room; a write of which only a part fits is `EIO` to LMDB.
    private func isOutOfSpace(_ error: LMDBError) -> Bool {
        if [ENOSPC, EDQUOT, EFBIG].contains(error.status) { return true }
        let free = (try? FileSystem.freeBytes(at: file.path)) ?? .max
        return error.status == EIO && free < UInt64(Self.aheadBytes)
    }

    /// Makes the file as long as a transaction can make it, without taking space on the disk.
    ///
    /// LMDB leaves out pages that a transaction took and gave back, and a file that ends before its last page could not
    /// be told from one that was cut off.
    private func extend(changes: Int, bytes: Int) throws(HoldfastError) {
        let information = try ledgerEngine { () throws(LMDBError) in try environment.information() }
        let used = (information.lastPage + 1) * pageSize
        // A change copies the pages on the way to its place, splits some of them, and adds to the list of free pages.
        let end = used + 2 * bytes + (changes + 1) * Self.pagesOfChange * pageSize
        let limit = System.fileSizeMax
        guard Int64(end) <= limit else {
            throw .full(
                nil,
                limit: "fileSize",
                "The ledger would grow beyond \(limit) bytes, the process's limit on the size of files. Nothing of the "
                    + "call is there. Raise the limit ('ulimit -f')."
            )
        }
        let size = Int(try ledgerSystem { () throws(SystemError) in try file.size() })
        if size < end {
            try ledgerSystem { () throws(SystemError) in
                try file.truncate(to: min(Int64(end + Self.aheadBytes), limit))
            }
        } else if size > end + Self.surplusBytesMax {
            try ledgerSystem { () throws(SystemError) in try file.truncate(to: Int64(end)) }
        }
    }

    private static let pagesOfChange = 8
    private static let aheadBytes = 1 << 20
    private static let surplusBytesMax = 64 << 20
}

/// The open tables of a ledger.
struct LedgerTables: Sendable {
    var ledger: Database
    var applied: Database
    var state: Database
}

/// Calls `body` with each pair of a table from `start` on, in the order of the keys' bytes, while it says to go on.
func scanLedger(
    _ lmdb: borrowing Transaction,
    _ table: Database,
    from start: [UInt8],
    _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
) throws(HoldfastError) {
    do {
        var cursor = try lmdb.cursor(table)
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
