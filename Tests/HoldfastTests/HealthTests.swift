import HoldfastTesting
import ReplayFormat
import TestSupport
import Testing

@testable import Holdfast
@testable import ReplayStore

@Suite("Health") struct HealthTests {
    private let region: RegionID = "eu-west-1"

    @Test("tells how much of the limits on all queues is used") func total() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        #expect(await controller.health().totalUse == nil)
        try await controller.setTotalLimits(TotalLimits(entriesMax: 10))
        try await controller.append((1...7).map { write($0) }, to: region)
        #expect(await controller.health().isGood)
        try await controller.append([write(8)], to: region)
        var health = await controller.health()
        #expect((health.totalUse, health.isGood) == (0.8, false))
        #expect(health.description.contains("; above 80 % of the limit of all queues; "))
        try await controller.append([write(1)], to: ["us-east-1", "ap-northeast-1"])
        health = await controller.health()
        #expect((health.totalUse, health.concerns) == (1, ["at the limit of all queues"]))
        await controller.close()
    }

    /// Fails the next transaction that somebody else leaves for the writer.
    private func failNext(_ controller: RegionFailoverController, _ failure: HoldfastError) async throws {
        let (first, second) = (WriterHold(), WriterHold())
        first.begin(controller)
        await first.held()
        try await until { controller.staged.controls == 1 }
        second.begin(controller, failingWith: failure)
        try await until { controller.staged.controls == 2 }
        first.letGo()
        await second.held()
        second.letGo()
    }

    private let diskIsFull = HoldfastError.full(nil, limit: "disk", "a test")

    @Test("tells that the last tick failed, until one succeeds") func tickFails() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        deployment.time.advance(milliseconds: 10_000)
        async let tick = code { try await controller.tick() }
        try await failNext(controller, diskIsFull)
        #expect(await tick == .full)
        var health = await controller.health()
        #expect(health.tickFailure?.field == "disk")
        #expect((health.isGood, health.concerns) == (false, ["the last tick failed: full"]))
        try await controller.tick()
        health = await controller.health()
        #expect(health.tickFailure == nil && health.isGood)
        await controller.close()
    }

    @Test("of a controller that runs is logged when a tick fails") func runFails() async throws {
        let lines = LogLines()
        let deployment = try await Deployment(suspectAfterMilliseconds: 4, options: lines.options)
        let controller = deployment.controller
        let running = Task { try await controller.run() }
        try await failNext(controller, diskIsFull)
        try await until { lines.count("A tick failed") == 1 }
        // It goes on.
        try await until { await controller.health().tickFailure == nil }
        running.cancel()
        try await running.value
    }

    @Test("tells that appends find no space, until one does") func space() async throws {
        let deployment = try await Deployment(options: StoreOptions(compressionLevel: 0, mapSizeBytes: 16 << 20))
        let controller = deployment.controller
        let value = String(repeating: "x", count: 60_000)
        var sequence: UInt64 = 1
        while await code({ try await controller.append([write(sequence, "k", value)], to: region) }) == nil {
            sequence += 1
        }
        let health = await controller.health()
        #expect(health.spaceRefusal?.code == .full && health.concerns == ["no space for appends: map"])
        // What is there already needs none.
        let repeated = try await controller.append([write(1, "k", value)], to: region)
        #expect(repeated.duplicates == [0])
        try await controller.acknowledge(region, through: sequence - 1)
        while await code({ try await controller.append([write(sequence, "k", value)], to: region) }) == .full {}
        #expect(await controller.health().spaceRefusal == nil)
        await controller.close()
    }
}
