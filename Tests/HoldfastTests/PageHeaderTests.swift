import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayStore
import TestSupport
import Testing

/// A page whose bytes say another number, or another length, than its own: LMDB gives the pages that it names to the next
/// commit, whosever they are, and no checksum of a block is over them.
@Suite("A page that names others as its own") struct PageHeaderTests {
    private static let damaged: RegionID = "eu-west-1"
    private static let whole: RegionID = "us-east-1"
    private static let pageSize = CommitPair.pageSize

    /// A page of a queue, or a run of pages of a large value, and the leaf that leads to it.
    private struct Place {
        var table: String
        var leaf: UInt64
        var run: (page: UInt64, size: Int)?
    }

    private static func places(_ image: Data) throws -> [Place] {
        let directory = try CommitPair.write(image)
        let file = try PageFile(File(directory.appending("store/data.mdb"), O_RDONLY))
        let walk = try PageWalk(file, file.newestMeta(), .values)
        try #require(walk.isSound)
        var places: [Place] = []
        for (table, number) in walk.leaves where table.hasPrefix("queue/") {
            places.append(Place(table: table, leaf: number))
            let leaf = try file.page(number)
            for node in 0..<leaf.count {
                guard case .overflow(let page, let size) = leaf.value(node) else { continue }
                places.append(Place(table: table, leaf: number, run: (page, size)))
            }
        }
        return places
    }

    /// The images in which one page of the damaged region's queue lies, with words for what was done.
    private static func lies(
        _ image: Data,
        in table: String,
        _ random: inout SplitMix64
    ) throws -> [(what: String, image: Data)] {
        let places = try places(image)
        func flip(_ page: UInt64, _ offset: Int, _ bit: Int) -> Data {
            var changed = image
            changed[Int(page) * pageSize + offset + bit / 8] ^= 1 << UInt8(bit % 8)
            return changed
        }
        func runPages(_ place: Place) -> Int { ((place.run?.size ?? 0) + 16 + pageSize - 1) / pageSize }
        var found: [(String, Data)] = []
        for place in places where place.table == table {
            guard let run = place.run else {
                for bit in 0..<8 {
                    found.append(("leaf \(place.leaf), bit \(bit) of its number", flip(place.leaf, 0, bit)))
                }
                continue
            }
            let bit = Int.random(in: 0..<6, using: &random)
            found.append(("run \(run.page), bit \(bit) of its number", flip(run.page, 0, bit)))
            found.append(("run \(run.page), bit \(bit) of its length", flip(run.page, 12, bit)))
            var zeros = image
            zeros.replaceSubrange(
                Int(run.page) * pageSize..<(Int(run.page) + 1) * pageSize,
                with: Data(count: pageSize)
            )
            found.append(("run \(run.page), zeros", zeros))
            let others = places.filter { $0.table != place.table && $0.run != nil && runPages($0) == runPages(place) }
            guard let other = others.randomElement(using: &random)?.run else { continue }
            func bytes(_ number: UInt64) -> Data { Data((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }) }
            let leaf = Int(place.leaf) * pageSize..<(Int(place.leaf) + 1) * pageSize
            let node = try #require(image.range(of: bytes(run.page), in: leaf))
            var changed = image
            changed.replaceSubrange(node, with: bytes(other.page))
            found.append(("leaf \(place.leaf), page \(other.page) in place of \(run.page)", changed))
        }
        return found
    }

    /// What a queue hands out, whether it says that something was lost, and whether it is held up.
    private func drain(
        _ controller: RegionFailoverController,
        _ region: RegionID,
        max: Int
    ) async throws -> (writes: [OutstandingWrite], isTold: Bool, isHeldUp: Bool) {
        var found: [OutstandingWrite] = []
        do throws(HoldfastError) {
            while true {
                let entries = try await controller.drain(region, max: max).entries
                if entries.isEmpty { break }
                found += entries.map(\.write)
            }
        } catch {
            #expect(error.code == .damaged, "\(error)")
            return (found, true, true)
        }
        return (found, try await controller.statistics().first { $0.region == region }?.needsResync ?? true, false)
    }

    @Test("costs no other block, whether its queue is emptied at once or bit by bit", arguments: 0..<4 as Range<UInt64>)
    func contained(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment()
        var next: UInt64 = 1
        var sent: [RegionID: [OutstandingWrite]] = [:]
        for _ in 0..<20 {
            let count = UInt64.random(in: 1...30, using: &random)
            let size = [5, 200, 2000].randomElement(using: &random) ?? 5
            let region = Bool.random(using: &random) ? Self.damaged : Self.whole
            let writes = (next..<(next + count)).map { Noise.write($0, size) }
            try await deployment.controller.append(writes, to: region)
            sent[region, default: []] += writes
            next += count
        }
        await deployment.controller.close()
        let data = URL(fileURLWithPath: deployment.path + "/data.mdb")
        let image = try Data(contentsOf: data)
        let rows = try StoreReader.open(deployment.path).look { (view) throws(HoldfastError) in try view.regionRows() }
        let queue = try #require(rows.first { $0.0 == Self.damaged }).1.number
        let lies = try Self.lies(image, in: "queue/\(queue)", &random)
        try #require(lies.count > 8)
        for (what, changed) in [("nothing", image)] + lies.shuffled(using: &random).prefix(20) {
            try changed.write(to: data)
            let controller: RegionFailoverController
            do throws(HoldfastError) {
                controller = try await RegionFailoverController.open(
                    at: deployment.path,
                    options: Deployment.options,
                    time: deployment.time
                )
            } catch {
                #expect(error.code == .damaged && what.contains("leaf"), "seed \(seed), \(what): \(error)")
                continue
            }
            let damaged = try await drain(controller, Self.damaged, max: [3, 1000].randomElement(using: &random) ?? 3)
            // The pages that were given back are written to.
            for sequence in 1...40 as ClosedRange<UInt64> {
                let writes = (0..<10).map { Noise.write(sequence * 10 + $0, 2000) }
                try await controller.append(writes, to: "ap-northeast-1")
            }
            let whole = try await drain(controller, Self.whole, max: 1000)
            await controller.close()
            let message: Comment = "seed \(seed), \(what)"
            #expect(whole.writes == sent[Self.whole] && !whole.isTold, message)
            let right = sent[Self.damaged] ?? []
            #expect(Set(damaged.writes).isSubset(of: right), message)
            #expect(damaged.writes == right || damaged.isTold, message)
            // A page of zeros names no pages: it costs its block, and holds nothing up.
            if what.contains("zeros") {
                #expect(!damaged.isHeldUp && right.count - damaged.writes.count <= 30, message)
            }
        }
    }
}
