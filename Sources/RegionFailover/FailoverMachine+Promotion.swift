extension FailoverMachine {
    /// Takes the acting primary out and promotes the best secondary in its place.
    ///
    /// It does so however healthy the acting primary looks: the operator, or the detector, has decided. Out of the tiers
    /// in declared order, the first that has a healthy or recovering secondary gives it: a healthy one before a
    /// recovering one, then one without `needsResync`, then the declared order. Outstanding writes do not hinder a
    /// promotion; the event tells how many there are. The failed region becomes a demoted primary, failed; the promoted
    /// one is healthy and counts as seen now, so that it is not suspected at once.
    ///
    /// - Parameters:
    ///   - failed: The acting primary.
    ///   - ifEpoch: The epoch that the caller acts on; nil asks for no fencing.
    ///   - pending: What is outstanding for each region.
    ///   - now: The time of the change.
    /// - Returns: Both regions, the epoch that begins, and the events `demoted` and `promoted`, both with that epoch.
    /// - Throws: In this order ``FailoverError/Code-swift.struct/staleEpoch``,
    ///   ``FailoverError/Code-swift.struct/unknownRegion``, ``FailoverError/Code-swift.struct/illegalTransition`` when
    ///   `failed` is not the acting primary, ``FailoverError/Code-swift.struct/noSecondaryAvailable``, and
    ///   ``FailoverError/Code-swift.struct/invariantViolated`` when no epoch is left.
    public mutating func demoteAndPromote(
        _ failed: RegionID,
        ifEpoch: UInt64? = nil,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> Promotion {
        try checkEpoch(ifEpoch)
        let old = try find(failed)
        guard regions[old].role.isActingPrimary else {
            throw .illegalTransition(
                regions[old],
                attempted: "demoteAndPromote",
                "Only the acting primary, '\(actingPrimary)', can be demoted."
            )
        }
        guard let new = bestCandidate(pending: pending) else { throw .noSecondaryAvailable(failed: failed) }
        let next = try nextEpoch()

        advance(to: now)
        regions[old].role = .demotedPrimary
        regions[old].state = .failed
        let promoted = promote(new, epoch: next)
        let summary = pending[promoted] ?? .empty
        let events = [
            FailoverEvent(kind: .demoted(epoch: next), at: time, region: failed),
            FailoverEvent(
                kind: .promoted(replaced: failed, epoch: next, pending: summary),
                at: time,
                region: promoted
            ),
        ]
        assertInvariants()
        return Promotion(failed: failed, promoted: promoted, epoch: next, events: events)
    }

    /// Hands the lead from the live acting primary to a live secondary that has received everything.
    ///
    /// The old primary becomes a secondary, healthy, with no need to be readmitted; the target is healthy and counts as
    /// seen now.
    ///
    /// - Parameters:
    ///   - target: A healthy or recovering secondary that is in a tier and whose queue is empty.
    ///   - ifEpoch: The epoch that the caller acts on; nil asks for no fencing.
    ///   - pending: What is outstanding for each region.
    ///   - now: The time of the change.
    /// - Returns: The old primary as `failed`, the target as `promoted`, the epoch that begins, and one `switchedOver`.
    /// - Throws: In this order ``FailoverError/Code-swift.struct/staleEpoch``,
    ///   ``FailoverError/Code-swift.struct/unknownRegion``, ``FailoverError/Code-swift.struct/illegalTransition`` when
    ///   the target may not lead or either region is suspect or failed,
    ///   ``FailoverError/Code-swift.struct/replayPending``, ``FailoverError/Code-swift.struct/needsResync``, and
    ///   ``FailoverError/Code-swift.struct/invariantViolated`` when no epoch is left.
    public mutating func switchover(
        to target: RegionID,
        ifEpoch: UInt64? = nil,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> Promotion {
        try checkEpoch(ifEpoch)
        let new = try find(target)
        let old = actingPrimaryIndex
        try checkSwitchover(from: regions[old], to: regions[new])
        let summary = pending[target] ?? .empty
        guard summary.entries == 0 else {
            throw .replayPending(target, count: summary.entries, "Let its replay finish, then switch over.")
        }
        guard !summary.needsResync else { throw .needsResync(target, ", and switch over.") }
        let next = try nextEpoch()

        advance(to: now)
        regions[old].role = .secondary
        regions[old].state = .healthy
        _ = promote(new, epoch: next)
        let replaced = regions[old].region
        let event = FailoverEvent(
            kind: .switchedOver(replaced: replaced, epoch: next, pending: summary),
            at: time,
            region: target
        )
        assertInvariants()
        return Promotion(failed: replaced, promoted: target, epoch: next, events: [event])
    }
}

extension FailoverMachine {
    private func checkSwitchover(from old: RegionStatus, to new: RegionStatus) throws(FailoverError) {
        func refusal(_ status: RegionStatus, _ advice: String) -> FailoverError {
            .illegalTransition(status, attempted: "switchover", advice)
        }
        guard new.role == .secondary else {
            throw refusal(new, "Only a secondary can take over; a demoted primary must be readmitted first.")
        }
        guard new.state.isLive else {
            throw refusal(new, "Wait for its heartbeat, or choose another region.")
        }
        guard configuration.mayBePromoted(new.region) else {
            throw refusal(new, "It is in no tier; add it to one with configure before it can take over.")
        }
        guard old.state.isLive else {
            throw refusal(old, "A switchover needs a live acting primary; use demoteAndPromote for one that is gone.")
        }
    }

    /// The place of the region to promote: tiers first, then health, then completeness, then declared order.
    private func bestCandidate(pending: [RegionID: QueueSummary]) -> Int? {
        let tiers = configuration.tiers.isEmpty ? [configuration.regions] : configuration.tiers
        for tier in tiers {
            var best: (index: Int, rank: Int)?
            for region in tier {
                guard let index = index(of: region) else { continue }
                guard let rank = rank(of: regions[index], pending[region]) else { continue }
                if let known = best, known.rank <= rank { continue }
                best = (index, rank)
            }
            if let best { return best.index }
        }
        return nil
    }

    /// How good a choice a region is, 0 the best; nil when it must not be promoted.
    private func rank(of status: RegionStatus, _ queue: QueueSummary?) -> Int? {
        guard status.role == .secondary, status.state.isLive else { return nil }
        return (status.state == .healthy ? 0 : 2) + (queue?.needsResync == true ? 1 : 0)
    }

    private func nextEpoch() throws(FailoverError) -> UInt64 {
        let (next, overflow) = epoch.addingReportingOverflow(1)
        guard !overflow else { throw .invariantViolated("the epoch is \(epoch), after which there is none") }
        return next
    }

    /// Makes a region the acting primary of a new epoch.
    private mutating func promote(_ index: Int, epoch next: UInt64) -> RegionID {
        regions[index].role = .promotedSecondary
        regions[index].state = .healthy
        regions[index].lastSeen = time
        epoch = next
        return regions[index].region
    }
}

extension FailoverConfiguration {
    fileprivate func mayBePromoted(_ region: RegionID) -> Bool {
        tiers.isEmpty || tiers.contains { $0.contains(region) }
    }
}
