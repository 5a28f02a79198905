import RegionFailover

/// The Rust controller that Holdfast grew from, word for word, with `now` as a parameter in place of its own clock.
///
/// Kept with its faults: the differential test names each of them and corrects it after the fact.
struct SeedController {
    enum Event: Equatable {
        case suspect(region: RegionID, at: Int64)
        case demoted(region: RegionID, at: Int64)
        case promoted(region: RegionID, replaced: RegionID, at: Int64)
        case replayed(region: RegionID, replayed: Int, at: Int64)
        case readmitted(region: RegionID, at: Int64)
    }

    enum Failure: Error, Equatable {
        case unknownRegion(RegionID)
        case noSecondaryAvailable(failed: RegionID)
        case illegalTransition(region: RegionID, from: RegionState)
    }

    var state: [RegionID: RegionState] = [:]
    var role: [RegionID: RegionRole] = [:]
    var lastSeen: [RegionID: Int64] = [:]
    var pendingReplay: [RegionID: Int] = [:]
    var history: [Event] = []
    let regions: [RegionID]
    let primaryTier: [String: [RegionID]]
    let suspectAfter: Int64
    let historyCapacity: Int

    init(
        local: RegionID,
        regions: [RegionID],
        primaryTier: [String: [RegionID]],
        suspectAfter: Int64 = 15_000,
        historyCapacity: Int = 256,
        now: Int64
    ) {
        for region in regions {
            state[region] = .healthy
            role[region] = region == local ? .primary : .secondary
            lastSeen[region] = now
            pendingReplay[region] = 0
        }
        self.regions = regions
        self.primaryTier = primaryTier
        self.suspectAfter = suspectAfter
        self.historyCapacity = historyCapacity
    }

    mutating func heartbeat(_ region: RegionID, now: Int64) throws(Failure) {
        guard let current = state[region] else { throw .unknownRegion(region) }
        lastSeen[region] = now
        if current == .suspect || current == .failed {
            state[region] = .recovering
        } else {
            state[region] = .healthy
        }
    }

    mutating func tick(now: Int64) -> [Event] {
        var emitted: [Event] = []
        let suspects = lastSeen.filter { now - $0.value >= suspectAfter }.map(\.key)
        for region in suspects where state[region] == .healthy {
            state[region] = .suspect
            let event = Event.suspect(region: region, at: now)
            push(event)
            emitted.append(event)
        }
        return emitted
    }

    mutating func demoteAndPromote(
        _ failed: RegionID,
        now: Int64
    ) throws(Failure) -> (failed: RegionID, promoted: RegionID) {
        guard let current = state[failed], let currentRole = role[failed] else { throw .unknownRegion(failed) }
        guard currentRole == .primary || currentRole == .promotedSecondary else {
            throw .illegalTransition(region: failed, from: current)
        }
        guard let replacement = pickReplacement(failed) else { throw .noSecondaryAvailable(failed: failed) }
        role[failed] = .demotedPrimary
        state[failed] = .failed
        role[replacement] = .promotedSecondary
        state[replacement] = .healthy
        push(.demoted(region: failed, at: now))
        push(.promoted(region: replacement, replaced: failed, at: now))
        return (failed, replacement)
    }

    mutating func bufferReplayWrites(_ region: RegionID, count: Int) throws(Failure) {
        guard let queued = pendingReplay[region] else { throw .unknownRegion(region) }
        pendingReplay[region] = queued + count
    }

    mutating func replayOutstanding(_ region: RegionID, now: Int64) throws(Failure) -> Int {
        guard let count = pendingReplay[region] else { throw .unknownRegion(region) }
        pendingReplay[region] = 0
        if count > 0 { push(.replayed(region: region, replayed: count, at: now)) }
        return count
    }

    mutating func readmit(_ region: RegionID, now: Int64) throws(Failure) {
        guard state[region] != nil else { throw .unknownRegion(region) }
        role[region] = .secondary
        state[region] = .healthy
        lastSeen[region] = now
        push(.readmitted(region: region, at: now))
    }

    func pendingReplayLength(_ region: RegionID) -> Int { pendingReplay[region] ?? 0 }

    func pickReplacement(_ failed: RegionID) -> RegionID? {
        let order = primaryTier["primary"] ?? regions
        return order.first { region in
            let health = state[region] ?? .healthy
            return region != failed && (health == .healthy || health == .recovering)
                && (role[region] ?? .secondary) == .secondary
        }
    }

    private mutating func push(_ event: Event) {
        if history.count == historyCapacity, !history.isEmpty { history.removeFirst() }
        history.append(event)
    }
}
