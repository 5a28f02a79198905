import RegionFailover

/// A seeded stream of commands that leans towards those which a guard must judge.
struct Scenario {
    var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    /// A valid configuration of 1 to 7 regions, with short times so that silence is common.
    mutating func configuration(including leader: RegionID? = nil) -> FailoverConfiguration {
        var regions: [RegionID] = []
        var places = Array(0..<Oracle.names.count)
        for _ in 0..<(1 + random.below(Oracle.names.count)) {
            regions.append(Oracle.names[places.remove(at: random.below(places.count))])
        }
        if let leader, !regions.contains(leader) { regions.append(leader) }
        var tiers: [[RegionID]] = []
        if random.chance(1, in: 2) {
            for region in regions.reversed() where random.chance(5, in: 6) {
                if tiers.isEmpty || random.chance(1, in: 3) { tiers.append([]) }
                tiers[tiers.count - 1].append(region)
            }
        }
        return FailoverConfiguration(
            local: regions[random.below(regions.count)],
            regions: regions,
            tiers: tiers,
            suspectAfterMilliseconds: Int64(1 + random.below(12)),
            historyCapacity: random.below(3),
            detectorPauseAfterMilliseconds: random.chance(1, in: 3) ? Int64(1 + random.below(12)) : nil,
            automaticFailover: random.chance(1, in: 2)
        )
    }

    /// A configuration with exactly one fault, and the field that has it.
    mutating func wrongConfiguration() -> (FailoverConfiguration, String) {
        var wrong = configuration()
        let stranger: RegionID = "stranger"
        switch random.below(13) {
        case 0:
            wrong.regions = []
            return (wrong, "regions")
        case 1:
            for number in wrong.regions.count...FailoverConfiguration.regionsMax {
                guard let name = RegionID(utf8: "more-\(number)".utf8) else { preconditionFailure("not a name") }
                wrong.regions.append(name)
            }
            return (wrong, "regions")
        case 2:
            wrong.regions.append(wrong.regions[random.below(wrong.regions.count)])
            return (wrong, "regions")
        case 3:
            wrong.local = stranger
            return (wrong, "local")
        case 4:
            wrong.tiers.append([])
            return (wrong, "tiers")
        case 5:
            wrong.tiers.append([stranger])
            return (wrong, "tiers")
        case 6:
            wrong.tiers = [[wrong.local], [wrong.local]]
            return (wrong, "tiers")
        case 7:
            wrong.suspectAfterMilliseconds = random.chance(1, in: 2) ? 0 : .min
            return (wrong, "suspectAfterMs")
        case 8:
            wrong.suspectAfterMilliseconds = FailoverConfiguration.silenceMillisecondsMax + 1
            return (wrong, "suspectAfterMs")
        case 9:
            wrong.historyCapacity = -1
            return (wrong, "historyCapacity")
        case 10:
            wrong.historyCapacity = FailoverConfiguration.historyCapacityMax + 1
            return (wrong, "historyCapacity")
        case 11:
            wrong.detectorPauseAfterMilliseconds = random.chance(1, in: 2) ? 0 : .min
            return (wrong, "detectorPauseAfterMs")
        default:
            wrong.detectorPauseAfterMilliseconds = FailoverConfiguration.silenceMillisecondsMax + 1
            return (wrong, "detectorPauseAfterMs")
        }
    }

    /// Where a sequence begins: a fresh deployment, or any state that the invariants allow.
    mutating func start() -> Oracle {
        let ends: [Int64] = [.min, .min + 5, .max - 500]
        let now = random.chance(1, in: 8) ? ends[random.below(ends.count)] : Int64(random.below(1000)) - 500
        var oracle = Oracle(configuration: configuration(), now: now)
        guard random.chance(1, in: 2) else { return oracle }
        let leader = random.below(oracle.configuration.regions.count)
        for (number, region) in oracle.configuration.regions.enumerated() {
            let place = Oracle.place(region)
            let back = Int64(random.below(30))
            let seen = now.subtractingReportingOverflow(back)
            oracle.sites[place].seen = seen.overflow ? .min : seen.partialValue
            oracle.sites[place].state = RegionState.allCases[random.below(4)]
            if number == leader {
                oracle.sites[place].role = random.chance(1, in: 2) ? .primary : .promotedSecondary
            } else if random.chance(1, in: 3) {
                oracle.sites[place].role = .demotedPrimary
                oracle.sites[place].state = random.chance(1, in: 2) ? .failed : .recovering
            } else {
                oracle.sites[place].role = .secondary
            }
        }
        oracle.epoch = random.chance(1, in: 8) ? UInt64.max - UInt64(random.below(3)) : 1 + random.next() % 1000
        oracle.lastTick = random.chance(1, in: 2) ? now : nil
        return oracle
    }

    /// The time of the next command: mostly soon, sometimes back, seldom the end of all times.
    mutating func now(after time: Int64) -> Int64 {
        switch random.below(4096) {
        case 0: return .max
        case 1: return .min
        case 2..<512: return time.subtractingReportingOverflow(Int64(random.below(20))).partialValue
        default:
            let sum = time.addingReportingOverflow(Int64(random.below(6)))
            return sum.overflow ? .max : sum.partialValue
        }
    }

    mutating func queue() -> QueueSummary {
        if random.chance(1, in: 2) { return QueueSummary(isPaused: random.chance(1, in: 4)) }
        let entries = random.chance(1, in: 20) ? UInt64.max : UInt64(random.below(4))
        return QueueSummary(
            entries: entries,
            bytes: entries,
            oldestMilliseconds: Int64(random.below(3)),
            dead: UInt64(random.below(3)) / 2,
            needsResync: random.chance(1, in: 3),
            isPaused: random.chance(1, in: 3)
        )
    }

    mutating func command(for oracle: Oracle) -> Command {
        let place = random.below(Oracle.names.count)
        switch random.below(100) {
        case 0..<34: return .heartbeat(place)
        case 34..<54: return .tick
        case 54..<64:
            return .demoteAndPromote(random.chance(2, in: 3) ? oracle.leader : place, ifEpoch: fence(oracle.epoch))
        case 64..<76:
            return .readmit(
                place,
                maximumPending: UInt64(random.below(3)),
                force: random.chance(1, in: 4),
                ifEpoch: fence(oracle.epoch)
            )
        case 76..<88: return .switchover(place, ifEpoch: fence(oracle.epoch))
        case 88..<92: return configure(oracle)
        case 92..<94: return .pauseReplay(place)
        case 94..<96: return .resumeReplay(place)
        case 96..<98: return .clearResync(place)
        case 98: return .resume
        default: return .advance
        }
    }

    private mutating func configure(_ oracle: Oracle) -> Command {
        let ifEpoch = fence(oracle.epoch)
        let force = random.chance(1, in: 3)
        switch random.below(6) {
        case 0: return .configure(oracle.configuration, wrong: nil, force: force, ifEpoch: ifEpoch)
        case 1:
            let (new, wrong) = wrongConfiguration()
            return .configure(new, wrong: wrong, force: force, ifEpoch: ifEpoch)
        case 2: return .configure(configuration(), wrong: nil, force: force, ifEpoch: ifEpoch)
        default:
            let new = configuration(including: Oracle.names[oracle.leader])
            return .configure(new, wrong: nil, force: force, ifEpoch: ifEpoch)
        }
    }

    private mutating func fence(_ epoch: UInt64) -> UInt64? {
        switch random.below(12) {
        case 0: epoch &- 1
        case 1: epoch &+ 1
        case 2..<6: epoch
        default: nil
        }
    }
}
