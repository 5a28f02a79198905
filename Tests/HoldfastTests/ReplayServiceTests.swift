import Holdfast
import HoldfastTesting
import ReplayStore
import Synchronization
import Testing

/// What a region received.
final class Received: Sendable {
    private let entries = Mutex<[QueueEntry]>([])

    func take(_ batch: ReplayBatch) { entries.withLock { $0 += batch.entries } }
    var all: [QueueEntry] { entries.withLock { $0 } }
    var sequences: [UInt64] { all.map(\.write.sequence) }
}

/// Quick to try again.
let impatient = ReplaySettings(backoffBaseMilliseconds: 1, backoffMaxMilliseconds: 2)

/// Runs a service until `body` returns, and shuts it down.
@discardableResult
func shipping<Value: Sendable>(
    _ controller: RegionFailoverController,
    to region: RegionID = "eu-west-1",
    graceMilliseconds: Int64 = 10_000,
    _ sink: @escaping ReplaySink,
    _ body: (ReplayService) async throws -> Value
) async throws -> Value {
    let service = ReplayService(controller, sinks: [region: sink], graceMilliseconds: graceMilliseconds)
    let running = Task { try await service.run() }
    do {
        let value = try await body(service)
        service.shutDown()
        try await running.value
        return value
    } catch {
        running.cancel()
        throw error
    }
}

private struct Refusal: Error, CustomStringConvertible {
    var description: String
}

@Suite("A replay service") struct ReplayServiceTests {
    @Test("sends everything in order, what is appended meanwhile too") func order() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        let received = Received()
        try await controller.append((1...1000).map { write($0) }, to: "eu-west-1")
        let sink: ReplaySink = { received.take($0) }
        try await shipping(controller, sink) { _ in
            for sequence in 1001...1100 as ClosedRange<UInt64> {
                try await controller.append([write(sequence)], to: "eu-west-1")
            }
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        #expect(received.sequences == Array(1...1100))
        #expect(try await controller.pendingCount(for: "eu-west-1") == 0)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test(
        "loses and reorders nothing when sends fail at random, and repeats no more than one batch a failure",
        arguments: 1...10 as ClosedRange<UInt64>
    )
    func failures(seed: UInt64) async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        try await controller.setReplaySettings(impatient, for: "eu-west-1")
        try await controller.append((1...1500).map { write($0) }, to: "eu-west-1")
        let random = Mutex(SplitMix64(seed: seed))
        let received = Received()
        let repeated = Mutex(0)
        let sink: ReplaySink = { batch in
            // It fails before it took anything, or after.
            let dice = random.withLock { Int.random(in: 0..<10, using: &$0) }
            if dice == 0 { throw RegionUnavailable("not now") }
            received.take(batch)
            if dice == 1 {
                repeated.withLock { $0 += batch.entries.count }
                throw Refusal(description: "the answer was lost")
            }
        }
        try await shipping(controller, sink) { _ in
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        var seen: Set<UInt64> = []
        let first = received.sequences.filter { seen.insert($0).inserted }
        #expect(first == Array(1...1500))
        #expect(received.sequences.count - 1500 <= repeated.withLock { $0 })
        #expect(try await controller.statistics().map(\.dead) == [0, 0, 0])
    }

