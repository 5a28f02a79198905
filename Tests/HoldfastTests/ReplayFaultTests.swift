import HoldfastTesting
import ReplayFormat
import Synchronization
import TestSupport
import Testing

@testable import Holdfast
@testable import ReplayStore

private struct Refusal: Error, CustomStringConvertible {
    var description: String
}

private let region: RegionID = "eu-west-1"

private func queue(_ controller: RegionFailoverController) async throws -> QueueStatistics {
    try #require(try await controller.statistics().first { $0.region == region })
}

@Suite("A replay service among faults") struct ReplayFaultTests {
    @Test("ends with the store's own error when the store is poisoned under it")
    func poisoned() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        let service = ReplayService(controller, sinks: [region: { _ in }])
        let running = Task { try await service.run() }
        try await controller.poison()
        let ended = await code { try await running.value }
        #expect(ended == .poisoned)
    }

    @Test("ends with the store's own error when the store is closed under it") func closedUnderIt() async throws {
        let deployment = try await Deployment(source: SystemTime())
        let controller = deployment.controller
        let service = ReplayService(controller, sinks: [region: { _ in }])
        let running = Task { try await service.run() }
        await controller.close()
        let ended = await code { try await running.value }
        #expect(ended == .closed)
    }

    @Test("of a poisoned store lets nobody wait for a sync point")
    func poisonedWait() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append([write(1)], to: region)
        let point = try await controller.syncPoint(for: region)
        let waiting = Task { await code { try await controller.wait(for: point) } }
        try await controller.poison()
        #expect(await waiting.value == .poisoned)
        let late = await code { try await controller.wait(for: point, atMost: 1000) }
        #expect(late == .poisoned)
    }

    @Test(
        "blames no entry for a send that it cancels after the grace, whatever the sink makes of that",
        arguments: ReplaySettings.Exhaustion.allCases
    )
    func ownError(exhaustion: ReplaySettings.Exhaustion) async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setReplaySettings(ReplaySettings(attemptsMax: 1, exhaustion: exhaustion), for: region)
        try await controller.append([write(1)], to: region)
        let began = AsyncStream.makeStream(of: Void.self)
        let service = ReplayService(
            controller,
            sinks: [
                region: { _ in
                    began.continuation.yield()
                    try? await deployment.time.sleep(milliseconds: .max)
                    throw Refusal(description: "the client was cancelled")
                }
            ],
            graceMilliseconds: 500
        )
        let isDone = Atomic(false)
        let running = Task {
            defer { isDone.store(true, ordering: .relaxed) }
            try await service.run()
        }
        for await _ in began.stream { break }
        service.shutDown()
        while !isDone.load(ordering: .relaxed) {
            deployment.time.advance(milliseconds: 100)
            await Task.yield()
        }
        try await running.value
        let queue = try await queue(controller)
        #expect((queue.entries, queue.attempts, queue.dead, queue.isPaused) == (1, 0, 0, false))
    }

    @Test("waits longer after each refusal of one entry, and counts them all") func refusedAlone() async throws {
        let (time, lines) = (SteppedTime(), LogLines())
        let deployment = try await Deployment(options: lines.options, source: time)
        let controller = deployment.controller
        try await controller.setReplaySettings(ReplaySettings(attemptsMax: 20), for: region)
        try await controller.append((1...40).map { write($0) }, to: region)
        let sink: ReplaySink = { _ in throw Refusal(description: "error 500") }
        try await shipping(controller, sink) { service in
            try await time.advance { try await queue(controller).isPaused }
            try await until { service.status(of: region)?.failures == 20 }
        }
        // Twenty waits of 50 ms on average would be one second.
        #expect(time.elapsedMilliseconds > 5000)
        #expect(try await queue(controller).attempts == 20)
        #expect(lines.count("A send failed") >= 4)
        await controller.close()
    }

    @Test("outlasts a region that answers with errors for two seconds", arguments: ReplaySettings.Exhaustion.allCases)
    func shortTrouble(exhaustion: ReplaySettings.Exhaustion) async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        try await controller.setReplaySettings(ReplaySettings(attemptsMax: 20, exhaustion: exhaustion), for: region)
        try await controller.append((1...40).map { write($0) }, to: region)
        let received = Received()
        let sink: ReplaySink = { batch in
            if time.elapsedMilliseconds < 2000 { throw Refusal(description: "error 500") }
            received.take(batch)
        }
        try await shipping(controller, sink) { _ in
            try await time.advance {
                let queue = try await queue(controller)
                return queue.entries == 0 || queue.isPaused
            }
        }
        #expect(received.sequences == Array(1...40))
        #expect(try await controller.statistics().allSatisfy { $0.dead == 0 && !$0.isPaused })
        await controller.close()
    }

    @Test("tells the speed that a rate allows, and how long the queue takes at it") func speed() async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        for settings in [ReplaySettings(entriesPerSecondMax: 10), ReplaySettings(bytesPerSecondMax: 20)] {
            try await controller.setReplaySettings(settings, for: region)
            let first = try await queue(controller).nextPosition
            try await controller.append((first..<(first + 100)).map { write($0) }, to: region)
            let sink: ReplaySink = { _ in }
            try await shipping(controller, sink) { service in
                try await time.advance { service.status(of: region)?.lastDeliveredAt != nil }
                #expect(9...11 ~= service.status(of: region)?.entriesPerSecond ?? 0)
                try await time.advance { try await queue(controller).entries == 0 }
                #expect(9...11 ~= service.status(of: region)?.entriesPerSecond ?? 0)
            }
        }
        await controller.close()
    }

    @Test("does not end a pause that was begun while it ended the one before") func newPause() async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        try await controller.append([write(1)], to: region)
        try await controller.pause(region, reason: "old", until: controller.now.advanced(by: 200))
        let received = Received()
        let sink: ReplaySink = { received.take($0) }
        try await shipping(controller, sink) { _ in
            try await until { time.manual.sleepers == 1 }
            let hold = WriterHold()
            hold.begin(controller)
            await hold.held()
            async let pausing = controller.pause(region, reason: "new")
            try await until { controller.staged.controls == 1 }
            time.manual.advance(milliseconds: 200)
            try await until { controller.staged.controls == 2 }
            hold.letGo()
            _ = try await pausing
            try await until { controller.staged.controls == 0 }
            // Whatever came after it is done once this is.
            try await controller.append([write(2)], to: region)
            let queue = try await queue(controller)
            #expect((queue.isPaused, queue.pauseReason) == (true, "new"))
        }
        #expect(received.all.isEmpty)
        await controller.close()
    }

    @Test("waits longer and longer for a store that it cannot read, says so rarely, and keeps its pace")
    func unreadable() async throws {
        let (time, lines) = (SteppedTime(), LogLines())
        let deployment = try await Deployment(options: lines.options, source: time)
        let controller = deployment.controller
        try await controller.append([write(1)], to: region)
        let received = Received()
        let sink: ReplaySink = { received.take($0) }
        try await shipping(controller, sink) { service in
            try await until { try await queue(controller).entries == 0 }
            try await controller.store.transact { (transaction) throws(HoldfastError) in
                try transaction.put([255], key: Key.replaySettings(region), in: .controller)
                transaction.core.changedQueues.insert(region)
            }
            let start = time.elapsedMilliseconds
            try await time.advance { time.elapsedMilliseconds - start > 600_000 }
            #expect((1...10).contains(lines.count("The replay cannot go on")))
            #expect(service.status(of: region)?.failures == 0)
            let batch = service.status(of: region)?.batchEntriesMax
            try await controller.setReplaySettings(.standard, for: region)
            try await controller.append([write(2)], to: region)
            try await time.advance { received.sequences == [1, 2] }
            #expect(service.status(of: region)?.batchEntriesMax == batch)
        }
        await controller.close()
    }

    @Test("acknowledges what was delivered once the store can, without sending it again, and says why it waits")
    func refusedAcknowledgement() async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        try await controller.append((1...3).map { write($0) }, to: region)
        let (received, holds) = (Received(), (WriterHold(), WriterHold()))
        let sink: ReplaySink = { batch in
            let isFirst = received.all.isEmpty
            received.take(batch)
            guard isFirst else { return }
            // The acknowledgement meets the failure in the transaction behind the one that is held up.
            holds.0.begin(controller)
            await holds.0.held()
            holds.1.begin(controller, failingWith: HoldfastError(code: .full, message: "a test"))
            try await until { controller.staged.controls == 1 }
        }
        try await shipping(controller, sink) { service in
            try await until { controller.staged.controls == 2 }
            holds.1.letGo()
            holds.0.letGo()
            try await until { service.status(of: region)?.storeError != nil }
            let failed = service.status(of: region)
            #expect((failed?.storeError?.code, failed?.storeFailures, failed?.lastError) == (.full, 1, nil))
            #expect(try await queue(controller).entries == 3)
            try await time.advance { try await queue(controller).entries == 0 }
            try await until { service.status(of: region)?.storeError == nil }
            let mended = service.status(of: region)
            #expect((mended?.storeFailures, mended?.redeliveries, mended?.failures) == (0, 0, 0))
        }
        #expect(received.all.map(\.position) == [1, 2, 3])
        await controller.close()
    }

    @Test("sends to a region again that left the deployment and came back")
    func comesBack() async throws {
        let lines = LogLines()
        let deployment = try await Deployment(options: lines.options, source: SystemTime())
        let controller = deployment.controller
        let all = controller.configuration
        var fewer = all
        fewer.regions.removeAll { $0 == region }
        let received = Received()
        try await controller.append((1...3).map { write($0) }, to: region)
        let sink: ReplaySink = { received.take($0) }
        try await shipping(controller, sink) { service in
            try await until { try await queue(controller).entries == 0 }
            for round in 1...3 {
                try await controller.configure(fewer)
                try await until { lines.count("The region has left") == round }
                try await controller.configure(all)
                try await controller.append((1...3).map { write($0) }, to: region)
                try await until { try await queue(controller).entries == 0 }
            }
            #expect(received.all.map(\.position) == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3])
            #expect(service.status(of: region)?.redeliveries == 0)
        }
        await controller.close()
    }

    @Test("knows nothing of a queue that was replaced between two looks") func replaced() async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        let all = controller.configuration
        var fewer = all
        fewer.regions.removeAll { $0 == region }
        let received = Received()
        let isAway = Atomic(false)
        let attempts = Mutex<[Int]>([])
        let sink: ReplaySink = { batch in
            attempts.withLock { $0.append(batch.attempt) }
            if isAway.load(ordering: .relaxed) { throw RegionUnavailable("away") }
            received.take(batch)
        }
        try await controller.append((1...5).map { write($0) }, to: region)
        try await shipping(controller, sink) { service in
            try await until { try await queue(controller).entries == 0 }
            isAway.store(true, ordering: .relaxed)
            try await controller.append([write(6)], to: region)
            try await until { time.manual.sleepers == 1 && service.status(of: region)?.lastError != nil }
            let before = service.status(of: region)?.redeliveries
            try await controller.configure(fewer, force: true)
            try await controller.configure(all)
            try await controller.append((1...5).map { write($0) }, to: region)
            isAway.store(false, ordering: .relaxed)
            try await time.advance { try await queue(controller).entries == 0 }
            #expect(service.status(of: region)?.redeliveries == before)
        }
        #expect(received.all.map(\.position) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
        #expect(attempts.withLock { $0.last } == 1)
        await controller.close()
    }
}
