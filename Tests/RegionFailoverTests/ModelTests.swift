import Foundation
import RegionFailover
import Testing

/// How many sequences the model test runs; `HOLDFAST_MODEL_SEQUENCES` sets another number.
private let sequences = UInt64(ProcessInfo.processInfo.environment["HOLDFAST_MODEL_SEQUENCES"] ?? "") ?? 20_000

@Suite("Random sequences of commands") struct ModelTests {
    @Test("obey the rules after every command", arguments: 0..<20 as Range<UInt64>)
    func sequencesObeyTheRules(part: UInt64) {
        for seed in stride(from: part, to: sequences, by: 20) {
            do {
                var run = try ModelRun(seed: seed)
                for _ in 0..<200 { try run.step() }
            } catch {
                Issue.record("seed \(seed): \(error)")
                return
            }
        }
    }

    @Test("give the same events and the same machine when run again", arguments: 0..<16 as Range<UInt64>)
    func sequencesAreDeterministic(seed: UInt64) throws {
        var first = try ModelRun(seed: seed)
        var second = try ModelRun(seed: seed)
        for _ in 0..<200 {
            try first.step()
            try second.step()
            #expect(first.machine == second.machine)
            #expect(first.machine.hashValue == second.machine.hashValue)
        }
    }
}

/// What broke a rule, and where.
struct Broken: Error, CustomStringConvertible {
    var description: String
}

/// One sequence: the machine, the oracle beside it, and what must hold whatever the oracle says.
struct ModelRun {
    var machine: FailoverMachine
    var oracle: Oracle
    var scenario: Scenario
    var pending: [RegionID: QueueSummary] = [:]
    /// The regions that were demoted and have not been readmitted.
    var awaiting: Set<RegionID> = []
    var steps = 0

    init(seed: UInt64) throws {
        scenario = Scenario(seed: seed)
        oracle = scenario.start()
        let snapshot = oracle.snapshot
        let fresh = try FailoverMachine(configuration: oracle.configuration, now: snapshot.time)
        guard fresh.snapshot == Oracle(configuration: oracle.configuration, now: oracle.time).snapshot else {
            throw Broken(description: "a fresh machine of \(oracle.configuration) is \(fresh)")
        }
        machine = fresh.snapshot == snapshot ? fresh : try FailoverMachine(restoring: snapshot)
        for status in machine.statuses where status.role == .demotedPrimary { awaiting.insert(status.region) }
        try compare("the start")
    }

    mutating func step() throws {
        steps += 1
        let changed = scenario.random.below(Oracle.names.count * 2)
        if changed < Oracle.names.count {
            oracle.queues[changed] = scenario.queue()
            pending[Oracle.names[changed]] = oracle.queues[changed]
        }
        if scenario.random.chance(1, in: 64) { try tryRestoring() }
        let command = scenario.command(for: oracle)
        let now = scenario.now(after: oracle.time)
        let before = machine
        let outcome = perform(command, now: Timestamp(milliseconds: now))
        let expected = oracle.apply(command, now: now)
        guard matches(outcome, expected) else {
            throw Broken(
                description: """
                    step \(steps): \(command) at \(now) gave \(outcome), the rules say \(expected); before: \
                    \(before.statuses), epoch \(before.epoch), pending \(pending)
                    """
            )
        }
        switch outcome {
        case .refused:
            guard machine == before else {
                throw Broken(description: "step \(steps): \(command) was refused and had an effect")
            }
        case .done(let events):
            try compare("\(command) at \(now)")
            try checkChange(from: before, by: events, "\(command) at \(now)")
        }
    }

    /// A wrong field need not come with a region, so the region of an invalid configuration is not compared.
    private func matches(_ outcome: Outcome, _ expected: Outcome) -> Bool {
        guard case .refused(var got) = outcome, got.code == .invalidConfiguration else { return outcome == expected }
        got.region = nil
        return .refused(got) == expected
    }

