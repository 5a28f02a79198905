import HoldfastTesting
import RegionFailover
import ReplayFormat
import Testing

@Suite("The linearizability checker") struct LinearizabilityCheckerTests {
    private static func check(_ history: [QueueOperation]) -> LinearizabilityReport {
        LinearizabilityChecker(QueueModel()).check(history)
    }

    @Test("accepts what clients of one queue saw, however they overlap") func goodQueues() {
        for seed in 1...2000 as ClosedRange<UInt64> {
            var simulation = Simulation(seed: seed)
            simulation.clients = Int(seed % 7) + 2
            let report = Self.check(simulation.queueHistory().history)
            #expect(report.verdict == .linearizable, "seed \(seed)")
        }
    }

    @Test("accepts calls whose outcome nobody heard, whether they took effect or not") func unknownQueues() {
        for seed in 1...2000 as ClosedRange<UInt64> {
            var simulation = Simulation(seed: seed)
            simulation.unknown = 20
            let (history, found) = simulation.queueHistory()
            #expect(Self.check(history).verdict == .linearizable, "seed \(seed)")
            let resolved = found.resolve(history)
            #expect(Self.check(resolved).verdict == .linearizable, "seed \(seed), resolved")
        }
    }

    @Test("accepts what clients saw of the lead") func goodLeads() {
        let checker = LinearizabilityChecker(Simulation.leadModel)
        for seed in 1...2000 as ClosedRange<UInt64> {
            var simulation = Simulation(seed: seed)
            simulation.unknown = seed % 2 == 0 ? 0 : 20
            #expect(checker.check(simulation.leadHistory()).verdict == .linearizable, "seed \(seed)")
        }
    }

    @Test("needs few steps for a long history", arguments: [(8, 1), (16, 2), (32, 3)] as [(Int, UInt64)])
    func long(clients: Int, seed: UInt64) throws {
        var simulation = Simulation(seed: seed)
        simulation.clients = clients
        simulation.calls = 20_000 / clients
        simulation.unknown = 1
        let (history, found) = simulation.queueHistory(regions: 1)
        let resolved = found.resolve(history)
        let good = Self.check(resolved)
        #expect(good.verdict == .linearizable)
        #expect(good.steps < 20_000 * clients, "\(clients) clients")
        // One answer near the end is not what it was.
        let last = try #require(
            resolved.indices.filter { resolved[$0].call == .read("eu") && resolved[$0].returned != nil }
                .max { resolved[$0].invoked < resolved[$1].invoked }
        )
        guard case .statistics(let head, let next, let entries) = resolved[last].outcome else { return }
        var broken = resolved
        broken[last] = QueueOperation(
            client: 0,
            call: .read("eu"),
            outcome: .statistics(head: head, next: next + 1, entries: entries),
            invoked: resolved[last].invoked,
            returned: resolved[last].returned
        )
        let bad = Self.check(broken)
        print("\(clients) clients, \(resolved.count) operations: \(good.steps) steps, \(bad.steps) for a bad one")
        guard case .violation(let violation) = bad.verdict else {
            Issue.record("\(bad.verdict)")
            return
        }
        #expect(violation.blocking.contains(last))
        #expect(violation.prefix.count > resolved.count - 200)
    }

    @Test("says what stands in the way, where it stops and in which partition") func words() {
        var history = LinearizabilityFault.queue([
            (0, .append([Simulation.identity(1)], to: "eu"), .appended(first: 1, accepted: 1, duplicates: []), 1, 2),
            (1, .read("eu"), .statistics(head: 1, next: 1, entries: 0), 3, 4),
        ])
        history.append(history[0])
        history[2] = QueueOperation(client: 3, call: .read("ap"), outcome: nil, invoked: 1, returned: nil)
        let report = Self.check(history)
        #expect(report.partitions == 2)
        guard case .violation(let violation) = report.verdict else {
            Issue.record("\(report.verdict)")
            return
        }
        #expect(violation.partition == "eu" && violation.prefix == [0] && violation.blocking == [1])
        #expect(
            violation.description == """
                partition eu: an order of 1 of 2 operations, and no further
                state: head position 1, next position 2, 1 entries
                the last in order:
                  client 0, 1-2: append [us/1/1] to eu -> 1 from position 1, duplicates []
                none of these can be next:
                  client 1, 3-4: read eu -> head 1, next 1, 0 entries
                """
        )
    }

    @Test("gives up when its steps are used up, and says so") func undecided() {
        var simulation = Simulation(seed: 1)
        let history = simulation.queueHistory(regions: 1).history
        let report = LinearizabilityChecker(QueueModel(), stepsMax: 3).check(history)
        #expect(report.verdict == .undecided(partition: "eu") && report.steps == 3)
    }

    @Test("accepts an empty history, and one of which nobody heard") func empty() {
        #expect(Self.check([]) == LinearizabilityReport(partitions: 0))
        let silent = QueueOperation(client: 0, call: .read("eu"), outcome: nil, invoked: 0, returned: nil)
        #expect(Self.check([silent]).verdict == .linearizable)
    }
}
