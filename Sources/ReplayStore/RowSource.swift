private import Bytes
internal import LMDB
internal import Pages
internal import ReplayFormat

/// Where a look reads its rows.
enum RowSource: ~Copyable {
    case transaction(TransactionRows)
    case pages(PageRows)

    /// The tables that are there.
    var tables: [Table] {
        switch self {
        case .transaction(let rows): Array(rows.databases.keys)
        case .pages(let rows): Array(rows.trees.keys)
        }
    }

    func has(_ table: Table) -> Bool {
        switch self {
        case .transaction(let rows): rows.databases[table] != nil
        case .pages(let rows): rows.trees[table] != nil
        }
    }

    /// A copy of the value of `key`; nil when the key or the table is not there.
    func value(of key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        switch self {
        case .transaction(let rows): try rows.value(of: key, in: table)
        case .pages(let rows): try rows.value(of: key, in: table)
        }
    }

    /// Calls `body` with each pair from `start` on, in the order of the keys, until it returns false.
    func scan(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        switch self {
        case .transaction(let rows): try rows.scan(table, from: start, body)
        case .pages(let rows): try rows.scan(table, from: start, body)
        }
    }

    /// The same with the keys alone: values that stand in pages of their own are not read.
    func scanKeys(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8]) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        switch self {
        case .transaction(let rows):
            try rows.scan(table, from: start) { (key, _) throws(HoldfastError) in try body(key) }
        case .pages(let rows): try rows.scanKeys(table, from: start, body)
        }
    }

    /// How many pairs a table says that it holds.
    func count(_ table: Table) throws(HoldfastError) -> Int {
        switch self {
        case .transaction(let rows): try rows.count(table)
        case .pages(let rows): Int(clamping: rows.trees[table]?.entries ?? 0)
        }
    }

    /// What the data file holds: it reads the whole free list.
    func space() throws(HoldfastError) -> StoreView.Space {
        switch self {
        case .transaction(let rows): try rows.space()
        case .pages(let rows): try rows.space()
        }
    }
}

/// The rows that a transaction of LMDB sees.
struct TransactionRows: ~Copyable {
    let lmdb: Transaction
    let databases: [Table: Database]

    func value(of key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        guard let database = databases[table] else { return nil }
        do throws(LMDBError) {
            return try lmdb.value(of: key, in: database)
        } catch {
            throw HoldfastError(error)
        }
    }

    func scan(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let database = databases[table] else { return }
        try lmdb.scan(database, from: start, body)
    }

    func count(_ table: Table) throws(HoldfastError) -> Int {
        guard let database = databases[table] else { return 0 }
        do throws(LMDBError) {
            return max(0, try lmdb.count(database))
        } catch {
            throw HoldfastError(error)
        }
    }

    func space() throws(HoldfastError) -> StoreView.Space {
        do throws(LMDBError) {
            let bytes = UInt64(max(0, try lmdb.freePages())) * UInt64(try lmdb.pageSize())
            return StoreView.Space(lastTransaction: lmdb.number, freeBytes: bytes)
        } catch {
            throw HoldfastError(error)
        }
    }
}

extension Transaction {
    /// Calls `body` with each pair from `start` on, in the order of the keys, until it returns false.
    func scan(
        _ database: Database,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        do {
            var cursor = try cursor(database)
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

    /// The fields of the rows of a small table whose keys are wanted, by key, checked.
    func rows(
        of table: Table,
        _ database: Database,
        where isWanted: ([UInt8]) -> Bool = { _ in true }
    ) throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try scan(database) { (key, value) throws(HoldfastError) in
            guard isWanted(key) else { return true }
            rows[key] = try format("A row of '\(table.name)'") { () throws(FormatError) in
                try Row.open(value, key: key, in: table)
            }
            return true
        }
        return rows
    }
}

/// The rows in the pages of a data file.
struct PageRows {
    let snapshot: PageSnapshot
    let trees: [Table: TreeRecord]

    func value(of key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        guard let tree = trees[table] else { return nil }
        return try pages { () throws(PageError) in try snapshot.value(of: key, in: tree) }
    }

    func scan(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let tree = trees[table] else { return }
        var cursor = try pages { () throws(PageError) in try snapshot.cursor(tree, from: start) }
        while try advance(&cursor) {
            let value = try value(at: cursor)
            guard try body(cursor.key, value.span) else { return }
        }
    }

    func scanKeys(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8]) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let tree = trees[table] else { return }
        var cursor = try pages { () throws(PageError) in try snapshot.cursor(tree, from: start) }
        while try advance(&cursor) { guard try body(cursor.key) else { return } }
    }

    private func advance(_ cursor: inout PageCursor) throws(HoldfastError) -> Bool {
        do throws(PageError) {
            return try cursor.next()
        } catch {
            throw HoldfastError(error)
        }
    }

    private func value(at cursor: PageCursor) throws(HoldfastError) -> [UInt8] {
        do throws(PageError) {
            return try cursor.value()
        } catch {
            throw HoldfastError(error)
        }
    }

    func space() throws(HoldfastError) -> StoreView.Space {
        let free = try pages { () throws(PageError) in try snapshot.freePages() }
        let bytes = UInt64(free.count) * UInt64(snapshot.file.pageSize)
        return StoreView.Space(lastTransaction: snapshot.meta.transaction, freeBytes: bytes)
    }
}
