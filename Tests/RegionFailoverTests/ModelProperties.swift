import RegionFailover

// What must hold after every command whatever it was, judged from the machine before, the machine after and the events.

extension ModelRun {
    mutating func checkChange(
        from before: FailoverMachine,
        by events: [FailoverEvent],
        _ what: @autoclosure () -> String
    ) throws {
        func broken(_ rule: String) -> Broken {
            let change = "before \(before), after \(machine), events \(events)"
            return Broken(description: "step \(steps): \(rule); \(what()), \(change)")
        }
        guard machine.time >= before.time else { throw broken("time went back") }
        var leaders = 0
        for status in machine.statuses where status.role == .primary || status.role == .promotedSecondary {
            leaders += 1
        }
        guard leaders == 1 else { throw broken("there is not exactly one acting primary") }
        let hasNewPrimary = machine.actingPrimary != before.actingPrimary
        guard machine.epoch == (hasNewPrimary ? before.epoch &+ 1 : before.epoch), machine.epoch >= before.epoch else {
            throw broken("the epoch does not follow the acting primary")
        }
        guard !events.isEmpty else {
            guard Self.sameRolesAndStates(machine.statuses, before.statuses) else {
                throw broken("a role or state changed without an event")
            }
            return
        }
        var told = before.statuses
        for event in events {
            guard event.at == machine.time else { throw broken("an event has another time than the machine") }
            guard try tell(event, to: &told) else { throw broken("an event tells no change") }
        }
        if machine.configuration != before.configuration {
            told.sort { $0.region < $1.region }
            guard machine.statuses.map(\.region) == machine.configuration.regions.sorted() else {
                throw broken("the regions are not those of the configuration")
            }
        }
        guard Self.sameRolesAndStates(machine.statuses, told) else { throw broken("the events tell other changes") }
    }

    private static func sameRolesAndStates(_ left: [RegionStatus], _ right: [RegionStatus]) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count {
            let (one, other) = (left[index], right[index])
            guard one.state == other.state, one.role == other.role, one.region == other.region else { return false }
        }
        return true
    }

    /// Applies what an event says to `told`; false when that is no change.
    private mutating func tell(_ event: FailoverEvent, to told: inout [RegionStatus]) throws -> Bool {
        switch event.kind {
        case .configured(let added, let removed):
            told.removeAll { removed.contains($0.region) }
            told += added.map { RegionStatus(region: $0, role: .secondary, state: .healthy, lastSeen: event.at) }
            awaiting.subtract(removed)
            return event.region == nil
        case .detectorPaused: return event.region == nil
        default: break
        }
        guard let region = event.region else { return false }
        guard let index = told.firstIndex(where: { $0.region == region }) else { return false }
        let old = told[index]
        switch event.kind {
        case .suspect: told[index].state = .suspect
        case .failed: told[index].state = .failed
        case .recovering: told[index].state = .recovering
        case .healthy: told[index].state = .healthy
        case .demoted:
            guard old.role.isActingPrimary else { return false }
            told[index].role = .demotedPrimary
            told[index].state = .failed
            awaiting.insert(region)
        case .promoted, .switchedOver: return try tellPromotion(event, of: index, to: &told)
        case .readmitted:
            guard !old.role.isActingPrimary else { return false }
            told[index].role = .secondary
            told[index].state = .healthy
            awaiting.remove(region)
        case .paused, .resumed, .resyncCleared: return true
        default: return false
        }
        return told[index].role != old.role || told[index].state != old.state
    }

    private func tellPromotion(
        _ event: FailoverEvent,
        of index: Int,
        to told: inout [RegionStatus]
    ) throws -> Bool {
        let region = told[index].region
        guard told[index].role == .secondary, told[index].state == .healthy || told[index].state == .recovering else {
            throw Broken(description: "step \(steps): \(region) was promoted as \(told[index])")
        }
        guard !awaiting.contains(region) else {
            throw Broken(description: "step \(steps): \(region) was promoted before it was readmitted")
        }
        told[index].role = .promotedSecondary
        told[index].state = .healthy
        guard case .switchedOver(let replaced, _, _) = event.kind else { return true }
        guard let old = told.firstIndex(where: { $0.region == replaced }), told[old].role.isActingPrimary else {
            return false
        }
        told[old].role = .secondary
        told[old].state = .healthy
        return true
    }
}

// MARK: - Snapshots

extension ModelRun {
    /// A snapshot gives the same machine back, and a spoiled one an error.
    mutating func tryRestoring() throws {
        var snapshot = machine.snapshot
        snapshot.regions.shuffle(using: &scenario.random)
        guard try FailoverMachine(restoring: snapshot) == machine else {
            throw Broken(description: "step \(steps): a restored machine differs from \(machine)")
        }
        guard let code = spoil(&snapshot) else { return }
        do throws(FailoverError) {
            _ = try FailoverMachine(restoring: snapshot)
        } catch {
            guard error.code == code else { throw Broken(description: "step \(steps): \(error) for \(snapshot)") }
            return
        }
        throw Broken(description: "step \(steps): \(snapshot) was restored, \(code) was due")
    }

    /// Makes a snapshot wrong in one way; nil when that way is not open.
    private mutating func spoil(_ snapshot: inout FailoverMachine.Snapshot) -> FailoverError.Code? {
        let index = scenario.random.below(snapshot.regions.count)
        let isLeader = snapshot.regions[index].role.isActingPrimary
        switch scenario.random.below(12) {
        case 0: snapshot.epoch = 0
        case 1:
            guard !isLeader else { return nil }
            snapshot.regions.remove(at: index)
        case 2:
            guard !isLeader else { return nil }
            snapshot.regions.append(snapshot.regions[index])
        case 3:
            guard !isLeader else { return nil }
            let other = snapshot.regions.firstIndex { $0.role.isActingPrimary } ?? index
            snapshot.regions[index].region = snapshot.regions[other].region
        case 4:
            let name: RegionID = scenario.random.chance(1, in: 2) ? "stranger" : "-"
            let seen = snapshot.time
            snapshot.regions.append(RegionSnapshot(region: name, role: .secondary, state: .healthy, lastSeen: seen))
        case 5:
            guard !isLeader else { return nil }
            snapshot.regions[index].role = .primary
        case 6:
            guard isLeader else { return nil }
            snapshot.regions[index].role = .secondary
        case 7:
            guard !isLeader else { return nil }
            snapshot.regions[index].role = .demotedPrimary
            snapshot.regions[index].state = scenario.random.chance(1, in: 2) ? .healthy : .suspect
        case 8:
            guard snapshot.time.milliseconds < .max else { return nil }
            snapshot.regions[index].lastSeen = snapshot.time.advanced(by: 1)
        case 9:
            guard !isLeader else { return nil }
            snapshot.regions[index].region = "stranger"
        case 10:
            guard snapshot.time.milliseconds < .max else { return nil }
            snapshot.lastTick = snapshot.time.advanced(by: 1)
        default:
            snapshot.configuration = scenario.wrongConfiguration().0
            guard (try? FailoverMachine(configuration: snapshot.configuration, now: snapshot.time)) == nil else {
                return .unknownRegion
            }
            return .invalidConfiguration
        }
        return .invariantViolated
    }
}
