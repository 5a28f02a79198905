extension FailoverMachine {
    /// Takes a region that has caught up back as a healthy secondary.
    ///
    /// A healthy secondary is one already: it counts as seen now and there is no event. `force` overrides a region's
    /// health, its outstanding writes and its need of a resync, but never the role of the acting primary; what is
    /// outstanding stays outstanding, and a need of a resync stays until it is cleared.
    ///
    /// - Parameters:
    ///   - region: The region to take back.
    ///   - maximumPending: How many outstanding writes are acceptable; a live queue hardly ever is empty.
    ///   - force: Whether to take it back all the same.
    ///   - ifEpoch: The epoch that the caller acts on; nil asks for no fencing.
    ///   - pending: What is outstanding for each region.
    ///   - now: The time of the change.
    /// - Returns: `readmitted`, with `forced` when only `force` made it possible.
    /// - Throws: In this order ``FailoverError/Code-swift.struct/staleEpoch``,
    ///   ``FailoverError/Code-swift.struct/unknownRegion``, ``FailoverError/Code-swift.struct/illegalTransition`` for the
    ///   acting primary and for a suspect or failed region, ``FailoverError/Code-swift.struct/replayPending`` and
    ///   ``FailoverError/Code-swift.struct/needsResync``.
    public mutating func readmit(
        _ region: RegionID,
        maximumPending: UInt64 = 0,
        force: Bool = false,
        ifEpoch: UInt64? = nil,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        try checkEpoch(ifEpoch)
        let index = try find(region)
        let status = regions[index]
        guard !status.role.isActingPrimary else {
            throw .illegalTransition(
                status,
                attempted: "readmit",
                "It leads the deployment; promote another region before this one can become a secondary."
            )
        }
        let isMember = status.role == .secondary && status.state == .healthy
        let obstacle = isMember ? nil : obstacle(to: status, pending[region] ?? .empty, maximumPending: maximumPending)
        if let obstacle, !force { throw obstacle }

        advance(to: now)
        regions[index] = RegionStatus(region: region, role: .secondary, state: .healthy, lastSeen: time)
        assertInvariants()
        guard !isMember else { return [] }
        return [FailoverEvent(kind: .readmitted(forced: obstacle != nil), at: time, region: region)]
    }

    /// What forbids a region to be readmitted without force.
    private func obstacle(to status: RegionStatus, _ queue: QueueSummary, maximumPending: UInt64) -> FailoverError? {
        guard status.state.isLive else {
            return .illegalTransition(
                status,
                attempted: "readmit",
                "Wait for its heartbeat, or force if you know that it is alive."
            )
        }
        guard queue.entries <= maximumPending else {
            return .replayPending(
                status.region,
                count: queue.entries,
                "Let its replay finish, accept up to \(queue.entries) with maximumPending, or force."
            )
        }
        guard !queue.needsResync else { return .needsResync(status.region, ", or force.") }
        return nil
    }

    /// Changes the configuration: regions that are new come in, regions that are missing go.
    ///
    /// A region that comes in is a healthy secondary, seen now. The others keep their role, state and last-seen, whatever
    /// `local` says. The caller must bring queues in line with the event: what a removed region had outstanding is lost.
    ///
    /// - Parameters:
    ///   - new: The whole new configuration.
    ///   - force: Whether to remove regions that have outstanding or parked writes.
    ///   - ifEpoch: The epoch that the caller acts on; nil asks for no fencing.
    ///   - pending: What is outstanding for each region.
    ///   - now: The time of the change.
    /// - Returns: `configured`, with the regions in byte order; nothing when `new` is what holds already.
    /// - Throws: In this order ``FailoverError/Code-swift.struct/staleEpoch``,
    ///   ``FailoverError/Code-swift.struct/invalidConfiguration``,
    ///   ``FailoverError/Code-swift.struct/illegalTransition`` when the acting primary would go, and
    ///   ``FailoverError/Code-swift.struct/replayPending`` for the first region, in byte order, that would go with
    ///   outstanding or parked writes.
    public mutating func configure(
        _ new: FailoverConfiguration,
        force: Bool = false,
        ifEpoch: UInt64? = nil,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        try checkEpoch(ifEpoch)
        try new.validate()
        let wanted = Set(new.regions)
        let kept = regions.filter { wanted.contains($0.region) }
        let removed = regions.filter { !wanted.contains($0.region) }
        try checkRemoval(of: removed, force: force, pending: pending)

        advance(to: now)
        guard new != configuration else { return [] }
        let added = new.regions.filter { index(of: $0) == nil }.sorted()
        let fresh = added.map { RegionStatus(region: $0, role: .secondary, state: .healthy, lastSeen: time) }
        regions = (kept + fresh).sorted { $0.region < $1.region }
        configuration = new
        assertInvariants()
        return [FailoverEvent(kind: .configured(added: added, removed: removed.map(\.region)), at: time)]
    }

    private func checkRemoval(
        of removed: [RegionStatus],
        force: Bool,
        pending: [RegionID: QueueSummary]
    ) throws(FailoverError) {
        for status in removed where status.role.isActingPrimary {
            throw .illegalTransition(
                status,
                attempted: "configure",
                "It leads the deployment and cannot be removed; promote another region first."
            )
        }
        guard !force else { return }
        for status in removed {
            let queue = pending[status.region] ?? .empty
            let (sum, overflow) = queue.entries.addingReportingOverflow(queue.dead)
            let count = overflow ? UInt64.max : sum
            guard count == 0 else {
                throw .replayPending(
                    status.region,
                    count: count,
                    "Let its replay finish and settle its dead letters, or force, which loses them."
                )
            }
        }
    }
}
