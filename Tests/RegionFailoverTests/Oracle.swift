import RegionFailover

/// One call of the machine, with regions as places in ``Oracle/names``.
enum Command: Sendable {
    case heartbeat(Int)
    case tick
    case demoteAndPromote(Int, ifEpoch: UInt64?)
    case readmit(Int, maximumPending: UInt64, force: Bool, ifEpoch: UInt64?)
    case switchover(Int, ifEpoch: UInt64?)
    /// `wrong` is the field that the generator spoiled, if it did.
    case configure(FailoverConfiguration, wrong: String?, force: Bool, ifEpoch: UInt64?)
    case pauseReplay(Int)
    case resumeReplay(Int)
    case clearResync(Int)
    case resume
    case advance
}

/// The refusal that the rules demand; everything of a `FailoverError` but its message.
struct Refusal: Equatable {
    var code: FailoverError.Code
    var region: RegionID?
    var role: RegionRole?
    var state: RegionState?
    var attempted: String?
    var count: UInt64?
    var currentEpoch: UInt64?
    var field: String?
}

extension Refusal {
    init(_ error: FailoverError) {
        self.init(
            code: error.code,
            region: error.region,
            role: error.role,
            state: error.state,
            attempted: error.attempted,
            count: error.count,
            currentEpoch: error.currentEpoch,
            field: error.field
        )
    }
}

/// What a command must bring.
enum Outcome: Equatable {
    case refused(Refusal)
    case done([FailoverEvent])
}

/// The rules of DESIGN.md section 2, written a second time and as plainly as possible, to judge the machine by.
///
/// It shares the machine's value types, for the results must be compared, and none of its code.
struct Oracle {
    struct Site {
        var isMember = false
        var role = RegionRole.secondary
        var state = RegionState.healthy
        var seen: Int64 = 0

        var leads: Bool { role == .primary || role == .promotedSecondary }
        var lives: Bool { state == .healthy || state == .recovering }
    }

    /// Every region that ever occurs, in byte order: at least one of them is always a stranger or soon becomes one.
    static let names: [RegionID] = ["-x", "A", "Z9", "a", "a.b", "a_b", "z"]

    var sites = [Site](repeating: Site(), count: Oracle.names.count)
    var queues = [QueueSummary](repeating: .empty, count: Oracle.names.count)
    var configuration: FailoverConfiguration
    var epoch: UInt64 = 1
    var time: Int64
    var lastTick: Int64?

    init(configuration: FailoverConfiguration, now: Int64) {
        self.configuration = configuration
        self.time = now
        for region in configuration.regions {
            let role: RegionRole = region == configuration.local ? .primary : .secondary
            sites[Self.place(region)] = Site(isMember: true, role: role, state: .healthy, seen: now)
        }
    }

    static func place(_ region: RegionID) -> Int {
        for index in 0..<names.count where names[index] == region { return index }
        preconditionFailure("no test knows region \(region)")
    }

    var leader: Int {
        for index in 0..<sites.count where sites[index].isMember && sites[index].leads { return index }
        preconditionFailure("the oracle has lost its primary")
    }

    /// Judges a command and, when it is allowed, carries it out.
    mutating func apply(_ command: Command, now: Int64) -> Outcome {
        var next = self
        if now > next.time { next.time = now }
        let outcome = next.judge(command, before: self)
        if case .done = outcome { self = next }
        return outcome
    }

    private mutating func judge(_ command: Command, before: Oracle) -> Outcome {
        switch command {
        case .heartbeat(let place): heartbeat(place)
        case .tick: tick()
        case .demoteAndPromote(let place, let ifEpoch): demoteAndPromote(place, ifEpoch)
        case .readmit(let place, let most, let force, let ifEpoch): readmit(place, most, force, ifEpoch)
        case .switchover(let place, let ifEpoch): switchover(place, ifEpoch)
        case .configure(let new, let wrong, let force, let ifEpoch): configure(new, wrong, force, ifEpoch)
        case .pauseReplay(let place): mark(place, .paused, !queues[place].isPaused)
        case .resumeReplay(let place): mark(place, .resumed, queues[place].isPaused)
        case .clearResync(let place): mark(place, .resyncCleared, queues[place].needsResync)
        case .resume: resume(since: before.time)
        case .advance: .done([])
        }
    }
}

