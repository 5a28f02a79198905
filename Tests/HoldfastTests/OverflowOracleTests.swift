import HoldfastTesting
import Metrics
import MetricsTestKit
import ReplayFormat
import Testing

@testable import Holdfast
@testable import ReplayStore

/// What a queue must have come to, counted by hand.
private struct Expected {
    var accepted: UInt64
    var acknowledged: UInt64 = 0
    var dropped: UInt64 = 0
    var entries: UInt64
    /// The positions of its dead letters.
    var dead: [UInt64] = []
    /// Its rows in the ledger of what was lost.
    var lost: [Lost] = []
    /// What its health says.
    var concerns: [String]

    struct Lost: Hashable {
        var reason: LostRow.Reason
        var first: UInt64
        var last: UInt64
        var entries: UInt64
    }
}

private struct Refusal: Error, CustomStringConvertible {
    var description: String { "no" }
}

/// Every policy for a queue that is full, each with a region of its own in one deployment.
private struct OverflowRun {
    static let here: RegionID = "here"
    let time: SteppedTime
    let controller: RegionFailoverController
    private(set) var expected: [RegionID: Expected] = [here: Expected(accepted: 0, entries: 0, concerns: [])]
    private(set) var refused: Int64 = 0

    private func append(_ sequences: ClosedRange<UInt64>, _ region: RegionID, _ wait: Int64 = 0) async throws -> UInt64
    {
        try await controller.append(sequences.map { write($0, "k\($0 % 3)") }, to: region, waitMilliseconds: wait)
            .dropped
    }

    /// Appends one entry more than there is room for.
    private mutating func refuse(_ region: RegionID, _ sequence: UInt64, field: String = "entries") async throws {
        do throws(HoldfastError) {
            try await controller.append([write(sequence)], to: region)
            Issue.record("\(region) had room")
        } catch {
            #expect((error.code, error.field, error.neverFits) == (.full, field, false))
        }
        refused += 1
    }

    private func limit(_ region: RegionID, _ overflow: QueueLimits.Overflow = .reject) async throws {
        let limits = QueueLimits(entriesMax: 10, overflow: overflow, sharePercent: 0)
        try await controller.setLimits(limits, for: region)
    }

    mutating func reject() async throws {
        let region: RegionID = "reject"
        try await limit(region)
        _ = try await append(1...10, region)
        try await refuse(region, 11)
        expected[region] = Expected(accepted: 10, entries: 10, concerns: ["at its limit"])
    }

    mutating func wait() async throws {
        let region: RegionID = "wait"
        try await limit(region)
        _ = try await append(1...10, region)
        async let served = append(11...11, region, 60_000)
        try await until { time.manual.sleepers == 1 }
        try await controller.acknowledge(region, through: 1)
        #expect(try await served == 0)
        // Nobody makes room for this one.
        let late = Task { [controller] in
            await code { try await controller.append([write(12)], to: region, waitMilliseconds: 100) }
        }
        try await until { time.manual.sleepers == 1 }
        time.manual.advance(milliseconds: 100)
        #expect(await late.value == .full)
        refused += 1
        expected[region] = Expected(accepted: 11, acknowledged: 1, entries: 10, concerns: ["at its limit"])
    }

    mutating func dropEntries() async throws {
        let region: RegionID = "entries"
        try await limit(region, .dropOldest)
        _ = try await append(1...10, region)
        #expect(try await append(11...13, region) == 3)
        #expect(try await append(14...14, region) == 1)
        expected[region] = Expected(
            accepted: 14,
            dropped: 4,
            entries: 10,
            lost: [.init(reason: .dropped, first: 1, last: 4, entries: 4)],
            concerns: ["needs a resynchronisation", "at its limit"]
        )
    }

