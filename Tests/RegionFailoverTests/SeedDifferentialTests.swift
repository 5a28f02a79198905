import RegionFailover
import Testing

@Suite("The machine beside the seed") struct SeedDifferentialTests {
    @Test("agrees except where a difference is declared", arguments: 0..<40 as Range<UInt64>)
    func agreesExceptWhereDeclared(part: UInt64) throws {
        for seed in stride(from: part, to: 2000, by: 40) {
            do {
                var run = try SeedRun(seed: seed)
                for _ in 0..<100 { try run.step() }
            } catch {
                Issue.record("seed \(seed): \(error)")
                return
            }
        }
    }

    @Test("meets every declared difference") func meetsEveryDifference() throws {
        var met: Set<String> = []
        for seed in 0..<200 as Range<UInt64> {
            var run = try SeedRun(seed: seed)
            for _ in 0..<100 { try run.step() }
            met.formUnion(run.met)
        }
        #expect(met == ["D4", "D5", "D6", "D7", "D10", "D12", "D14"])
    }
}

/// One sequence of commands to both, with the seed set right wherever a declared difference applies.
///
/// Which difference applies is judged from the seed's state before the command. Where none does, result, events and the
/// state of every region must be the same. Times only grow, for the seed has no rule for others (D11), configurations are
/// valid (D1), and nobody is fenced (D8).
struct SeedRun {
    static let regions: [RegionID] = ["ap", "eu", "sa", "us"]
    static let stranger: RegionID = "mars"

    var machine: FailoverMachine
    var seed: SeedController
    var random: SplitMix64
    var now: Int64 = 0
    var met: Set<String> = []

    init(seed number: UInt64) throws {
        random = SplitMix64(seed: number)
        var regions = Self.regions
        regions.shuffle(using: &random)
        let tier: [RegionID]? = random.chance(1, in: 2) ? Array(regions.shuffled(using: &random).prefix(3)) : nil
        let configuration = FailoverConfiguration(
            local: regions[0],
            regions: regions.shuffled(using: &random),
            tiers: tier.map { [$0] } ?? [],
            suspectAfterMilliseconds: 10
        )
        machine = try FailoverMachine(configuration: configuration, now: Timestamp(milliseconds: 0))
        seed = SeedController(
            local: regions[0],
            regions: configuration.regions,
            primaryTier: tier.map { ["primary": $0] } ?? [:],
            suspectAfter: 10,
            now: 0
        )
    }

    var time: Timestamp { Timestamp(milliseconds: now) }

    var pending: [RegionID: QueueSummary] { seed.pendingReplay.mapValues { QueueSummary(entries: UInt64($0)) } }

    mutating func step() throws {
        now += Int64(random.below(5))
        let place = random.below(Self.regions.count * 8)
        let region = place == 0 ? Self.stranger : Self.regions[place % Self.regions.count]
        switch random.below(10) {
        case 0..<4: try heartbeat(region)
        case 4..<6: try tick()
        case 6: try demoteAndPromote(random.chance(2, in: 3) ? machine.actingPrimary : region)
        case 7..<9: try readmit(region)
        default: try replay(region)
        }
        try compareState()
    }

    func differ(_ what: String) -> Broken {
        Broken(description: "at \(now): \(what); machine \(machine), seed \(seed)")
    }

    private func compareState() throws {
        for status in machine.statuses {
            let region = status.region
            guard status.role == seed.role[region], status.state == seed.state[region] else {
                throw differ("\(region) differs")
            }
            guard status.lastSeen.milliseconds == seed.lastSeen[region] else {
                throw differ("\(region) was last seen at another time")
            }
        }
        guard machine.statuses.count == seed.state.count else { throw differ("the regions differ") }
    }

    /// The machine's result beside the seed's: both succeed, or both fail for the same reason.
    private mutating func both<Mine, Theirs>(
        _ mine: (inout FailoverMachine) throws(FailoverError) -> Mine,
        _ theirs: (inout SeedController) throws(SeedController.Failure) -> Theirs
    ) throws -> (Mine, Theirs)? {
        let left = Result { () throws(FailoverError) in try mine(&machine) }
        let right = Result { () throws(SeedController.Failure) in try theirs(&seed) }
        switch (left, right) {
        case (.success(let left), .success(let right)): return (left, right)
        case (.failure(let error), .failure(.unknownRegion(let region))):
            guard error.code == .unknownRegion, error.region == region else { throw differ("\(error)") }
        case (.failure(let error), .failure(.noSecondaryAvailable(let failed))):
            guard error.code == .noSecondaryAvailable, error.region == failed else { throw differ("\(error)") }
        case (.failure(let error), .failure(.illegalTransition(let region, let from))):
            guard error.code == .illegalTransition, error.region == region, error.state == from else {
                throw differ("\(error)")
            }
            guard error.role == seed.role[region], error.attempted != nil else { throw differ("D12: \(error)") }
        default: throw differ("one of them failed: \(left), \(right)")
        }
        return nil
    }
}

// MARK: - Commands

extension SeedRun {
    private mutating func heartbeat(_ region: RegionID) throws {
        let (now, before, role) = (now, seed.state[region], seed.role[region])
        let result = try both(
            { (machine: inout FailoverMachine) throws(FailoverError) in
                try machine.heartbeat(region, now: Timestamp(milliseconds: now))
            },
            { (seed: inout SeedController) throws(SeedController.Failure) in try seed.heartbeat(region, now: now) }
        )
        guard let (events, _) = result else { return }
        if before == .recovering, role == .demotedPrimary {
            met.insert("D5")
            seed.state[region] = .recovering
        }
        // D12: the seed changes the state and tells nobody.
        let isChange = seed.state[region] != before
        if isChange { met.insert("D12") }
        let kind: FailoverEvent.Kind = seed.state[region] == .healthy ? .healthy : .recovering
        guard events == (isChange ? [FailoverEvent(kind: kind, at: time, region: region)] : []) else {
            throw differ("heartbeat told \(events)")
        }
    }