// MARK: - Rules

extension Oracle {
    private func refuse(_ code: FailoverError.Code, _ place: Int, count: UInt64? = nil) -> Outcome {
        .refused(Refusal(code: code, region: Self.names[place], count: count))
    }

    private func forbid(_ attempted: String, _ place: Int) -> Outcome {
        let site = sites[place]
        let name = Self.names[place]
        return .refused(
            Refusal(code: .illegalTransition, region: name, role: site.role, state: site.state, attempted: attempted)
        )
    }

    private func event(_ kind: FailoverEvent.Kind, _ place: Int? = nil) -> FailoverEvent {
        FailoverEvent(kind: kind, at: Timestamp(milliseconds: time), region: place.map { Self.names[$0] })
    }

    private func fence(_ ifEpoch: UInt64?) -> Outcome? {
        guard let ifEpoch, ifEpoch != epoch else { return nil }
        return .refused(Refusal(code: .staleEpoch, currentEpoch: epoch))
    }

    /// How long a region has been silent, exactly: nothing is ever seen later than `time`.
    private func silence(_ place: Int) -> UInt64 { UInt64(bitPattern: time &- sites[place].seen) }

    private mutating func heartbeat(_ place: Int) -> Outcome {
        guard sites[place].isMember else { return refuse(.unknownRegion, place) }
        sites[place].seen = time
        if sites[place].state == .suspect || sites[place].state == .failed {
            sites[place].state = .recovering
            return .done([event(.recovering, place)])
        }
        if sites[place].state == .recovering && sites[place].role != .demotedPrimary {
            sites[place].state = .healthy
            return .done([event(.healthy, place)])
        }
        return .done([])
    }

    private mutating func tick() -> Outcome {
        let previous = lastTick
        lastTick = time
        if let previous, let limit = configuration.detectorPauseAfterMilliseconds,
            UInt64(bitPattern: time &- previous) >= UInt64(limit)
        {
            for place in 0..<sites.count where sites[place].isMember { sites[place].seen = time }
            return .done([event(.detectorPaused)])
        }
        var events: [FailoverEvent] = []
        let limit = UInt64(configuration.suspectAfterMilliseconds)
        for place in 0..<sites.count where sites[place].isMember && silence(place) >= limit && sites[place].lives {
            if sites[place].role == .demotedPrimary {
                sites[place].state = .failed
                events.append(event(.failed, place))
            } else {
                sites[place].state = .suspect
                events.append(event(.suspect, place))
            }
        }
        return .done(events)
    }

    /// Every region's merit, smaller is better, nil for one that must not lead.
    private func merit(_ place: Int) -> Int? {
        let site = sites[place]
        guard site.isMember, site.role == .secondary, site.lives else { return nil }
        let name = Self.names[place]
        var merit: Int?
        if configuration.tiers.isEmpty {
            for (position, region) in configuration.regions.enumerated() where region == name { merit = position }
        }
        for (tier, regions) in configuration.tiers.enumerated() {
            for (position, region) in regions.enumerated() where region == name { merit = tier * 1_000_000 + position }
        }
        return merit.map {
            $0 + (site.state == .recovering ? 100_000 : 0) + (queues[place].needsResync ? 10_000 : 0)
        }
    }

    private mutating func demoteAndPromote(_ place: Int, _ ifEpoch: UInt64?) -> Outcome {
        if let stale = fence(ifEpoch) { return stale }
        guard sites[place].isMember else { return refuse(.unknownRegion, place) }
        guard sites[place].leads else { return forbid("demoteAndPromote", place) }
        var best: Int?
        var least = Int.max
        for candidate in 0..<sites.count {
            if let merit = merit(candidate), merit < least {
                least = merit
                best = candidate
            }
        }
        guard let best else { return refuse(.noSecondaryAvailable, place) }
        guard epoch < UInt64.max else { return .refused(Refusal(code: .invariantViolated)) }
        epoch += 1
        sites[place].role = .demotedPrimary
        sites[place].state = .failed
        sites[best] = Site(isMember: true, role: .promotedSecondary, state: .healthy, seen: time)
        return .done([
            event(.demoted(epoch: epoch), place),
            event(.promoted(replaced: Self.names[place], epoch: epoch, pending: queues[best]), best),
        ])
    }

