import Glibc
import HoldfastTesting
import Platform
import Synchronization
import Testing

@testable import Holdfast
@testable import ReplayStore

/// A clock that stands still, and that can hold up the writer thread where it next asks for the time: before a commit.
private final class GateTime: TimeSource {
    private let isArmed = Atomic<Bool>(false)
    private let isHeld = Atomic<Bool>(false)

    var wallMilliseconds: Int64 { 1_000_000 }
    var elapsedMilliseconds: Int64 {
        guard isArmed.load(ordering: .acquiring), threadName() == "holdfast-writer" else { return 0 }
        isHeld.store(true, ordering: .releasing)
        while isArmed.load(ordering: .acquiring) { usleep(100) }
        return 0
    }

    private func threadName() -> String {
        let file = unsafe fopen("/proc/thread-self/comm", "r")
        defer { unsafe fclose(file) }
        var name = [CChar](repeating: 0, count: 64)
        let count = unsafe fread(&name, 1, 63, file)
        return String(decoding: name.prefix(count).map { UInt8(bitPattern: $0) }.prefix { $0 != 10 }, as: UTF8.self)
    }

    /// Holds up the next transaction that commits.
    func arm() { isArmed.store(true, ordering: .releasing) }
    /// Returns when a transaction is held up.
    func held() async { while !isHeld.load(ordering: .acquiring) { await Task.yield() } }
    func open() { isArmed.store(false, ordering: .releasing) }
}

