/// What a page holds, as LMDB's flags say it.
package enum PageKind: UInt16, Sendable, Hashable {
    case branch = 1
    case leaf = 2
    case overflow = 4
    case meta = 8
}

/// A branch or leaf page, with every offset in it proved to be inside, and no node hidden.
package struct Page: Sendable {
    package let number: UInt64
    package let isLeaf: Bool
    /// How many nodes it has.
    package let count: Int
    private let bytes: [UInt8]

    /// The value of a leaf's node.
    package enum Value: Sendable, Hashable {
        /// It stands in the page.
        case inline(Range<Int>)
        /// It stands in pages of its own from `page` on.
        case overflow(page: UInt64, size: Int)
        /// It is the record of a table.
        case tree(TreeRecord)
    }

    static let headerSize = 16
    static let nodeHeaderSize = 8
    static let keySizeMax = 511

    /// Reads a page, and proves it.
    ///
    /// `number`: Where it stands, which it must say itself; nil to believe it.
    init(_ bytes: [UInt8], number: UInt64?) throws(PageError) {
        let span = bytes.span
        guard span.count >= Self.headerSize else { throw PageError("the file ends before it", page: number) }
        let own = span.little64(at: 0)
        let page = number ?? own
        func refuse(_ what: String) -> PageError { PageError(what, page: page) }
        guard own == page else { throw refuse("it says that it is page \(own)") }
        let flags = span.little16(at: 10)
        guard flags == PageKind.leaf.rawValue || flags == PageKind.branch.rawValue else {
            throw refuse("its flags are \(flags), not a branch's or a leaf's")
        }
        isLeaf = flags == PageKind.leaf.rawValue
        let lower = Int(span.little16(at: 12))
        let upper = Int(span.little16(at: 14))
        guard lower >= Self.headerSize, lower & 1 == 0, lower <= upper, upper <= span.count else {
            throw refuse("its free space from \(lower) to \(upper) is not inside it")
        }
        count = (lower - Self.headerSize) / 2
        self.number = page
        self.bytes = bytes
        guard count > 0 else { throw refuse("it is empty") }
        for index in 0..<count {
            let node = Int(span.little16(at: Self.headerSize + 2 * index))
            guard node >= upper, node + Self.nodeHeaderSize <= span.count else {
                throw refuse("node \(index) is not inside it")
            }
            let keySize = Int(span.little16(at: node + 6))
            var end = node + Self.nodeHeaderSize + keySize
            if isLeaf {
                guard keySize >= 1, keySize <= Self.keySizeMax else {
                    throw refuse("node \(index) has a key of \(keySize) bytes")
                }
                let flags = span.little16(at: node + 4)
                switch flags {
                case Self.plain: end += Int(span.little32(at: node))
                case Self.big: end += 8
                case Self.table: end += TreeRecord.size
                default: throw refuse("node \(index) has the flags \(flags)")
                }
                if flags == Self.table, Int(span.little32(at: node)) != TreeRecord.size {
                    throw refuse("node \(index) names a table in \(span.little32(at: node)) bytes")
                }
            } else {
                guard keySize <= Self.keySizeMax, keySize > 0 || index == 0 else {
                    throw refuse("node \(index) has a key of \(keySize) bytes")
                }
            }
            guard end <= span.count else { throw refuse("node \(index) ends outside of it") }
        }
        guard Self.isFilled(span, from: upper, by: count, isLeaf: isLeaf) else {
            throw refuse("the \(count) nodes that it names do not fill it from \(upper) to its end")
        }
    }

    /// Whether `count` nodes, each named once, fill the bytes from `upper` to the page's end.
    ///
    /// LMDB moves the others together where a node goes, so there is never room between them. Nothing else says how many
    /// nodes a page should have: where one is hidden, named twice or of another length, it shows here. Every node is inside.
    private static func isFilled(_ span: Span<UInt8>, from upper: Int, by count: Int, isLeaf: Bool) -> Bool {
        // A bit for each place where a node can begin.
        var named = [UInt64](repeating: 0, count: span.count / 128 + 1)
        for index in 0..<count {
            let node = Int(span.little16(at: headerSize + 2 * index))
            let bit: UInt64 = 1 << (UInt64(node / 2) % 64)
            guard node & 1 == 0, named[node / 128] & bit == 0 else { return false }
            named[node / 128] |= bit
        }
        var (node, left) = (upper, count)
        while left > 0, node + nodeHeaderSize <= span.count {
            guard node & 1 == 0, named[node / 128] & 1 << (UInt64(node / 2) % 64) != 0 else { return false }
            node += nodeSize(span, at: node, isLeaf: isLeaf)
            left -= 1
        }
        return left == 0 && node == span.count
    }

    /// The bytes that a node takes whose header is at `node`: LMDB makes them an even number.
    static func nodeSize(_ span: Span<UInt8>, at node: Int, isLeaf: Bool) -> Int {
        var size = nodeHeaderSize + Int(span.little16(at: node + 6))
        if isLeaf { size += span.little16(at: node + 4) == big ? 8 : Int(span.little32(at: node)) }
        return size + size & 1
    }

    private static let plain: UInt16 = 0
    private static let big: UInt16 = 1
    private static let table: UInt16 = 2

    private func node(_ index: Int) -> Int {
        precondition(index >= 0 && index < count, "node \(index) of \(count)")
        return Int(bytes.span.little16(at: Self.headerSize + 2 * index))
    }

    private func keyRange(_ index: Int) -> Range<Int> {
        let start = node(index) + Self.nodeHeaderSize
        return start..<(start + Int(bytes.span.little16(at: start - 2)))
    }

    /// A node's key.
    package func key(_ index: Int) -> [UInt8] { Array(bytes[keyRange(index)]) }

    /// Bytes of the page.
    package func bytes(_ range: Range<Int>) -> [UInt8] { Array(bytes[range]) }

    /// The page below a branch's node.
    package func child(_ index: Int) -> UInt64 {
        let node = node(index)
        let span = bytes.span
        return UInt64(span.little32(at: node)) | UInt64(span.little16(at: node + 4)) << 32
    }

    /// The value of a leaf's node.
    package func value(_ index: Int) -> Value {
        let node = node(index)
        let start = keyRange(index).upperBound
        let span = bytes.span
        let size = Int(span.little32(at: node))
        switch span.little16(at: node + 4) {
        case Self.big: return .overflow(page: span.little64(at: start), size: size)
        case Self.table: return .tree(TreeRecord(span, at: start))
        default: return .inline(start..<(start + size))
        }
    }

    /// What is wrong with where a node's key stands.
    enum Misplacement {
        /// It is not above the key before it.
        case unordered
        /// It is not between those of the branches above, which lead to its page.
        case astray

        func text(_ node: Int) -> String {
            switch self {
            case .unordered: "the key of node \(node) is not above the one before it"
            case .astray: "the key of node \(node) is not one of those for which the branches lead here"
            }
        }
    }

    /// Refuses keys that do not rise, or are not in `bounds`.
    func prove(_ bounds: Bounds, isByNumber: Bool) throws(PageError) {
        for node in firstKey..<count {
            guard let found = misplacement(of: node, in: bounds, isByNumber: isByNumber) else { continue }
            throw PageError(found.text(node), page: number)
        }
    }

    /// The first node whose key means something: that of a branch's first node may be an old one.
    var firstKey: Int { isLeaf ? 0 : 1 }

    /// What is wrong with where a node's key stands, beside the one before it and in `bounds`; nil where nothing is.
    func misplacement(of node: Int, in bounds: Bounds, isByNumber: Bool) -> Misplacement? {
        let key = keyRange(node)
        guard node == firstKey || isBelow(keyRange(node - 1), key, isByNumber) else { return .unordered }
        // Where they rise, all are between the first and the last.
        if node == firstKey, let lower = bounds.lower {
            let key = Array(bytes[key])
            // A branch's first key has a leaf before it, whose keys are above the lower bound too.
            let isAbove =
                isLeaf
                ? !Self.isBelow(key, lower, isByNumber: isByNumber) : Self.isBelow(lower, key, isByNumber: isByNumber)
            guard isAbove else { return .astray }
        }
        guard node == count - 1, let upper = bounds.upper else { return nil }
        return Self.isBelow(Array(bytes[key]), upper, isByNumber: isByNumber) ? nil : .astray
    }

    /// Between which keys those of a page are, as the branches above it say: from `lower` on, and below `upper`.
    ///
    /// No checksum is over the branches. Where a key of theirs is wrong, so is where a key is looked for: then a leaf on one
    /// side of it has a key that is out of its bounds.
    struct Bounds {
        var lower: [UInt8]?
        var upper: [UInt8]?
    }

    /// The keys below a branch's node, where its own are in `bounds`.
    func bounds(ofChild node: Int, in bounds: Bounds) -> Bounds {
        Bounds(
            lower: node == 0 ? bounds.lower : key(node),
            upper: node + 1 < count ? key(node + 1) : bounds.upper
        )
    }

    /// The first node whose key is at or above `key`, from the node `first` on; ``count`` when none is.
    func firstNode(atOrAbove key: [UInt8], from first: Int) -> Int {
        var low = first
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isBelow(middle, key) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The node of a branch whose subtree would hold `key`.
    func branchNode(for key: [UInt8]) -> Int {
        let node = firstNode(atOrAbove: key, from: 1)
        return node < count && self.key(node) == key ? node : node - 1
    }

    private func isBelow(_ first: Range<Int>, _ second: Range<Int>, _ isByNumber: Bool) -> Bool {
        guard isByNumber, first.count == 8, second.count == 8 else {
            return bytes[first].lexicographicallyPrecedes(bytes[second])
        }
        return bytes.span.little64(at: first.lowerBound) < bytes.span.little64(at: second.lowerBound)
    }

    private func isBelow(_ index: Int, _ key: [UInt8]) -> Bool {
        bytes[keyRange(index)].lexicographicallyPrecedes(key)
    }

    /// Whether a key comes before another one: by its bytes, or as a number of the machine's, as in the free list.
    static func isBelow(_ first: [UInt8], _ second: [UInt8], isByNumber: Bool) -> Bool {
        guard isByNumber, first.count == 8, second.count == 8 else { return first.lexicographicallyPrecedes(second) }
        return first.span.little64(at: 0) < second.span.little64(at: 0)
    }
}

extension Span where Element == UInt8 {
    // LMDB writes numbers in the machine's own order, which is this one on every machine that Holdfast runs on.

    func little16(at offset: Int) -> UInt16 { UInt16(self[offset]) | UInt16(self[offset + 1]) << 8 }

    func little32(at offset: Int) -> UInt32 { UInt32(little16(at: offset)) | UInt32(little16(at: offset + 2)) << 16 }

    func little64(at offset: Int) -> UInt64 { UInt64(little32(at: offset)) | UInt64(little32(at: offset + 4)) << 32 }
}
