import Holdfast
import HoldfastTesting
import ReplayStore
import Synchronization
import Testing

@Suite("A limit") struct LimitTests {
    private func queue(_ controller: RegionFailoverController, _ region: RegionID) async throws -> QueueStatistics {
        try #require(try await controller.statistics().first { $0.region == region })
    }

    @Test("on age refuses, or drops just what is older", arguments: QueueLimits.Overflow.allCases)
    func age(overflow: QueueLimits.Overflow) async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let region: RegionID = "eu-west-1"
        for sequence in 1...10 as ClosedRange<UInt64> {
            try await controller.append([write(sequence)], to: region)
            deployment.time.advance(milliseconds: 1000)
        }
        let limits = QueueLimits(ageMaxMilliseconds: 4500, overflow: overflow)
        let estimate = try await controller.dropEstimate(of: limits, for: region)
        #expect(try await controller.setLimits(limits, for: region) == estimate)
        #expect(try await queue(controller, region).entries == 10)
        let refused = await code { try await controller.append([write(11)], to: region) }
        let after = try await queue(controller, region)
        switch overflow {
        case .reject:
            #expect(estimate == .nothing)
            #expect(refused == .full)
            #expect((after.entries, after.dropped, after.needsResync) == (10, 0, false))
            try await controller.acknowledge(region, through: 6)
            try await controller.append([write(11)], to: region)
            #expect(try await controller.tick().isEmpty)
        case .dropOldest:
            #expect(estimate == DropEstimate(entries: 6, positions: 1...6))
            #expect(refused == nil)
            #expect((after.headPosition, after.entries, after.dropped, after.needsResync) == (7, 5, 6, true))
            // A queue to which nothing is appended forgets too.
            deployment.time.advance(milliseconds: 2000)
            try await controller.tick()
            #expect(try await queue(controller, region).headPosition == 9)
        }
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings.filter { $0.severity == .error } == [])
    }

    @Test("says first what it would drop, and the next append drops just that", arguments: 0..<12 as Range<UInt64>)
    func estimate(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment()
        let controller = deployment.controller
        let region: RegionID = "eu-west-1"
        var sequence: UInt64 = 1
        for _ in 0..<Int.random(in: 1...12, using: &random) {
            let count = UInt64.random(in: 1...300, using: &random)
            try await controller.append(
                (sequence..<(sequence + count)).map { write($0, "k", "\($0 &* 0x9E37_79B9)") },
                to: region
            )
            sequence += count
            deployment.time.advance(milliseconds: Int64.random(in: 0...5000, using: &random))
        }
        let before = try await queue(controller, region)
        try await controller.acknowledge(region, through: UInt64.random(in: 0..<before.nextPosition, using: &random))
        let start = try await queue(controller, region)
        let limits = QueueLimits(
            entriesMax: Bool.random(using: &random) ? UInt64.random(in: 1...2000, using: &random) : nil,
            bytesMax: Bool.random(using: &random) ? UInt64.random(in: 1...start.storedBytes + 1, using: &random) : nil,
            ageMaxMilliseconds: Bool.random(using: &random) ? UInt64.random(in: 0...30_000, using: &random) : nil,
            overflow: .dropOldest
        )
        let estimate = try await controller.setLimits(limits, for: region)
        // An append of nothing new makes no room: what is dropped is for the limits alone.
        try await controller.append([write(1)], to: region)
        try await controller.tick()
        let same = try await queue(controller, region)
        #expect(same.dropped <= estimate.entries, "seed \(seed)")
        #expect(estimate.positions.map { UInt64($0.count) } ?? 0 == estimate.entries)
        #expect(estimate.positions.map { $0.lowerBound == start.headPosition } ?? true)
    }

    @Test("on everything leaves each region its share, whatever the others hold") func shares() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setTotalLimits(TotalLimits(entriesMax: 600))
        // Two thirds of it are nobody's own: a region that is away takes them, and its share.
        var accepted: UInt64 = 0
        while await code({ try await controller.append([write(accepted + 1)], to: "eu-west-1") }) == nil {
            accepted += 1
        }
        #expect(accepted == 600 - 100 - 100)
        for sequence in 1...100 as ClosedRange<UInt64> {
            try await controller.append([write(sequence)], to: "ap-northeast-1")
        }
        let beyond = await code { try await controller.append([write(101)], to: "ap-northeast-1") }
        #expect(beyond == .full)
        // A fan-out fits for all of its regions, or for none.
        let both = await code { try await controller.append([write(700)], to: ["us-east-1", "eu-west-1"]) }
        #expect(both == .full)
        #expect(try await controller.pendingCount(for: "us-east-1") == 0)
        try await controller.append([write(700)], to: "us-east-1")
        // A share that is set is the region's own.
        try await controller.setLimits(QueueLimits(sharePercent: 50), for: "ap-northeast-1")
        for sequence in 101...300 as ClosedRange<UInt64> {
            try await controller.append([write(sequence)], to: "ap-northeast-1")
        }
        let more = await code { try await controller.setLimits(QueueLimits(sharePercent: 51), for: "eu-west-1") }
        #expect(more == .invalidConfiguration)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("on everything survives a restart, and counts bytes as stored") func totalBytes() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setTotalLimits(TotalLimits(bytesMax: 60_000))
        await controller.close()
        let again = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(try await again.totalLimits() == TotalLimits(bytesMax: 60_000))
        var sequence: UInt64 = 1
        while await code({ try await again.append([write(sequence, "k", "\(sequence)")], to: "eu-west-1") }) == nil {
            sequence += 1
        }
        let stored = try await queue(again, "eu-west-1").storedBytes
        #expect((35_000...40_000).contains(stored))
        try await again.append([write(1)], to: "ap-northeast-1")
        await again.close()
    }

    @Test("on everything lets a region drop its own oldest, and nobody else's") func totalDrop() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setTotalLimits(TotalLimits(entriesMax: 60))
        try await controller.setLimits(QueueLimits(overflow: .dropOldest), for: "eu-west-1")
        try await controller.append((1...10).map { write($0) }, to: "ap-northeast-1")
        for sequence in 1...100 as ClosedRange<UInt64> {
            try await controller.append([write(sequence)], to: "eu-west-1")
        }
        let queue = try await queue(controller, "eu-west-1")
        #expect((queue.entries, queue.dropped, queue.needsResync) == (40, 60, true))
        #expect(try await controller.pendingCount(for: "ap-northeast-1") == 10)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings.filter { $0.severity == .error } == [])
    }

    @Test("lets callers wait for room, and serves them in order") func waits() async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 5))
        let controller = deployment.controller
        try await controller.append((1...5).map { write($0) }, to: "eu-west-1")
        let served = Served()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for sequence in 6...25 as ClosedRange<UInt64> {
                let before = deployment.time.sleepers
                group.addTask {
                    let receipt = try await controller.append(
                        [write(sequence)],
                        to: "eu-west-1",
                        waitMilliseconds: 60_000
                    )
                    served.positions.withLock { $0.append(receipt.first) }
                }
                // It stands in the line before the next one comes.
                try await until { deployment.time.sleepers > before }
            }
            for position in 1...20 as ClosedRange<UInt64> {
                try await controller.acknowledge("eu-west-1", through: position)
                try await until { served.positions.withLock { $0.count } == Int(position) }
            }
            try await group.waitForAll()
        }
        let entries = try await controller.drain("eu-west-1").entries
        #expect(entries.map(\.write.sequence) == [21, 22, 23, 24, 25])
        #expect(served.positions.withLock { $0 } == Array(6...25))
    }

    @Test("wakes who waits for room in the total when another region makes some, and who waits for two regions")
    func waitsForAny() async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 5, sharePercent: 0))
        let controller = deployment.controller
        try await controller.setTotalLimits(TotalLimits(entriesMax: 6))
        try await controller.append((1...5).map { write($0) }, to: "eu-west-1")
        try await controller.append([write(6)], to: "us-east-1")
        async let single = controller.append([write(7)], to: "us-east-1", waitMilliseconds: 60_000)
        try await until { deployment.time.sleepers == 1 }
        try await controller.acknowledge("eu-west-1", through: 1)
        #expect(try await single.accepted == 1)
        // Refused for one region, then for the other.
        try await controller.setTotalLimits(.unlimited)
        try await controller.append([write(8)], to: "eu-west-1")
        try await controller.append((9...11).map { write($0) }, to: "us-east-1")
        async let both = controller.append([write(12)], to: ["eu-west-1", "us-east-1"], waitMilliseconds: 60_000)
        try await until { deployment.time.sleepers == 1 }
        try await controller.acknowledge("eu-west-1", through: 2)
        try await controller.acknowledge("us-east-1", through: 1)
        #expect(try await both.map(\.accepted) == [1, 1])
        await controller.close()
    }

    @Test("refuses at once a call that can never fit, however long it would wait") func neverFits() async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 5))
        let controller = deployment.controller
        let six = (1...6).map { write($0) }
        do throws(HoldfastError) {
            try await controller.append(six, to: "eu-west-1", waitMilliseconds: 60_000)
            Issue.record("six fit into five")
        } catch {
            #expect(error.code == .full && error.neverFits)
        }
        #expect(deployment.time.sleepers == 0)
        try await controller.append((1...5).map { write($0) }, to: "eu-west-1")
        let later = await code { try await controller.append([write(6)], to: "eu-west-1") }
        #expect(later == .full)
        await controller.close()
    }

    @Test("ends a wait when time is up or the task is cancelled: nothing is queued", arguments: [false, true])
    func waitEnds(isCancelled: Bool) async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 1))
        let controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        let waiting = Task {
            await code { try await controller.append([write(2)], to: "eu-west-1", waitMilliseconds: 500) }
        }
        try await until { deployment.time.sleepers == 1 }
        if isCancelled { waiting.cancel() } else { deployment.time.advance(milliseconds: 500) }
        #expect(await waiting.value == (isCancelled ? .cancelled : .full))
        try await controller.acknowledge("eu-west-1", through: 1)
        #expect(try await controller.pendingCount(for: "eu-west-1") == 0)
        try await controller.append([write(3)], to: "eu-west-1", waitMilliseconds: 500)
    }
}