    @Test(
        "finds the one entry that is refused, parks it alone, and sends the others",
        arguments: [1, 2, 255, 256, 257, 700, 1000] as [UInt64]
    )
    func parksOne(poison: UInt64) async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        var settings = impatient
        settings.attemptsMax = 3
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: "eu-west-1")
        try await controller.append((1...1000).map { write($0) }, to: "eu-west-1")
        let received = Received()
        let sends = Mutex(0)
        let sink: ReplaySink = { batch in
            sends.withLock { $0 += 1 }
            if batch.entries.contains(where: { $0.write.sequence == poison }) { throw Refusal(description: "no room") }
            received.take(batch)
        }
        let outcome = try await shipping(controller, sink) { _ in
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        #expect((outcome.parked, outcome.gone) == (1, 0))
        #expect(received.sequences == (1...1000).filter { $0 != poison })
        let letters = try await controller.deadLetters(for: "eu-west-1")
        #expect(letters.map(\.write) == [write(poison)])
        #expect(letters.map(\.position) == [poison])
        #expect(letters.first?.reason == "no room")
        #expect(letters.first?.cause == .attempts)
        #expect(sends.withLock { $0 } < 200)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("lets later entries of a parked key follow it, and keeps every key's order") func parksKey() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        var settings = impatient
        settings.attemptsMax = 2
        settings.exhaustion = .parkKey
        try await controller.setReplaySettings(settings, for: "eu-west-1")
        try await controller.append((1...300).map { write($0, "k\($0 % 7)") }, to: "eu-west-1")
        let received = Received()
        let isRefusing = Atomic(true)
        let sink: ReplaySink = { batch in
            let refused = batch.entries.contains { $0.write.sequence == 24 }
            if refused, isRefusing.load(ordering: .relaxed) { throw Refusal(description: "no") }
            received.take(batch)
        }
        try await shipping(controller, sink) { _ in
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
            let followers = (24...300 as ClosedRange<UInt64>).filter { $0 % 7 == 3 }
            #expect(received.sequences == (1...300).filter { !followers.contains($0) })
            let letters = try await controller.deadLetters(for: "eu-west-1")
            #expect(letters.map(\.write.sequence) == followers)
            #expect(letters.map(\.cause) == [.attempts] + Array(repeating: .key, count: followers.count - 1))
            // Once the key is retried as a whole it is sent, in its order.
            isRefusing.store(false, ordering: .relaxed)
            #expect(
                try await controller.retryDeadLetters("eu-west-1", .key(Array("k3".utf8))) == UInt64(followers.count)
            )
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
            #expect(Array(received.sequences.suffix(followers.count)) == followers)
        }
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("pauses and says why where that is the policy, and goes on when it is resumed") func halts() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        var settings = impatient
        settings.attemptsMax = 2
        try await controller.setReplaySettings(settings, for: "eu-west-1")
        try await controller.append((1...20).map { write($0) }, to: "eu-west-1")
        let received = Received()
        let isRefusing = Atomic(true)
        let sink: ReplaySink = { batch in
            let refused = batch.entries.contains { $0.write.sequence == 11 }
            if refused, isRefusing.load(ordering: .relaxed) { throw Refusal(description: "schema 7 is unknown") }
            received.take(batch)
        }
        try await shipping(controller, sink) { _ in
            try await until { try await controller.statistics().first { $0.region == "eu-west-1" }?.isPaused == true }
            let queue = try #require(try await controller.statistics().first { $0.region == "eu-west-1" })
            #expect(queue.pauseReason == "position 11 was refused 2 times: schema 7 is unknown")
            #expect(queue.headPosition == 11)
            #expect(queue.attempts == 2)
            #expect(await controller.health().regions.first { $0.region == "eu-west-1" }?.concerns.count == 1)
            isRefusing.store(false, ordering: .relaxed)
            try await controller.resume("eu-west-1")
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        #expect(received.sequences == Array(1...20))
    }

    @Test("parks nothing because a region is away") func unavailable() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        var settings = impatient
        settings.attemptsMax = 1
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: "eu-west-1")
        try await controller.append((1...5).map { write($0) }, to: "eu-west-1")
        let sends = Mutex(0)
        let received = Received()
        let sink: ReplaySink = { batch in
            if sends.withLock({
                $0 += 1; return $0
            }) < 30 {
                throw RegionUnavailable("connection refused")
            }
            received.take(batch)
        }
        try await shipping(controller, sink) { service in
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
            #expect(service.status(of: "eu-west-1")?.redeliveries ?? 0 > 0)
        }
        #expect(received.sequences == [1, 2, 3, 4, 5])
        #expect(try await controller.deadLetters(for: "eu-west-1").isEmpty)
    }

    @Test("counts the attempts on where it left off before a restart") func attemptsSurvive() async throws {
        let deployment = try await Deployment()
        var controller = deployment.controller
        try await controller.setReplaySettings(impatient, for: "eu-west-1")
        try await controller.append([write(1)], to: "eu-west-1")
        let attempts = Mutex<[Int]>([])
        let sink: ReplaySink = { batch in
            attempts.withLock { $0.append(batch.attempt) }
            throw Refusal(description: "no")
        }
        for life in 0..<3 {
            try await shipping(controller, sink) { _ in
                try await until {
                    let stored = try await controller.statistics().first { $0.region == "eu-west-1" }?.attempts
                    return attempts.withLock { $0.count > life && $0.last == Int(stored ?? 0) }
                }
                deployment.time.advance(milliseconds: 1000)
            }
            await controller.close()
            controller = try await RegionFailoverController.open(
                at: deployment.path,
                options: Deployment.options,
                time: deployment.time
            )
        }
        let counted = attempts.withLock { $0 }
        #expect(counted == Array(1...counted.count))
        #expect(counted.count >= 3)
        await controller.close()
    }

    @Test("cancels a send that takes too long, waits until it has ended, and tries again") func timesOut() async throws
    {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setReplaySettings(ReplaySettings(timeoutMilliseconds: 5000), for: "eu-west-1")
        try await controller.append((1...3).map { write($0) }, to: "eu-west-1")
        let running = Mutex((now: 0, most: 0, ended: 0))
        let received = Received()
        let sink: ReplaySink = { batch in
            running.withLock {
                $0.now += 1; $0.most = max($0.most, $0.now)
            }
            defer {
                running.withLock {
                    $0.now -= 1; $0.ended += 1
                }
            }
            if batch.attempt < 3 { try await deployment.time.sleep(milliseconds: .max) }
            received.take(batch)
        }
        try await shipping(controller, sink) { _ in
            while received.all.isEmpty {
                deployment.time.advance(milliseconds: 100)
                await Task.yield()
            }
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        #expect(received.sequences == [1, 2, 3])
        #expect(running.withLock { $0.most } == 1)
        #expect(running.withLock { $0.ended } >= 3)
        #expect(deployment.time.elapsedMilliseconds >= 10_000)
    }

    @Test("pauses for as long as it was told, restart or not") func pause() async throws {
        let deployment = try await Deployment()
        var controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        try await controller.pause("eu-west-1", reason: "repairs", until: controller.now.advanced(by: 60_000))
        controller = try await deployment.reopened()
        let received = Received()
        let sink: ReplaySink = { received.take($0) }
        try await shipping(controller, sink) { _ in
            for _ in 0..<50 {
                deployment.time.advance(milliseconds: 1000)
                for _ in 0..<20 { await Task.yield() }
            }
            #expect(received.all.isEmpty)
            while received.all.isEmpty {
                deployment.time.advance(milliseconds: 1000)
                await Task.yield()
            }
            try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
        }
        let queue = try await controller.statistics().first { $0.region == "eu-west-1" }
        #expect(queue?.isPaused == false)
        #expect(queue?.pausedUntil == nil)
        await controller.close()
    }

    @Test("finishes the send that is under way when it is shut down, and acknowledges it") func graceful() async throws
    {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        try await controller.append((1...40).map { write($0) }, to: "eu-west-1")
        let began = AsyncStream.makeStream(of: Void.self)
        let finish = AsyncStream.makeStream(of: Void.self)
        let received = Received()
        let service = ReplayService(
            controller,
            sinks: [
                "eu-west-1": { batch in
                    began.continuation.yield()
                    for await _ in finish.stream { break }
                    received.take(batch)
                }
            ]
        )
        let running = Task { try await service.run() }
        for await _ in began.stream { break }
        service.shutDown()
        finish.continuation.yield()
        try await running.value
        #expect(!received.all.isEmpty)
        #expect(received.sequences.count < 40)
        #expect(try await controller.pendingCount(for: "eu-west-1") == UInt64(40 - received.sequences.count))
    }

    @Test("gives a send back that outlasts the grace, or when its task is cancelled", arguments: [false, true])
    func givesBack(isCancelled: Bool) async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append((1...4).map { write($0) }, to: "eu-west-1")
        let began = AsyncStream.makeStream(of: Void.self)
        let service = ReplayService(
            controller,
            sinks: [
                "eu-west-1": { _ in
                    began.continuation.yield()
                    try await deployment.time.sleep(milliseconds: .max)
                }
            ],
            graceMilliseconds: 500
        )
        let running = Task { try await service.run() }
        for await _ in began.stream { break }
        let isDone = Atomic(false)
        let ended = Task {
            try await running.value
            isDone.store(true, ordering: .relaxed)
        }
        if isCancelled { running.cancel() } else { service.shutDown() }
        while !isDone.load(ordering: .relaxed) {
            deployment.time.advance(milliseconds: 100)
            await Task.yield()
        }
        try await ended.value
        #expect(try await controller.pendingCount(for: "eu-west-1") == 4)
        #expect(try await controller.statistics().first { $0.region == "eu-west-1" }?.attempts == 0)
        // The region is free again.
        #expect(try await controller.drain("eu-west-1").entries.count == 4)
    }

    @Test("has the region for itself, and knows its regions") func exclusive() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        let began = AsyncStream.makeStream(of: Void.self)
        let finish = AsyncStream.makeStream(of: Void.self)
        let sink: ReplaySink = { _ in
            began.continuation.yield()
            for await _ in finish.stream { break }
        }
        try await shipping(controller, sink) { _ in
            for await _ in began.stream { break }
            let drained = await code { try await controller.drain("eu-west-1") }
            #expect(drained == .replayerActive)
            let second = ReplayService(controller, sinks: ["eu-west-1": { _ in }])
            let ran = await code { try await second.run() }
            #expect(ran == .replayerActive)
            finish.continuation.yield()
        }
        let unknown = ReplayService(controller, sinks: ["mars": { _ in }])
        let ran = await code { try await unknown.run() }
        #expect(ran == .unknownRegion)
    }
}

/// Asks until it is so.
func until(_ isSo: () async throws -> Bool) async throws {
    while try await !isSo() { await Task.yield() }
}