@Suite("Many callers at once") struct ConcurrencyTests {
    @Test("get positions of their own, without gaps, in the order of each caller") func positions() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        typealias Told = [(position: UInt64, write: OutstandingWrite)]
        let callers: [Told] = try await withThrowingTaskGroup(of: Told.self) { group in
            for appender in 0..<32 as Range<UInt64> {
                group.addTask {
                    var mine: Told = []
                    for index in 0..<20 as Range<UInt64> {
                        let count = appender % 4 == 0 ? 3 : 1 as UInt64
                        let writes = (0..<count).map { write(appender * 1000 + index * 10 + $0, "\(appender)") }
                        let positions = try await controller.append(writes, to: "eu-west-1").positions
                        mine += zip(positions, writes).map { ($0, $1) }
                        if index % 5 == 0 { try await controller.heartbeat("eu-west-1") }
                    }
                    return mine
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for mine in callers { #expect(mine.map(\.position) == mine.map(\.position).sorted()) }
        let told = callers.flatMap(\.self).sorted { $0.position < $1.position }
        let all = told.map(\.position)
        #expect(all == Array(1...UInt64(all.count)))
        #expect(all.count == 8 * 60 + 24 * 20)
        // What the receipts said is where the writes stand.
        let queued = try await controller.drain("eu-west-1").entries
        #expect(queued.map(\.position) == all)
        #expect(queued.map(\.write) == told.map(\.write))
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("who are refused do not disturb the others") func refusals() async throws {
        let deployment = try await Deployment(limits: QueueLimits(entriesMax: 100))
        let controller = deployment.controller
        let outcomes = await withTaskGroup(of: (UInt64, HoldfastError.Code?).self) { group in
            for sequence in 1...300 as ClosedRange<UInt64> {
                group.addTask {
                    (sequence, await code { try await controller.append([write(sequence)], to: "eu-west-1") })
                }
            }
            return await group.reduce(into: [UInt64: HoldfastError.Code?]()) { $0[$1.0] = $1.1 }
        }
        let accepted = outcomes.filter { $0.value == nil }.keys
        #expect(accepted.count == 100)
        #expect(outcomes.values.allSatisfy { $0 == nil || $0 == .full })
        let queued = try await controller.drain("eu-west-1").entries.map(\.write.sequence)
        #expect(Set(queued) == Set(accepted))
    }

    @Test("who cancel have queued nothing, or get their receipt") func cancellation() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        var tasks: [(UInt64, Task<AppendReceipt, any Error>)] = []
        for sequence in 1...400 as ClosedRange<UInt64> {
            let task = Task { try await controller.append([write(sequence)], to: "eu-west-1") }
            if sequence % 2 == 0 { task.cancel() }
            tasks.append((sequence, task))
        }
        var acknowledged: Set<UInt64> = []
        for (sequence, task) in tasks {
            do {
                _ = try await task.value
                acknowledged.insert(sequence)
            } catch let error as HoldfastError {
                #expect(error.code == .cancelled)
            }
        }
        #expect(acknowledged.isSuperset(of: (1...400).filter { $0 % 2 == 1 }))
        let queued = try await controller.drain("eu-west-1").entries.map(\.write.sequence)
        #expect(Set(queued) == acknowledged)
    }

    @Test("who cancel before their transaction has begun have queued nothing; later it is too late")
    func cancellationInTime() async throws {
        let directory = try TemporaryDirectory()
        let time = GateTime()
        let controller = try await RegionFailoverController.create(
            at: directory.appending("store"),
            configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
            options: Deployment.options,
            time: time
        )
        time.arm()
        let begun = Task { try await controller.append([write(1)], to: "eu") }
        await time.held()
        begun.cancel()
        let waiting = Task { try await controller.append([write(2)], to: "eu") }
        while controller.store.writer.staged.withLock({ $0.appends.isEmpty }) { await Task.yield() }
        waiting.cancel()
        #expect(await code { try await waiting.value } == .cancelled)
        time.open()
        #expect(try await begun.value.accepted == 1)
        #expect(try await controller.drain("eu").entries.map(\.write.sequence) == [1])
        await controller.close()
    }

    @Test("who wait when the store closes are served: every one") func closingServes() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let time = GateTime()
        let controller = try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
            options: Deployment.options,
            time: time
        )
        time.arm()
        let tasks = (1...50 as ClosedRange<UInt64>).map { sequence in
            Task { await code { try await controller.append([write(sequence)], to: "eu") } }
        }
        await time.held()
        // One or more are in the transaction that is held up, the others wait.
        while controller.store.writer.staged.withLock({ $0.nextTicket <= 50 }) { await Task.yield() }
        let closing = Task { await controller.store.close() }
        while controller.store.writer.staged.withLock({ !$0.isClosing }) { await Task.yield() }
        #expect(await code { try await controller.append([write(51)], to: "eu") } == .closed)
        time.open()
        var outcomes: [HoldfastError.Code?] = []
        for task in tasks { outcomes.append(await task.value) }
        await closing.value
        let again = try await RegionFailoverController.open(at: path, options: Deployment.options)
        let queued = Set(try await again.drain("eu").entries.map(\.write.sequence))
        #expect(outcomes.allSatisfy { $0 == nil })
        #expect(queued == Set(1...50))
        await again.close()
    }

    @Test("who wait when the store closes are served, and later ones are told") func closing() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let outcomes = await withTaskGroup(of: (UInt64, HoldfastError.Code?).self) { group in
            for sequence in 1...200 as ClosedRange<UInt64> {
                group.addTask {
                    if sequence == 100 { await controller.close() }
                    return (sequence, await code { try await controller.append([write(sequence)], to: "eu-west-1") })
                }
            }
            return await group.reduce(into: [UInt64: HoldfastError.Code?]()) { $0[$1.0] = $1.1 }
        }
        #expect(outcomes.values.allSatisfy { $0 == nil || $0 == .closed })
        await controller.close()
        let again = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        let queued = try await again.drain("eu-west-1").entries.map(\.write.sequence)
        #expect(Set(queued) == Set(outcomes.filter { $0.value == nil }.keys))
        await again.close()
    }

    @Test("The ticking service ends by cancellation, and leaves the store closed") func run() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let running = Task { try await controller.run() }
        try await controller.append([write(1)], to: "eu-west-1")
        running.cancel()
        try await running.value
        #expect(await code { try await controller.append([write(2)], to: "eu-west-1") } == .closed)
        let again = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(try await again.pendingCount(for: "eu-west-1") == 1)
        #expect(again.configuration.detectorPauseAfterMilliseconds == 15_000)
        await again.close()
    }
}
