/// The tables of a data file as of one commit, read from its pages.
///
/// A writer may go on meanwhile: LMDB reuses a page of the commit S at the earliest in the commit S + 3, and begins that
/// one when S + 2 stands in a meta page. So what was read is of S for as long as ``PageFile/isCurrent(_:)`` says so afterwards;
/// otherwise it is to be forgotten, errors with it, and read again in a new snapshot.
package struct PageSnapshot: Sendable {
    package let file: PageFile
    package let meta: Meta
    /// The tables by name, in the order of the names' bytes.
    package let tables: [(name: [UInt8], tree: TreeRecord)]
    private let trees: [[UInt8]: TreeRecord]

    /// The state that a meta page names, in a file that has all its pages.
    package init(_ file: PageFile, _ meta: Meta) throws(PageError) {
        try file.checkPages(of: meta)
        self.file = file
        self.meta = meta
        var tables: [(name: [UInt8], tree: TreeRecord)] = []
        var cursor = try PageCursor(file, meta.main, lastPage: meta.lastPage)
        while try cursor.next() {
            guard case .tree(let tree) = cursor.entry else {
                throw PageError("the list of tables has a row that is no table", page: cursor.page)
            }
            tables.append((cursor.key, tree))
        }
        self.tables = tables
        trees = Dictionary(tables.map { ($0.name, $0.tree) }) { first, _ in first }
    }

    /// The tree of a table; nil when there is no such table.
    package func tree(_ name: [UInt8]) -> TreeRecord? { trees[name] }

    /// A cursor over a table, before its first pair, or before the first whose key is at or above `start`.
    package func cursor(_ tree: TreeRecord, from start: [UInt8] = []) throws(PageError) -> PageCursor {
        guard tree.flags == 0 else { throw PageError("a table has the flags \(tree.flags), which no store's has") }
        return try PageCursor(file, tree, lastPage: meta.lastPage, from: start)
    }

    /// The value of `key`; nil when the key is not there.
    package func value(of key: [UInt8], in tree: TreeRecord) throws(PageError) -> [UInt8]? {
        var cursor = try cursor(tree, from: key)
        guard try cursor.next(), cursor.key == key else { return nil }
        return try cursor.value()
    }

    /// The pairs before and at or behind the place of `key`, as far as they are there.
    package func neighbours(
        of key: [UInt8],
        in tree: TreeRecord
    ) throws(PageError) -> [(key: [UInt8], value: [UInt8])] {
        var cursor = try cursor(tree, from: key)
        let before = try cursor.pairBefore()
        guard try cursor.next() else { return [before].compactMap(\.self) }
        return [(cursor.key, try cursor.value()), before].compactMap(\.self)
    }

    /// Pages that are free inside the file, in the order of their transactions.
    package func freePages() throws(PageError) -> [UInt64] {
        var pages: [UInt64] = []
        var cursor = try PageCursor(file, meta.free, lastPage: meta.lastPage, isByNumber: true)
        while try cursor.next() {
            pages += try Self.identifiers(try cursor.value(), page: cursor.page)
        }
        return pages
    }

    /// The pages that a row of the free list names: their number, then each of them.
    ///
    /// LMDB sets a row's length aside before it knows the number, so the row can be longer.
    static func identifiers(_ row: [UInt8], page: UInt64?) throws(PageError) -> [UInt64] {
        let words = row.count / 8
        let span = row.span
        guard row.count % 8 == 0, words >= 1, span.little64(at: 0) <= UInt64(words - 1) else {
            throw PageError("a row of the free list does not have the length that it says", page: page)
        }
        return (1..<(Int(span.little64(at: 0)) + 1)).map { row.span.little64(at: 8 * $0) }
    }
}
