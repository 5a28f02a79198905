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

    @Test("needs few steps for a long history, and few more for one that is bad near its end", arguments: [8, 16, 32])
    func long(clients: Int) throws {
        var simulation = Simulation(seed: 1)
        simulation.clients = clients
        simulation.calls = 20_000 / clients
        let history = simulation.queueHistory(regions: 1).history
        let good = Self.check(history)
        #expect(good.verdict == .linearizable)
        #expect(good.steps < 20_000 * clients)
        let last = try #require(
            history.indices.filter { history[$0].call == .read("eu") }.max { history[$0].invoked < history[$1].invoked }
        )
        guard case .statistics(let head, let next, let entries) = history[last].outcome else {
            Issue.record("a read has no statistics")
            return
        }
        var broken = history
        broken[last] = QueueOperation(
            client: 0,
            call: .read("eu"),
            outcome: .statistics(head: head, next: next + 1, entries: entries),
            invoked: history[last].invoked,
            returned: history[last].returned
        )
        let bad = Self.check(broken)
        #expect(bad.steps < 2 * 20_000 * clients)
        guard case .violation(let violation) = bad.verdict else {
            Issue.record("\(bad.verdict)")
            return
        }
        #expect(violation.blocking.contains(last))
        #expect(violation.prefix.count > history.count - 200)
    }

    @Test("accepts a long history in which a hundred outcomes are unknown", arguments: [8, 16])
    func longUnknown(clients: Int) {
        var simulation = Simulation(seed: 1)
        simulation.clients = clients
        simulation.calls = 20_000 / clients
        simulation.unknown = 1
        let (history, found) = simulation.queueHistory(regions: 1)
        let report = Self.check(found.resolve(history))
        #expect(report.verdict == .linearizable)
        #expect(report.steps < 1_000_000)
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
        let report = LinearizabilityChecker(QueueModel(), stepsMax: 9).check(history)
        #expect(report.verdict == .undecided(partition: "eu") && report.steps <= 9)
    }

    @Test("accepts an empty history, and one of which nobody heard") func empty() {
        #expect(Self.check([]).verdict == .linearizable)
        let silent = QueueOperation(client: 0, call: .read("eu"), outcome: nil, invoked: 0, returned: nil)
        #expect(Self.check([silent]).verdict == .linearizable)
    }
}
