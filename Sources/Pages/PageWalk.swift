/// A walk over every page that a meta page leads to, which goes on behind what is damaged.
///
/// It proves that the trees are whole and in order, that no page has two uses, that none is both free and in use, and that the
/// counts are those that LMDB keeps.
package struct PageWalk: Sendable {
    /// One thing that is wrong.
    package struct Finding: Sendable, Hashable {
        /// A short name for it, fit for a script.
        package var code: String
        /// Whether somebody should only know: nothing is damaged.
        package var isWarning = false
        package var page: UInt64?
        /// The table, as LMDB names it; empty for the file itself.
        package var table: String
        package var what: String
    }

    /// How much is read.
    package enum Depth: Sendable, Comparable {
        /// The free list, the list of tables, every branch, and of each leaf its number, its kind and how many pairs it says it
        /// has: how LMDB finds its way, and which pages it takes for free when it copies one. Leaves are read whole but those
        /// of long tables, and of those the last one is.
        case branches
        /// Branches, leaves and the free list.
        case trees
        /// The first page of each large value too, which says how many it takes.
        case values
    }

    package private(set) var findings: [Finding] = []
    /// The pages in use.
    package private(set) var reached: PageSet
    /// The pages in the free list.
    package private(set) var free: PageSet
    /// The leaves of the tables, in the order of their keys.
    package private(set) var leaves: [(table: String, page: UInt64)] = []
    /// The pages of the free list and of the list of tables, with the two meta pages.
    package private(set) var listed: PageSet
    /// The pairs that the tables hold together, as the list of tables says.
    package private(set) var entries: UInt64 = 0
    /// Whether every branch and leaf and the free list could be read: then no leaf in use is missing.
    package private(set) var isWhole = true
    /// Whether the free list could be read, and names no page that is in use.
    package var isFreeListWhole: Bool {
        !findings.contains { $0.table == Self.freeListName || $0.code == "free" }
    }

    /// Whether every page could be read, and nothing but a table's counts speaks against it.
    package private(set) var isSound = true

    private let file: PageFile
    /// Where the walk began.
    package let meta: Meta
    private let depth: Depth
    private let isLong: @Sendable (String) -> Bool

    /// More findings than this are not kept.
    private static let findingsMax = 1000

    /// Walks over the pages that `meta` leads to.
    ///
    /// `isLong`: Whether a table is one of those whose leaves only a depth above ``Depth/branches`` reads.
    package init(
        _ file: PageFile,
        _ meta: Meta,
        _ depth: Depth,
        isLong: @escaping @Sendable (String) -> Bool = { _ in true }
    ) throws(PageError) {
        self.file = file
        self.meta = meta
        self.depth = depth
        self.isLong = isLong
        let end = min(meta.lastPage + 1, try file.pages())
        reached = PageSet(below: max(2, end))
        free = PageSet(below: max(2, end))
        listed = PageSet(below: max(2, end))
        _ = reached.insert(0)
        _ = reached.insert(1)
        if end <= meta.lastPage {
            note("short", "the file ends before page \(end), and pages up to \(meta.lastPage) are in use", page: end)
        }
        try walkFreeList()
        let tables = try walkTables()
        compare(tables.map(\.1))
        listed = reached
        entries = tables.reduce(0) { $0 &+ $1.1.entries }
        for (name, tree) in tables { try walk(name, tree) { (_, _, _) in } }
        if depth >= .trees { try count() }
    }

    private mutating func note(
        _ code: String,
        _ what: String,
        _ table: String = "",
        page: UInt64? = nil,
        isWarning: Bool = false
    ) {
        if !isWarning, code != "counts" { isSound = false }
        guard findings.count < Self.findingsMax else { return }
        findings.append(Finding(code: code, isWarning: isWarning, page: page, table: table, what: what))
    }

    /// Notes where a key is that LMDB would look for elsewhere, or find before a lower one.
    private mutating func note(_ found: Page.Misplacement?, _ node: Int, _ table: String, _ page: Page) {
        guard let found else { return }
        note(page.isLeaf && found == .unordered ? "order" : "astray", found.text(node), table, page: page.number)
    }

    /// Marks a page as used; false, with a finding, where that cannot be.
    private mutating func use(_ page: UInt64, _ table: String) -> Bool {
        guard page >= 2, page < reached.end else {
            note("page", "it is named, and not one of the file's", table, page: page)
            return false
        }
        guard reached.insert(page) else {
            note("shared", "it is used twice", table, page: page)
            return false
        }
        if free.contains(page) { note("free", "it is in use, and in the free list", table, page: page) }
        return true
    }

    private mutating func walkFreeList() throws(PageError) {
        let name = Self.freeListName
        var rows: [(page: UInt64, key: [UInt8], value: Page.Value, leaf: Page)] = []
        try walk(name, meta.free, isByNumber: true) { (page, node, leaf) in
            rows.append((page, leaf.key(node), leaf.value(node), leaf))
        }
        // Every commit that follows another one frees pages, and lists them under its own number, which is the last.
        if let newest = rows.last.flatMap({ $0.key.count == 8 ? $0.key.span.little64(at: 0) : nil }),
            newest != meta.transaction
        {
            note(
                "torn",
                "the meta page is of transaction \(meta.transaction), and the free list of \(newest): one page has parts of two",
                name,
                page: UInt64(meta.slot)
            )
        }
        for row in rows {
            do throws(PageError) {
                guard row.key.count == 8 else {
                    throw PageError("a row of the free list has a key of \(row.key.count) bytes", page: row.page)
                }
                let ids = try identifiers(row.value, row.leaf)
                for id in ids {
                    guard id >= 2, id < free.end else {
                        note(
                            "free",
                            "the free list names page \(id), which is not one of the file's",
                            name,
                            page: row.page
                        )
                        continue
                    }
                    if !free.insert(id) { note("free", "it is in the free list twice", name, page: id) }
                    if reached.contains(id) { note("free", "it is in use, and in the free list", name, page: id) }
                }
            } catch {
                guard error.system == nil else { throw error }
                isWhole = false
                note("free", error.what, name, page: error.page ?? row.page)
            }
        }
    }

    /// The pages that a row of the free list names.
    private func identifiers(_ value: Page.Value, _ leaf: Page) throws(PageError) -> [UInt64] {
        let row: [UInt8]
        switch value {
        case .inline(let range): row = leaf.bytes(range)
        case .overflow(let page, let size): row = try file.overflow(page, size: size, lastPage: reached.end - 1)
        case .tree: throw PageError("a row of the free list is a table", page: leaf.number)
        }
        return try PageSnapshot.identifiers(row, page: leaf.number)
    }

    private mutating func walkTables() throws(PageError) -> [(String, TreeRecord)] {
        var tables: [(String, TreeRecord)] = []
        var others: [UInt64] = []
        try walk(Self.tableListName, meta.main) { (page, node, leaf) in
            if case .tree(let tree) = leaf.value(node) {
                tables.append((String(decoding: leaf.key(node), as: UTF8.self), tree))
            } else {
                others.append(page)
            }
        }
        for page in others { note("page", "a row of the list of tables is no table", Self.tableListName, page: page) }
        return tables
    }

    /// A page to visit: where, how deep, and between which keys.
    private struct Visit {
        var page: UInt64
        var level: Int
        var bounds = Page.Bounds()
    }

    private mutating func walk(
        _ name: String,
        _ tree: TreeRecord,
        isByNumber: Bool = false,
        _ pair: (_ page: UInt64, _ node: Int, _ leaf: Page) -> Void
    ) throws(PageError) {
        guard !tree.isEmptyByHalf else {
            isWhole = false
            return note("depth", "without a page it says that it has \(tree.depth) levels, \(tree.entries) pairs", name)
        }
        guard !tree.isEmpty else { return }
        guard (1...PageCursor.depthMax).contains(tree.depth) else {
            isWhole = false
            return note("depth", "the tree says that it has \(tree.depth) levels", name, page: tree.root)
        }
        let isTable = !Self.lists.contains(name)
        let readsLeaves = depth >= .trees || !isTable || !isLong(name)
        // The environment's own flags stand beside those of the free list.
        guard isByNumber ? tree.flags & Self.byNumber != 0 : tree.flags == 0 else {
            isWhole = false
            return note("flags", "the tree has the flags \(tree.flags)", name, page: tree.root)
        }
        var counted = TreeRecord(root: tree.root, depth: tree.depth)
        var visits = [Visit(page: tree.root, level: 1)]
        var isDamaged = false
        while let visit = visits.popLast() {
            guard use(visit.page, name) else {
                (isWhole, isDamaged) = (false, true)
                continue
            }
            let page: Page
            do throws(PageError) {
                guard visit.level < tree.depth || readsLeaves || visits.isEmpty else {
                    counted.entries += try file.leafCount(visit.page)
                    counted.leafPages += 1
                    continue
                }
                page = try file.page(visit.page)
                guard page.isLeaf == (visit.level == tree.depth) else {
                    throw PageError("a \(page.isLeaf ? "leaf" : "branch") is at level \(visit.level) of \(tree.depth)")
                }
            } catch {
                guard error.system == nil else { throw error }
                (isWhole, isDamaged) = (false, true)
                note("page", error.what, name, page: visit.page)
                continue
            }
            if page.isLeaf {
                counted.leafPages += 1
                if isTable { leaves.append((name, visit.page)) }
                for node in 0..<page.count {
                    note(page.misplacement(of: node, in: visit.bounds, isByNumber: isByNumber), node, name, page)
                    counted.entries += 1
                    if case .overflow(let first, let size) = page.value(node) {
                        counted.overflowPages += try useValue(first, size, name, visit.page)
                    }
                    pair(visit.page, node, page)
                }
            } else {
                counted.branchPages += 1
                for node in (0..<page.count).reversed() {
                    if node > 0 {
                        note(page.misplacement(of: node, in: visit.bounds, isByNumber: isByNumber), node, name, page)
                    }
                    let bounds = page.bounds(ofChild: node, in: visit.bounds)
                    visits.append(Visit(page: page.child(node), level: visit.level + 1, bounds: bounds))
                }
            }
        }
        counted.flags = tree.flags
        if !readsValues(of: name) { counted.overflowPages = tree.overflowPages }
        // What is damaged is named already.
        if !isDamaged, counted != tree {
            note(
                "counts",
                "it has \(counted.branchPages) branches, \(counted.leafPages) leaves, \(counted.overflowPages) pages of "
                    + "large values and \(counted.entries) pairs; its record says \(tree.branchPages), \(tree.leafPages), "
                    + "\(tree.overflowPages) and \(tree.entries)",
                name
            )
        }
    }

    private static let freeListName = "the free list"
    private static let tableListName = "the list of tables"
    /// The two databases of a meta page itself.
    package static let lists = [freeListName, tableListName]
    static let byNumber: UInt16 = 0x08

    /// Marks the pages of a large value, and says how many they are.
    private mutating func useValue(
        _ first: UInt64,
        _ size: Int,
        _ table: String,
        _ leaf: UInt64
    ) throws(PageError) -> UInt64 {
        let pages = UInt64(PageFile.overflowPages(size, pageSize: file.pageSize))
        guard first >= 2, first < reached.end, pages <= reached.end - first else {
            note("value", "a value of \(size) bytes from page \(first) on is not inside the file", table, page: leaf)
            return pages
        }
        // Only the page itself knows whether LMDB has left more to it than its value needs.
        var taken = pages
        if readsValues(of: table) {
            let header = try file.header(of: first)
            if header.number != first || header.flags != PageKind.overflow.rawValue {
                note("value", "it is not the first page of a large value", table, page: first)
            } else {
                do throws(PageError) {
                    let last = reached.end - 1
                    try PageFile.checkPages(UInt64(header.pages), of: first, needed: pages, lastPage: last)
                    taken = UInt64(header.pages)
                } catch {
                    note("value", error.what, table, page: first)
                }
            }
        }
        for page in first..<(first + taken) { _ = use(page, table) }
        return taken
    }

    private func readsValues(of table: String) -> Bool { depth == .values || table == Self.freeListName }

    /// Compares the tables with the free list and the last page, which the meta page names beside them.
    private mutating func compare(_ tables: [TreeRecord]) {
        for tree in tables where !tree.isEmpty && free.contains(tree.root) {
            note("free", "a table begins there, and it is in the free list", page: tree.root)
        }
        let lists = [meta.free, meta.main]
        let used = (tables + lists).reduce(2 + UInt64(free.count)) { (sum, tree) in
            let pages = tree.branchPages.addingReportingOverflow(tree.leafPages).partialValue
            return sum.addingReportingOverflow(pages.addingReportingOverflow(tree.overflowPages).partialValue)
                .partialValue
        }
        if used > meta.lastPage + 1 {
            note(
                "torn",
                "\(used) pages are in use or free, and the last one is page \(meta.lastPage)",
                page: UInt64(meta.slot)
            )
        }
    }

    /// Compares what is used and what is free with what is there.
    private mutating func count() throws(PageError) {
        guard isWhole else { return }
        var leaked: UInt64 = 0
        for page in 2..<reached.end where !reached.contains(page) && !free.contains(page) { leaked += 1 }
        if leaked > 0 {
            note("leaked", "\(leaked) pages are neither in use nor free; a compaction gives them back", isWarning: true)
        }
    }
}

extension TreeRecord {
    /// A record to count in.
    init(root: UInt64, depth: Int, flags: UInt16 = 0) {
        self.root = root
        self.depth = depth
        self.flags = flags
        branchPages = 0
        leafPages = 0
        overflowPages = 0
        entries = 0
    }
}
