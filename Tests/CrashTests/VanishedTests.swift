import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

/// A store with writes in it, all of which were acknowledged to their callers.
private struct Site {
    static let regions: [RegionID] = ["us", "eu"]

    let directory: TemporaryDirectory
    let controller: RegionFailoverController
    var oracle: ConservationOracle
    var path: String { directory.appending("store") }

    init(seed: UInt64) async throws {
        directory = try TemporaryDirectory(in: MountedDisk.fastDirectory)
        oracle = ConservationOracle(seed: seed, regions: Self.regions)
        controller = try await Self.make(directory.appending("store"))
        var random = SplitMix64(seed: seed)
        for _ in 0..<Int.random(in: 5...40, using: &random) { try await append(Int.random(in: 1...90, using: &random)) }
        for try await batch in controller.batches(for: "eu", entriesMax: 7) {
            oracle.received(batch)
            oracle.acknowledged(try await batch.acknowledge(), batch)
            break
        }
    }

    static func make(_ path: String) async throws -> RegionFailoverController {
        try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: regions),
            options: .small
        )
    }

    /// Appends to both regions; a refusal means that nothing is there.
    mutating func append(_ count: Int) async throws {
        let call = oracle.issue(count, to: Self.regions)
        do {
            oracle.appended(call, try await controller.append(call.writes, to: call.regions))
        } catch {
            oracle.refused(call)
            throw error
        }
    }

    /// What each kind of change is refused with.
    mutating func refusals() async -> [HoldfastError.Code?] {
        let controller = controller
        return [
            await refusal { try await append(3) },
            await refusal { try await controller.acknowledge("us", through: 1) },
            await refusal { _ = try await controller.drain("us", max: 3) },
            await refusal { _ = try await controller.setLimits(QueueLimits(entriesMax: 1_000_000), for: "us") },
            await refusal { _ = try await controller.demoteAndPromote("us") },
            await refusal { try await append(1) },
        ]
    }

    private func refusal(_ change: () async throws -> Void) async -> HoldfastError.Code? {
        do {
            try await change()
            return nil
        } catch {
            return (error as? HoldfastError)?.code
        }
    }

    /// What is wrong with the store, which is closed.
    mutating func violations(at path: String) throws -> [String] {
        let findings = try StoreCheck.run(path, level: .deep).findings.filter { $0.severity == .error }
        return findings.map(\.message) + (try oracle.violations(storeAt: path)).map(\.description)
    }
}

@Suite("A store whose directory goes away while it is open") struct VanishedTests {
    private static let refused = [HoldfastError.Code?](repeating: .notFound, count: 6)

    @Test(
        "refuses every change, and has all that was acknowledged where the directory is now",
        arguments: 1...5 as ClosedRange<UInt64>
    )
    func renamed(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        let moved = site.directory.appending("moved")
        try FileManager.default.moveItem(atPath: site.path, toPath: moved)
        #expect(await site.refusals() == Self.refused, "seed \(seed)")
        #expect(try await site.controller.pendingCount(for: "us") > 0)
        await site.controller.close()
        #expect(try site.violations(at: moved) == [], "seed \(seed)")
        let again = try await RegionFailoverController.open(at: moved, options: .small)
        try await again.append(
            [OutstandingWrite(origin: "o", incarnation: 1, sequence: 1, key: "k", value: "v")],
            to: "eu"
        )
        await again.close()
    }

    @Test("goes on once it is back", arguments: [6, 7] as [UInt64])
    func renamedBack(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        let moved = site.directory.appending("moved")
        try FileManager.default.moveItem(atPath: site.path, toPath: moved)
        #expect(await site.refusals() == Self.refused, "seed \(seed)")
        try FileManager.default.moveItem(atPath: moved, toPath: site.path)
        try await site.append(10)
        await site.controller.close()
        #expect(try site.violations(at: site.path) == [], "seed \(seed)")
    }

    @Test("acknowledges nothing that would be gone, and can be made anew", arguments: [8, 9] as [UInt64])
    func removed(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        try FileManager.default.removeItem(atPath: site.path)
        #expect(await site.refusals() == Self.refused, "seed \(seed)")
        await site.controller.close()
        #expect(!FileManager.default.fileExists(atPath: site.path))
        await (try Site.make(site.path)).close()
    }

