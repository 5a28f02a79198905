public import RegionFailover
public import ReplayFormat
public import ReplayStore

extension RegionFailoverController {
    /// Says that a region was heard from now.
    ///
    /// The first heartbeat makes a suspect or failed region recovering, the next one a recovering one healthy, except a
    /// demoted primary, which stays recovering until it is readmitted. Only such a change costs a transaction; any other
    /// heartbeat is kept in memory, and stored with the next commit.
    ///
    /// - Returns: The event of the change, or none.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func heartbeat(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try store.checkUsable()
        let isNoted: Bool
        do throws(FailoverError) {
            isNoted = try machine.noteHeartbeat(region)
        } catch {
            throw HoldfastError(error)
        }
        if isNoted { return [] }
        return try await command { (machine, _, now) throws(FailoverError) in
            try machine.heartbeat(region, now: now)
        }
    }

    /// Looks for regions that have been silent too long.
    ///
    /// It also drops what is older than its queue's limit on age, where the policy is to drop, and reports the gauges.
    /// ``health()`` tells what the last one failed with.
    ///
    /// Call it a few times within `suspectAfterMilliseconds`, or use ``run()``. With `automaticFailover` a suspect acting
    /// primary is demoted in the same transaction, if another region can take over.
    ///
    /// - Returns: The events of the regions that have just become suspect or failed, and of the promotion.
    /// - Throws: ``HoldfastError``, with `closed`, `poisoned` or `ioFailed`.
    /// - Complexity: No transaction when nothing changes, except that the silence so far is stored each quarter of
    ///   `suspectAfterMilliseconds`.
    @discardableResult
    public func tick() async throws(HoldfastError) -> [FailoverEvent] {
        do throws(HoldfastError) {
            let events = try await tickOnce()
            tickFailure = nil
            return events
        } catch {
            tickFailure = error
            throw error
        }
    }

    private func tickOnce() async throws(HoldfastError) -> [FailoverEvent] {
        try store.checkUsable()
        let expired = try await lookAtQueues()
        let interval = configuration.suspectAfterMilliseconds / 4
        let isDue = machine.millisecondsSinceStored(now: machine.clock.now) >= max(1, interval)
        if !isDue, machine.noteTick() { return expired }
        return try await expired
            + command(stores: isDue) { (machine, pending, now) throws(FailoverError) in
                var events = machine.tick(now: now)
                let primary = try machine.status(of: machine.actingPrimary)
                if machine.configuration.automaticFailover, primary.state == .suspect {
                    do throws(FailoverError) {
                        let failed = machine.actingPrimary
                        events += try machine.demoteAndPromote(failed, ifEpoch: nil, pending: pending, now: now).events
                    } catch {
                        // Nobody can take over: the suspicion stands, and the next tick tries again.
                        guard error.code == .noSecondaryAvailable else { throw error }
                    }
                }
                return events
            }
    }

    /// Reports the queues, and drops what is too old.
    private func lookAtQueues() async throws(HoldfastError) -> [FailoverEvent] {
        let now = now
        var isDropping = false
        let queues = try await statistics()
        QueueGauges.report(total: try await totalLimits().use(of: queues))
        for queue in queues {
            QueueGauges.report(queue, now: now)
            guard queue.limits.overflow == .dropOldest, let most = queue.limits.ageMaxMilliseconds else { continue }
            isDropping = isDropping || queue.entries > 0 && queue.oldestMilliseconds(at: now) > Int64(clamping: most)
        }
        return isDropping ? try await expire() : []
    }

    /// Declares the acting primary failed, and promotes the next region.
    ///
    /// The tiers are tried in their order; inside a tier a healthy region comes before a recovering one, then one that
    /// needs no resynchronisation. Outstanding writes do not prevent a promotion: the event tells how many there are.
    ///
    /// - Parameters:
    ///   - failed: The acting primary, whatever its health.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: Both regions and the new epoch: hand it to whatever must refuse the old primary.
    /// - Throws: ``HoldfastError``, with `staleEpoch`, `unknownRegion`, `illegalTransition`, `noSecondaryAvailable`,
    ///   `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func demoteAndPromote(_ failed: RegionID, ifEpoch: UInt64? = nil) async throws(HoldfastError) -> Promotion {
        try await command { (machine, pending, now) throws(FailoverError) in
            try machine.demoteAndPromote(failed, ifEpoch: ifEpoch, pending: pending, now: now)
        }
    }

    /// Hands the lead over to a region that has received everything.
    ///
    /// - Parameters:
    ///   - region: A live secondary whose queue is empty.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: Both regions, the new epoch and the events.
    /// - Throws: ``HoldfastError``, with `staleEpoch`, `unknownRegion`, `illegalTransition`, `replayPending`,
    ///   `needsResync`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func switchover(to region: RegionID, ifEpoch: UInt64? = nil) async throws(HoldfastError) -> Promotion {
        try await command { (machine, pending, now) throws(FailoverError) in
            try machine.switchover(to: region, ifEpoch: ifEpoch, pending: pending, now: now)
        }
    }

    /// Takes a recovered region back as a healthy secondary.
    ///
    /// - Parameters:
    ///   - region: A recovering region; for a healthy secondary nothing changes.
    ///   - maximumPending: How many writes it may still have to receive.
    ///   - force: Whether to readmit it whatever its state and what it misses. Never the acting primary.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: The event, or none where nothing changed.
    /// - Throws: ``HoldfastError``, with `staleEpoch`, `unknownRegion`, `illegalTransition`, `replayPending`,
    ///   `needsResync`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func readmit(
        _ region: RegionID,
        maximumPending: UInt64 = 0,
        force: Bool = false,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await command { (machine, pending, now) throws(FailoverError) in
            try machine.readmit(
                region,
                maximumPending: maximumPending,
                force: force,
                ifEpoch: ifEpoch,
                pending: pending,
                now: now
            )
        }
    }

    /// Changes the deployment: regions come or go, and how failover treats them.
    ///
    /// A region that goes takes its queue with it. Entries that it still held, and its dead letters, are gone then, and only
    /// by force: the ledger keeps their positions and their number.
    ///
    /// - Parameters:
    ///   - new: The whole configuration, not the difference.
    ///   - limits: How much each queue may hold, for all regions; nil leaves those of the present ones, and new ones
    ///     have none. A queue that is over a new limit keeps what it has until the next append.
    ///   - force: Whether a region may go that has not received everything.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: The event, or none where nothing changed.
    /// - Throws: ``HoldfastError``, with `staleEpoch`, `invalidConfiguration`, also when the shares of all regions are more
    ///   than 100 %, `illegalTransition`, `replayPending`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func configure(
        _ new: FailoverConfiguration,
        limits: QueueLimits? = nil,
        force: Bool = false,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        let machine = machine
        let check = { @Sendable (transaction: borrowing StoreTransaction) throws(HoldfastError) in
            try machine.checkEpoch(ifEpoch)
            try transaction.checkShares(new, limits)
        }
        return try await command(if: check) { (machine, pending, now) throws(FailoverError) in
            try machine.configure(new, force: force, ifEpoch: ifEpoch, pending: pending, now: now)
        } then: { (transaction, events, now) throws(HoldfastError) in
            try transaction.reconfigure(new, limits, now: now)
        }
    }

    /// Lets the detector pause after as long as it takes to suspect a region, unless the configuration says otherwise.
    func pauseDetectorByDefault() async throws(HoldfastError) {
        guard configuration.detectorPauseAfterMilliseconds == nil else { return }
        _ = try await command { (machine, pending, now) throws(FailoverError) -> [FailoverEvent] in
            var wanted = machine.configuration
            wanted.detectorPauseAfterMilliseconds = wanted.suspectAfterMilliseconds
            return try machine.configure(wanted, pending: pending, now: now)
        }
    }

    /// Pauses the replay to a region, with a reason that survives a restart.
    ///
    /// Appends go on. ``ReplayService`` sends nothing meanwhile, beyond what is under way; batches that somebody asks for
    /// are still given.
    ///
    /// - Parameters:
    ///   - region: The region.
    ///   - reason: Why, for whoever looks; at most 1,024 bytes are kept.
    ///   - until: When the replay service ends the pause; nil for one that is ended by ``resume(_:)`` alone.
    /// - Returns: The event, or none where nothing changed.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func pause(
        _ region: RegionID,
        reason: String = "",
        until: Timestamp? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await command { (machine, pending, now) throws(FailoverError) in
            try machine.pauseReplay(region, pending: pending, now: now)
        } then: { (transaction, _, _) throws(HoldfastError) in
            try transaction.pause(region, reason: reason, until: until)
        }
    }

    /// Ends the pause of the replay to a region.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func resume(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try await resume(region) { (_) throws(HoldfastError) in }
    }

    /// Ends the pause that was to last until a time; another one that was begun since goes on.
    func endPause(_ region: RegionID, until seen: Timestamp) async throws(HoldfastError) {
        _ = try await resume(region) { (transaction) throws(HoldfastError) in
            try transaction.checkPause(region, until: seen)
        }
    }

    private func resume(
        _ region: RegionID,
        if check: @escaping @Sendable (borrowing StoreTransaction) throws(HoldfastError) -> Void
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await command(if: check) { (machine, pending, now) throws(FailoverError) in
            try machine.resumeReplay(region, pending: pending, now: now)
        } then: { (transaction, _, _) throws(HoldfastError) in
            try transaction.resume(region)
        }
    }

    /// Says that a region has been brought up to date by other means, after writes for it were dropped or damaged.
    ///
    /// Nothing else clears that mark.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func clearResync(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try await command { (machine, pending, now) throws(FailoverError) in
            try machine.clearResync(region, pending: pending, now: now)
        } then: { (transaction, _, _) throws(HoldfastError) in
            try transaction.clearResync(region)
        }
    }
}

