import Foundation
import Holdfast
import HoldfastTesting
import Metrics
import MetricsTestKit
import ReplayStore
import Synchronization
import Testing

/// What every store of this process reports, from the first test that asks on.
private let reported: TestMetrics = {
    let metrics = TestMetrics()
    MetricsSystem.bootstrap(metrics)
    return metrics
}()

@Suite("Metrics", .serialized) struct MetricsTests {
    private func total(_ name: MetricName, _ region: RegionID, _ more: (String, String)...) -> Int64 {
        reported.counterTotal(label: name.rawValue, dimensions: [("region", region.rawValue)] + more)
    }

    private func gauge(_ name: MetricName, _ region: RegionID) throws -> Double? {
        try reported.expectGauge(name.rawValue, [("region", region.rawValue)]).lastValue
    }

    @Test("count what an oracle counts, and every one of them is emitted") func oracle() async throws {
        _ = reported
        // Names of this test alone: others report as well meanwhile.
        let regions: [RegionID] = ["m-here", "m-drop", "m-park", "m-lost"]
        let deployment = try await Deployment(regions, suspectAfterMilliseconds: 100_000_000, source: SystemTime())
        var controller = deployment.controller
        try await controller.setLimits(QueueLimits(entriesMax: 50, overflow: .dropOldest), for: "m-drop")
        try await controller.append((1...70).map { write($0) }.dropLast(30), to: "m-drop")
        let dropping = try await controller.append((41...70).map { write($0) }, to: "m-drop")
        #expect(dropping.dropped == 20)
        try await controller.append((1...10).map { write($0) }, to: "m-drop")
        try await controller.acknowledge("m-drop", through: 25)
        _ = try await controller.drain("m-drop", max: 7)
        let stale = await code { try await controller.append([write(99)], to: "m-drop", ifEpoch: 7) }
        #expect(stale == .staleEpoch)

        var settings = impatient
        settings.attemptsMax = 2
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: "m-park")
        try await controller.append((1...20).map { write($0, "key", "value") }, to: "m-park")
        let sink: ReplaySink = { batch in
            if batch.entries.contains(where: { $0.write.sequence % 10 == 3 }) { throw RegionTrouble() }
        }
        try await shipping(controller, to: "m-park", sink) { _ in
            try await controller.wait(for: try await controller.syncPoint(for: "m-park"))
        }
        try await controller.retryDeadLetters("m-park", .positions([3]))
        try await controller.dropDeadLetters("m-park", .positions([13]))
        try await controller.pause("m-park", reason: "metrics")

        try await controller.append((1...200).map { write($0) }, to: "m-lost")
        try await controller.append((201...300).map { write($0) }, to: "m-lost")
        controller = try await damageFirstBlock(deployment, controller)
        #expect(try await controller.drain("m-lost").entries.count == 100)
        try await controller.tick()

        let expected: [(MetricName, RegionID, Int64)] = [
            (.acceptedWrites, "m-drop", 70), (.duplicateWrites, "m-drop", 10), (.droppedWrites, "m-drop", 20),
            (.acknowledgedWrites, "m-drop", 5), (.drainedWrites, "m-drop", 7), (.acceptedBytes, "m-drop", 140),
            (.acceptedWrites, "m-park", 20), (.acceptedBytes, "m-park", 160), (.acknowledgedWrites, "m-park", 18),
            (.parkedWrites, "m-park", 2), (.retriedWrites, "m-park", 1), (.discardedWrites, "m-park", 1),
            (.acceptedWrites, "m-lost", 300), (.drainedWrites, "m-lost", 100),
            (.lostWrites, "m-lost", 200),
        ]
        #expect(total(.lostWrites, "m-lost", ("reason", "damaged")) == 200)
        for (name, region, count) in expected { #expect(total(name, region) == count, "\(name) of \(region)") }
        // The ledger of the store says the same.
        for queue in try await controller.statistics() where queue.region != "m-here" {
            #expect(total(.acceptedWrites, queue.region) == Int64(queue.accepted))
            #expect(total(.acknowledgedWrites, queue.region) == Int64(queue.acknowledged))
            #expect(total(.drainedWrites, queue.region) == Int64(queue.drained))
            #expect(
                total(.droppedWrites, queue.region) + total(.discardedWrites, queue.region) == Int64(queue.dropped)
            )
            #expect(total(.lostWrites, queue.region) == Int64(queue.lost))
            #expect(
                total(.parkedWrites, queue.region) - total(.retriedWrites, queue.region)
                    - total(.discardedWrites, queue.region) == Int64(queue.dead)
            )
            #expect(try gauge(.queueEntries, queue.region) == Double(queue.entries))
            #expect(try gauge(.queueStoredBytes, queue.region) == Double(queue.storedBytes))
            #expect(try gauge(.deadLetters, queue.region) == Double(queue.dead))
            #expect(try gauge(.needsResync, queue.region) == (queue.needsResync ? 1 : 0))
            #expect(try gauge(.paused, queue.region) == (queue.isPaused ? 1 : 0))
        }
        #expect(try gauge(.queueLimitRatio, "m-drop") == 0.76)
        // Health says it in words.
        let health = await controller.health()
        let concerns = Dictionary(uniqueKeysWithValues: health.regions.map { ($0.region, $0.concerns) })
        #expect(concerns["m-drop"] == ["needs a resynchronisation"])
        #expect(concerns["m-park"] == ["paused: metrics"])
        #expect(concerns["m-here"] == [])
        #expect(!health.isGood)
        await controller.close()
        #expect(await controller.health().failure?.code == .closed)

        for name in MetricName.allCases { #expect(isEmitted(name), "\(name.rawValue) was not emitted") }
    }

    private func isEmitted(_ name: MetricName) -> Bool {
        !reported.counters(label: name.rawValue).isEmpty || !reported.recorders(label: name.rawValue).isEmpty
            || !reported.timers(label: name.rawValue).isEmpty || !reported.meters(label: name.rawValue).isEmpty
    }

    /// Flips a bit in the first block for "m-lost", and opens the store again.
    private func damageFirstBlock(
        _ deployment: Deployment,
        _ controller: RegionFailoverController
    ) async throws -> RegionFailoverController {
        await controller.close()
        let file = URL(fileURLWithPath: deployment.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        // Position 1, then the header of a block of 200 entries.
        let mark = Data([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 200])
        var start = bytes.startIndex
        while let place = bytes.range(of: mark, in: start..<bytes.endIndex) {
            bytes[place.upperBound + 30] ^= 1
            start = place.upperBound
        }
        try #require(start > bytes.startIndex)
        try bytes.write(to: file)
        return try await RegionFailoverController.open(at: deployment.path, options: Deployment.options)
    }
}

private struct RegionTrouble: Error {}
