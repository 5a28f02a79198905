private import CLMDB

/// A named database inside an environment, open until the environment closes.
package struct Database: Sendable, Hashable {
    let handle: UInt32
}

/// A read or write transaction, aborted when it goes without a commit.
///
/// Begin and end it in one function that does not suspend: a write transaction belongs to its thread.
@safe package struct Transaction: ~Copyable {
    private let environment: Environment
    /// Nil once the transaction has ended.
    private var ended = false
    private let pointer: OpaquePointer

    init(_ environment: Environment, flags: UInt32) throws(LMDBError) {
        var pointer: OpaquePointer?
        try check("mdb_txn_begin", unsafe mdb_txn_begin(environment.pointer, nil, flags, &pointer))
        guard let pointer = unsafe pointer else { preconditionFailure("mdb_txn_begin gave no transaction") }
        self.environment = environment
        unsafe self.pointer = pointer
    }

    deinit { if !ended { unsafe mdb_txn_abort(pointer) } }

    /// Commits; on return every change is on the disk, unless the environment was opened otherwise.
    ///
    /// When it throws, nothing of the transaction is to be relied on either way: see ``LMDBError``.
    package consuming func commit() throws(LMDBError) {
        ended = true
        try check("mdb_txn_commit", unsafe mdb_txn_commit(pointer))
    }

    /// The transaction's number, which rises by one with each write.
    package var number: UInt64 { UInt64(unsafe mdb_txn_id(pointer)) }

    /// Opens the database `name`, making it if `create`; nil when it is not there.
    package func database(_ name: String, create: Bool) throws(LMDBError) -> Database? {
        var handle: MDB_dbi = 0
        let status = unsafe mdb_dbi_open(pointer, name, create ? UInt32(MDB_CREATE) : 0, &handle)
        if status == MDB_NOTFOUND { return nil }
        try check("mdb_dbi_open", status)
        return Database(handle: handle)
    }

    /// The database that lists the named ones.
    package func mainDatabase() throws(LMDBError) -> Database {
        var handle: MDB_dbi = 0
        try check("mdb_dbi_open", unsafe mdb_dbi_open(pointer, nil, 0, &handle))
        return Database(handle: handle)
    }

    /// How many pairs a database holds.
    package func count(_ database: Database) throws(LMDBError) -> Int {
        Int(try statistics(database).ms_entries)
    }

    /// How many pages a database takes.
    package func pages(_ database: Database) throws(LMDBError) -> Int {
        let stat = try statistics(database)
        return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages
    }

    /// The size of a page in bytes.
    package func pageSize() throws(LMDBError) -> Int {
        Int(try statistics(Database(handle: 0)).ms_psize)
    }

    private func statistics(_ database: Database) throws(LMDBError) -> MDB_stat {
        var stat = MDB_stat()
        try check("mdb_stat", unsafe mdb_stat(pointer, database.handle, &stat))
        return stat
    }

    /// Pages that are free inside the file.
    ///
    /// It reads the whole free list.
    package func freePages() throws(LMDBError) -> Int {
        var cursor = try self.cursor(Database(handle: 0))
        var pages = 0
        var found = try cursor.first()
        while found {
            // A row of the free list is a count and that many page numbers, in the machine's own words.
            pages += cursor.value.count / MemoryLayout<Int>.size - 1
            found = try cursor.next()
        }
        return pages
    }

    /// Calls `body` with the value of `key`, which is valid until it returns; nil when the key is not there.
    package func withValue<Result>(
        of key: [UInt8],
        in database: Database,
        _ body: (Span<UInt8>) -> Result
    ) throws(LMDBError) -> Result? {
        var value = unsafe MDB_val()
        let status = unsafe key.withUnsafeBytes { bytes in
            var key = unsafe MDB_val(bytes)
            return unsafe mdb_get(pointer, database.handle, &key, &value)
        }
        if status == MDB_NOTFOUND { return nil }
        try check("mdb_get", status)
        return unsafe body(value.bytes)
    }

    /// A copy of the value of `key`; nil when the key is not there.
    package func value(of key: [UInt8], in database: Database) throws(LMDBError) -> [UInt8]? {
        try withValue(of: key, in: database) { unsafe $0.withUnsafeBufferPointer { unsafe Array($0) } }
    }

    /// Stores a pair, replacing the key's value.
    ///
    /// With `append` the key must be above every other one.
    ///
    /// - Throws: `MDB_CORRUPTED` when the value that is replaced has pages that are not its own; nothing has changed then.
    package mutating func put(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        in database: Database,
        append: Bool = false
    ) throws(LMDBError) {
        if !append, let cursor = try unsafe provedPair(key, in: database) {
            defer { unsafe mdb_cursor_close(cursor.pointer) }
            guard unsafe cursor.isLarge else {
                return try check(
                    "mdb_cursor_put",
                    unsafe store(key, value) { key, value in
                        unsafe mdb_cursor_put(cursor.pointer, key, value, UInt32(MDB_CURRENT))
                    }
                )
            }
            // In place LMDB would keep more pages than a shorter value needs, and nothing could tell them from damage.
            try check("mdb_cursor_del", unsafe mdb_cursor_del(cursor.pointer, 0))
        }
        try check(
            "mdb_put",
            unsafe store(key, value) { key, value in
                unsafe mdb_put(pointer, database.handle, key, value, append ? UInt32(MDB_APPEND) : 0)
            }
        )
    }

    private func store(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        _ body: (_ key: UnsafeMutablePointer<MDB_val>, _ value: UnsafeMutablePointer<MDB_val>) -> CInt
    ) -> CInt {
        unsafe key.withUnsafeBytes { key in
            unsafe value.withUnsafeBytes { value in
                var key = unsafe MDB_val(key)
                var value = unsafe MDB_val(value)
                return unsafe body(&key, &value)
            }
        }
    }

    /// Removes a pair, and says whether there was one.
    ///
    /// - Throws: `MDB_CORRUPTED` when its value has pages that are not its own; nothing has changed then.
    @discardableResult
    package mutating func delete(_ key: [UInt8], in database: Database) throws(LMDBError) -> Bool {
        guard let cursor = try unsafe provedPair(key, in: database) else { return false }
        defer { unsafe mdb_cursor_close(cursor.pointer) }
        try check("mdb_cursor_del", unsafe mdb_cursor_del(cursor.pointer, 0))
        return true
    }

    /// Removes every pair, in time that grows with the pages and not with the pairs.
    ///
    /// - Throws: `MDB_CORRUPTED` when a value has pages that are not its own; nothing has changed then.
    package mutating func empty(_ database: Database) throws(LMDBError) {
        let isExact = try hasLargeValues(database) ? hasExactRuns(database) : true
        guard isExact else {
            // On a page that is none LMDB would end the process: the pairs go one by one.
            while let key = try firstKey(database) { try delete(key, in: database) }
            return
        }
        try check("mdb_drop", unsafe mdb_drop(pointer, database.handle, 0))
    }

    /// Whether the first page of each large value says what it should.
    private func hasExactRuns(_ database: Database) throws(LMDBError) -> Bool {
        let pageSize = try pageSize()
        var cursor = try self.cursor(database)
        var found = try cursor.first()
        var isExact = true
        while found {
            if try cursor.run(pageSize: pageSize) == .short { isExact = false }
            found = try cursor.next()
        }
        return isExact
    }

    private func firstKey(_ database: Database) throws(LMDBError) -> [UInt8]? {
        var cursor = try self.cursor(database)
        guard try cursor.first() else { return nil }
        let key = cursor.key
        return key.indices.map { key[$0] }
    }

    /// Whether a value of a database has pages of its own.
    package func hasLargeValues(_ database: Database) throws(LMDBError) -> Bool {
        try statistics(database).ms_overflow_pages > 0
    }

    /// A cursor at a pair whose pages are proved to be its own, to be closed by who asks; nil when the key is not there.
    private func provedPair(
        _ key: [UInt8],
        in database: Database
    ) throws(LMDBError) -> (pointer: OpaquePointer, isLarge: Bool)? {
        var cursor: OpaquePointer?
        try check("mdb_cursor_open", unsafe mdb_cursor_open(pointer, database.handle, &cursor))
        guard let cursor = unsafe cursor else { preconditionFailure("mdb_cursor_open gave no cursor") }
        do throws(LMDBError) {
            let pair = unsafe pair(at: key, cursor)
            if unsafe pair.status == MDB_NOTFOUND {
                unsafe mdb_cursor_close(cursor)
                return nil
            }
            try check("mdb_cursor_get", unsafe pair.status)
            return unsafe (cursor, try pair.run(pageSize: try pageSize()) != nil)
        } catch {
            unsafe mdb_cursor_close(cursor)
            throw error
        }
    }

    /// A cursor over a database, before its first pair.
    @_lifetime(borrow self)
    package func cursor(_ database: Database) throws(LMDBError) -> Cursor {
        var cursor: OpaquePointer?
        try check("mdb_cursor_open", unsafe mdb_cursor_open(pointer, database.handle, &cursor))
        guard let cursor = unsafe cursor else { preconditionFailure("mdb_cursor_open gave no cursor") }
        return unsafe _overrideLifetime(Cursor(cursor), borrowing: self)
    }
}

