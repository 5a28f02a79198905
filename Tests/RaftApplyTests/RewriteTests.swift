import Foundation
import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("A replica's store that is written anew") struct RewriteTests {
    /// A replica that has applied a log of many kinds of commands, closed: its directory, and its digest.
    private static func make(_ directory: TemporaryDirectory) async throws -> (path: String, digest: String) {
        let path = directory.appending("replica")
        let replicas = try await Replicas(MemoryLog(cluster: [9]), count: 1)
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        for sequence in 1...60 as ClosedRange<UInt64> {
            try await controller.append([Replicas.write(sequence, 300)], to: ["eu", "ap"])
        }
        try await controller.acknowledge("eu", through: 20)
        try await controller.demoteAndPromote("us")
        try await controller.checkDigest()
        await replicas.stopAll()
        try FileManager.default.copyItem(atPath: replicas.directory.appending("r0"), toPath: path)
        let machine = try await open(path)
        let digest = try await machine.digest().digest
        await machine.close()
        return (path, digest)
    }

    private static func open(_ path: String) async throws -> FailoverStateMachine {
        try await FailoverStateMachine.open(at: path, cluster: [9], options: .small)
    }

    private static func store(_ path: String) throws -> String {
        path + "/" + (try String(contentsOfFile: path + "/CURRENT", encoding: .utf8)).trimmingCharacters(in: .newlines)
    }

    @Test("by a compaction in place has the same state, index and digest") func compacted() async throws {
        let directory = try TemporaryDirectory()
        let (path, digest) = try await Self.make(directory)
        var merging = Rewriting()
        merging.mergesBlocks = true
        let report = try StoreCompact.inPlace(try Self.store(path), merging)
        #expect(report.blocksAfter < report.blocksBefore)
        let machine = try await Self.open(path)
        let found = try await machine.digest()
        let stored = try await machine.storedDigests()
        await machine.close()
        #expect(found.digest == digest && stored.count == 1)
    }

    @Test("as a snapshot may be on another disk, and has nothing beside it there") func elsewhere() async throws {
        let (directory, memory) = (try TemporaryDirectory(), "/dev/shm")
        let isMemory = FileManager.default.isWritableFile(atPath: memory)
        let elsewhere = try TemporaryDirectory(in: isMemory ? memory : nil)
        let (path, digest) = try await Self.make(directory)
        let machine = try await Self.open(path)
        let snapshot = elsewhere.appending("snapshot")
        let manifest = try await machine.writeSnapshot(to: snapshot)
        await machine.close()
        #expect(try FileManager.default.contentsOfDirectory(atPath: elsewhere.path) == ["snapshot"])
        let other = try await Self.open(directory.appending("other"))
        #expect(try await other.installSnapshot(from: snapshot, manifest))
        #expect(try await other.digest().digest == digest)
        await other.close()
    }

    @Test("by a restore, or a load, is not taken for what the log has led to", arguments: [false, true])
    func restored(again: Bool) async throws {
        let directory = try TemporaryDirectory()
        let (path, _) = try await Self.make(directory)
        let backup = directory.appending("backup")
        let store = try Self.store(path)
        _ = try StoreBackup.make(of: store, at: backup, time: Timestamp(milliseconds: 1))
        try FileManager.default.removeItem(atPath: store)
        _ = try StoreBackup.restore(backup, to: store, as: .random())
        let error = await #expect(throws: HoldfastError.self) { try await Self.open(path) }
        #expect(error?.code == .needsSnapshot)
        guard again else { return }
        // Started again it begins anew, and keeps what was there.
        let machine = try await Self.open(path)
        #expect(machine.applied.index == 0)
        await machine.close()
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).contains { $0.hasPrefix("set-aside-") })
    }

    @Test("passes the tool's checks, with and without a deployment") func checked() async throws {
        let directory = try TemporaryDirectory()
        let (path, _) = try await Self.make(directory)
        #expect(try StoreCheck.run(try Self.store(path), level: .deep).findings.filter { $0.severity == .error } == [])
        let empty = try await Self.open(directory.appending("empty"))
        await empty.close()
        let check = try StoreCheck.run(try Self.store(directory.appending("empty")), level: .deep)
        #expect(check.findings.filter { $0.severity == .error } == [])
    }

    @Test("is changed by its log alone") func refused() async throws {
        let directory = try TemporaryDirectory()
        let (path, _) = try await Self.make(directory)
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: try Self.store(path), options: .small)
        }
        #expect(error?.code == .replicatedStore)
        let other = await #expect(throws: HoldfastError.self) {
            try await FailoverStateMachine.open(at: path, cluster: [8], options: .small)
        }
        #expect(other?.code == .logWentBack)
    }
}