    mutating func dropBytes() async throws {
        let region: RegionID = "bytes"
        try await controller.setLimits(QueueLimits(sharePercent: 0), for: region)
        for sequence in 1...10 as ClosedRange<UInt64> { _ = try await append(sequence...sequence, region) }
        let stored = try await queue(region).storedBytes
        let limits = QueueLimits(bytesMax: stored, overflow: .dropOldest, sharePercent: 0)
        try await controller.setLimits(limits, for: region)
        // Whole blocks go, for what the new one takes at most.
        let dropped = try await append(11...11, region)
        #expect(1...3 ~= dropped)
        let now = try await queue(region).storedBytes
        #expect(now <= stored)
        expected[region] = Expected(
            accepted: 11,
            dropped: dropped,
            entries: 11 - dropped,
            lost: [.init(reason: .dropped, first: 1, last: dropped, entries: dropped)],
            concerns: ["needs a resynchronisation"]
                + (now == stored ? ["at its limit"] : now * 5 >= stored * 4 ? ["above 80 % of its limit"] : [])
        )
    }

    mutating func dropAge() async throws {
        let region: RegionID = "age"
        let limits = QueueLimits(ageMaxMilliseconds: 1000, overflow: .dropOldest, sharePercent: 0)
        try await controller.setLimits(limits, for: region)
        _ = try await append(1...4, region)
        time.manual.advance(milliseconds: 600)
        _ = try await append(5...7, region)
        time.manual.advance(milliseconds: 600)
        #expect(try await append(8...8, region) == 4)
        expected[region] = Expected(
            accepted: 8,
            dropped: 4,
            entries: 4,
            lost: [.init(reason: .expired, first: 1, last: 4, entries: 4)],
            concerns: ["needs a resynchronisation"]
        )
    }

    /// The last one: what the others hold is not for it.
    mutating func dropTotal() async throws {
        let region: RegionID = "total"
        try await controller.setLimits(QueueLimits(overflow: .dropOldest, sharePercent: 0), for: region)
        try await controller.setLimits(QueueLimits(sharePercent: 0), for: Self.here)
        let held = try await controller.statistics().reduce(0) { $0 + $1.entries }
        try await controller.setTotalLimits(TotalLimits(entriesMax: held + 10))
        _ = try await append(1...10, region)
        #expect(try await append(11...15, region) == 5)
        try await refuse(Self.here, 1, field: "total.entries")
        expected[region] = Expected(
            accepted: 15,
            dropped: 5,
            entries: 10,
            lost: [.init(reason: .dropped, first: 1, last: 5, entries: 5)],
            concerns: ["needs a resynchronisation"]
        )
    }

    /// A full queue of which the region refuses the fourth entry.
    mutating func exhaust(_ region: RegionID, _ exhaustion: ReplaySettings.Exhaustion, _ outcome: Expected) async throws
    {
        try await limit(region)
        let settings = ReplaySettings(
            backoffBaseMilliseconds: 1,
            backoffMaxMilliseconds: 2,
            attemptsMax: 6,
            exhaustion: exhaustion
        )
        try await controller.setReplaySettings(settings, for: region)
        _ = try await append(1...10, region)
        try await refuse(region, 11)
        let sink: ReplaySink = { batch in
            if batch.entries.contains(where: { $0.write.sequence == 4 }) { throw Refusal() }
        }
        try await shipping(controller, to: region, sink) { [self] _ in
            try await time.advance {
                let queue = try await queue(region)
                return queue.entries == 0 || queue.isPaused
            }
        }
        expected[region] = outcome
    }

    private func queue(_ region: RegionID) async throws -> QueueStatistics {
        try #require(try await controller.statistics().first { $0.region == region })
    }

    // MARK: What is told

    private func lost() async throws -> [RegionID: [Expected.Lost]] {
        try await controller.store.read { (view) throws(HoldfastError) in
            var lost: [RegionID: [Expected.Lost]] = [:]
            try view.scan(.lost) { (key, value) throws(HoldfastError) in
                let (place, row) = try format("A row") { () throws(FormatError) in try LostRow.read(key, value) }
                lost[place.region, default: []].append(
                    Expected.Lost(reason: row.reason, first: place.first, last: place.last, entries: row.entries)
                )
                return true
            }
            return lost
        }
    }

