import Foundation
import Glibc
import HoldfastTesting
import Pages
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@testable import Holdfast
@testable import ReplayStore

/// What was appended to each region and not drained, by sequence.
private struct Expected {
    var queued: [RegionID: [UInt64]] = [:]
}

@Suite("Recovering a store") struct RecoverTests {
    private let regions: [RegionID] = ["ap-northeast-1", "eu-west-1", "us-east-1"]

    /// A store with several regions, some of each acknowledged, closed.
    private func store(_ random: inout SplitMix64) async throws -> (Deployment, Expected) {
        let deployment = try await Deployment()
        var expected = Expected()
        var next: UInt64 = 1
        for _ in 0..<40 {
            let region = regions.randomElement(using: &random) ?? "eu-west-1"
            let count = UInt64.random(in: 1...120, using: &random)
            let size = [5, 60, 900].randomElement(using: &random) ?? 5
            try await deployment.controller.append((next..<(next + count)).map { Noise.write($0, size) }, to: region)
            expected.queued[region, default: []] += next..<(next + count)
            next += count
            if Int.random(in: 0..<4, using: &random) == 0, let queued = expected.queued[region] {
                let taken = Int.random(in: 1...queued.count, using: &random)
                _ = try await deployment.controller.drain(region, max: taken)
                expected.queued[region] = Array(queued.dropFirst(taken))
            }
        }
        try await deployment.controller.demoteAndPromote("us-east-1")
        await deployment.controller.close()
        return (deployment, expected)
    }

    private func recover(_ deployment: Deployment) throws -> (String, StoreRecover.Report) {
        let path = deployment.path + "-recovered"
        let report = try StoreRecover.run(
            deployment.path,
            to: path,
            knowing: StoreRecover.Knowledge(local: "us-east-1", epoch: 1),
            now: Timestamp(milliseconds: 5_000_000)
        )
        return (path, report)
    }

    private func sequences(_ path: String) async throws -> [RegionID: [UInt64]] {
        let controller = try await RegionFailoverController.open(at: path, options: Deployment.options)
        var found: [RegionID: [UInt64]] = [:]
        for region in controller.configuration.regions {
            var all: [UInt64] = []
            for try await batch in controller.batches(for: region) {
                all += batch.entries.map(\.write.sequence)
                try await batch.acknowledge()
            }
            found[region] = all
        }
        await controller.close()
        return found
    }

