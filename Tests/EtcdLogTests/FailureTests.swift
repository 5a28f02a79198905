#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
import Testing

/// What became of a proposal.
private enum Outcome: Sendable {
    case at(UInt64)
    case unknown
    case notThere
}

@Suite("A member of etcd that fails", .timeLimit(.minutes(10)))
struct FailureTests {
    /// Proposes until told to stop, one after the other, each until it is in the log.
    private func keepProposing(_ log: EtcdLog, until isOver: Watched<Bool>) async throws -> [UInt64: [UInt8]] {
        var told: [UInt64: [UInt8]] = [:]
        var sequence: UInt64 = 0
        while !isOver.value {
            sequence += 1
            let id = ProposalID(1, sequence)
            while true {
                do {
                    told[try await log.propose(command(id), as: id)] = command(id)
                    break
                } catch {
                    guard error.code == .outcomeUnknown || error.code == .logUnavailable else { throw error }
                }
            }
        }
        return told
    }

    /// Reads until the entry at `end` has come, and checks that what comes again is the same.
    private func keepReading(_ log: EtcdLog, seen: Watched<Int>, until end: Watched<UInt64?>) async throws
        -> [UInt64: [UInt8]]
    {
        var entries: [UInt64: [UInt8]] = [:]
        var highest: UInt64 = 0
        for try await delivery in log.entries(after: 0) {
            guard case .entries(let new) = delivery else { throw Unexpected(what: "\(delivery)") }
            for entry in new {
                #expect(entry.index > highest || entries[entry.index] == entry.command)
                highest = max(highest, entry.index)
                entries[entry.index] = entry.command
            }
            seen.change { [count = entries.count] in $0 = count }
            if let end = end.value, highest >= end { break }
        }
        return entries
    }

    @Test("by SIGKILL, one or all, is no gap in the entries: each proposal is there once", arguments: [1, 3])
    func kill(members: Int) async throws {
        let cluster = try await EtcdCluster(.init(members: members))
        let (log, reader) = (try cluster.log(), try cluster.log())
        let (seen, isOver, end) = (Watched(0), Watched(false), Watched<UInt64?>(nil))
        let reading = Task { try await keepReading(reader, seen: seen, until: end) }
        let proposing = Task { try await keepProposing(log, until: isOver) }
        await seen.wait { $0 >= 20 }
        for round in 0..<3 {
            // The one that is used; another; and all.
            let victims = round == 2 ? Array(0..<members) : [round % members]
            for victim in victims { cluster.kill(victim) }
            for victim in victims { try cluster.start(victim) }
            try await cluster.waitUntilHealthy(victims)
            let now = seen.value
            await seen.wait { $0 >= now + 20 }
        }
        isOver.change { $0 = true }
        let told = try await proposing.value
        let last = try await log.propose([0], as: ProposalID(2, 1))
        // It may have come before it is known that it is the last.
        end.change { $0 = last }
        _ = try await log.propose([0], as: ProposalID(2, 2))
        let entries = try await reading.value.filter { $0.key < last }
        #expect(entries == told)
        await log.close()
        await reader.close()
    }

    @Test("that stands still is left for another, by proposals and by entries")
    func pause() async throws {
        let cluster = try await EtcdCluster(.init(members: 3))
        let log = try cluster.log { $0.attemptTimeout = .milliseconds(700) }
        let reader = try cluster.log { $0.attemptTimeout = .milliseconds(700) }
        let first = try await log.propose([1], as: ProposalID(1, 1))
        var reading = Reading(reader, after: 0)
        #expect(try await reading.next() == .entries([LogEntry(index: first, command: [1])]))
        cluster.pause(0)
        let second = try await log.propose([2], as: ProposalID(1, 2))
        #expect(try await reading.next() == .entries([LogEntry(index: second, command: [2])]))
        cluster.resume(0)
        #expect(try await log.propose([2], as: ProposalID(1, 2)) == second)
        await log.close()
        await reader.close()
    }

    @Test("alone and still leaves a proposal's outcome unknown, and it may be there later")
    func still() async throws {
        let cluster = try await EtcdCluster()
        let (log, hasty) = (try cluster.log(), try cluster.log { $0.callTimeout = .seconds(2) })
        _ = try await log.propose([1], as: ProposalID(1, 1))
        // Connected, so that what comes next is sent.
        while await code({ _ = try await hasty.barrier() }) != nil {}
        cluster.pause(0)
        #expect(await code { _ = try await hasty.propose([2], as: ProposalID(1, 2)) } == .outcomeUnknown)
        #expect(await code { _ = try await hasty.barrier() } == .logUnavailable)
        cluster.resume(0)
        try await cluster.waitUntilHealthy()
        let index = try await log.propose([2], as: ProposalID(1, 2))
        #expect(try await log.all().map(\.command) == [[1], [2]])
        #expect(try await log.barrier() == index)
        await log.close()
        await hasty.close()
    }

    @Test("to which nothing was sent leaves nothing unknown")
    func unreachable() async throws {
        let cluster = try await EtcdCluster()
        cluster.stop(0)
        let (log, hasty) = (try cluster.log(), try cluster.log { $0.callTimeout = .milliseconds(500) })
        #expect(await code { _ = try await hasty.propose([1], as: ProposalID(1, 1)) } == .logUnavailable)
        #expect(await code { _ = try await hasty.identity() } == .logUnavailable)
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        #expect(try await log.all().isEmpty)
        await log.close()
        await hasty.close()
    }

    @Test("during proposals: what is not there was never said to be, and what is said not to be is not")
    func killedDuringTransactions() async throws {
        var unknown = 0
        for seed in 1...6 { unknown += try await killDuringTransactions(seed) }
        #expect(unknown > 0)
    }

    /// - Returns: Of how many proposals the outcome was unknown.
    private func killDuringTransactions(_ seed: Int) async throws -> Int {
        let cluster = try await EtcdCluster()
        let (log, hasty) = (try cluster.log(), try cluster.log { $0.callTimeout = .seconds(1) })
        var generator = SplitMix64(seed: UInt64(seed))
        let killAfter = Int.random(in: 5...120, using: &generator)
        let begun = Watched(0)
        let killer = Task {
            await begun.wait { $0 >= killAfter }
            cluster.kill(0)
        }
        // Each goes on until one fails.
        let outcomes = await withTaskGroup(of: [(ProposalID, Outcome)].self) { group in
            for session in 1...24 {
                group.addTask {
                    var outcomes: [(ProposalID, Outcome)] = []
                    for sequence in 1...10_000 {
                        let id = ProposalID(UInt64(session), UInt64(sequence))
                        begun.change { $0 += 1 }
                        do throws(HoldfastError) {
                            outcomes.append((id, .at(try await hasty.propose(command(id), as: id))))
                        } catch {
                            #expect(error.code == .outcomeUnknown || error.code == .logUnavailable)
                            outcomes.append((id, error.code == .outcomeUnknown ? .unknown : .notThere))
                            break
                        }
                    }
                    return outcomes
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        // Also where each has failed before there were enough.
        begun.change { $0 = .max }
        await killer.value
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        let entries = try await log.all()
        let found = Dictionary(uniqueKeysWithValues: entries.map { ($0.command, $0.index) })
        #expect(found.count == entries.count)
        var unknown = 0
        for (id, outcome) in outcomes {
            switch outcome {
            case .at(let index): #expect(found[command(id)] == index, "seed \(seed), \(id)")
            case .notThere: #expect(found[command(id)] == nil, "seed \(seed), \(id)")
            case .unknown: unknown += 1
            }
        }
        await hasty.close()
        await log.close()
        return unknown
    }
}
#endif
