extension PageFile {
    /// A walk over the newest commit, whose meta page is made again from the other pages, where the writing of it was torn.
    ///
    /// The commit's pages were on the disk before. Each commit but the first frees pages and lists them under its own number, so the
    /// leaf of the free list with the greatest number is the newest commit's: it must be the number that the newer of the two
    /// meta pages has, or a page of the newest commit is damaged, or one was never ended. What the list names is not the
    /// commit's; what it does not name is. The roots follow from that, and a walk over all that they lead to proves it.
    ///
    /// - Returns: Nil where the pages do not prove one: a meta page is destroyed, others are damaged, or the free list or the
    ///   list of tables has more than two levels.
    /// - Throws: ``PageError`` when the file cannot be read.
    package func rebuiltWalk() throws(PageError) -> PageWalk? {
        guard let first = try? meta(0), let second = try? meta(1) else { return nil }
        let end = try pages()
        let lists = try Lists(self, below: end)
        guard let (transaction, free) = lists.freeList(below: end),
            transaction == max(first.transaction, second.transaction),
            let freeTree = lists.tree(over: free.leaves.map(\.page), flags: PageWalk.byNumber, not: free.pages),
            let main = lists.tree(over: lists.tables.filter { !free.pages.contains($0) }, flags: 0, not: free.pages)
        else { return nil }
        let meta = Meta(
            slot: Int(transaction & 1),
            pageSize: pageSize,
            free: freeTree,
            main: main,
            lastPage: end - 1,
            transaction: transaction
        )
        // The counts of the two records are not known, those of the tables are.
        let walk = try PageWalk(self, meta, .values)
        let isCounted = walk.findings.allSatisfy {
            $0.code != "counts" || PageWalk.lists.contains($0.table)
        }
        return walk.isSound && isCounted ? walk : nil
    }

    /// The leaves that can be of the free list or of the list of tables, and all branches: of every commit that is left.
    private struct Lists {
        struct FreeLeaf {
            var page: UInt64
            var newest: UInt64
            var freed: [UInt64]
        }

        var freeLeaves: [FreeLeaf] = []
        var tables: [UInt64] = []
        var branches: [(page: UInt64, children: [UInt64])] = []

        init(_ file: PageFile, below end: UInt64) throws(PageError) {
            var freed: UInt64 = 0
            for number in stride(from: 2, to: end, by: 1) {
                let kind = try file.header(of: number)
                guard kind.number == number, kind.flags == 1 || kind.flags == 2 else { continue }
                let page: Page
                do throws(PageError) {
                    page = try file.page(number)
                } catch {
                    guard error.system == nil else { throw error }
                    continue
                }
                guard page.count > 0 else { continue }
                if !page.isLeaf {
                    branches.append((number, (0..<page.count).map { page.child($0) }))
                } else if (0..<page.count).allSatisfy({ if case .tree = page.value($0) { true } else { false } }) {
                    tables.append(number)
                } else if let leaf = try Self.freeLeaf(page, file, below: end) {
                    freed += UInt64(leaf.freed.count)
                    freeLeaves.append(leaf)
                    // The lists of a few commits name each page once each: this is no store's, and proves nothing.
                    if freed / 8 > end {
                        freeLeaves = []
                        return
                    }
                }
            }
        }

        /// What a leaf of the free list says; nil for another leaf.
        private static func freeLeaf(
            _ page: Page,
            _ file: PageFile,
            below end: UInt64
        ) throws(PageError) -> FreeLeaf? {
            var (newest, freed): (UInt64, [UInt64]) = (0, [])
            for node in 0..<page.count {
                guard freed.count < end else { return nil }
                let key = page.key(node)
                guard key.count == 8, key.span.little64(at: 0) > newest else { return nil }
                newest = key.span.little64(at: 0)
                do throws(PageError) {
                    let row: [UInt8]
                    switch page.value(node) {
                    case .inline(let range): row = page.bytes(range)
                    case .overflow(let first, let size): row = try file.overflow(first, size: size, lastPage: end - 1)
                    case .tree: return nil
                    }
                    freed += try PageSnapshot.identifiers(row, page: page.number)
                } catch {
                    guard error.system == nil else { throw error }
                    return nil
                }
            }
            return freed.allSatisfy { $0 >= 2 && $0 < end }
                ? FreeLeaf(page: page.number, newest: newest, freed: freed) : nil
        }

        /// The newest free list: the number of its commit, its leaves and the pages that it names.
        ///
        /// A leaf of an older commit was freed by a later one, under a number above all of its own: it is named by a leaf that
        /// comes before it here.
        func freeList(below end: UInt64) -> (transaction: UInt64, (leaves: [FreeLeaf], pages: PageSet))? {
            var (leaves, pages): ([FreeLeaf], PageSet) = ([], PageSet(below: end))
            for leaf in freeLeaves.sorted(by: { $0.newest > $1.newest }) where !pages.contains(leaf.page) {
                for page in leaf.freed { _ = pages.insert(page) }
                leaves.append(leaf)
            }
            return leaves.first.map { ($0.newest, (leaves, pages)) }
        }

        /// The tree that has these leaves; nil where no page is its root.
        func tree(over leaves: [UInt64], flags: UInt16, not free: PageSet) -> TreeRecord? {
            if leaves.count == 1 { return TreeRecord(root: leaves[0], depth: 1, flags: flags) }
            let wanted = Set(leaves)
            let roots = branches.filter {
                !free.contains($0.page) && $0.children.count == leaves.count && Set($0.children) == wanted
            }
            return roots.count == 1 ? TreeRecord(root: roots[0].page, depth: 2, flags: flags) : nil
        }
    }
}
