/// What a meta page says of one database: the root of its tree, and counts that nobody checks but a walk.
package struct TreeRecord: Sendable, Hashable {
    /// LMDB's flags of the database; 0 for every table of a store.
    package var flags: UInt16
    /// The levels from the root to the leaves; 0 when the tree is empty.
    package var depth: Int
    package var branchPages: UInt64
    package var leafPages: UInt64
    package var overflowPages: UInt64
    package var entries: UInt64
    /// The root's page; ``empty`` when there is none.
    package var root: UInt64

    /// The page number that stands for none.
    package static var none: UInt64 { .max }
    /// The bytes of a record.
    package static var size: Int { 48 }

    package var isEmpty: Bool { root == Self.none }

    /// Whether a tree without a root says that it has something: then the record is of two states, and LMDB would give the
    /// next pair a tree of a wrong depth.
    var isEmptyByHalf: Bool { isEmpty && (depth, branchPages, leafPages, overflowPages, entries) != (0, 0, 0, 0, 0) }

    /// Reads the 48 bytes at `offset`; the caller has checked that they are there.
    init(_ bytes: Span<UInt8>, at offset: Int) {
        flags = bytes.little16(at: offset + 4)
        depth = Int(bytes.little16(at: offset + 6))
        branchPages = bytes.little64(at: offset + 8)
        leafPages = bytes.little64(at: offset + 16)
        overflowPages = bytes.little64(at: offset + 24)
        entries = bytes.little64(at: offset + 32)
        root = bytes.little64(at: offset + 40)
    }
}

/// One of the two meta pages: the state that a commit left.
///
/// The layout is that of LMDB 0.9: a page header of 16 bytes, then magic, version, address, map size, two records of 48
/// bytes (the free list and the table of tables), last page, transaction. The first record's first word is the page size.
package struct Meta: Sendable, Hashable {
    /// The page it stands in: 0 or 1.
    package var slot: Int
    package var pageSize: Int
    package var free: TreeRecord
    package var main: TreeRecord
    /// The last page that was ever used.
    package var lastPage: UInt64
    /// The number of the transaction that wrote it.
    package var transaction: UInt64

    /// The bytes of a meta page that are read.
    static let size = 152
    private static let magic: UInt32 = 0xBEEF_C0DE
    private static let version: UInt32 = 1

    init(slot: Int, pageSize: Int, free: TreeRecord, main: TreeRecord, lastPage: UInt64, transaction: UInt64) {
        self.slot = slot
        self.pageSize = pageSize
        self.free = free
        self.main = main
        self.lastPage = lastPage
        self.transaction = transaction
    }

    /// Reads a meta page; throws what is wrong with it.
    init(_ bytes: Span<UInt8>, slot: Int) throws(PageError) {
        func refuse(_ what: String) -> PageError { PageError("the meta page \(what)", page: UInt64(slot)) }
        guard bytes.count >= Self.size else { throw refuse("is cut off") }
        guard bytes.little64(at: 0) == UInt64(slot), bytes.little16(at: 10) & PageKind.meta.rawValue != 0 else {
            throw refuse("is no meta page")
        }
        guard bytes.little32(at: 16) == Self.magic else { throw refuse("does not begin as LMDB's do") }
        guard bytes.little32(at: 20) == Self.version else {
            throw refuse("is of LMDB's data format \(bytes.little32(at: 20)), not \(Self.version)")
        }
        let size = Int(bytes.little32(at: 40))
        guard size >= 512, size <= 65_536, size & (size - 1) == 0 else { throw refuse("says pages have \(size) bytes") }
        self.slot = slot
        pageSize = size
        free = TreeRecord(bytes, at: 40)
        main = TreeRecord(bytes, at: 88)
        lastPage = bytes.little64(at: 136)
        transaction = bytes.little64(at: 144)
        guard lastPage >= 1, lastPage < 1 << 47 else { throw refuse("says the last page is \(lastPage)") }
        // A commit writes the page that its number's last bit names.
        guard transaction & 1 == UInt64(slot) || transaction == 0 else {
            throw refuse("is of transaction \(transaction), which is written to the other one")
        }
    }

    /// Throws when it names a root that the file did not have.
    ///
    /// Of the newest one alone: where writing a meta page fails, LMDB takes its number and its last page back, and leaves the
    /// roots of the failed commit in it.
    package func checkRoots() throws(PageError) {
        guard [free, main].allSatisfy({ $0.isEmpty || ($0.root >= 2 && $0.root <= lastPage) }) else {
            throw PageError("the meta page names a root that is not there", page: UInt64(slot))
        }
    }
}
