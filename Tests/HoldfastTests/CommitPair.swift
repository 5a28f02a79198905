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
struct CommitPair {
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
            try await deployment.change(&next, &random, pendingMax: 30, sizes: [5, 200, 2000])
        }
        before = try Self.bytes(deployment)
        digests.insert(try Self.digest(before))
        try await deployment.change(&next, &random, pendingMax: 30, sizes: [5, 200, 2000])
        after = try Self.bytes(deployment)
        digests.insert(try Self.digest(after))
        await deployment.controller.close()
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
                knowing: StoreRecover.Knowledge(local: "us-east-1", epoch: 1),
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