/// What a command of the machine gives back.
protocol CommandResult: Sendable {
    var events: [FailoverEvent] { get }
}

extension [FailoverEvent]: CommandResult {
    var events: [FailoverEvent] { self }
}

extension Promotion: CommandResult {}

extension RegionFailoverController {
    /// Runs a command of the machine, its events and what they mean for the queues in one transaction.
    ///
    /// `stores`: Whether to commit even if nothing changed, so that the silence so far is stored.
    /// `check`: Looks first; what it throws is a refusal, and changes nothing.
    /// `run`: Decides; what it throws is a refusal, and changes nothing.
    /// `then`: Carries out.
    private func command<Result: CommandResult>(
        stores: Bool = false,
        if check:
            @escaping @Sendable (borrowing StoreTransaction) throws(HoldfastError) -> Void = {
                (_) throws(HoldfastError) in
            },
        _ run:
            @escaping @Sendable (
                inout FailoverMachine, [RegionID: QueueSummary], Timestamp
            ) throws(FailoverError) -> Result,
        then:
            @escaping @Sendable (
                inout StoreTransaction, [FailoverEvent], Timestamp
            ) throws(HoldfastError) -> Void = { (_, _, _) throws(HoldfastError) in }
    ) async throws(HoldfastError) -> Result {
        let machine = machine
        return try await store.transact { (transaction) throws(HoldfastError) in
            try check(transaction)
            let now = machine.clock.now
            let pending = try transaction.summaries(now: now)
            let (result, epoch) = try machine.command { (machine) throws(FailoverError) in
                (try run(&machine, pending, now), machine.epoch)
            }
            // An append of the same transaction is judged by it already.
            transaction.core.epoch = epoch
            // The machine has moved: from here on an error must abort the transaction.
            if stores || !result.events.isEmpty { transaction.touch() }
            do throws(HoldfastError) {
                try then(&transaction, result.events, now)
                try transaction.record(result.events)
            } catch {
                transaction.touch()
                throw error
            }
            return result
        }
    }
}