    @Test("that is whole gives everything back, and nothing that was acknowledged", arguments: 0..<6 as Range<UInt64>)
    func whole(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let (deployment, expected) = try await store(&random)
        let (path, report) = try recover(deployment)
        #expect(report.isComplete && report.isTreeWhole, "seed \(seed): \(report)")
        let before = try StoreReader.open(deployment.path).look { (view) throws(HoldfastError) in try StoreDigest(view)
        }
        let after = try StoreReader.open(path).look { (view) throws(HoldfastError) in try StoreDigest(view) }
        #expect(before.whole == after.whole, "seed \(seed)")
        let found = try await sequences(path)
        for region in regions { #expect(found[region] == expected.queued[region] ?? [], "seed \(seed), \(region)") }
    }

    @Test("in which nothing has happened yet gives the same back, without a row for events that never were")
    func eventless() async throws {
        let deployment = try await Deployment()
        try await deployment.controller.append((1...30).map { Noise.write($0, 60) }, to: "eu-west-1")
        await deployment.controller.close()
        let events = Key.controller(ControllerRows.Name.events.rawValue)
        let (path, report) = try recover(deployment)
        #expect(report.isComplete)
        let digests = try [deployment.path, path].map { path in
            try StoreReader.open(path).look { (view) throws(HoldfastError) in
                #expect(try view.machineRows()[events] == nil, "\(path)")
                return try StoreDigest(view).whole
            }
        }
        #expect(digests[0] == digests[1])
    }

    @Test("that is whole keeps how often the entry at the cursor was handed out") func attempts() async throws {
        let deployment = try await Deployment()
        let region: RegionID = "eu-west-1"
        try await deployment.controller.append((1...3).map { Noise.write($0, 20) }, to: region)
        try await deployment.controller.store.transact { (transaction) throws(HoldfastError) in
            let queue = try transaction.regionRow(region).number
            try transaction.setAttempts(7, at: 1, of: region, queue: queue)
        }
        await deployment.controller.close()
        let (path, report) = try recover(deployment)
        #expect(report.isComplete, "\(report)")
        let row = try StoreReader.open(path).look { (view) throws(HoldfastError) in try view.regionRow(region) }
        #expect(row?.attempts == 7)
    }

    @Test("says when the new store means something else, though no row is known to be missing")
    func different() async throws {
        let deployment = try await Deployment()
        // A row of a kind that nobody knows, such as a later version may have.
        try await deployment.controller.store.transact { (transaction) throws(HoldfastError) in
            try transaction.put([1], key: Key.text("z"), in: .controller)
        }
        await deployment.controller.close()
        let (_, report) = try recover(deployment)
        #expect(report.isDifferent && !report.isComplete, "\(report)")
        let outcome = try Tool.run([
            "recover", deployment.path, "--to", deployment.path + "-again", "--format", "json",
        ])
        #expect(outcome.status == 65 && outcome.output.contains(#""different":true"#), "\(outcome.output)")
        let shown = try Tool.run([
            "recover", deployment.path, "--to", deployment.path + "-shown", "--format", "table",
        ])
        #expect(shown.status == 65 && shown.output.contains("the digest is not that of"), "\(shown.output)")
    }

    @Test("without meta pages and branches gives back every entry on a leaf", arguments: 0..<12 as Range<UInt64>)
    func carved(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let (deployment, expected) = try await store(&random)
        let path = deployment.path + "/data.mdb"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let file = try PageFile(File(regular: path, O_RDONLY))
        let size = file.pageSize
        for page in 0..<(bytes.count / size) {
            // Bytes of a large value can look like anything, but not say where they stand.
            let own = (0..<8).reduce(0) { $0 | UInt64(bytes[page * size + $1]) << (8 * UInt64($1)) }
            let isBranch = own == UInt64(page) && bytes[page * size + 10] == 1 && bytes[page * size + 11] == 0
            // Every second seed keeps one meta page: it is not the newest's then, or nobody can know.
            let isMeta = page == 0 || page == 1 && seed % 2 == 0
            if isBranch || isMeta {
                bytes.replaceSubrange((page * size)..<((page + 1) * size), with: Data(count: size))
            }
        }
        try bytes.write(to: URL(fileURLWithPath: path))
        #expect(await code { try await RegionFailoverController.open(at: deployment.path) } == .damaged)
        let (recovered, report) = try recover(deployment)
        #expect(report.regions.allSatisfy { $0.lost.isEmpty }, "seed \(seed): \(report)")
        let found = try await sequences(recovered)
        for region in regions {
            #expect(found[region] == expected.queued[region] ?? [], "seed \(seed), \(region)")
        }
    }

    @Test(
        "of which leaves are destroyed gives back the others in order, and names what is missing",
        arguments: 0..<24 as Range<UInt64>
    )
    func torn(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let (deployment, expected) = try await store(&random)
        let path = deployment.path + "/data.mdb"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let file = try PageFile(File(regular: path, O_RDONLY))
        let walk = try PageWalk(file, try file.newestMeta(), .trees)
        let leaves = walk.leaves.filter { $0.table.hasPrefix("queue/") }
        for leaf in leaves where Int.random(in: 0..<3, using: &random) == 0 {
            bytes.replaceSubrange(
                (Int(leaf.page) * file.pageSize)..<(Int(leaf.page + 1) * file.pageSize),
                with: Data(count: file.pageSize)
            )
        }
        try bytes.write(to: URL(fileURLWithPath: path))
        let (recovered, report) = try recover(deployment)
        #expect(try StoreCheck.run(recovered, level: .deep).findings.filter { $0.severity == .error } == [])
        let found = try await sequences(recovered)
        for region in regions {
            let queued = expected.queued[region] ?? []
            let got = found[region] ?? []
            let result = try #require(report.regions.first { $0.region == region })
            let lost = result.lost.reduce(0) { $0 + $1.count }
            #expect(got.count + lost == queued.count, "seed \(seed), \(region): \(result)")
            // In order, of what was queued, and no other.
            #expect(got == queued.filter(Set(got).contains), "seed \(seed), \(region)")
        }
        #expect(try StoreCheck.run(recovered, level: .full).findings.filter { $0.severity == .error } == [])
    }
}
