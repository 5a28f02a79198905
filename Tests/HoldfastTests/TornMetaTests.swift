import Bytes
import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayStore
import TestSupport
import Testing

/// The data file of a store at two commits, one after the other.
private struct Commits {
    let deployment: Deployment
    var before: Data
    var after: Data
    var digests: Set<Hash128> = []
    static let pageSize = 4096

    /// Appends, acknowledges and drains some times, then once more.
    init(_ random: inout SplitMix64) async throws {
        deployment = try await Deployment()
        var next: UInt64 = 1
        for _ in 0..<Int.random(in: 20...60, using: &random) {
            try await Self.change(deployment.controller, &next, &random)
        }
        before = try Self.bytes(deployment)
        digests.insert(try Self.digest(before))
        try await Self.change(deployment.controller, &next, &random)
        after = try Self.bytes(deployment)
        digests.insert(try Self.digest(after))
        await deployment.controller.close()
    }

    private static func change(
        _ controller: RegionFailoverController,
        _ next: inout UInt64,
        _ random: inout SplitMix64
    ) async throws {
        let region: RegionID = Bool.random(using: &random) ? "eu-west-1" : "us-east-1"
        if try await controller.pendingCount(for: region) > 30, Bool.random(using: &random) {
            _ = try await controller.drain(region, max: Int.random(in: 1...60, using: &random))
            return
        }
        let count = UInt64.random(in: 1...30, using: &random)
        let size = [5, 200, 2000].randomElement(using: &random) ?? 5
        try await controller.append((next..<(next + count)).map { Noise.write($0, size) }, to: region)
        next += count
    }

    private static func bytes(_ deployment: Deployment) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: deployment.path + "/data.mdb"))
    }

    /// A directory with an image in it.
    static func write(_ image: Data) throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        try FileManager.default.createDirectory(
            atPath: directory.appending("store"),
            withIntermediateDirectories: false
        )
        try image.write(to: URL(fileURLWithPath: directory.appending("store/data.mdb")))
        return directory
    }

    static func digest(_ image: Data) throws -> Hash128 {
        let directory = try write(image)
        return try digest(directory.appending("store"))
    }

    static func digest(_ path: String) throws -> Hash128 {
        try StoreReader.open(path).look { (view) throws(HoldfastError) in try StoreDigest(view) }.whole
    }

    /// What `recover` makes of an image: its digest where that is said to be complete, nil where not.
    static func recovered(_ image: Data) throws -> Hash128? {
        let directory = try write(image)
        let new = directory.appending("new")
        let report: StoreRecover.Report
        do throws(HoldfastError) {
            report = try StoreRecover.run(
                directory.appending("store"),
                to: new,
                local: "us-east-1",
                now: Timestamp(milliseconds: 5_000_000)
            )
        } catch {
            try #require(error.code == .damaged)
            return nil
        }
        return report.isComplete ? try digest(new) : nil
    }

    static func newest(_ image: Data) throws -> Meta {
        let directory = try write(image)
        return try PageFile(File(directory.appending("store/data.mdb"), O_RDONLY)).newestMeta()
    }
}

/// A meta page between two commits: LMDB writes it in place.
@Suite("A meta page that was torn") struct TornMetaTests {
    /// Words of the newer meta page that the older one keeps, the number of the commit aside: it tells which is the newer.
    private func tear(_ image: inout Data, _ newest: Meta, _ random: inout SplitMix64) {
        let slot = newest.slot
        var torn = 0
        while torn == 0 {
            // The records of the free list and of the list of tables, and the last page.
            for word in 5..<18 where Bool.random(using: &random) {
                let (to, from) = (slot * Commits.pageSize + 8 * word, (1 - slot) * Commits.pageSize + 8 * word)
                if image[to..<(to + 8)] != image[from..<(from + 8)] { torn += 1 }
                image.replaceSubrange(to..<(to + 8), with: image[from..<(from + 8)])
            }
        }
    }

    @Test(
        "loses nothing: recover gives the newest commit, and says that it is complete",
        arguments: 0..<24 as Range<UInt64>
    )
    func complete(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await Commits(&random)
        var image = commits.after
        tear(&image, try Commits.newest(image), &random)
        #expect(try Commits.recovered(image) == (try Commits.digest(commits.after)), "seed \(seed)")
    }

    @Test(
        "and a damaged page beside it are never taken for an older commit, or for one that was not ended",
        arguments: 0..<30 as Range<UInt64>
    )
    func neverOlder(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await Commits(&random)
        let (size, newest) = (Commits.pageSize, try Commits.newest(commits.before))
        for round in 0..<4 {
            var image = commits.before
            // Pages of the commit that was under way, as a loss of power leaves them.
            if round > 0 {
                for page in 2..<min(commits.after.count, image.count) / size where Bool.random(using: &random) {
                    let range = (page * size)..<((page + 1) * size)
                    image.replaceSubrange(range, with: commits.after[range])
                }
            }
            if round > 1 { tear(&image, newest, &random) }
            // The newest row of the free list, or any page.
            let page =
                round % 2 == 0 ? Int(newest.free.root) : Int.random(in: 0...Int(newest.lastPage), using: &random)
            if Bool.random(using: &random) {
                image.replaceSubrange((page * size)..<((page + 1) * size), with: Data(count: size))
            } else {
                image[page * size + Int.random(in: 0..<size, using: &random)] ^=
                    1 << UInt8.random(in: 0..<8, using: &random)
            }
            guard let found = try Commits.recovered(image) else { continue }
            #expect(commits.digests.contains(found), "seed \(seed), round \(round), page \(page)")
        }
    }
}
