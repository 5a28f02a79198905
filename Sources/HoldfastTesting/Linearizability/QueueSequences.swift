private import Platform
internal import ReplayFormat

/// Every sequence of writes that a search has thought of, as a tree: a node stands for the sequence on the way to it
/// from the root, so that equal sequences are one node, and a state is a number.
///
/// Each node knows one ancestor far away beside its parent (Myers, "An applicative random-access stack", 1983), so that
/// what stands at a position is found in a logarithm of the steps.
final class QueueSequences: Sendable {
    fileprivate struct Edge: Hashable {
        var parent: Int
        var write: Int
    }

    fileprivate struct Tree: Sendable {
        var numbers: [WriteIdentity: Int] = [:]
        /// The nodes at which each write was appended, by its number.
        var nodes: [[Int]] = []
        var children: [Edge: Int] = [:]
        var parent = [0]
        var far = [0]
        var depth = [0]
        /// The write at a node; there is none at the root.
        var write = [-1]
    }

    /// The empty sequence.
    static let root = 0
    private let tree = Lock(Tree())

    /// The sequence after an append: writes that it has, or that the call has brought already, are not appended again.
    ///
    /// - Returns: The sequence, and the duplicates by their index in the call.
    func appending(_ identities: [WriteIdentity], to node: Int) -> (node: Int, duplicates: [Int]) {
        tree.withLock { tree in
            var end = node
            var duplicates: [Int] = []
            for (index, identity) in identities.enumerated() {
                let write = tree.number(of: identity)
                if tree.contains(write, in: end) {
                    duplicates.append(index)
                } else {
                    end = tree.child(of: end, write)
                }
            }
            return (end, duplicates)
        }
    }

    /// Whether a sequence has these writes from a position on, which is at least 1; the sequence is no shorter.
    func holds(_ identities: [WriteIdentity], at first: Int, in node: Int) -> Bool {
        guard !identities.isEmpty else { return true }
        return tree.withLock { tree in
            var place = tree.ancestor(of: node, at: first + identities.count - 1)
            for identity in identities.reversed() {
                guard tree.numbers[identity] == tree.write[place] else { return false }
                place = tree.parent[place]
            }
            return true
        }
    }
}

extension QueueSequences.Tree {
    fileprivate mutating func number(of identity: WriteIdentity) -> Int {
        if let number = numbers[identity] { return number }
        let number = nodes.count
        numbers[identity] = number
        nodes.append([])
        return number
    }

    fileprivate func contains(_ write: Int, in node: Int) -> Bool {
        nodes[write].contains { depth[$0] <= depth[node] && ancestor(of: node, at: depth[$0]) == $0 }
    }

    fileprivate mutating func child(of node: Int, _ write: Int) -> Int {
        let edge = QueueSequences.Edge(parent: node, write: write)
        if let child = children[edge] { return child }
        let child = parent.count
        let near = far[node]
        // Two jumps of one length become one of twice that and one.
        let isDouble = depth[node] - depth[near] == depth[near] - depth[far[near]]
        children[edge] = child
        parent.append(node)
        far.append(isDouble ? far[near] : node)
        depth.append(depth[node] + 1)
        self.write.append(write)
        nodes[write].append(child)
        return child
    }

    fileprivate func ancestor(of node: Int, at wanted: Int) -> Int {
        var node = node
        while depth[node] > wanted { node = depth[far[node]] >= wanted ? far[node] : parent[node] }
        return node
    }
}