    /// The machine and the oracle must agree on everything that can be read.
    private func compare(_ what: @autoclosure () -> String) throws {
        let snapshot = machine.snapshot
        var number = 0
        var agrees = snapshot.epoch == oracle.epoch && snapshot.time.milliseconds == oracle.time
        agrees = agrees && snapshot.lastTick?.milliseconds == oracle.lastTick
        agrees = agrees && snapshot.configuration == oracle.configuration
        for place in 0..<oracle.sites.count where oracle.sites[place].isMember {
            guard agrees, number < snapshot.regions.count else {
                agrees = false
                break
            }
            let status = snapshot.regions[number]
            let site = oracle.sites[place]
            number += 1
            agrees = status.state == site.state && status.role == site.role
            agrees = agrees && status.lastSeen.milliseconds == site.seen && status.region == Oracle.names[place]
        }
        guard agrees, number == snapshot.regions.count else {
            let rules = "the rules say \(oracle)"
            throw Broken(description: "step \(steps): after \(what()) the machine is \(snapshot), \(rules)")
        }
    }
}

extension Oracle {
    var statuses: [RegionStatus] {
        var statuses: [RegionStatus] = []
        for place in 0..<sites.count where sites[place].isMember {
            let site = sites[place]
            statuses.append(
                RegionStatus(
                    region: Self.names[place],
                    role: site.role,
                    state: site.state,
                    lastSeen: Timestamp(milliseconds: site.seen)
                )
            )
        }
        return statuses
    }

    var snapshot: FailoverMachine.Snapshot {
        FailoverMachine.Snapshot(
            configuration: configuration,
            epoch: epoch,
            time: Timestamp(milliseconds: time),
            lastTick: lastTick.map { Timestamp(milliseconds: $0) },
            regions: statuses
        )
    }
}

extension ModelRun {
    /// Calls the machine.
    private mutating func perform(_ command: Command, now: Timestamp) -> Outcome {
        do throws(FailoverError) {
            return .done(try call(command, now: now))
        } catch {
            return .refused(Refusal(error))
        }
    }

    private mutating func call(_ command: Command, now: Timestamp) throws(FailoverError) -> [FailoverEvent] {
        let names = Oracle.names
        switch command {
        case .heartbeat(let place): return try machine.heartbeat(names[place], now: now)
        case .tick: return machine.tick(now: now)
        case .demoteAndPromote(let place, let epoch):
            let promotion = try machine.demoteAndPromote(names[place], ifEpoch: epoch, pending: pending, now: now)
            return report(promotion, failed: names[place])
        case .readmit(let place, let most, let force, let epoch):
            return try machine.readmit(
                names[place],
                maximumPending: most,
                force: force,
                ifEpoch: epoch,
                pending: pending,
                now: now
            )
        case .switchover(let place, let epoch):
            let old = machine.actingPrimary
            let promotion = try machine.switchover(to: names[place], ifEpoch: epoch, pending: pending, now: now)
            return report(promotion, failed: old)
        case .configure(let new, _, let force, let epoch):
            return try machine.configure(new, force: force, ifEpoch: epoch, pending: pending, now: now)
        case .pauseReplay(let place): return try machine.pauseReplay(names[place], pending: pending, now: now)
        case .resumeReplay(let place): return try machine.resumeReplay(names[place], pending: pending, now: now)
        case .clearResync(let place): return try machine.clearResync(names[place], pending: pending, now: now)
        case .resume:
            machine.resume(now: now)
            return []
        case .advance:
            let time = machine.advance(to: now)
            return time == machine.time ? [] : [FailoverEvent(kind: .healthy, at: time)]
        }
    }

    /// The promotion's events, or none, which no rule allows, when its other fields do not fit the machine.
    private func report(_ promotion: Promotion, failed: RegionID) -> [FailoverEvent] {
        let fits =
            promotion.failed == failed && promotion.promoted == machine.actingPrimary
            && promotion.epoch == machine.epoch
        return fits ? promotion.events : []
    }
}
