import Holdfast
import HoldfastTesting
import Testing

/// A controller over a temporary store, on a clock that the test moves.
struct Deployment {
    let directory: TemporaryDirectory
    let time = ManualTime(wallMilliseconds: 1_000_000)
    let controller: RegionFailoverController

    /// A map of a size that the sanitizers can shadow.
    static let options = StoreOptions(mapSizeBytes: 1 << 30)
    static let regions: [RegionID] = ["us-east-1", "eu-west-1", "ap-northeast-1"]

    init(
        _ regions: [RegionID] = Self.regions,
        suspectAfterMilliseconds: Int64 = 15_000,
        historyCapacity: Int = 256,
        limits: QueueLimits = .unlimited,
        options: StoreOptions = Self.options,
        source: (any TimeSource)? = nil
    ) async throws {
        directory = try TemporaryDirectory()
        controller = try await RegionFailoverController.create(
            at: directory.appending("store"),
            configuration: FailoverConfiguration(
                local: regions[0],
                regions: regions,
                suspectAfterMilliseconds: suspectAfterMilliseconds,
                historyCapacity: historyCapacity
            ),
            limits: limits,
            options: options,
            time: source ?? time
        )
    }

    var path: String { directory.appending("store") }

    /// Closes the store and opens it again.
    func reopened() async throws -> RegionFailoverController {
        await controller.close()
        return try await RegionFailoverController.open(at: path, options: Self.options, time: time)
    }
}

func write(_ sequence: UInt64, _ key: String = "k", _ value: String = "v") -> OutstandingWrite {
    OutstandingWrite(origin: "us-east-1", incarnation: 0, sequence: sequence, key: key, value: value)
}

/// The eight tests of the in-memory controller that this one grew from, over a store on the disk.
@Suite("The seed's controller, durable") struct SeedTests {
    @Test("A fresh controller has the local region as primary") func freshControllerHasLocalPrimary() async throws {
        let deployment = try await Deployment()
        #expect(try deployment.controller.role(of: "us-east-1") == .primary)
        #expect(try deployment.controller.role(of: "eu-west-1") == .secondary)
        #expect(try deployment.controller.state(of: "us-east-1") == .healthy)
    }

    @Test("A tick marks quiet regions suspect") func tickMarksQuietRegionSuspect() async throws {
        let deployment = try await Deployment(suspectAfterMilliseconds: 20, historyCapacity: 32)
        deployment.time.advance(milliseconds: 40)
        let events = try await deployment.controller.tick()
        #expect(events.map(\.kind) == [.suspect, .suspect, .suspect])
    }

    @Test("A heartbeat clears the suspicion") func heartbeatClearsSuspectState() async throws {
        let deployment = try await Deployment(suspectAfterMilliseconds: 20, historyCapacity: 32)
        deployment.time.advance(milliseconds: 40)
        try await deployment.controller.tick()
        #expect(try deployment.controller.state(of: "eu-west-1") == .suspect)
        try await deployment.controller.heartbeat("eu-west-1")
        #expect(try deployment.controller.state(of: "eu-west-1") == .recovering)
    }

    @Test("Demote and promote picks a secondary") func demoteAndPromotePicksSecondary() async throws {
        let deployment = try await Deployment()
        let promotion = try await deployment.controller.demoteAndPromote("us-east-1")
        #expect(promotion.failed == "us-east-1")
        #expect(promotion.promoted == "eu-west-1")
        #expect(try deployment.controller.role(of: promotion.failed) == .demotedPrimary)
        #expect(try deployment.controller.role(of: promotion.promoted) == .promotedSecondary)
    }

    @Test("A single region cannot be replaced") func demoteWithNoSecondariesErrors() async throws {
        let deployment = try await Deployment(["solo"])
        let error = await #expect(throws: HoldfastError.self) {
            try await deployment.controller.demoteAndPromote("solo")
        }
        #expect(error?.code == .noSecondaryAvailable)
    }

    @Test("An unknown region cannot be demoted") func demoteUnknownRegionErrors() async throws {
        let deployment = try await Deployment()
        let error = await #expect(throws: HoldfastError.self) {
            try await deployment.controller.demoteAndPromote("mars-1")
        }
        #expect(error?.code == .unknownRegion)
    }

    @Test("A drain returns what was buffered, once") func replayOutstandingDrainsBuffer() async throws {
        let deployment = try await Deployment()
        let writes = [write(1, "k1", "v1"), write(2, "k2", "v2")]
        try await deployment.controller.append(writes, to: "eu-west-1")
        #expect(try await deployment.controller.pendingCount(for: "eu-west-1") == 2)
        #expect(try await deployment.controller.drain("eu-west-1").entries.map(\.write) == writes)
        #expect(try await deployment.controller.pendingCount(for: "eu-west-1") == 0)
        #expect(try await deployment.controller.drain("eu-west-1").events == [])
    }

    @Test("A full failover cycle leaves its history") func fullFailoverCycle() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        let promotion = try await controller.demoteAndPromote("us-east-1")
        #expect(promotion.promoted != "us-east-1")
        try await controller.heartbeat("us-east-1")
        try await controller.readmit("us-east-1")
        #expect(try controller.role(of: "us-east-1") == .secondary)
        #expect(try controller.state(of: "us-east-1") == .healthy)
        #expect(try await controller.drain("eu-west-1").entries.count == 1)
        let names = try await controller.history().map(\.name)
        #expect(names == ["demoted", "promoted", "recovering", "readmitted", "replayed"])
    }

    @Test("Five writes outlive the failover and the restart in the middle of it") func upstreamScenario() async throws {
        let deployment = try await Deployment(["us", "eu", "ap"])
        let writes = (1...5).map {
            OutstandingWrite(origin: "us", incarnation: 0, sequence: $0, key: "k", value: "v")
        }
        try await deployment.controller.append(writes, to: "eu")
        deployment.time.advance(milliseconds: 3)
        let promotion = try await deployment.controller.demoteAndPromote("us")
        let pending = QueueSummary(entries: 5, bytes: 10, oldestMilliseconds: 3)
        #expect(promotion.events.last?.kind == .promoted(replaced: "us", epoch: 2, pending: pending))
        let controller = try await deployment.reopened()
        #expect(controller.actingPrimary == "eu")
        #expect(controller.epoch == 2)
        #expect(try await controller.drain("eu").entries.map(\.write) == writes)
        try await controller.heartbeat("us")
        try await controller.readmit("us")
        #expect(try controller.role(of: "us") == .secondary)
        await controller.close()
    }
}
