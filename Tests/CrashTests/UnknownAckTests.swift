import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// Recovering where the row is gone that says how far a region has acknowledged, or where the row is all that says it.
@Suite("Recovering what was acknowledged") struct UnknownAckTests {
    private static let pageSize = 4096

    /// A closed store, and what was appended to each region, with how much of it was acknowledged.
    private struct Stored {
        let directory: TemporaryDirectory
        var appended: [RegionID: [UInt64]] = [:]
        var acknowledged: [RegionID: Int] = [:]

        var path: String { directory.appending("store") }
        var data: URL { URL(fileURLWithPath: path + "/data.mdb") }
        func queued(_ region: RegionID) -> ArraySlice<UInt64> {
            appended[region, default: []].dropFirst(acknowledged[region, default: 0])
        }

        /// Appends blocks of at least 20 entries, and acknowledges up to the middle of one in each region.
        init(_ regions: [RegionID], blocks: Int, _ random: inout SplitMix64) async throws {
            directory = try TemporaryDirectory()
            let controller = try await RegionFailoverController.create(
                at: directory.appending("store"),
                configuration: FailoverConfiguration(local: regions[0], regions: regions),
                options: .small
            )
            var next: UInt64 = 1
            for region in regions {
                var starts: [Int] = []
                for _ in 0..<blocks {
                    let count = UInt64.random(in: 20...40, using: &random)
                    let writes = (next..<(next + count)).map { OutstandingWrite.numbered("us", 1, $0) }
                    try await controller.append(writes, to: region)
                    starts.append(appended[region, default: []].count)
                    appended[region, default: []] += next..<(next + count)
                    next += count
                }
                let taken = (starts.randomElement(using: &random) ?? 0) + Int.random(in: 1...19, using: &random)
                try await controller.acknowledge(region, through: UInt64(taken))
                acknowledged[region] = taken
            }
            await controller.close()
        }

        /// The leaves of the table of regions.
        func regionLeaves() throws -> [UInt64] {
            let file = try PageFile(File(regular: data.path, O_RDONLY))
            let walk = try PageWalk(file, try file.newestMeta(), .trees)
            return walk.leaves.filter { $0.table == Table.regions.name }.map(\.page)
        }
    }

    private static func isNameless(_ region: RegionID) -> Bool { region.rawValue.hasPrefix("queue-") }

    /// What is queued in a store, and which regions need a resynchronisation.
    private func found(_ path: String) async throws -> (sequences: [RegionID: [UInt64]], marked: Set<RegionID>) {
        let controller = try await RegionFailoverController.open(at: path, options: .small)
        let marked = try await controller.statistics().filter(\.needsResync).map(\.region)
        var sequences: [RegionID: [UInt64]] = [:]
        for region in controller.configuration.regions {
            for try await batch in controller.batches(for: region) {
                #expect(batch.entries.allSatisfy { $0.write == .numbered("us", 1, $0.write.sequence) })
                sequences[region, default: []] += batch.entries.map(\.write.sequence)
                try await batch.acknowledge()
            }
        }
        await controller.close()
        return (sequences, Set(marked))
    }