    private mutating func switchover(_ place: Int, _ ifEpoch: UInt64?) -> Outcome {
        if let stale = fence(ifEpoch) { return stale }
        guard sites[place].isMember else { return refuse(.unknownRegion, place) }
        let old = leader
        guard sites[place].role == .secondary, sites[place].lives, merit(place) != nil else {
            return forbid("switchover", place)
        }
        guard sites[old].lives else { return forbid("switchover", old) }
        guard queues[place].entries == 0 else { return refuse(.replayPending, place, count: queues[place].entries) }
        guard !queues[place].needsResync else { return refuse(.needsResync, place) }
        guard epoch < UInt64.max else { return .refused(Refusal(code: .invariantViolated)) }
        epoch += 1
        sites[old].role = .secondary
        sites[old].state = .healthy
        sites[place] = Site(isMember: true, role: .promotedSecondary, state: .healthy, seen: time)
        return .done([
            event(.switchedOver(replaced: Self.names[old], epoch: epoch, pending: queues[place]), place)
        ])
    }

    private mutating func readmit(_ place: Int, _ most: UInt64, _ force: Bool, _ ifEpoch: UInt64?) -> Outcome {
        if let stale = fence(ifEpoch) { return stale }
        guard sites[place].isMember else { return refuse(.unknownRegion, place) }
        guard !sites[place].leads else { return forbid("readmit", place) }
        if sites[place].role == .secondary && sites[place].state == .healthy {
            sites[place].seen = time
            return .done([])
        }
        let queue = queues[place]
        let isQuiet = !sites[place].lives
        if !force {
            if isQuiet { return forbid("readmit", place) }
            if queue.entries > most { return refuse(.replayPending, place, count: queue.entries) }
            if queue.needsResync { return refuse(.needsResync, place) }
        }
        let forced = isQuiet || queue.entries > most || queue.needsResync
        sites[place] = Site(isMember: true, role: .secondary, state: .healthy, seen: time)
        return .done([event(.readmitted(forced: forced), place)])
    }

    private mutating func configure(
        _ new: FailoverConfiguration,
        _ wrong: String?,
        _ force: Bool,
        _ ifEpoch: UInt64?
    ) -> Outcome {
        if let stale = fence(ifEpoch) { return stale }
        if let wrong { return .refused(Refusal(code: .invalidConfiguration, field: wrong)) }
        var wanted = [Bool](repeating: false, count: sites.count)
        for region in new.regions { wanted[Self.place(region)] = true }
        let removed = (0..<sites.count).filter { sites[$0].isMember && !wanted[$0] }
        let added = (0..<sites.count).filter { !sites[$0].isMember && wanted[$0] }
        if removed.contains(leader) { return forbid("configure", leader) }
        for place in removed where !force {
            let (sum, overflow) = queues[place].entries.addingReportingOverflow(queues[place].dead)
            if overflow || sum > 0 { return refuse(.replayPending, place, count: overflow ? .max : sum) }
        }
        if new == configuration { return .done([]) }
        for place in removed { sites[place] = Site() }
        for place in added { sites[place] = Site(isMember: true, role: .secondary, state: .healthy, seen: time) }
        configuration = new
        let kind = FailoverEvent.Kind.configured(
            added: added.map { Self.names[$0] },
            removed: removed.map { Self.names[$0] }
        )
        return .done([event(kind)])
    }

    private func mark(_ place: Int, _ kind: FailoverEvent.Kind, _ isChange: Bool) -> Outcome {
        guard sites[place].isMember else { return refuse(.unknownRegion, place) }
        return .done(isChange ? [event(kind, place)] : [])
    }

    private mutating func resume(since before: Int64) -> Outcome {
        func moved(_ old: Int64) -> Int64 {
            time &- Int64(min(UInt64(bitPattern: before &- old), UInt64(Int64.max)))
        }
        for place in 0..<sites.count where sites[place].isMember { sites[place].seen = moved(sites[place].seen) }
        lastTick = lastTick.map(moved)
        return .done([])
    }
}
