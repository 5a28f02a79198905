/// A walk over the pairs of one tree, in the order of their keys.
///
/// It holds the pages from the root to a leaf, proves that keys rise and are where the branches lead to, that the tree has
/// the depth that it says and, at the end of a walk over all of it, as many pairs, and visits no more pages than there are: a
/// damaged tree makes it throw, never run for ever, and never end early.
package struct PageCursor {
    private struct Step {
        var page: Page
        /// The node that the walk is at.
        var node: Int
        /// Between which keys the page's are.
        var bounds: Page.Bounds
    }

    private let file: PageFile
    private let tree: TreeRecord
    private let lastPage: UInt64
    /// Whether the keys are numbers of the machine, as the free list's are.
    private let isByNumber: Bool
    private var steps: [Step] = []
    private var visited: UInt64 = 0
    /// The place before the one where the walk began; nil where that is the first.
    private var before: (page: Page, node: Int)?
    /// The pairs that the walk has come to; nil where it did not begin at the first.
    private var pairs: UInt64? = 0
    private var isAtEnd = false
    /// The pair's key.
    package private(set) var key: [UInt8] = []
    private var hasKey = false
    /// The pair's value, as its node says it.
    package private(set) var entry: Page.Value = .inline(0..<0)

    /// The deepest tree that LMDB walks.
    static let depthMax = 32

    init(
        _ file: PageFile,
        _ tree: TreeRecord,
        lastPage: UInt64,
        from start: [UInt8] = [],
        isByNumber: Bool = false
    ) throws(PageError) {
        self.file = file
        self.tree = tree
        self.lastPage = lastPage
        self.isByNumber = isByNumber
        guard !tree.isEmptyByHalf else {
            throw PageError("a tree without a page says that it has \(tree.depth) levels and \(tree.entries) pairs")
        }
        guard !tree.isEmpty else {
            isAtEnd = true
            return
        }
        guard tree.depth >= 1, tree.depth <= Self.depthMax else {
            throw PageError("a tree says that it has \(tree.depth) levels", page: tree.root)
        }
        try descend(to: tree.root, start)
        guard !start.isEmpty else { return }
        pairs = nil
        try proveStart()
    }

    /// Proves that what is looked for is not on the leaf before, where the walk begins at the first node of one.
    ///
    /// A wrong key in a branch leads there.
    private mutating func proveStart() throws(PageError) {
        guard let leaf = steps.last else { return }
        try leaf.page.prove(leaf.bounds, isByNumber: isByNumber)
        if leaf.node > 0 { before = (leaf.page, leaf.node - 1) }
        guard leaf.node == 0, let index = steps.dropLast().lastIndex(where: { $0.node > 0 }) else { return }
        var step = steps[index]
        step.node -= 1
        for level in (index + 2)...tree.depth {
            let page = try page(step.page.child(step.node), at: level, below: step.page)
            let bounds = step.page.bounds(ofChild: step.node, in: step.bounds)
            try page.prove(bounds, isByNumber: isByNumber)
            step = Step(page: page, node: page.count - 1, bounds: bounds)
        }
        before = (step.page, step.node)
    }

    /// The leaf that the walk is at.
    package var page: UInt64? { steps.last?.page.number }

    /// Moves to the next pair; false when there is none.
    package mutating func next() throws(PageError) -> Bool {
        guard !isAtEnd else { return false }
        guard let leaf = steps.last else { return false }
        if hasKey || leaf.node >= leaf.page.count {
            steps[steps.count - 1].node += hasKey ? 1 : 0
            while let step = steps.last, step.node >= step.page.count {
                steps.removeLast()
                guard !steps.isEmpty else {
                    isAtEnd = true
                    guard pairs == nil || pairs == tree.entries else {
                        throw PageError(
                            "a tree has \(pairs ?? 0) pairs, and should have \(tree.entries)",
                            page: tree.root
                        )
                    }
                    return false
                }
                steps[steps.count - 1].node += 1
            }
            if let step = steps.last, !step.page.isLeaf { try descend(to: step.page.child(step.node), []) }
        }
        guard let step = steps.last else { return false }
        if let found = step.page.misplacement(of: step.node, in: step.bounds, isByNumber: isByNumber) {
            throw PageError(found.text(step.node), page: step.page.number)
        }
        key = step.page.key(step.node)
        hasKey = true
        pairs? += 1
        entry = step.page.value(step.node)
        return true
    }

    /// The pair before the first one of a walk that begins at a key; nil where there is none.
    func pairBefore() throws(PageError) -> (key: [UInt8], value: [UInt8])? {
        guard let before else { return nil }
        return (before.page.key(before.node), try value(before.page.value(before.node), on: before.page))
    }

    /// The pair's value.
    package func value() throws(PageError) -> [UInt8] {
        guard let page = steps.last?.page else { throw PageError("the walk is at no pair") }
        return try value(entry, on: page)
    }

    private func value(_ entry: Page.Value, on page: Page) throws(PageError) -> [UInt8] {
        switch entry {
        case .inline(let range): return page.bytes(range)
        case .overflow(let first, let size): return try file.overflow(first, size: size, lastPage: lastPage)
        case .tree: throw PageError("a pair is a table", page: page.number)
        }
    }

    /// Goes down to the leaf where `start` would be; to the first one where that is empty.
    private mutating func descend(to root: UInt64, _ start: [UInt8]) throws(PageError) {
        var number = root
        while true {
            visited += 1
            guard visited <= lastPage else { throw PageError("a tree names its pages more than once", page: number) }
            let page = try page(number, at: steps.count + 1, below: steps.last?.page)
            let bounds = steps.last.map { $0.page.bounds(ofChild: $0.node, in: $0.bounds) } ?? Page.Bounds()
            let isLast = page.isLeaf
            if !isLast { try page.prove(bounds, isByNumber: isByNumber) }
            let node =
                start.isEmpty ? 0 : isLast ? page.firstNode(atOrAbove: start, from: 0) : page.branchNode(for: start)
            steps.append(Step(page: page, node: node, bounds: bounds))
            if isLast { return }
            number = page.child(node)
        }
    }

    /// Reads a page of the tree, which is `level` levels from the root's on.
    private func page(_ number: UInt64, at level: Int, below parent: Page?) throws(PageError) -> Page {
        guard number >= 2, number <= lastPage else {
            throw PageError("page \(number) is not one of the file's", page: parent?.number)
        }
        let page = try file.page(number)
        guard page.isLeaf == (level == tree.depth) else {
            throw PageError(
                "a \(page.isLeaf ? "leaf" : "branch") is at level \(level) of \(tree.depth)",
                page: number
            )
        }
        return page
    }
}