    private mutating func tick() throws {
        var expected = Set(seed.state.keys.filter { seed.state[$0] == .healthy && isSilent($0) })
        let quiet = seed.state.keys.filter { seed.state[$0] == .recovering && isSilent($0) }
        let theirs = seed.tick(now: now)
        guard theirs.count == expected.count else { throw differ("the seed told \(theirs)") }
        var failed: Set<RegionID> = []
        for region in quiet {
            met.insert("D6")
            if seed.role[region] == .demotedPrimary {
                failed.insert(region)
                seed.state[region] = .failed
            } else {
                expected.insert(region)
                seed.state[region] = .suspect
            }
        }
        let told = expected.union(failed).sorted().map {
            FailoverEvent(kind: failed.contains($0) ? .failed : .suspect, at: time, region: $0)
        }
        let events = machine.tick(now: time)
        guard events == told else { throw differ("tick told \(events), not \(told)") }
    }

    private func isSilent(_ region: RegionID) -> Bool { now - (seed.lastSeen[region] ?? now) >= seed.suspectAfter }

    private mutating func demoteAndPromote(_ region: RegionID) throws {
        let (now, pending, before) = (now, pending, seed)
        let order = seed.primaryTier["primary"] ?? seed.regions
        let healthy = order.first { seed.role[$0] == .secondary && seed.state[$0] == .healthy }
        let result = try both(
            { (machine: inout FailoverMachine) throws(FailoverError) in
                try machine.demoteAndPromote(region, pending: pending, now: Timestamp(milliseconds: now))
            },
            { (seed: inout SeedController) throws(SeedController.Failure) in
                try seed.demoteAndPromote(region, now: now)
            }
        )
        guard let (promotion, pair) = result else { return }
        var promoted = pair.promoted
        if before.state[promoted] == .recovering, let healthy {
            // D7: the seed takes the first live one, though a healthy one comes after it.
            met.insert("D7")
            seed.role[promoted] = .secondary
            seed.state[promoted] = .recovering
            promoted = healthy
            seed.role[promoted] = .promotedSecondary
        }
        if seed.lastSeen[promoted] != now { met.insert("D14") }
        seed.lastSeen[promoted] = now
        let summary = pending[promoted] ?? .empty
        let epoch = machine.epoch
        let told = [
            FailoverEvent(kind: .demoted(epoch: epoch), at: time, region: region),
            FailoverEvent(
                kind: .promoted(replaced: region, epoch: epoch, pending: summary),
                at: time,
                region: promoted
            ),
        ]
        guard promotion == Promotion(failed: pair.failed, promoted: promoted, epoch: epoch, events: told) else {
            throw differ("demoteAndPromote gave \(promotion), not \(pair)")
        }
    }

    private mutating func readmit(_ region: RegionID) throws {
        let (now, pending) = (now, pending)
        let force = random.chance(1, in: 3)
        let most = UInt64(random.below(2))
        let refusal = declaredRefusal(region, most: most)
        if let (code, difference) = refusal, !force || code == nil {
            met.insert(difference)
            let before = machine
            do throws(FailoverError) {
                _ = try machine.readmit(region, maximumPending: most, force: force, pending: pending, now: time)
            } catch {
                let code = code ?? .illegalTransition
                guard error.code == code, machine == before else { throw differ("\(difference): \(error)") }
                return
            }
            throw differ("\(difference): readmitted \(region)")
        }
        let isMember = seed.role[region] == .secondary && seed.state[region] == .healthy
        let result = try both(
            { (machine: inout FailoverMachine) throws(FailoverError) in
                try machine.readmit(
                    region,
                    maximumPending: most,
                    force: force,
                    pending: pending,
                    now: Timestamp(milliseconds: now)
                )
            },
            { (seed: inout SeedController) throws(SeedController.Failure) in try seed.readmit(region, now: now) }
        )
        guard let (events, _) = result else { return }
        let event = FailoverEvent(kind: .readmitted(forced: refusal != nil), at: time, region: region)
        if isMember { met.insert("D4") }
        guard events == (isMember ? [] : [event]) else { throw differ("readmit told \(events)") }
    }

    /// The refusal that the seed does not know, and its number; the code is nil where force does not help.
    private func declaredRefusal(_ region: RegionID, most: UInt64) -> (FailoverError.Code?, String)? {
        guard let role = seed.role[region], let state = seed.state[region] else { return nil }
        if role == .primary || role == .promotedSecondary { return (nil, "D4") }
        if role == .secondary, state == .healthy { return nil }
        if state == .suspect || state == .failed { return (.illegalTransition, "D4") }
        return UInt64(seed.pendingReplayLength(region)) > most ? (.replayPending, "D10") : nil
    }

    /// The queues are the seed's; the machine only judges what waits in them.
    private mutating func replay(_ region: RegionID) throws {
        let isKnown = seed.state[region] != nil
        do throws(SeedController.Failure) {
            if random.chance(1, in: 2) {
                try seed.bufferReplayWrites(region, count: random.below(3))
            } else {
                _ = try seed.replayOutstanding(region, now: now)
            }
        } catch {
            guard !isKnown, (try? machine.status(of: region)) == nil else { throw differ("\(error)") }
        }
    }
}