/// Positions in the order in which appends returned.
private final class Served: Sendable {
    let positions = Mutex<[UInt64]>([])
}

@Suite("Dead letters") struct DeadLetterTests {
    @Test(
        "are retried at new positions or dropped, and the ledger balances after each step",
        arguments: 0..<8 as Range<UInt64>
    )
    func ledger(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment()
        var controller = deployment.controller
        let region: RegionID = "eu-west-1"
        var settings = impatient
        settings.attemptsMax = 1
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: region)
        var next: UInt64 = 1
        for step in 0..<12 {
            let count = UInt64.random(in: 1...40, using: &random)
            try await controller.append((next..<(next + count)).map { write($0, "k\($0 % 5)") }, to: region)
            next += count
            let refused = Set((0..<3).map { _ in UInt64.random(in: 1..<next, using: &random) })
            let sink: ReplaySink = { batch in
                if batch.entries.contains(where: { refused.contains($0.write.sequence) }) { throw CancellationError() }
            }
            try await shipping(controller, sink) { _ in
                let point = try await controller.syncPoint(for: region)
                let isDone = Atomic(false)
                async let driver: Void = {
                    while !isDone.load(ordering: .relaxed) {
                        deployment.time.advance(milliseconds: 1)
                        await Task.yield()
                    }
                }()
                try await controller.wait(for: point)
                isDone.store(true, ordering: .relaxed)
                await driver
            }
            let letters = try await controller.deadLetters(for: region)
            let chosen = Set(letters.map(\.position).filter { _ in Bool.random(using: &random) })
            let before = try #require(try await controller.statistics().first { $0.region == region })
            #expect(before.dead == UInt64(letters.count))
            if Bool.random(using: &random) {
                #expect(try await controller.retryDeadLetters(region, .positions(chosen)) == UInt64(chosen.count))
                let after = try #require(try await controller.statistics().first { $0.region == region })
                #expect(after.nextPosition == before.nextPosition + UInt64(chosen.count))
                #expect((after.entries, after.accepted) == (before.entries + UInt64(chosen.count), before.accepted))
            } else {
                #expect(try await controller.dropDeadLetters(region, .positions(chosen)) == UInt64(chosen.count))
                let after = try #require(try await controller.statistics().first { $0.region == region })
                #expect(after.dropped == before.dropped + UInt64(chosen.count))
            }
            let left = try await controller.deadLetters(for: region).map(\.position)
            #expect(left == letters.map(\.position).filter { !chosen.contains($0) }, "seed \(seed), step \(step)")
            await controller.close()
            #expect(try StoreCheck.run(deployment.path, level: .full).findings.filter { $0.severity == .error } == [])
            controller = try await RegionFailoverController.open(
                at: deployment.path,
                options: Deployment.options,
                time: deployment.time
            )
            #expect(try await controller.deadLetters(for: region).map(\.position) == left)
        }
        await controller.close()
    }
}

