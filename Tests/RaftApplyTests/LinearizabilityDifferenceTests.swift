import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore
import Testing

/// Tries each order of all operations, with and without those of unknown outcome.
struct PlainChecker<State: Sendable, Call: Hashable & Sendable, Outcome: Hashable & Sendable>: Sendable {
    typealias Entry = HoldfastTesting.Operation<Call, Outcome>

    /// All states that an object may be in after a call that took effect, or was refused; none when it does not answer
    /// so.
    let steps: @Sendable (State, Call, Outcome?) -> [State]

    func isLinearizable(_ left: [Entry], from state: State) -> Bool {
        guard left.contains(where: { $0.outcome != nil }) else { return true }
        for (index, entry) in left.enumerated() {
            let isFree = left.allSatisfy { other in other.returned.map { $0 >= entry.invoked } ?? true }
            guard isFree else { continue }
            var rest = left
            rest.remove(at: index)
            for after in steps(state, entry.call, entry.outcome) where isLinearizable(rest, from: after) { return true }
        }
        return false
    }
}

@Suite("Beside a checker that tries every order, the linearizability checker") struct LinearizabilityDifferenceTests {
    private struct Lead: Hashable {
        var epoch: UInt64
        var primary: RegionID
    }

    private static let plainQueue = PlainChecker<PlainQueue, QueueModel.Call, QueueModel.Outcome> { state, call, told in
        var after = state
        let outcome = after.answer(call)
        return told == nil || told == outcome ? [after] : []
    }

    private static let plainLead = PlainChecker<Lead, LeadModel.Call, LeadModel.Outcome> { state, call, told in
        possible(state, call).filter { told == nil || told == $0.0 }.map { $0.1 }
    }

    /// All that a controller may answer, whatever the health of its regions.
    private static func possible(_ state: Lead, _ call: LeadModel.Call) -> [(LeadModel.Outcome, Lead)] {
        func change(to regions: [RegionID]) -> [(LeadModel.Outcome, Lead)] {
            regions.map { region in
                let lead = Lead(epoch: state.epoch + 1, primary: region)
                return (.changed(epoch: lead.epoch, primary: region), lead)
            }
        }
        switch call {
        case .read: return [(.lead(epoch: state.epoch, primary: state.primary), state)]
        case .promote(_, let expected?) where expected != state.epoch: return [(.staleEpoch(state.epoch), state)]
        case .switchover(_, let expected?) where expected != state.epoch: return [(.staleEpoch(state.epoch), state)]
        case .promote(let failed, _):
            if failed != state.primary { return [(.refused(.illegalTransition), state)] }
            let others = Simulation.regions.filter { $0 != failed }
            return change(to: others) + [(.refused(.noSecondaryAvailable), state)]
        case .switchover(let target, _):
            if target == state.primary { return [(.refused(.illegalTransition), state)] }
            let refusals = [LeadModel.Outcome.refused(.illegalTransition), .refused(.replayPending)].map { ($0, state) }
            return change(to: [target]) + refusals
        }
    }

    /// A small history, and often one of its outcomes or times is put in another's place.
    private static func simulation(_ seed: UInt64) -> Simulation {
        var simulation = Simulation(seed: seed)
        simulation.clients = Int(seed % 3) + 2
        simulation.calls = 6 / simulation.clients
        simulation.unknown = Int(seed % 4) * 15
        return simulation
    }

    private static func spoil<Call: Hashable, Outcome: Hashable>(
        _ history: [HoldfastTesting.Operation<Call, Outcome>],
        _ random: inout SplitMix64
    ) -> [HoldfastTesting.Operation<Call, Outcome>] {
        var history = history
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            let index = Int.random(in: 0..<history.count, using: &random)
            let other = Int.random(in: 0..<history.count, using: &random)
            let entry = history[index]
            let outcomes = history.filter { Self.isAlike($0.call, entry.call) }.compactMap(\.outcome)
            let takesOutcome = Bool.random(using: &random)
            let outcome = takesOutcome ? outcomes.randomElement(using: &random) ?? entry.outcome : entry.outcome
            let times = takesOutcome ? entry : history[other]
            let isRequired = outcome != nil && (times.returned != nil || Bool.random(using: &random))
            history[index] = HoldfastTesting.Operation(
                client: entry.client,
                call: entry.call,
                outcome: isRequired ? outcome : nil,
                invoked: times.invoked,
                returned: isRequired ? times.returned : nil
            )
        }
        return history
    }

    private static func isAlike<Call>(_ one: Call, _ other: Call) -> Bool {
        "\(one)".prefix(3) == "\(other)".prefix(3)
    }

    @Test("says the same of queues") func queues() {
        var bad = 0
        for seed in 1...6000 as ClosedRange<UInt64> {
            var simulation = Self.simulation(seed)
            let made = simulation.queueHistory(regions: 1).history
            let history = Self.spoil(made, &simulation.random)
            let expected = Self.plainQueue.isLinearizable(history, from: PlainQueue())
            let report = LinearizabilityChecker(QueueModel()).check(history)
            #expect((report.verdict == .linearizable) == expected, "seed \(seed): \(report.verdict)")
            if !expected { bad += 1 }
        }
        #expect((1000...5000).contains(bad), "\(bad) bad histories")
    }

    @Test("says the same of the lead") func leads() {
        var bad = 0
        let checker = LinearizabilityChecker(Simulation.leadModel)
        for seed in 1...6000 as ClosedRange<UInt64> {
            var simulation = Self.simulation(seed)
            let made = simulation.leadHistory()
            let history = Self.spoil(made, &simulation.random)
            let expected = Self.plainLead.isLinearizable(history, from: Lead(epoch: 1, primary: "us"))
            let report = checker.check(history)
            #expect((report.verdict == .linearizable) == expected, "seed \(seed): \(report.verdict)")
            if !expected { bad += 1 }
        }
        #expect((500...5000).contains(bad), "\(bad) bad histories")
    }

    @Test("says the same after unknown appends were resolved, or finds more that is wrong") func resolved() {
        var removed = 0
        for seed in 1...3000 as ClosedRange<UInt64> {
            var simulation = Self.simulation(seed)
            simulation.unknown = 40
            let (made, found) = simulation.queueHistory(regions: 1)
            let history = Self.spoil(made, &simulation.random)
            let resolved = found.resolve(history)
            removed += history.count - resolved.count
            // What is resolved says more than what is not: a history that is bad without it is bad with it.
            let isGood = LinearizabilityChecker(QueueModel()).check(history).verdict == .linearizable
            let isGoodResolved = Self.plainQueue.isLinearizable(resolved, from: PlainQueue())
            #expect(isGood || !isGoodResolved, "seed \(seed)")
            #expect(Self.plainQueue.isLinearizable(found.resolve(made), from: PlainQueue()), "seed \(seed)")
        }
        #expect(removed > 500)
    }
}
