import Foundation
import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import Testing

@Suite("Replicas of one log") struct ReplicaTests {
    @Test("have what any of them was told, in the same order")
    func shared() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controllers = replicas.replicas.map { ReplicatedController($0) }
        try await controllers[0].configure(Replicas.configuration)
        let first = try await controllers[0].append([Replicas.write(1), Replicas.write(2)], to: "eu")
        #expect(first.positions == 1..<3 && first.durability == .applied)
        let second = try await controllers[1].append([Replicas.write(2), Replicas.write(3)], to: "eu")
        #expect(second.positions == 3..<4 && second.duplicates == [0])
        for controller in controllers {
            let statistics = try await controller.statistics()
            #expect(statistics.map(\.entries) == [0, 3, 0])
            #expect(try await controller.head(of: "eu").map(\.write.sequence) == [1, 2, 3])
        }
        let promotion = try await controllers[2].demoteAndPromote("us", ifEpoch: 1)
        #expect(promotion.epoch == 2)
        #expect(try await controllers[0].machine().actingPrimary == promotion.promoted)
        await #expect(throws: HoldfastError.self) { try await controllers[0].demoteAndPromote("us", ifEpoch: 1) }
        #expect(try await controllers[1].acknowledge("eu", through: 2).remaining == 1)
        #expect(try await controllers[1].drain("eu").entries.map(\.position) == [3])
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("execute each command once, whatever the log does to it", arguments: 1...6 as ClosedRange<UInt64>)
    func once(seed: UInt64) async throws {
        let replicas = try await Replicas(MemoryLog(seed: seed, faults: .all))
        let controllers = replicas.replicas.map { ReplicatedController($0) }
        try await controllers[0].configure(Replicas.configuration)
        // Each call drains, so that one that is executed twice takes what nobody is given.
        let given = try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for (number, controller) in controllers.enumerated() {
                group.addTask {
                    var given: [UInt64] = []
                    for call in 0..<20 {
                        let sequence = UInt64(number * 1000 + call)
                        try await controller.append([Replicas.write(sequence)], to: "eu")
                        given += try await controller.drain("eu", max: 1).entries.map(\.write.sequence)
                    }
                    return given
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        replicas.log.faults = .none
        let left = try await controllers[0].drain("eu").entries.map(\.write.sequence)
        let all = (0..<3).flatMap { number in (0..<20).map { UInt64(number * 1000 + $0) } }
        #expect((given + left).sorted() == all.sorted(), "seed \(seed)")
        #expect(try await replicas.haveOneState, "seed \(seed)")
        await replicas.stopAll()
    }

    @Test("go on after a restart from what they have applied") func restart() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        try await controller.append((1...100).map { Replicas.write($0) }, to: "eu")
        await replicas.stop("r2")
        try await controller.append((101...150).map { Replicas.write($0) }, to: ["eu", "ap"])
        let back = try await replicas.start("r2")
        #expect(try await ReplicatedController(back).statistics().map(\.entries) == [50, 150, 0])
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("take a snapshot where the log has forgotten what they miss") func snapshot() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        await replicas.stop("r2")
        for start in stride(from: 1 as UInt64, to: 400, by: 40) {
            try await controller.append((start..<(start + 40)).map { Replicas.write($0, 200) }, to: "eu")
        }
        try await controller.acknowledge("eu", through: 90)
        try await replicas.replicas[0].publishSnapshot(through: replicas.transport)
        try await replicas.log.trim(through: try #require(try await replicas.log.newestSnapshot()).index)
        try await controller.append([Replicas.write(1000)], to: "ap")
        let back = try await replicas.start("r2")
        #expect(try await ReplicatedController(back).statistics().map(\.entries) == [1, 310, 0])
        #expect(try await ReplicatedController(back).head(of: "eu").first?.position == 91)
        #expect(try await replicas.haveOneState)
        // Its own sessions go on, and so do those of others.
        try await ReplicatedController(back).append([Replicas.write(1001)], to: "ap")
        try await controller.append([Replicas.write(1002)], to: "ap")
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    /// Two replicas that have published a snapshot, of a log that has forgotten its beginning and has `kept` entries at least.
    private static func trimmed(keeping kept: Int) async throws -> Replicas {
        let replicas = try await Replicas(MemoryLog(), count: 0)
        for name in ["r0", "r1"] { try await replicas.start(name, Self.forgetting) }
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        var sequence: UInt64 = 0
        while try await replicas.log.newestSnapshot() == nil || replicas.log.entries.first?.index == 1
            || replicas.log.entries.count < kept
        {
            sequence += 1
            try await controller.append([Replicas.write(sequence)], to: "eu")
        }
        return replicas
    }

    private static func forgetting(_ options: inout ReplicaOptions) {
        (options.logRetainedEntries, options.snapshotEveryBytes) = (4, 20_000)
    }

    @Test("begin anew from a snapshot and the log behind it, however quiet that has become", .timeLimit(.minutes(10)))
    func quiet() async throws {
        let replicas = try await Self.trimmed(keeping: 8)
        // Every member has all of it on its disk, and nobody appends any more.
        #expect(try await replicas.haveOneState)
        let last = try await replicas.log.barrier()
        while try await replicas.log.members().contains(where: { $0.syncedIndex < last }) { await Task.yield() }
        // Some rounds of looking after it later, the log still has all that follows the newest snapshot.
        let later = (try await replicas.log.members().map(\.at).max() ?? 0) + 200
        while try await replicas.log.members().contains(where: { $0.at < later }) { await Task.yield() }
        let trimmed = replicas.log.trimmedThrough
        #expect(trimmed <= (try await replicas.log.newestSnapshot()?.index ?? 0))
        let empty = try await replicas.start("r2", Self.forgetting)
        try await empty.wait(for: .index(last))
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("begin anew where the newest snapshot has gone with the disk that had it", .timeLimit(.minutes(10)))
    func snapshotGone() async throws {
        let replicas = try await Self.trimmed(keeping: 0)
        let last = try await replicas.log.barrier()
        // Nobody appends any more, so none would be made because the log has grown.
        try FileManager.default.removeItem(atPath: replicas.transport.path)
        let empty = try await replicas.start("r2", Self.forgetting)
        try await empty.wait(for: .index(last))
        #expect(empty.missingSnapshot == nil)
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("stop where the log ends before what they have applied") func wentBack() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        try await controller.append((1...10).map { Replicas.write($0) }, to: "eu")
        #expect(try await replicas.haveOneState)
        await replicas.stop("r1")
        replicas.log.goBack(to: 2)
        try await replicas.start("r1")
        #expect(await replicas.failure(of: "r1")?.code == .logWentBack)
        await replicas.stopAll()
    }

    @Test("stop where the log was restored from an older state, however long it has become since", arguments: [0, 1])
    func wentBackAndOn(gap: UInt64) async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        for sequence in 1...10 as ClosedRange<UInt64> {
            try await controller.append([Replicas.write(sequence)], to: "eu")
        }
        #expect(try await replicas.haveOneState)
        await replicas.stop("r1")
        let (log, applied) = (replicas.log, try await replicas.log.barrier())
        await replicas.stopAll()
        log.goBack(to: 2)
        // Other commands, by whoever has not applied those that are gone; with a gap there is none in the last one's place.
        log.skipIndices(gap * (applied - 2))
        for number in 0..<(gap == 0 ? applied : 1) {
            let id = ProposalID(session: SessionID(index: 1, nonce: 5), sequence: number)
            _ = try await log.propose([7], as: id)
        }
        #expect(try await log.barrier() > applied)
        try await replicas.start("r1")
        let failure = await replicas.failure(of: "r1")
        // The new commands leave indices out, too: where the last one was there is another, or none.
        let codes: [HoldfastError.Code] = gap == 0 ? [.logConflict, .logWentBack] : [.logWentBack]
        #expect(failure.map { codes.contains($0.code) } == true, "\(String(describing: failure))")
        await replicas.stopAll()
    }

    @Test("keep an append of several megabytes whole") func parts() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0], compressionLevel: 0)
        try await controller.configure(Replicas.configuration)
        let writes = (1...40 as ClosedRange<UInt64>).map { Replicas.write($0, 100_000) }
        #expect(try await controller.append(writes, to: "eu").accepted == 40)
        #expect(replicas.log.entries.count > 4)
        #expect(try await controller.head(of: "eu", bytesMax: 8 << 20).count == 40)
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }
}