@Suite("Many dead letters") struct ManyDeadLettersTests {
    @Test("of a key follow it in few transactions, and come back once each, while the replay runs") func many()
        async throws
    {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        let region: RegionID = "eu-west-1"
        var settings = impatient
        settings.attemptsMax = 1
        settings.exhaustion = .parkKey
        try await controller.setReplaySettings(settings, for: region)
        let count: UInt64 = 9_000
        try await controller.append((1...count).map { write($0, "k") }, to: region)
        let received = Received()
        let isRefusing = Atomic(true)
        let sink: ReplaySink = { batch in
            if isRefusing.load(ordering: .relaxed) { throw CancellationError() }
            received.take(batch)
        }
        try await shipping(controller, sink) { _ in
            try await controller.wait(for: try await controller.syncPoint(for: region))
            #expect(try await controller.pending(for: region).dead == count)
            isRefusing.store(false, ordering: .relaxed)
            #expect(try await controller.retryDeadLetters(region) == count)
            try await controller.wait(for: try await controller.syncPoint(for: region))
        }
        #expect(received.sequences.elementsEqual(1...count))
        #expect(try await controller.pending(for: region).dead == 0)
        await controller.close()
    }
}

@Suite("A sync point") struct SyncPointTests {
    @Test("is passed when what stood before it has left, not before, and not later") func passes() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append((1...10).map { write($0) }, to: "eu-west-1")
        let point = try await controller.syncPoint(for: "eu-west-1")
        #expect(SyncPoint(point.description) == point)
        try await controller.append((11...20).map { write($0) }, to: "eu-west-1")
        let isPassed = Atomic(false)
        async let waiting: Void = {
            try await controller.wait(for: point)
            isPassed.store(true, ordering: .relaxed)
        }()
        try await controller.acknowledge("eu-west-1", through: 9)
        let early = await code { try await controller.wait(for: point, atMost: 0) }
        #expect(early == .replayPending)
        let isEarly = isPassed.load(ordering: .relaxed)
        #expect(!isEarly)
        try await controller.acknowledge("eu-west-1", through: 10)
        try await waiting
        #expect(try await controller.pendingCount(for: "eu-west-1") == 10)
    }

    @Test("of another store or a queue that is gone is refused; no text but its own is one") func stale() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let other = try await Deployment()
        let point = try await other.controller.syncPoint(for: "eu-west-1")
        let foreign = await code { try await controller.wait(for: point) }
        #expect(foreign == .staleToken)
        let own = try await controller.syncPoint(for: "eu-west-1")
        let all = controller.configuration
        var fewer = all
        fewer.regions.removeAll { $0 == "eu-west-1" }
        try await controller.configure(fewer)
        try await controller.configure(all)
        let gone = await code { try await controller.wait(for: own) }
        #expect(gone == .staleToken)
        for text in ["", ":::", "\(own)x:", own.description.uppercased(), "1:2:3:4"] { #expect(SyncPoint(text) == nil) }
    }

    @Test("waits no longer than it was told, or when its task is cancelled") func waitEnds() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        let point = try await controller.syncPoint(for: "eu-west-1")
        let timed = Task { await code { try await controller.wait(for: point, atMost: 1000) } }
        try await until { deployment.time.sleepers == 1 }
        deployment.time.advance(milliseconds: 1000)
        #expect(await timed.value == .replayPending)
        let cancelled = Task { await code { try await controller.wait(for: point) } }
        cancelled.cancel()
        #expect(await cancelled.value == .cancelled)
    }
}
