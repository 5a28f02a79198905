import Holdfast
import HoldfastTesting
import ReplayStore
import Testing

@Suite("Many callers at once") struct ConcurrencyTests {
    @Test("get positions of their own, without gaps, in the order of each caller") func positions() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        let positions = try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for appender in 0..<32 as Range<UInt64> {
                group.addTask {
                    var mine: [UInt64] = []
                    for index in 0..<20 as Range<UInt64> {
                        let count = appender % 4 == 0 ? 3 : 1 as UInt64
                        let writes = (0..<count).map { write(appender * 1000 + index * 10 + $0, "\(appender)") }
                        mine += try await controller.append(writes, to: "eu-west-1").positions
                        if index % 5 == 0 { try await controller.heartbeat("eu-west-1") }
                    }
                    return mine
                }
            }
            return try await group.reduce(into: [[UInt64]]()) { $0.append($1) }
        }
        for mine in positions { #expect(mine == mine.sorted()) }
        let all = positions.flatMap(\.self).sorted()
        #expect(all == Array(1...UInt64(all.count)))
        #expect(all.count == 8 * 60 + 24 * 20)
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
