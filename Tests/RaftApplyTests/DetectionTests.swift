import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import Testing

@Suite("Heartbeats of a replicated controller") struct ReplicatedDetectionTests {
    private static func configuration(_ suspectAfter: Int64, automatic: Bool = false) -> FailoverConfiguration {
        FailoverConfiguration(
            local: "us",
            regions: Replicas.regions,
            suspectAfterMilliseconds: suspectAfter,
            automaticFailover: automatic
        )
    }

    /// Waits for a state, for as long as the events of the log take.
    private static func wait(_ controller: ReplicatedController, _ holds: (FailoverMachine) -> Bool) async throws {
        while true {
            let index = try await controller.replica.wait(for: .linearizable)
            if let machine = controller.replica.machine.machine, holds(machine) { return }
            try await controller.replica.wait(for: .index(index + 1))
        }
    }

    @Test("that change nothing are not proposed one by one") func gathered() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[0])
        try await controller.configure(Self.configuration(3_600_000))
        let before = replicas.log.entries.count
        for _ in 0..<2000 { #expect(try await controller.heartbeat("eu") == []) }
        // What was heard is told now and then; the detector's own entries are as few.
        #expect(replicas.log.entries.count < before + 20)
        await #expect(throws: HoldfastError.self) { try await controller.heartbeat("mars") }
        await replicas.stopAll()
    }

    @Test("that stop let a region be suspected, and one brings it back") func suspected() async throws {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[1])
        try await controller.configure(Self.configuration(400))
        try await Self.wait(controller) { (try? $0.state(of: "eu")) == .suspect }
        #expect(try await controller.heartbeat("eu").map(\.kind) == [.recovering])
        #expect(try await replicas.haveOneState)
        await replicas.stopAll()
    }

    @Test("of a primary that stop let another region take over, where that is wanted") func replaced()
        async throws
    {
        let replicas = try await Replicas(MemoryLog())
        let controller = ReplicatedController(replicas.replicas[2])
        try await controller.configure(Self.configuration(500, automatic: true))
        // The others are heard by another member than the one that leads, or by that one.
        let beating = Task {
            while !Task.isCancelled {
                for region in ["eu", "ap"] as [RegionID] { _ = try? await controller.heartbeat(region) }
                await Task.yield()
            }
        }
        try await Self.wait(controller) { $0.epoch > 1 }
        beating.cancel()
        // On a slow machine those that are heard may be suspected too, later.
        let machine = try await controller.machine()
        #expect(machine.epoch >= 2 && machine.actingPrimary != "us")
        #expect(try machine.role(of: "us") == .demotedPrimary)
        await replicas.stopAll()
    }
}
