import Foundation
import Glibc
import HoldfastTesting
import Pages
import Platform
import TestSupport

/// The bits of a data file that are LMDB's own, over which no checksum of a row is: in the pages of the newest commit's trees.
struct StructureBits {
    /// A bit, and what it is part of.
    struct Place: Sendable {
        var offset: Int
        var bit: Int
        /// The table, the kind of page and what of it: places of one kind are drawn as often as those of another.
        var kind: String
        var page: UInt64
    }

    private(set) var places: [Place] = []

    init(_ path: String) throws {
        let file = try PageFile(File(regular: path + "/data.mdb", O_RDONLY))
        let meta = try file.newestMeta()
        let snapshot = try PageSnapshot(file, meta)
        for (name, tree) in snapshot.tables {
            // The queues of all regions are of one kind.
            let table = String(decoding: name.prefix { $0 != UInt8(ascii: "/") }, as: UTF8.self)
            try add(table, tree, file)
        }
        try add("tables", meta.main, file)
        try add("free list", meta.free, file)
    }

    private mutating func add(_ table: String, _ tree: TreeRecord, _ file: PageFile) throws {
        guard !tree.isEmpty else { return }
        var pages = [tree.root]
        while let number = pages.popLast() {
            let page = try file.page(number)
            if !page.isLeaf { pages += (0..<page.count).map { page.child($0) } }
            add("\(table) \(tree.depth) \(page.isLeaf ? "leaf" : "branch")", page, try file.bytes(of: number))
        }
    }

    private mutating func add(_ kind: String, _ page: Page, _ bytes: [UInt8]) {
        let start = Int(page.number) * bytes.count
        func add(_ what: String, _ range: Range<Int>) {
            for offset in range {
                for bit in 0..<8 {
                    places.append(Place(offset: start + offset, bit: bit, kind: "\(kind) \(what)", page: page.number))
                }
            }
        }
        add("number", 0..<8)
        // Two bytes that LMDB uses for other tables than a store's follow.
        add("flags", 10..<12)
        add("lower", 12..<14)
        add("upper", 14..<16)
        for index in 0..<page.count {
            let pointer = 16 + 2 * index
            add("pointer", pointer..<(pointer + 2))
            let node = Int(bytes[pointer]) + Int(bytes[pointer + 1]) << 8
            add(page.isLeaf ? "size" : "child", node..<(node + 4))
            add("node flags", (node + 4)..<(node + 6))
            add("key size", (node + 6)..<(node + 8))
            let size = Int(bytes[node + 6]) + Int(bytes[node + 7]) << 8
            // The key of a branch's first node means nothing.
            if !page.isLeaf, index > 0 { add("separator", (node + 8)..<(node + 8 + size)) }
            if page.isLeaf, case .tree = page.value(index) { add("record", (node + 8)..<(node + 8 + size + 48)) }
        }
    }

    /// Places of every kind in turn, in an order that the seed makes; all of them where `count` is as many.
    func sample(_ count: Int, seed: UInt64) -> [Place] {
        guard count < places.count else { return places }
        var random = SplitMix64(seed: seed)
        let kinds = Dictionary(grouping: places, by: \.kind).sorted { $0.key < $1.key }.map(\.value)
        return kinds.shuffled(using: &random).enumerated().flatMap { index, places in
            let share = count / kinds.count + (index < count % kinds.count ? 1 : 0)
            return Array(places.shuffled(using: &random).prefix(share))
        }
    }
}
