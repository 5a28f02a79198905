import HoldfastTesting
import Synchronization
import Testing

@testable import Holdfast
@testable import ReplayStore

@Suite("An append that waits for room") struct WaitingAppendTests {
    private let eu: RegionID = "eu-west-1"
    private let ap: RegionID = "ap-northeast-1"

    /// A deployment of which both secondaries have room for one entry, and have it.
    private func full() async throws -> Deployment {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 1))
        try await deployment.controller.append([write(1)], to: [eu, ap])
        return deployment
    }

    @Test("in two regions lets others have the room of the one while it waits for the other")
    func fanOut() async throws {
        let deployment = try await full()
        let controller = deployment.controller
        let both = Task { [eu, ap] in
            do throws(HoldfastError) {
                try await controller.append([write(2)], to: [eu, ap], waitMilliseconds: 60_000)
                return nil as HoldfastError?
            } catch {
                return error
            }
        }
        try await until { deployment.time.sleepers == 1 }
        async let single = controller.append([write(3)], to: eu, waitMilliseconds: 60_000)
        try await until { deployment.time.sleepers == 2 }
        try await controller.acknowledge(eu, through: 1)
        #expect(try await single.accepted == 1)
        // The last refusal is the one that is thrown.
        deployment.time.advance(milliseconds: 60_000)
        let error = await both.value
        #expect(error?.code == .full && error?.region == ap)
        await controller.close()
    }

    /// What a call comes to at once; nil when it waits.
    private func answer(
        _ deployment: Deployment,
        _ call: @escaping @Sendable () async throws(HoldfastError) -> [AppendReceipt]
    ) async throws -> Result<[AppendReceipt], HoldfastError>? {
        let waiting = deployment.time.sleepers
        let answer = Mutex<Result<[AppendReceipt], HoldfastError>?>(nil)
        let task = Task {
            do throws(HoldfastError) {
                let receipts = try await call()
                answer.withLock { $0 = .success(receipts) }
            } catch {
                answer.withLock { $0 = .failure(error) }
            }
        }
        try await until { answer.withLock { $0 != nil } || deployment.time.sleepers > waiting }
        let given = answer.withLock { $0 }
        task.cancel()
        await task.value
        return given
    }

    @Test("is answered at once where it needs no room, whoever waits") func needsNoRoom() async throws {
        let deployment = try await full()
        let controller = deployment.controller
        let (eu, ap) = (eu, ap)
        let first = Task { try await controller.append([write(2)], to: eu, waitMilliseconds: 600_000) }
        try await until { deployment.time.sleepers == 1 }
        func answer(
            _ writes: [OutstandingWrite],
            _ regions: [RegionID],
            ifEpoch: UInt64? = nil
        ) async throws -> Result<[AppendReceipt], HoldfastError>? {
            try await self.answer(deployment) { () throws(HoldfastError) in
                try await controller.append(writes, to: regions, ifEpoch: ifEpoch, waitMilliseconds: 600_000)
            }
        }
        func code(_ answer: Result<[AppendReceipt], HoldfastError>?) -> HoldfastError.Code? {
            if case .failure(let error)? = answer { error.code } else { nil }
        }
        // A repeat whose writes the queues have had.
        let repeated = try #require(try await answer([write(1)], [eu, ap])).get()
        #expect(repeated.map(\.duplicates) == [[0], [0]])
        #expect(code(try await answer([write(3)], [eu], ifEpoch: 7)) == .staleEpoch)
        #expect(code(try await answer([write(3)], [eu, "mars"])) == .unknownRegion)
        // What never fits says so, also where another region has no room now.
        for regions in [[eu], [eu, ap], [ap, eu]] {
            guard case .failure(let error)? = try await answer([write(3), write(4)], regions) else {
                Issue.record("two fit into one of \(regions)")
                continue
            }
            #expect(error.code == .full && error.neverFits)
        }
        try await controller.setLimits(.unlimited, for: ap)
        // Anything else waits its turn, also where there is room.
        #expect(try await answer([write(3)], [ap, eu]) == nil)
        try await controller.acknowledge(eu, through: 1)
        #expect(try await first.value.positions == 2..<3)
        await controller.close()
    }

    @Test("does not overtake who waits, with less than he needs") func order() async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 3))
        let controller = deployment.controller
        try await controller.append((1...2).map { write($0) }, to: eu)
        async let large = controller.append([write(3), write(4)], to: eu, waitMilliseconds: 60_000)
        try await until { deployment.time.sleepers == 1 }
        async let small = controller.append([write(5)], to: eu, waitMilliseconds: 60_000)
        try await until { deployment.time.sleepers == 2 }
        try await controller.acknowledge(eu, through: 1)
        #expect(try await large.positions == 3..<5)
        try await controller.acknowledge(eu, through: 2)
        #expect(try await small.positions == 5..<6)
        await controller.close()
    }

    @Test("is refused for want of room when its time is up, not called cancelled") func timeIsUp() async throws {
        let deployment = try await full()
        let controller = deployment.controller
        let waiting = Task { [eu] in
            await code { try await controller.append([write(2)], to: eu, waitMilliseconds: 500) }
        }
        try await until { deployment.time.sleepers == 1 }
        let hold = WriterHold()
        hold.begin(controller)
        await hold.held()
        // It tries again, and its attempt has not begun when its time is up.
        try await until {
            controller.store.signal.wakeAll()
            return controller.staged.appends == 1
        }
        deployment.time.advance(milliseconds: 500)
        #expect(await waiting.value == .full)
        hold.letGo()
        #expect(try await controller.pendingCount(for: eu) == 1)
        await controller.close()
    }

    @Test("tells who cancels it when nobody knows what became of it") func unknownOutcome() async throws {
        let deployment = try await full()
        let controller = deployment.controller
        let waiting = Task { [eu] in
            await code { try await controller.append([write(2)], to: eu, waitMilliseconds: 500) }
        }
        try await until { deployment.time.sleepers == 1 }
        let (first, second) = (WriterHold(), WriterHold())
        first.begin(controller)
        await first.held()
        try await until {
            controller.store.signal.wakeAll()
            return controller.staged.appends == 1
        }
        // In one transaction with its attempt, and fails it.
        second.begin(controller, failingWith: HoldfastError(code: .ioFailed, message: "a test"))
        try await until { controller.staged.controls == 1 }
        first.letGo()
        await second.held()
        waiting.cancel()
        second.letGo()
        #expect(await waiting.value == .ioFailed)
        await controller.close()
    }

    @Test("waits for as long as a number can say", arguments: [Int64.max, .max - 1] as [Int64])
    func forEver(milliseconds: Int64) async throws {
        for isManual in [true, false] {
            let deployment = try await Deployment(
                limits: QueueLimits(entriesMax: 1),
                source: isManual ? nil : SystemTime()
            )
            let controller = deployment.controller
            deployment.time.advance(milliseconds: 1000)
            try await controller.append([write(1)], to: eu)
            let point = try await controller.syncPoint(for: eu)
            async let passing = controller.wait(for: point, atMost: milliseconds)
            async let appending = controller.append([write(2)], to: eu, waitMilliseconds: milliseconds)
            if isManual { try await until { deployment.time.sleepers == 2 } }
            try await controller.acknowledge(eu, through: 1)
            #expect(try await passing.isComplete)
            #expect(try await appending.accepted == 1)
            await controller.close()
        }
    }
}