/// A place in a database, valid as long as its transaction is borrowed for it.
@safe package struct Cursor: ~Copyable, ~Escapable {
    private let pointer: OpaquePointer
    private var currentKey: MDB_val
    private var currentValue: MDB_val

    @_lifetime(immortal)
    fileprivate init(_ pointer: OpaquePointer) {
        unsafe self.pointer = pointer
        unsafe self.currentKey = MDB_val()
        unsafe self.currentValue = MDB_val()
    }

    deinit { unsafe mdb_cursor_close(pointer) }

    /// Moves to the first pair; false when there is none, as in the calls below.
    package mutating func first() throws(LMDBError) -> Bool { try move(MDB_FIRST) }
    /// Moves to the last pair.
    package mutating func last() throws(LMDBError) -> Bool { try move(MDB_LAST) }
    /// Moves to the pair after this one.
    package mutating func next() throws(LMDBError) -> Bool { try move(MDB_NEXT) }
    /// Moves to the pair before this one; from beyond the end, to the last.
    package mutating func previous() throws(LMDBError) -> Bool { try move(MDB_PREV) }

    /// Moves to the first pair whose key is at or above `key`.
    package mutating func seek(_ key: [UInt8]) throws(LMDBError) -> Bool {
        try unsafe place(pairAtOrAfter(key, pointer))
    }

    private mutating func move(_ operation: MDB_cursor_op) throws(LMDBError) -> Bool {
        try unsafe place(pair(operation, MDB_val(), pointer))
    }

    private mutating func place(_ pair: Pair) throws(LMDBError) -> Bool {
        unsafe currentKey = pair.key
        unsafe currentValue = pair.value
        if unsafe pair.status == MDB_NOTFOUND { return false }
        try check("mdb_cursor_get", unsafe pair.status)
        return true
    }

    /// What the first page of a large value says of its pages; see the pair's.
    fileprivate func run(pageSize: Int) throws(LMDBError) -> Run? {
        try unsafe Pair(status: MDB_SUCCESS, key: currentKey, value: currentValue).run(pageSize: pageSize)
    }

    /// The pair's key; empty where the last move found none.
    package var key: Span<UInt8> {
        @_lifetime(borrow self) get { unsafe _overrideLifetime(currentKey.bytes, borrowing: self) }
    }

    /// The pair's value; empty where the last move found none.
    package var value: Span<UInt8> {
        @_lifetime(borrow self) get { unsafe _overrideLifetime(currentValue.bytes, borrowing: self) }
    }
}

