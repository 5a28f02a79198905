import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("Dead letters that are retried") struct RetryTests {
    private let region: RegionID = "eu-west-1"

    /// A store whose first entries have been parked.
    private func parked(_ writes: [OutstandingWrite], options: StoreOptions) async throws -> Deployment {
        let deployment = try await Deployment(options: options)
        await deployment.controller.close()
        let store = try await ReplayStore.open(deployment.path, .existing, options: options) {
            (_) throws(HoldfastError) in
            ((), StoreHooks())
        }.0
        for write in writes { try await store.appendParked(write, to: region) }
        await store.close()
        return deployment
    }

    private func open(_ deployment: Deployment, _ options: StoreOptions) async throws -> RegionFailoverController {
        try await RegionFailoverController.open(at: deployment.path, options: options, time: deployment.time)
    }

    @Test("keep to what all queues together may hold") func total() async throws {
        let deployment = try await parked((1...10).map { write($0) }, options: Deployment.options)
        let controller = try await open(deployment, Deployment.options)
        try await controller.setTotalLimits(TotalLimits(entriesMax: 24))
        // The others have a claim on 4 each.
        try await controller.append((11...20).map { write($0) }, to: region)
        #expect(await code { try await controller.retryDeadLetters(region) } == .full)
        #expect(try await controller.pending(for: region).dead == 10)
        try await controller.setLimits(QueueLimits(overflow: .dropOldest), for: region)
        do throws(HoldfastError) {
            try await controller.retryDeadLetters(region)
            Issue.record("entries were dropped for dead letters")
        } catch {
            #expect((error.code, error.field) == (.full, "total.entries"))
        }
        #expect(try await controller.pendingCount(for: region) == 10)
        try await controller.acknowledge(region, through: 14)
        #expect(try await controller.retryDeadLetters(region) == 10)
        #expect(try await controller.drain(region).entries.map(\.write.sequence) == Array(15...20) + Array(1...10))
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
    }

    @Test("stay in their queue where parking finds no room, and acknowledging goes on") func parking() async throws {
        let options = StoreOptions(compressionLevel: 0, mapSizeBytes: 16 << 20)
        let deployment = try await Deployment(options: options, source: SystemTime())
        var controller = deployment.controller
        let (region, other) = (region, "ap-northeast-1" as RegionID)
        var settings = impatient
        settings.attemptsMax = 1
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: region)
        try await controller.append([write(1, "k", String(repeating: "v", count: 2 << 20))], to: region)
        let value = String(repeating: "w", count: 30_000)
        var sequence: UInt64 = 100
        while await code({ try await controller.append([write(sequence, "k", value)], to: other) }) == nil {
            sequence += 1
        }
        let refusing: ReplaySink = { _ in throw CancellationError() }
        try await shipping(controller, refusing) { [controller] service in
            try await until { service.status(of: region)?.storeError?.field == "map" }
            for position in 1...20 as ClosedRange<UInt64> {
                try await controller.acknowledge(other, through: position)
            }
            #expect(try await controller.pending(for: region).dead == 0)
        }
        await controller.close()
        let larger = StoreOptions(compressionLevel: 0, mapSizeBytes: 64 << 20)
        controller = try await RegionFailoverController.open(at: deployment.path, options: larger)
        try await shipping(controller, refusing) { [controller] _ in
            try await until { try await controller.pending(for: region).dead == 1 }
        }
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
    }

    @Test("and find no room are nothing to the acknowledgements of the same moment") func room() async throws {
        let options = StoreOptions(compressionLevel: 0, mapSizeBytes: 16 << 20)
        let letters = (1...20 as ClosedRange<UInt64>).map { write($0, "k", String(repeating: "v", count: 200_000)) }
        let deployment = try await parked(letters, options: options)
        var controller = try await open(deployment, options)
        // Until the address space is used up.
        let value = String(repeating: "w", count: 30_000)
        var sequence: UInt64 = 100
        while await code({ try await controller.append([write(sequence, "k", value)], to: "ap-northeast-1") }) == nil {
            sequence += 1
        }
        try await withThrowingTaskGroup(of: Void.self) { [controller] group in
            for position in 1...60 as ClosedRange<UInt64> {
                group.addTask {
                    try await controller.acknowledge("ap-northeast-1", through: position)
                }
                guard position % 10 == 0 else { continue }
                group.addTask {
                    #expect(await code { try await controller.retryDeadLetters(region) } == .full)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await controller.pending(for: region).dead == 20)
        // With room again they come, in the order of their positions.
        await controller.close()
        controller = try await open(deployment, StoreOptions(compressionLevel: 0, mapSizeBytes: 64 << 20))
        #expect(try await controller.retryDeadLetters(region) == 20)
        #expect(try await controller.drain(region).entries.map(\.write) == letters)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
    }
}
