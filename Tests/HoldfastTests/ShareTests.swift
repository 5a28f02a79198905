import Holdfast
import HoldfastTesting
import ReplayStore
import Testing

@Suite("Shares of the total") struct ShareTests {
    private func fill(_ controller: RegionFailoverController, _ region: RegionID) async throws -> UInt64 {
        var sequence: UInt64 = 1
        while await code({ try await controller.append([write(sequence)], to: region) }) == nil { sequence += 1 }
        return try await controller.pendingCount(for: region)
    }

    @Test("are never more than the total, whichever region comes first", arguments: [80, 100, 0] as [UInt8])
    func neverMore(percent: UInt8) async throws {
        for first in Deployment.regions {
            let deployment = try await Deployment()
            let controller = deployment.controller
            try await controller.setTotalLimits(TotalLimits(entriesMax: 120))
            try await controller.setLimits(QueueLimits(sharePercent: percent), for: "eu-west-1")
            var sum = try await fill(controller, first)
            for region in Deployment.regions where region != first { sum += try await fill(controller, region) }
            #expect(sum <= 120)
            #expect(try await controller.pendingCount(for: "eu-west-1") >= 120 * UInt64(percent) / 100)
            await controller.close()
        }
    }

    @Test("of more than everything are refused when a store is made, and when regions come") func refused()
        async throws
    {
        let limits = QueueLimits(sharePercent: 40)
        #expect(await code { try await Deployment(limits: limits).controller } == .invalidConfiguration)
        let deployment = try await Deployment(["us-east-1", "eu-west-1"], limits: limits)
        let controller = deployment.controller
        var more = controller.configuration
        more.regions.append("ap-northeast-1")
        #expect(await code { try await controller.configure(more, limits: limits) } == .invalidConfiguration)
        #expect(controller.configuration.regions.count == 2)
        try await controller.configure(more)
        #expect(try await controller.statistics().map(\.limits.sharePercent) == [nil, 40, 40])
        await controller.close()
    }

    @Test("are set for all regions at once, whatever they were before") func atOnce() async throws {
        let deployment = try await Deployment(["us-east-1", "eu-west-1"])
        let controller = deployment.controller
        try await controller.setLimits(QueueLimits(sharePercent: 20), for: "eu-west-1")
        try await controller.setLimits(QueueLimits(sharePercent: 80), for: "us-east-1")
        try await controller.configure(controller.configuration, limits: QueueLimits(sharePercent: 50))
        #expect(try await controller.statistics().map(\.limits.sharePercent) == [50, 50])
        await controller.close()
    }

    @Test("that are refused are nothing to the appends of the same moment") func refusal() async throws {
        let deployment = try await Deployment(["us-east-1", "eu-west-1"])
        let controller = deployment.controller
        let configuration = controller.configuration
        try await withThrowingTaskGroup(of: Void.self) { group in
            for sequence in 1...400 as ClosedRange<UInt64> {
                group.addTask { try await controller.append([write(sequence)], to: "eu-west-1") }
                group.addTask {
                    let refused = await code {
                        try await controller.configure(configuration, limits: QueueLimits(sharePercent: 60))
                    }
                    #expect(refused == .invalidConfiguration)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await controller.pendingCount(for: "eu-west-1") == 400)
        #expect(try await controller.statistics().allSatisfy { $0.limits == .unlimited })
        await controller.close()
    }

    @Test("that grow are told as what another region's next append drops") func estimates() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let region: RegionID = "eu-west-1"
        try await controller.setTotalLimits(TotalLimits(entriesMax: 120))
        try await controller.setLimits(QueueLimits(overflow: .dropOldest), for: region)
        // The others have a claim on 20 each.
        try await controller.append((1...80).map { write($0) }, to: region)
        #expect(try await controller.dropEstimates().isEmpty)
        let wanted = QueueLimits(sharePercent: 50)
        let estimates = try await controller.dropEstimates(of: ["us-east-1": wanted])
        // 60 for one, 15 for the other: 45 are left.
        #expect(estimates == [region: DropEstimate(entries: 35, positions: 1...35)])
        #expect(try await controller.setLimits(wanted, for: "us-east-1") == .nothing)
        #expect(try await controller.append([write(81)], to: region).dropped == 36)
        #expect(await code { try await controller.dropEstimates(of: ["mars": wanted]) } == .unknownRegion)
        await controller.close()
    }
}
