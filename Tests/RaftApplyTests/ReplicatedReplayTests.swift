import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import Synchronization
import Testing

/// What a region has received, from whichever replica.
private final class Receiver: Sendable {
    private struct Refused: Error {}

    private let state = Mutex<(positions: [UInt64], members: Set<String>)>(([], []))
    private let refused: Set<UInt64>

    /// `refused`: Sequences that it never takes.
    init(refusing refused: Set<UInt64> = []) { self.refused = refused }

    var positions: [UInt64] { state.withLock { $0.positions } }
    var members: Set<String> { state.withLock { $0.members } }
    /// The positions in the order in which they came first.
    var firsts: [UInt64] {
        var seen: Set<UInt64> = []
        return positions.filter { seen.insert($0).inserted }
    }

    func receive(_ batch: ReplayBatch, from member: String) throws {
        if batch.entries.contains(where: { refused.contains($0.write.sequence) }) { throw Refused() }
        state.withLock { state in
            state.positions += batch.entries.map(\.position)
            state.members.insert(member)
        }
    }
}

@Suite("The queues of replicas", .timeLimit(.minutes(10))) struct ReplicatedReplayTests {
    private static let settings = ReplaySettings(
        batchEntriesMax: 16,
        backoffBaseMilliseconds: 1,
        backoffMaxMilliseconds: 2,
        attemptsMax: 2,
        exhaustion: .park
    )

    private func replicas(_ receiver: Receiver, seed: UInt64 = 1) async throws -> Replicas {
        try await Replicas(MemoryLog(seed: seed)) { replica in
            let sink: ReplaySink = { batch in try receiver.receive(batch, from: replica.options.name) }
            try await ReplayService(ReplicatedController(replica), sinks: ["eu": sink]).run()
        }
    }

    @Test("are sent by the member that leads, in order, and leave the queue of every member")
    func sent() async throws {
        let receiver = Receiver()
        let replicas = try await replicas(receiver)
        let controller = ReplicatedController(replicas.replicas[1])
        try await controller.configure(Replicas.configuration)
        try await controller.append((1...100).map { Replicas.write($0) }, to: "eu")
        while try await controller.statistics().first(where: { $0.region == "eu" })?.entries != 0 { await Task.yield() }
        #expect(receiver.positions == Array(1...100))
        #expect(receiver.members.count == 1)
        #expect(try await replicas.haveOneState)
        for replica in replicas.replicas {
            let queue = try #require(try await replica.machine.statistics().first { $0.region == "eu" })
            #expect((queue.entries, queue.acknowledged) == (0, 100))
        }
        await replicas.stopAll()
    }

    @Test("go on from the acknowledged position when another member leads", arguments: 1...3 as ClosedRange<UInt64>)
    func leaders(seed: UInt64) async throws {
        let receiver = Receiver()
        let replicas = try await replicas(receiver, seed: seed)
        let controller = ReplicatedController(replicas.replicas[2])
        try await controller.configure(Replicas.configuration)
        var next: UInt64 = 1
        for name in ["r0", "r1"] {
            try await controller.append((next..<(next + 50)).map { Replicas.write($0) }, to: "eu")
            next += 50
            while receiver.firsts.count < Int(next) - 25 { await Task.yield() }
            await replicas.stop(name)
            try await replicas.start(name)
        }
        while try await controller.statistics().first(where: { $0.region == "eu" })?.entries != 0 { await Task.yield() }
        #expect(receiver.firsts == Array(1..<next))
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("set aside what their region refuses, on every member, and bring it back") func parked() async throws {
        let receiver = Receiver(refusing: [7, 33])
        let replicas = try await replicas(receiver)
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Replicas.configuration)
        try await controller.setReplaySettings(Self.settings, for: "eu")
        try await controller.append((1...60).map { Replicas.write($0) }, to: "eu")
        while try await controller.statistics().first(where: { $0.region == "eu" })?.entries != 0 { await Task.yield() }
        #expect(receiver.firsts == (1...60).filter { $0 != 7 && $0 != 33 })
        for replica in replicas.replicas {
            let letters = try await ReplicatedController(replica).deadLetters(for: "eu")
            #expect(letters.map(\.position) == [7, 33])
            // One more where nobody heard in time what became of parking it.
            #expect(letters.allSatisfy { $0.attempts >= 2 })
        }
        #expect(try await controller.dropDeadLetters("eu", .positions([7])) == 1)
        #expect(try await controller.retryDeadLetters("eu") == 1)
        // It is refused again, at its new position.
        while try await controller.deadLetters(for: "eu").map(\.position) != [61] { await Task.yield() }
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }
}
