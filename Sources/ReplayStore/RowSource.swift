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

    /// Refuses to say that `key` is not there where a row beside its place may be it, with a key that is wrong.
    ///
    /// - Throws: `damaged`.
    func proveAbsence(of key: [UInt8], in table: Table) throws(HoldfastError) {
        let neighbours =
            switch self {
            case .transaction(let rows): try rows.neighbours(of: key, in: table)
            case .pages(let rows): try rows.neighbours(of: key, in: table)
            }
        try table.proveAbsence(of: key, beside: neighbours)
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
        try lmdb.scan(database, of: table, from: start, body)
    }

    func neighbours(of key: [UInt8], in table: Table) throws(HoldfastError) -> [(key: [UInt8], value: [UInt8])] {
        guard let database = databases[table] else { return [] }
        return try lmdb.neighbours(of: key, in: database)
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
    ///
    /// `table`: What is refused where a key is not above the one before it: another row of one key, or a tree that is out of
    /// order, in which nothing can be relied on that is not found. Blocks of a queue say themselves where they belong. Nil for
    /// what is not a store's.
    func scan(
        _ database: Database,
        of table: Table? = nil,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        do {
            var last: [UInt8]?
            if case .seen? = table, let table, !start.isEmpty { try proveRow(before: start, database, table) }
            var cursor = try cursor(database)
            var found = try start.isEmpty ? cursor.first() : cursor.seek(start)
            while found {
                let key = cursor.key.array
                if let table, table.hasRows {
                    guard last.map({ $0.lexicographicallyPrecedes(key) }) ?? true else {
                        throw HoldfastError.unordered(table)
                    }
                    last = key
                }
                guard try body(key, cursor.value) else { return }
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

    /// Refuses a row before `start` that is not what was written: with another key it may belong behind it.
    private func proveRow(before start: [UInt8], _ database: Database, _ table: Table) throws(HoldfastError) {
        let rows = try neighbours(of: start, in: database)
        guard let row = rows.first(where: { $0.key.lexicographicallyPrecedes(start) }) else { return }
        _ = try format("A row of '\(table.name)'") { () throws(FormatError) in
            try Row.open(row.value.span, key: row.key, in: table)
        }
    }

    /// The pairs before and at or behind a place, as far as they are there.
    func neighbours(
        of key: [UInt8],
        in database: Database
    ) throws(HoldfastError) -> [(key: [UInt8], value: [UInt8])] {
        do throws(LMDBError) {
            var pairs: [(key: [UInt8], value: [UInt8])] = []
            var cursor = try cursor(database)
            var isBefore = try cursor.seek(key)
            if isBefore {
                pairs.append((cursor.key.array, cursor.value.array))
                isBefore = try cursor.previous()
            } else {
                isBefore = try cursor.last()
            }
            if isBefore { pairs.append((cursor.key.array, cursor.value.array)) }
            return pairs
        } catch {
            throw HoldfastError(error)
        }
    }

    /// The fields of the rows of a small table whose keys are wanted, by key, checked.
    func rows(
        of table: Table,
        _ database: Database,
        where isWanted: ([UInt8]) -> Bool = { _ in true }
    ) throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try scan(database, of: table) { (key, value) throws(HoldfastError) in
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
        return try read(table) { () throws(PageError) in try snapshot.value(of: key, in: tree) }
    }

    func scan(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let tree = trees[table] else { return }
        var cursor = try read(table) { () throws(PageError) in try snapshot.cursor(tree, from: start) }
        while try read(table, { () throws(PageError) in try cursor.next() }) {
            let value = try read(table) { () throws(PageError) in try cursor.value() }
            guard try body(cursor.key, value.span) else { return }
        }
    }

    func scanKeys(
        _ table: Table,
        from start: [UInt8],
        _ body: (_ key: [UInt8]) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let tree = trees[table] else { return }
        var cursor = try read(table) { () throws(PageError) in try snapshot.cursor(tree, from: start) }
        while try read(table, { () throws(PageError) in try cursor.next() }) {
            guard try body(cursor.key) else { return }
        }
    }

    func neighbours(of key: [UInt8], in table: Table) throws(HoldfastError) -> [(key: [UInt8], value: [UInt8])] {
        guard let tree = trees[table] else { return [] }
        return try read(table) { () throws(PageError) in try snapshot.neighbours(of: key, in: tree) }
    }

    /// Reads pages of a table, and says whose they are where that fails.
    private func read<Result>(
        _ table: Table,
        _ body: () throws(PageError) -> Result
    ) throws(HoldfastError) -> Result {
        do throws(PageError) {
            return try body()
        } catch {
            var named = error
            if error.system == nil { named.what += ", in the table '\(table.name)'" }
            throw HoldfastError(named)
        }
    }

    func space() throws(HoldfastError) -> StoreView.Space {
        let free = try pages { () throws(PageError) in try snapshot.freePages() }
        let bytes = UInt64(free.count) * UInt64(snapshot.file.pageSize)
        return StoreView.Space(lastTransaction: snapshot.meta.transaction, freeBytes: bytes)
    }
}

extension Table {
    /// Refuses to say that `key` is not there where one of the pairs beside its place may be it, with a key that is wrong.
    ///
    /// A row's checksum is over its key as well. One whose checksum is right with the other key, or wrong where the keys differ
    /// in a byte at the end, had that key: its bit, or one of its length, has flipped.
    func proveAbsence(
        of key: [UInt8],
        beside neighbours: [(key: [UInt8], value: [UInt8])]
    ) throws(HoldfastError) {
        for pair in neighbours where hasRows && (try? Row.open(pair.value.span, key: pair.key, in: self)) == nil {
            let isLonger = pair.key.count == key.count + 1 && pair.key.starts(with: key)
            let isShorter = pair.key.count + 1 == key.count && key.starts(with: pair.key)
            guard isLonger || isShorter || (try? Row.open(pair.value.span, key: key, in: self)) != nil else { continue }
            throw HoldfastError(FormatError("a row's key is not the one that was written"), in: "A row of '\(name)'")
        }
    }
}

extension HoldfastError {
    /// What a table is refused with whose keys do not rise.
    static func unordered(_ table: Table) -> Self {
        HoldfastError(
            code: .damaged,
            message:
                "The keys of '\(table.name)' are out of order. Nothing was changed. Keep a copy of the store, and run "
                + "'holdfast check --level deep'."
        )
    }
}