    @Test("leaves a store alone that is made in its place", arguments: [10, 11] as [UInt64])
    func replaced(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        let moved = site.directory.appending("moved")
        try FileManager.default.moveItem(atPath: site.path, toPath: moved)
        await (try Site.make(site.path)).close()
        let before = try contents(site.path)
        #expect(await site.refusals() == Self.refused, "seed \(seed)")
        await site.controller.close()
        #expect(try contents(site.path) == before, "seed \(seed)")
        #expect(try site.violations(at: moved) == [], "seed \(seed)")
    }

    @Test("lets nobody in beside it whose LOCK was removed: it refuses every change", arguments: [13, 14] as [UInt64])
    func lockRemoved(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        try FileManager.default.removeItem(atPath: site.path + "/LOCK")
        #expect(await site.refusals() == [HoldfastError.Code?](repeating: .inUse, count: 6), "seed \(seed)")
        // Another process can have the LOCK that it makes, and not the data file.
        let line = #"{"origin":"o","incarnation":1,"sequence":1,"key":"k","value":"v"}"#
        #expect(try Tool.run(["append", site.path, "--region", "eu"], input: line).status == 75)
        #expect(await site.refusals() == [HoldfastError.Code?](repeating: .inUse, count: 6), "seed \(seed)")
        await site.controller.close()
        let again = try await RegionFailoverController.open(at: site.path, options: .small)
        var known: [OutstandingWrite] = []
        for try await batch in again.batches(for: "eu") {
            known += batch.entries.map(\.write)
            try await batch.acknowledge()
        }
        #expect(!known.isEmpty && known.allSatisfy { $0.origin != "o" })
        await again.close()
    }

    @Test("is poisoned by a change of another process, and the change stays", arguments: [15, 16] as [UInt64])
    func foreignChange(seed: UInt64) async throws {
        var site = try await Site(seed: seed)
        // By one that keeps to no lock of ours: nothing tells of it but the number of the last transaction, in LMDB's table.
        let other = site.directory.appending("other")
        try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: false)
        try FileManager.default.copyItem(atPath: site.path + "/data.mdb", toPath: other + "/data.mdb")
        try FileManager.default.linkItem(atPath: site.path + "/lock.mdb", toPath: other + "/lock.mdb")
        let line = #"{"origin":"o","incarnation":1,"sequence":1,"key":"k","value":"v"}"#
        #expect(try Tool.run(["append", other, "--region", "eu"], input: line).status == 0)
        let data = try FileHandle(forWritingTo: URL(fileURLWithPath: site.path + "/data.mdb"))
        try data.write(contentsOf: Data(contentsOf: URL(fileURLWithPath: other + "/data.mdb")))
        try data.close()
        let refusals = await site.refusals()
        #expect(refusals.first == .inUse && refusals.dropFirst().allSatisfy { $0 == .poisoned }, "\(refusals)")
        await site.controller.close()
        let again = try await RegionFailoverController.open(at: site.path, options: .small)
        let duplicate = OutstandingWrite(origin: "o", incarnation: 1, sequence: 1, key: "k", value: "v")
        #expect(try await again.append([duplicate], to: "eu").duplicates == [0])
        await again.close()
        #expect(try StoreCheck.run(site.path, level: .deep).isClean)
    }

    @Test("keeps its number, so that no store that is made later is taken for it", arguments: [12] as [UInt64])
    func number(seed: UInt64) async throws {
        let site = try await Site(seed: seed)
        try FileManager.default.removeItem(atPath: site.path)
        // A directory that somebody has open stays, without a name, and nobody gets its number.
        #expect(try isOpen(site.path + " (deleted)"))
        await site.controller.close()
        #expect(try !isOpen(site.path + " (deleted)"))
    }

    private func isOpen(_ path: String) throws -> Bool {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").contains { name in
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)")) == path
        }
    }

    private func contents(_ path: String) throws -> [String: Data] {
        var contents: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: path) {
            contents[name] = try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)"))
        }
        return contents
    }
}