/// What `mdb_cursor_get` gave; an empty pair where it found none.
@unsafe private struct Pair {
    var status: CInt
    var key: MDB_val
    var value: MDB_val

    /// What the first page of a large value says of its pages; nil for a value that stands in its leaf.
    ///
    /// A value that does not fit into a leaf stands in pages of its own, in one piece behind the header of the first: its
    /// number, its flags, and how many pages there are. LMDB 0.9 frees as many as that says from the number on that it
    /// says: where a bit of it is wrong, those of other values, which the next commit writes over.
    ///
    /// - Throws: `MDB_CORRUPTED` when it names pages that are not the value's.
    func run(pageSize: Int) throws(LMDBError) -> Run? {
        guard let key = unsafe key.mv_data, let value = unsafe value.mv_data else { return nil }
        // A node: the value's length in 4 bytes, flags and the key's length in 2 each, the key, the value or its page.
        guard unsafe key.loadUnaligned(fromByteOffset: -4, as: UInt16.self) & 1 != 0 else { return nil }
        let page = unsafe key.loadUnaligned(fromByteOffset: self.key.mv_size, as: UInt64.self)
        let header = unsafe value - 16
        let number = unsafe header.loadUnaligned(as: UInt64.self)
        let flags = unsafe header.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
        let pages = unsafe header.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
        let needed = unsafe (16 + self.value.mv_size + pageSize - 1) / pageSize
        if number == page, pages == needed, flags & 0x0F == 4 { return .exact }
        // Of a page of zeros nothing is freed.
        guard pages == 0 || number == page && pages < needed else {
            throw LMDBError(call: "the pages of a large value", status: MDB_CORRUPTED)
        }
        return .short
    }
}

/// What the first page of a large value says of its pages.
private enum Run {
    /// What is right.
    case exact
    /// Not all of them, and no others: removing the value leaves the others to nobody until the store is compacted.
    case short
}

private func pair(at key: [UInt8], _ cursor: OpaquePointer) -> Pair {
    unsafe key.withUnsafeBytes { unsafe pair(MDB_SET_KEY, MDB_val($0), cursor) }
}

private func pair(_ operation: MDB_cursor_op, _ key: MDB_val, _ cursor: OpaquePointer) -> Pair {
    var key = unsafe key
    var value = unsafe MDB_val()
    let status = unsafe mdb_cursor_get(cursor, &key, &value, operation)
    guard status == MDB_SUCCESS else { return unsafe Pair(status: status, key: MDB_val(), value: MDB_val()) }
    return unsafe Pair(status: status, key: key, value: value)
}

private func pairAtOrAfter(_ key: [UInt8], _ cursor: OpaquePointer) -> Pair {
    unsafe key.withUnsafeBytes { unsafe pair(MDB_SET_RANGE, MDB_val($0), cursor) }
}

extension MDB_val {
    fileprivate init(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.init(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
    }

    /// The bytes, for as long as LMDB keeps them: the caller narrows the lifetime.
    fileprivate var bytes: Span<UInt8> {
        @_lifetime(immortal) get {
            let buffer = unsafe UnsafeRawBufferPointer(start: mv_data, count: mv_size)
            return unsafe _overrideLifetime(Span(_unsafeBytes: buffer), copying: ())
        }
    }
}
