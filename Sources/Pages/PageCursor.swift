/// A walk over the pairs of one tree, in the order of their keys.
///
/// It holds the pages from the root to a leaf, proves that keys rise and that the tree has the depth that it says, and
/// visits no more pages than there are: a damaged tree makes it throw, never run for ever.
package struct PageCursor {
    private struct Step {
        var page: Page
        /// The node that the walk is at.
        var node: Int
    }

    private let file: PageFile
    private let tree: TreeRecord
    private let lastPage: UInt64
    /// Whether the keys are numbers of the machine, as the free list's are.
    private let isByNumber: Bool
    private var steps: [Step] = []
    private var visited: UInt64 = 0
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
                    return false
                }
                steps[steps.count - 1].node += 1
            }
            if let step = steps.last, !step.page.isLeaf { try descend(to: step.page.child(step.node), []) }
        }
        guard let step = steps.last else { return false }
        let next = step.page.key(step.node)
        guard !hasKey || Page.isBelow(key, next, isByNumber: isByNumber) else {
            throw PageError("the key of node \(step.node) is not above the one before it", page: step.page.number)
        }
        key = next
        hasKey = true
        entry = step.page.value(step.node)
        return true
    }

    /// The pair's value.
    package func value() throws(PageError) -> [UInt8] {
        guard let page = steps.last?.page else { throw PageError("the walk is at no pair") }
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
            guard number >= 2, number <= lastPage else {
                throw PageError("page \(number) is not one of the file's", page: steps.last?.page.number)
            }
            guard visited <= lastPage else { throw PageError("a tree names its pages more than once", page: number) }
            let page = try file.page(number)
            let isLast = steps.count + 1 == tree.depth
            guard page.isLeaf == isLast else {
                throw PageError(
                    "a \(page.isLeaf ? "leaf" : "branch") is at level \(steps.count + 1) of \(tree.depth)",
                    page: number
                )
            }
            let node =
                start.isEmpty ? 0 : isLast ? page.firstNode(atOrAbove: start, from: 0) : page.branchNode(for: start)
            steps.append(Step(page: page, node: node))
            if isLast { return }
            number = page.child(node)
        }
    }
}