    /// Compares all that tells of the queues with what was counted.
    func compare(_ metrics: TestMetrics) async throws {
        try await controller.tick()
        let (queues, lost, health) = (try await controller.statistics(), try await lost(), await controller.health())
        #expect(Set(queues.map(\.region)) == Set(expected.keys))
        for queue in queues {
            let (region, wanted) = (queue.region, try #require(expected[queue.region]))
            let comment: Comment = "\(region)"
            func counter(_ name: MetricName) -> UInt64 {
                UInt64(metrics.counterTotal(label: name.rawValue, dimensions: [("region", region.rawValue)]))
            }
            func gauge(_ name: MetricName) throws -> Double? {
                try metrics.expectGauge(name.rawValue, [("region", region.rawValue)]).lastValue
            }
            let dead = UInt64(wanted.dead.count)
            #expect(wanted.accepted == wanted.entries + wanted.acknowledged + wanted.dropped + dead, comment)
            #expect(
                (queue.accepted, queue.entries, queue.acknowledged) == (
                    wanted.accepted, wanted.entries, wanted.acknowledged
                ),
                comment
            )
            #expect((queue.dropped, queue.dead, queue.drained, queue.lost) == (wanted.dropped, dead, 0, 0), comment)
            #expect((queue.needsResync, queue.isPaused) == (!wanted.lost.isEmpty, region == "halt"), comment)
            #expect(lost[region] ?? [] == wanted.lost, comment)
            #expect(try await controller.deadLetters(for: region).map(\.position) == wanted.dead, comment)
            #expect(counter(.acceptedWrites) == wanted.accepted, comment)
            #expect(counter(.acknowledgedWrites) == wanted.acknowledged, comment)
            #expect(counter(.droppedWrites) == wanted.dropped, comment)
            #expect(counter(.parkedWrites) == dead, comment)
            for name in [.drainedWrites, .lostWrites, .retriedWrites, .discardedWrites, .duplicateWrites]
                as [MetricName]
            {
                #expect(counter(name) == 0, "\(name) of \(region)")
            }
            #expect(try gauge(.queueEntries) == Double(wanted.entries), comment)
            #expect(try gauge(.deadLetters) == Double(dead), comment)
            #expect(try gauge(.needsResync) == (wanted.lost.isEmpty ? 0 : 1), comment)
            #expect(try gauge(.paused) == (region == "halt" ? 1 : 0), comment)
            #expect(try gauge(.queueLimitRatio) == queue.limitUse(at: controller.now) ?? 0, comment)
            let told = try #require(health.regions.first { $0.region == region })
            #expect((told.entries, told.deadLetters, told.needsResync) == (wanted.entries, dead, !wanted.lost.isEmpty))
            #expect(told.concerns == wanted.concerns, comment)
        }
        #expect(metrics.counterTotal(label: MetricName.refusedCalls.rawValue) == refused)
        #expect(try metrics.expectGauge(MetricName.totalLimitRatio.rawValue).lastValue == 1)
        #expect(health.concerns == ["at the limit of all queues"])
    }
}

@Suite("A queue at its limit") struct OverflowOracleTests {
    @Test("has the effect that its policy declares and no other: the ledger, the metrics and health agree")
    func policies() async throws {
        // A process of its own, so that nobody else's calls are among those that are counted.
        await #expect(processExitsWith: .success) {
            let metrics = TestMetrics()
            MetricsSystem.bootstrap(metrics)
            let time = SteppedTime()
            let deployment = try await Deployment(
                ["here", "reject", "wait", "entries", "bytes", "age", "total", "park", "parkKey", "halt"],
                suspectAfterMilliseconds: 100_000_000,
                source: time
            )
            var run = OverflowRun(time: time, controller: deployment.controller)
            let refused = "paused: position 4 was refused 6 times: no"
            try await run.exhaust(
                "park",
                .park,
                Expected(accepted: 10, acknowledged: 9, entries: 0, dead: [4], concerns: ["1 dead letters"])
            )
            try await run.exhaust(
                "parkKey",
                .parkKey,
                Expected(accepted: 10, acknowledged: 7, entries: 0, dead: [4, 7, 10], concerns: ["3 dead letters"])
            )
            try await run.exhaust(
                "halt",
                .halt,
                Expected(accepted: 10, acknowledged: 3, entries: 7, concerns: [refused])
            )
            try await run.reject()
            try await run.wait()
            try await run.dropEntries()
            try await run.dropBytes()
            try await run.dropAge()
            try await run.dropTotal()
            try await run.compare(metrics)
            await deployment.controller.close()
            let findings = try StoreCheck.run(deployment.path, level: .full).findings
            #expect(findings.filter { $0.severity == .error } == [])
        }
    }
}
