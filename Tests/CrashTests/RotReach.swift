import Foundation
import Glibc
import Pages
import Platform
import ReplayFormat
import ReplayStore

/// Which queued entries of a store cannot be read without a page of its data file.
struct RotReach {
    private let bytes: Data
    private var entries: [UInt64: [String: Set<UInt64>]] = [:]
    /// The regions by what `recover` calls them when no row names their queue.
    let nameless: [String: String]
    /// The tables of the queues, by region.
    let tables: [String: String]
    private static let pageSize = 4096

    /// Of a store that nothing is wrong with.
    init(_ path: String) throws {
        bytes = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let numbers = try StoreReader.open(path).look { (view) throws(HoldfastError) in
            try view.regionRows().map { (queue: $0.1.number, region: "\($0.0)") }
        }
        nameless = Dictionary(uniqueKeysWithValues: numbers.map { ("queue-\($0.queue)", $0.region) })
        tables = Dictionary(uniqueKeysWithValues: numbers.map { ($0.region, Table.queue($0.queue).name) })
        let regions = numbers.map { (table: Table.queue($0.queue).name, region: $0.region) }
        let file = try PageFile(File(regular: path + "/data.mdb", O_RDONLY))
        let meta = try file.newestMeta()
        for leaf in try PageWalk(file, meta, .trees).leaves {
            guard let region = regions.first(where: { $0.table == leaf.table })?.region else { continue }
            let page = try file.page(leaf.page)
            for node in 0..<page.count {
                let (bytes, places) = try Self.value(of: node, page, file, lastPage: meta.lastPage)
                let header = try BlockHeader(verifying: bytes.span)
                for place in places {
                    entries[place, default: [:]][region, default: []].formUnion(
                        header.firstPosition...header.lastPosition
                    )
                }
            }
        }
    }

    /// A node's value, and the pages that it takes.
    private static func value(
        of node: Int,
        _ page: Page,
        _ file: PageFile,
        lastPage: UInt64
    ) throws -> ([UInt8], [UInt64]) {
        switch page.value(node) {
        case .inline(let range): return (page.bytes(range), [page.number])
        case .overflow(let first, let size):
            // LMDB's page header stands before the value.
            let pages = first...(first + UInt64((16 + size - 1) / pageSize))
            return (try file.overflow(first, size: size, lastPage: lastPage), [page.number] + pages)
        case .tree: throw RotFailure("a table on page \(page.number)")
        }
    }

    /// The positions that the pages held which differ in an image, by region.
    func touched(by image: Data) -> [String: Set<UInt64>] {
        var touched: [String: Set<UInt64>] = [:]
        for (page, held) in entries {
            let range = Int(page) * Self.pageSize..<Int(page + 1) * Self.pageSize
            guard range.upperBound > image.count || image[range] != bytes[range] else { continue }
            touched.merge(held) { $0.union($1) }
        }
        return touched
    }
}