    /// Recovers a store with the tool, and compares: of the regions in `unknown` what was acknowledged may come back.
    private func recover(_ stored: Stored, unknown: Set<RegionID>, _ seed: UInt64) async throws {
        let new = stored.directory.appending("tool")
        let outcome = try Tool.run([
            "recover", stored.path, "--to", new, "--local", "r00", "--epoch", "1", "--format", "json",
        ])
        #expect(outcome.status == 65, "seed \(seed): \(outcome)")
        let again = stored.directory.appending("library")
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let report = try StoreRecover.run(
            stored.path,
            to: again,
            knowing: StoreRecover.Knowledge(local: "r00", epoch: 1),
            now: now
        )
        #expect(!report.isComplete)
        for region in report.regions {
            let isUnknown = unknown.contains(region.region) || Self.isNameless(region.region)
            #expect(region.isAcknowledgedUnknown == isUnknown, "seed \(seed), \(region)")
            #expect(region.lost == [] && region.unaccounted == 0, "seed \(seed), \(region)")
            let words = #""unaccounted":0,"unknownAck":\#(isUnknown)"#
            let told = outcome.output.components(separatedBy: #""region":"\#(region.region)","#).dropFirst().first
            #expect(told?.components(separatedBy: "}").contains { $0.contains(words) } == true, "\(outcome.output)")
        }
        for path in [new, again] {
            let (sequences, marked) = try await found(path)
            #expect(marked.filter { !Self.isNameless($0) } == unknown, "seed \(seed)")
            for (region, appended) in stored.appended {
                // A queue that no row names any more comes back as a region that is called by its number.
                let nameless = sequences.first { Self.isNameless($0.key) && $0.value.last == appended.last }
                let got = nameless?.value ?? sequences[region, default: []]
                if let nameless { #expect(unknown.contains(region) && marked.contains(nameless.key)) }
                guard unknown.contains(region) else {
                    #expect(got == Array(stored.queued(region)), "seed \(seed), \(region)")
                    continue
                }
                // All that was queued, in order; before it what was acknowledged of the same block, which is there still.
                #expect(got == appended.suffix(got.count), "seed \(seed), \(region)")
                let more = got.count - stored.queued(region).count
                #expect((0..<20).contains(more), "seed \(seed), \(region): \(got)")
            }
        }
    }

    @Test("is unknown of the region whose row is damaged, and of no other", arguments: 0..<6 as Range<UInt64>)
    func row(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let regions: [RegionID] = ["r00", "r01", "r02"]
        let stored = try await Stored(regions, blocks: 4, &random)
        let victim = regions[Int(seed) % regions.count]
        var bytes = try Data(contentsOf: stored.data)
        let leaf = Int(try #require(try stored.regionLeaves().first)) * Self.pageSize
        let key = try #require(bytes.range(of: Data(Key.region(victim)), in: leaf..<(leaf + Self.pageSize)))
        // The row follows its key; it is longer than this.
        bytes[key.upperBound + Int.random(in: 0..<60, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        try bytes.write(to: stored.data)
        try await recover(stored, unknown: [victim], seed)
    }

    @Test("is unknown of the regions whose rows' leaf is gone, and of no other", arguments: 0..<3 as Range<UInt64>)
    func leaf(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let regions = try (10..<60).map { try RegionID("r\($0)") }
        let stored = try await Stored(regions, blocks: 1, &random)
        var bytes = try Data(contentsOf: stored.data)
        let leaves = try stored.regionLeaves()
        try #require(leaves.count > 1)
        let leaf = Int(try #require(leaves.randomElement(using: &random))) * Self.pageSize
        let range = leaf..<(leaf + Self.pageSize)
        let page = try PageFile(File(regular: stored.data.path, O_RDONLY)).page(UInt64(leaf / Self.pageSize))
        let keys = Set((0..<page.count).map { page.key($0) })
        let unknown = regions.filter { keys.contains(Key.region($0)) }
        bytes.replaceSubrange(range, with: Data(count: Self.pageSize))
        try bytes.write(to: stored.data)
        try await recover(stored, unknown: Set(unknown), seed)
    }

    @Test(
        "without meta pages and branches: a whole row keeps back what it says was acknowledged in the middle of a block",
        arguments: 0..<6 as Range<UInt64>
    )
    func middle(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let stored = try await Stored(["r00", "r01", "r02"], blocks: 6, &random)
        var bytes = try Data(contentsOf: stored.data)
        for page in 0..<(bytes.count / Self.pageSize) {
            let start = page * Self.pageSize
            let own = (0..<8).reduce(0) { $0 | UInt64(bytes[start + $1]) << (8 * UInt64($1)) }
            guard page < 2 || own == UInt64(page) && bytes[start + 10] == 1 && bytes[start + 11] == 0 else { continue }
            bytes.replaceSubrange(start..<(start + Self.pageSize), with: Data(count: Self.pageSize))
        }
        try bytes.write(to: stored.data)
        let new = stored.directory.appending("new")
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let report = try StoreRecover.run(stored.path, to: new, now: now)
        // Nothing says which commit a row is of: also that is told.
        #expect(report.isMixed && report.regions.allSatisfy(\.isAcknowledgedUnknown), "seed \(seed): \(report)")
        #expect(report.regions.allSatisfy { $0.lost.isEmpty && $0.unaccounted == 0 }, "seed \(seed): \(report)")
        let (sequences, marked) = try await found(new)
        #expect(marked == Set(stored.appended.keys))
        for region in stored.appended.keys {
            #expect(sequences[region, default: []] == Array(stored.queued(region)), "seed \(seed), \(region)")
        }
    }
}
