extension FailoverMachine {
    /// Takes note that a region was heard from.
    ///
    /// A suspect or failed region becomes recovering, and a recovering one becomes healthy with the next heartbeat. A
    /// demoted primary stays recovering until it is readmitted: that it is alive does not mean that it has caught up.
    ///
    /// - Parameters:
    ///   - region: The region that was heard from.
    ///   - now: When.
    /// - Returns: `recovering` or `healthy`, when the state changed.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public mutating func heartbeat(_ region: RegionID, now: Timestamp) throws(FailoverError) -> [FailoverEvent] {
        let index = try find(region)
        advance(to: now)
        regions[index].lastSeen = time
        let events = move(index, to: regions[index].stateAfterHeartbeat)
        assertInvariants()
        return events
    }

    /// Looks for regions that have gone quiet, the local one included.
    ///
    /// A region whose silence is at least `suspectAfterMilliseconds` becomes suspect; a demoted primary becomes failed.
    /// With `detectorPauseAfterMilliseconds`, a tick that comes that long after the one before suspects nobody: it was
    /// the detector that slept, so every region counts as seen now.
    ///
    /// - Parameter now: The time up to which silence counts.
    /// - Returns: `suspect` and `failed` in byte order of the regions, or `detectorPaused` alone.
    public mutating func tick(now: Timestamp) -> [FailoverEvent] {
        advance(to: now)
        var events: [FailoverEvent] = []
        if detectorHasSlept {
            for index in regions.indices { regions[index].lastSeen = time }
            events.append(FailoverEvent(kind: .detectorPaused, at: time))
        } else {
            for index in regions.indices where isSilent(regions[index]) {
                events += move(index, to: regions[index].stateAfterSilence)
            }
        }
        lastTick = time
        assertInvariants()
        return events
    }

    /// Takes note of what somebody has observed who hears the heartbeats, and looks for regions that have gone quiet.
    ///
    /// For a machine whose commands are replicated: one observer gathers the heartbeats, and tells how long each region has been
    /// silent. No region is seen later than before by it, and none that is suspect or failed comes back: that takes
    /// ``heartbeat(_:now:)``.
    ///
    /// - Parameters:
    ///   - silences: How long regions have been silent at `now`, in milliseconds; others, and those that are not in the
    ///     deployment, are left as they are.
    ///   - now: The time up to which silence counts.
    /// - Returns: As ``tick(now:)`` does.
    public mutating func observe(silences: [RegionID: Int64], now: Timestamp) -> [FailoverEvent] {
        advance(to: now)
        for index in regions.indices {
            guard let silence = silences[regions[index].region] else { continue }
            regions[index].lastSeen = max(regions[index].lastSeen, time.advanced(by: -max(0, silence)))
        }
        return tick(now: now)
    }

    private var detectorHasSlept: Bool {
        guard let limit = configuration.detectorPauseAfterMilliseconds, let lastTick else { return false }
        return time.milliseconds(since: lastTick) >= limit
    }

    private func isSilent(_ status: RegionStatus) -> Bool {
        time.milliseconds(since: status.lastSeen) >= configuration.suspectAfterMilliseconds
    }

    /// Sets a region's state and tells so, if it is another one.
    private mutating func move(_ index: Int, to state: RegionState) -> [FailoverEvent] {
        guard regions[index].state != state else { return [] }
        regions[index].state = state
        return [FailoverEvent(kind: state.event, at: time, region: regions[index].region)]
    }
}

extension RegionStatus {
    fileprivate var stateAfterHeartbeat: RegionState {
        switch state {
        case .suspect, .failed: .recovering
        case .recovering: role == .demotedPrimary ? .recovering : .healthy
        case .healthy: .healthy
        }
    }

    fileprivate var stateAfterSilence: RegionState {
        switch state {
        case .healthy, .recovering: role == .demotedPrimary ? .failed : .suspect
        case .suspect, .failed: state
        }
    }
}

extension RegionState {
    fileprivate var event: FailoverEvent.Kind {
        switch self {
        case .healthy: .healthy
        case .suspect: .suspect
        case .failed: .failed
        case .recovering: .recovering
        }
    }
}
