internal import Platform
public import RegionFailover
public import ReplayFormat
public import ReplayStore

/// The failover controller of a deployment that several replicas keep: the same calls as ``RegionFailoverController``, through a
/// replicated log.
///
/// When a call returns, most members have it durably, and this replica has applied it. When it throws a refusal, nothing has
/// changed; after `outcomeUnknown` it may have been executed, or may be yet. A call that is made again by this type is a new
/// command: appends are safe to repeat, since each write carries its identity.
public final class ReplicatedController: Sendable {
    /// The replica that proposes, and is read.
    public let replica: Replica
    let session: ReplicaSession
    /// The zstd level for the frames of appends, 1 to 9, or 0 for raw ones.
    private let compressionLevel: Int

    /// Creates a controller over a replica, whose ``Replica/run()`` must be running for a call to end.
    ///
    /// - Parameters:
    ///   - replica: The replica.
    ///   - compressionLevel: The zstd level for appends, 1 to 9, or 0 to send them raw. The replicas store the frames as they
    ///     come.
    public init(_ replica: Replica, compressionLevel: Int = 1) {
        self.replica = replica
        self.compressionLevel = min(max(compressionLevel, 0), 9)
        session = ReplicaSession(replica)
    }

    // MARK: The deployment

    /// Makes the deployment, or changes it; see `RegionFailoverController`'s `configure`.
    ///
    /// The first call makes it, with `configuration.local` as its primary and epoch 1. "Local" is no replica's own: it is the
    /// region that leads at the beginning.
    ///
    /// - Parameters:
    ///   - configuration: The whole configuration, not the difference.
    ///   - limits: How much each queue may hold; nil leaves those of the present ones. They count raw bytes.
    ///   - force: Whether a region may go that has not received everything.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: The event, or none where nothing changed.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func configure(
        _ configuration: FailoverConfiguration,
        limits: QueueLimits? = nil,
        force: Bool = false,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await events(.configure(configuration, limits: limits, force: force, ifEpoch: ifEpoch))
    }

    /// Takes note that a region was heard from.
    ///
    /// A beat that changes the region's state is proposed, and has happened when this returns. One that changes none is
    /// gathered: this member tells the log how long it has been silent, four times in the time after which it is suspected.
    ///
    /// - Returns: `recovering` or `healthy`, when the state changed.
    /// - Throws: ``HoldfastError``: `notConfigured`, a refusal, or what came of the proposal.
    @discardableResult
    public func heartbeat(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try replica.hear(region) ? try await events(.heartbeat(region)) : []
    }

    /// Declares the acting primary failed, and promotes the next region; see `RegionFailoverController`.
    ///
    /// - Returns: Both regions and the new epoch.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func demoteAndPromote(_ failed: RegionID, ifEpoch: UInt64? = nil) async throws(HoldfastError) -> Promotion {
        try await promotion(.demoteAndPromote(failed, ifEpoch: ifEpoch))
    }

    /// Hands the lead over to a region that has received everything; see `RegionFailoverController`.
    ///
    /// - Returns: Both regions and the new epoch.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func switchover(to region: RegionID, ifEpoch: UInt64? = nil) async throws(HoldfastError) -> Promotion {
        try await promotion(.switchover(region, ifEpoch: ifEpoch))
    }

    /// Takes a recovered region back as a healthy secondary; see `RegionFailoverController`.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func readmit(
        _ region: RegionID,
        maximumPending: UInt64 = 0,
        force: Bool = false,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await events(.readmit(region, maximumPending: maximumPending, force: force, ifEpoch: ifEpoch))
    }

    /// Pauses the replay to a region; see `RegionFailoverController`.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func pause(
        _ region: RegionID,
        reason: String = "",
        until: Timestamp? = nil
    ) async throws(HoldfastError) -> [FailoverEvent] {
        try await events(.pause(region, reason: reason, until: until))
    }

    /// Ends the pause of the replay to a region.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func resume(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try await events(.resume(region, until: nil))
    }

    /// Says that a region has been brought up to date by other means.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func clearResync(_ region: RegionID) async throws(HoldfastError) -> [FailoverEvent] {
        try await events(.clearResync(region))
    }

    /// Sets how much one region's queue may hold, in raw bytes, entries and the log's time.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    public func setLimits(_ limits: QueueLimits, for region: RegionID) async throws(HoldfastError) {
        _ = try await session.propose(.setLimits(region, limits))
    }

    /// Sets how much all queues may hold together.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    public func setTotalLimits(_ limits: TotalLimits) async throws(HoldfastError) {
        _ = try await session.propose(.setTotalLimits(limits))
    }

    /// Sets how a region's queue is replayed; every replica's service goes by it.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    public func setReplaySettings(_ settings: ReplaySettings, for region: RegionID) async throws(HoldfastError) {
        _ = try await session.propose(.setReplaySettings(region, settings))
    }

    /// Lets every replica store its digest at one entry, and returns the index.
    ///
    /// - Throws: ``HoldfastError``: what came of the proposal.
    @discardableResult
    public func checkDigest() async throws(HoldfastError) -> UInt64 { try await session.checkDigest() }

    // MARK: Writes that a region has not received

    /// Queues writes for regions, for all of them or for none, behind those that are there.
    ///
    /// On return most members have the writes durably. A write whose identity a queue has had is not queued again.
    ///
    /// - Parameters:
    ///   - writes: At most ``StoreLimits/callEntriesMax`` writes of ``StoreLimits/callBytesMax`` bytes in all. A call of more than
    ///     a megabyte, as compressed, travels in parts, and is applied whole.
    ///   - regions: The regions that have not received them; each is named once.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    /// - Returns: A receipt for each region, in the order given.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func append(
        _ writes: [OutstandingWrite],
        to regions: [RegionID],
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> [AppendReceipt] {
        let (command, _) = try Self.append(writes, to: regions, ifEpoch, replica.clock.now.time, compressionLevel)
        guard case .appended(let receipts) = try await session.propose(command).outcome else { throw Self.wrong() }
        return receipts
    }

    /// Queues writes for a region; see ``append(_:to:ifEpoch:)-([OutstandingWrite],[RegionID],_)``.
    @discardableResult
    public func append(
        _ writes: [OutstandingWrite],
        to region: RegionID,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> AppendReceipt {
        let receipts = try await append(writes, to: [region], ifEpoch: ifEpoch)
        guard let receipt = receipts.first else { throw Self.wrong() }
        return receipt
    }

    /// The command of an append, with frames that are checked and compressed here.
    package static func append(
        _ writes: [OutstandingWrite],
        to regions: [RegionID],
        _ ifEpoch: UInt64?,
        _ now: Timestamp,
        _ level: Int
    ) throws(HoldfastError) -> (command: FailoverCommand, bytes: Int) {
        try AppendCall.check(writes, to: regions)
        let frames = LogFrame.build(writes, enqueuedAt: now, level: level)
        return (.append(regions, frames, ifEpoch: ifEpoch), frames.reduce(0) { $0 + $1.bytes.count })
    }

    /// Says that a region has received everything up to a position.
    ///
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    @discardableResult
    public func acknowledge(
        _ region: RegionID,
        through position: UInt64,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> AcknowledgeReceipt {
        let command = FailoverCommand.acknowledge(region, through: position, batch: nil, ifEpoch: ifEpoch)
        guard case .acknowledged(let receipt) = try await session.propose(command).outcome else { throw Self.wrong() }
        return receipt
    }

    /// Takes entries out of a queue and gives them to the caller, in one step: at most once.
    ///
    /// - Parameters:
    ///   - region: The region whose queue it is.
    ///   - max: The most entries to take; also no more than 768 KiB of them, unless the first alone is larger.
    /// - Returns: What was taken, and what is left.
    /// - Throws: ``HoldfastError``: a refusal, or what came of the proposal.
    public func drain(_ region: RegionID, max: Int = .max) async throws(HoldfastError) -> DrainReceipt {
        let command = FailoverCommand.drain(region, max: UInt32(clamping: max))
        guard case .drained(let receipt) = try await session.propose(command).outcome else { throw Self.wrong() }
        return receipt
    }

    // MARK: Reading

    /// The failover machine: roles, states, epoch.
    ///
    /// - Throws: ``HoldfastError`` with `notConfigured`, or why the read cannot be that fresh.
    public func machine(_ consistency: ReadConsistency = .linearizable) async throws(HoldfastError) -> FailoverMachine {
        try await replica.wait(for: consistency)
        guard let machine = replica.machine.machine else {
            throw HoldfastError(code: .notConfigured, message: "The log has no deployment yet. Configure it first.")
        }
        return machine
    }

    /// The numbers of every queue, in the order of the regions' bytes.
    ///
    /// - Throws: ``HoldfastError``: why the read cannot be that fresh, `closed`, `damaged` or `ioFailed`.
    public func statistics(
        _ consistency: ReadConsistency = .linearizable
    ) async throws(HoldfastError) -> [QueueStatistics] {
        try await replica.wait(for: consistency)
        return try await replica.machine.statistics()
    }

    /// Entries from the head of a region's queue, in order, as this replica has them.
    ///
    /// - Parameters:
    ///   - region: The region.
    ///   - entriesMax: The most entries.
    ///   - bytesMax: The most bytes of keys, values and clocks; a larger entry comes alone.
    ///   - consistency: How fresh the read is.
    /// - Returns: The entries; none when the queue is empty.
    /// - Throws: ``HoldfastError``: why the read cannot be that fresh, `unknownRegion`, `needsSnapshot`, `closed` or `ioFailed`.
    public func head(
        of region: RegionID,
        entriesMax: Int = 256,
        bytesMax: Int = 1 << 20,
        _ consistency: ReadConsistency = .local
    ) async throws(HoldfastError) -> [QueueEntry] {
        try await replica.wait(for: consistency)
        let clock = replica.clock
        return try await replica.machine.store.readHead(
            region,
            entriesMax: max(1, entriesMax),
            bytesMax: bytesMax,
            now: { clock.now.time }
        ).entries
    }

    // MARK: Outcomes

    private func events(_ command: FailoverCommand) async throws(HoldfastError) -> [FailoverEvent] {
        guard case .events(let events) = try await session.propose(command).outcome else { throw Self.wrong() }
        return events
    }

    private func promotion(_ command: FailoverCommand) async throws(HoldfastError) -> Promotion {
        guard case .promotion(let promotion) = try await session.propose(command).outcome else { throw Self.wrong() }
        return promotion
    }

    static func wrong() -> HoldfastError {
        HoldfastError(code: .damaged, message: "The outcome of a command is that of another kind of command.")
    }
}
