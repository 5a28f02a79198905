public import RegionFailover
public import ReplayStore

extension ReplicatedController {
    /// Dead letters of a region, in the order of their positions, as this replica has them.
    ///
    /// - Parameters:
    ///   - region: The region that has not received them.
    ///   - position: Where to begin.
    ///   - limit: The most that are returned.
    ///   - consistency: How fresh the read is.
    /// - Returns: The letters; none when there are none from there on.
    /// - Throws: ``HoldfastError``: why the read cannot be that fresh, `unknownRegion`, `needsSnapshot`, `closed` or `ioFailed`.
    public func deadLetters(
        for region: RegionID,
        from position: UInt64 = 0,
        limit: Int = 1000,
        _ consistency: ReadConsistency = .linearizable
    ) async throws(HoldfastError) -> [DeadLetter] {
        try await replica.wait(for: consistency)
        return try await replica.machine.store.deadLetters(of: region, from: position, limit: limit)
    }

    /// Queues dead letters again, behind everything that waits; see `RegionFailoverController`.
    ///
    /// What is parked while it runs is not meant. They go in steps: after an error ``HoldfastError/count`` of them are queued,
    /// and the others are dead letters still, as far as is known.
    ///
    /// - Returns: How many were queued.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func retryDeadLetters(
        _ region: RegionID,
        _ selection: DeadLetterSelection = .all
    ) async throws(HoldfastError) -> UInt64 {
        try await settle(region) { .retryDead(region, selection, below: $0) }
    }

    /// Gives dead letters up: they count as dropped, and the ledger keeps their positions; see `RegionFailoverController`.
    ///
    /// - Returns: How many were given up.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func dropDeadLetters(
        _ region: RegionID,
        _ selection: DeadLetterSelection
    ) async throws(HoldfastError) -> UInt64 {
        try await settle(region) { .dropDead(region, selection, below: $0) }
    }

    private func settle(
        _ region: RegionID,
        _ command: (_ end: UInt64) -> FailoverCommand
    ) async throws(HoldfastError) -> UInt64 {
        let queues = try await statistics()
        guard let queue = queues.first(where: { $0.region == region }) else { throw .unknownRegion(region) }
        let step = command(queue.nextPosition)
        let session = session
        return try await StoreTransaction.Settled.all { () async throws(HoldfastError) in
            let outcome = try await session.propose(step).outcome
            guard case .count(let count, let isLast) = outcome else { throw Self.wrong() }
            return StoreTransaction.Settled(count: count, isLast: isLast)
        }
    }
}
