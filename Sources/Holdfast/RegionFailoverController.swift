private import Platform
public import RegionFailover
public import ReplayFormat
public import ReplayStore

/// Decides which region leads, and keeps every write that the other regions have not received yet.
///
/// Its state and its queues live in one directory. Every call that changes something is one durable transaction: when
/// it returns, the change survives a crash of the process, of the system and a loss of power; when it throws, nothing
/// has changed, unless the error says that the outcome is unknown. Calls of the same moment share a transaction.
///
/// One controller decides for a deployment. Two that do not share a replicated log are two deployments, each with a
/// primary of its own: see the article "Failover".
public final class RegionFailoverController: Sendable {
    let store: ReplayStore
    let machine: ControllerState
    private let line = AppendLine()
    private let lastTickFailure = Lock<HoldfastError?>(nil)

    private init(_ store: ReplayStore, _ machine: ControllerState) {
        self.store = store
        self.machine = machine
    }

    /// What the last tick failed with; nil when it did not fail.
    var tickFailure: HoldfastError? {
        get { lastTickFailure.withLock { $0 } }
        set { lastTickFailure.withLock { $0 = newValue } }
    }

    // MARK: Opening and closing

    /// Makes a store at `path` for a fresh deployment, and opens it.
    ///
    /// The local region is primary, the others are secondary, all are healthy, and the epoch is 1. On return all this is
    /// durable. When it throws, there is no store at `path`; what it left of one is taken over by the next attempt.
    ///
    /// - Parameters:
    ///   - path: A directory that is empty or not there; its parent must be there. It is made with mode 0700.
    ///   - configuration: The regions and how failover treats them.
    ///   - limits: How much each region's queue may hold.
    ///   - options: How the store is opened.
    ///   - time: Where the controller's time comes from.
    /// - Returns: The controller, open.
    /// - Throws: ``HoldfastError``, with `invalidConfiguration`, `alreadyExists`, `inUse`, `alreadyOpen`,
    ///   `networkFileSystem`, `notPermitted`, `full` or `ioFailed`.
    public static func create(
        at path: String,
        configuration: FailoverConfiguration,
        limits: QueueLimits = .unlimited,
        options: StoreOptions = .standard,
        time: any TimeSource = SystemTime()
    ) async throws(HoldfastError) -> RegionFailoverController {
        let clock = ControllerClock(time, stored: nil)
        let machine: FailoverMachine
        do throws(FailoverError) {
            machine = try FailoverMachine(configuration: configuration, now: clock.now)
        } catch {
            throw HoldfastError(error)
        }
        try QueueLimits.checkShares(
            [RegionID: QueueLimits](uniqueKeysWithValues: configuration.regions.map { ($0, limits) })
        )
        let (store, state) = try await ReplayStore.open(path, .new(.random(), created: clock.now), options: options) {
            (transaction) throws(HoldfastError) in
            for region in configuration.regions { try transaction.addRegion(region, limits: limits) }
            transaction.core.historyCapacity = configuration.historyCapacity
            try MachineRows.store(machine.snapshot, over: nil, &transaction)
            let state = ControllerState(machine, stored: machine.snapshot, clock: clock)
            return (state, state.hooks)
        }
        return RegionFailoverController(store, state)
    }

    /// Opens the store at `path`.
    ///
    /// Everything is as the last durable change left it. The time between then and now does not count as silence of the
    /// regions; the silence before does.
    ///
    /// - Parameters:
    ///   - path: The store's directory.
    ///   - options: How the store is opened.
    ///   - time: Where the controller's time comes from.
    /// - Returns: The controller, open.
    /// - Throws: ``HoldfastError``, with `notFound`, `inUse`, `alreadyOpen`, `damaged`, `formatTooNew`, `incomplete`,
    ///   `replicatedStore`, `networkFileSystem`, `notPermitted` or `ioFailed`.
    /// - Complexity: It reads a few rows for each region, the pages with the identities and the dead letters, and 16 bytes of
    ///   each page with blocks: for 300,000 blocks of one entry about 60 MiB of pages, in some milliseconds.
    public static func open(
        at path: String,
        options: StoreOptions = .standard,
        time: any TimeSource = SystemTime()
    ) async throws(HoldfastError) -> RegionFailoverController {
        let (store, state) = try await ReplayStore.open(path, .existing, options: options) {
            (transaction) throws(HoldfastError) in
            let stored = try MachineRows.load(transaction.regions, rows: try transaction.machineRows())
            let clock = ControllerClock(time, stored: stored.time)
            var machine: FailoverMachine
            do throws(FailoverError) {
                machine = try FailoverMachine(restoring: stored)
            } catch {
                var damaged = HoldfastError(error)
                damaged.code = .damaged
                throw damaged
            }
            machine.resume(now: clock.now)
            transaction.core.historyCapacity = stored.configuration.historyCapacity
            let state = ControllerState(machine, stored: stored, clock: clock)
            return (state, state.hooks)
        }
        return RegionFailoverController(store, state)
    }

    /// Ends all work, and gives the directory free.
    ///
    /// Calls that are waiting are finished and durable first; later ones throw `closed`. The silence of the regions so
    /// far is stored. Calling it again does nothing.
    public func close() async {
        // Nothing depends on it: without it the silence since the last commit is forgotten.
        try? await store.transact { (transaction) throws(HoldfastError) in transaction.touch() }
        await store.close()
    }

    // MARK: Reading

    /// The store's identity, which a copy made by load or restore does not share.
    public var storeID: StoreID { store.storeID }

    /// The configuration in use.
    public var configuration: FailoverConfiguration { machine.committed.configuration }

    /// The fencing number: it grows by one with every change of the acting primary.
    public var epoch: UInt64 { machine.committed.epoch }

    /// The region that accepts writes.
    public var actingPrimary: RegionID { machine.committed.actingPrimary }

    /// Every region's role, state and when it was last heard from, in the order of the names' bytes.
    public var statuses: [RegionStatus] { machine.committed.statuses }

    /// The controller's time.
    public var now: Timestamp { machine.clock.now }

    /// A region's role.
    ///
    /// - Throws: ``HoldfastError`` with `unknownRegion`.
    public func role(of region: RegionID) throws(HoldfastError) -> RegionRole { try status(of: region).role }

    /// A region's state.
    ///
    /// - Throws: ``HoldfastError`` with `unknownRegion`.
    public func state(of region: RegionID) throws(HoldfastError) -> RegionState { try status(of: region).state }

    private func status(of region: RegionID) throws(HoldfastError) -> RegionStatus {
        do throws(FailoverError) {
            return try machine.committed.status(of: region)
        } catch {
            throw HoldfastError(error)
        }
    }

    /// How many writes a region has not received.
    ///
    /// - Throws: ``HoldfastError`` with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    public func pendingCount(for region: RegionID) async throws(HoldfastError) -> UInt64 {
        try await pending(for: region).entries
    }

    /// What a region has not received: entries, bytes, and the age of the oldest.
    ///
    /// - Throws: ``HoldfastError`` with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    public func pending(for region: RegionID) async throws(HoldfastError) -> QueueSummary {
        let now = machine.clock.now
        return try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            return QueueSummary(row, now: now)
        }
    }

    /// The numbers of every queue, in the order of the regions' bytes.
    public func statistics() async throws(HoldfastError) -> [QueueStatistics] { try await store.statistics() }

    /// The last events, oldest first; as many as the configuration keeps.
    public func history() async throws(HoldfastError) -> [FailoverEvent] {
        try await store.read { (view) throws(HoldfastError) in try view.history().map(\.event) }
    }

    // MARK: Writes that a region has not received

    /// Queues writes for a region, behind those that are there.
    ///
    /// On return they survive a crash of the process, of the system and a loss of power. A write whose identity the
    /// queue has had is not queued again, whether it was acknowledged meanwhile or not; so a caller who does not know
    /// what became of a call makes it again. When it throws, none of the writes is queued; only after `poisoned` and
    /// `ioFailed` is that unknown until the store has been opened again.
    ///
    /// - Parameters:
    ///   - writes: At most ``StoreLimits/callEntriesMax`` writes of ``StoreLimits/callBytesMax`` bytes in all.
    ///   - region: The region that has not received them.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    ///   - waitMilliseconds: How long to wait for room where there is none; 0 to be refused at once. Callers that wait for
    ///     the same queue are served in order; who does not wait takes what room there is. A call that needs no room, as its
    ///     writes are all duplicates, is answered at once, and so is one that is larger than the limit itself:
    ///     ``HoldfastError/neverFits``.
    /// - Returns: What came of it.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `staleEpoch`, `full`, `tooLarge`, `identityConflict`,
    ///   `identityBelowFloor`, `cancelled`, `closed`, `poisoned`, `forkedChild` or `ioFailed`.
    /// - Complexity: A page write for each 4 KiB of compressed entries and a few more; two syncs, shared with every
    ///   caller of the same moment.
    @discardableResult
    public func append(
        _ writes: [OutstandingWrite],
        to region: RegionID,
        ifEpoch: UInt64? = nil,
        waitMilliseconds: Int64 = 0
    ) async throws(HoldfastError) -> AppendReceipt {
        try await append(writes, to: [region], ifEpoch: ifEpoch, waitMilliseconds: waitMilliseconds)[0]
    }

    /// Queues writes for several regions, for all of them or for none.
    ///
    /// As for one region, in one transaction; the entries are compressed once.
    ///
    /// - Parameters:
    ///   - writes: The writes, as for one region; their bytes count once for each region.
    ///   - regions: The regions that have not received the writes; each is named once.
    ///   - ifEpoch: The epoch that the caller acts on; another one is refused.
    ///   - waitMilliseconds: How long to wait for room, as for one region.
    /// - Returns: A receipt for each region, in the order given.
    /// - Throws: ``HoldfastError``, as for one region.
    @discardableResult
    public func append(
        _ writes: [OutstandingWrite],
        to regions: [RegionID],
        ifEpoch: UInt64? = nil,
        waitMilliseconds: Int64 = 0
    ) async throws(HoldfastError) -> [AppendReceipt] {
        guard !regions.isEmpty, Set(regions).count == regions.count else {
            var error = HoldfastError(
                code: .invalidConfiguration,
                message: "An append names each of its regions once, and at least one. Nothing was queued."
            )
            error.field = "regions"
            throw error
        }
        let (store, clock) = (store, machine.clock)
        guard waitMilliseconds > 0 else {
            return try await store.append(writes, to: regions, ifEpoch: ifEpoch, at: clock.now)
        }
        let append = { @Sendable (earlier: HoldfastError?) async throws(HoldfastError) -> [AppendReceipt] in
            try await store.append(writes, to: regions, ifEpoch: ifEpoch, at: clock.now, waits: true, behind: earlier)
        }
        let refusal: HoldfastError
        do throws(HoldfastError) {
            // Behind others who wait it is answered only if it needs no room.
            return try await append(line.refusal(of: regions))
        } catch {
            guard error.isWantOfRoom else { throw error }
            refusal = error
        }
        do throws(HoldfastError) {
            return try await line.retry(
                after: refusal,
                of: regions,
                within: waitMilliseconds,
                clock.source,
                store.signal
            ) {
                () async throws(HoldfastError) in try await append(nil)
            }
        } catch {
            if error.isWantOfRoom { store.countRefusedCall() }
            throw error
        }
    }

    /// The entries of a region's queue, in batches, from the first that is not acknowledged.
    ///
    /// - Parameters:
    ///   - region: The region that receives them.
    ///   - entriesMax: The most entries in a batch, at least 1.
    ///   - bytesMax: The most bytes of keys, values and clocks in a batch; a larger entry is a batch of its own.
    /// - Returns: The batches, to be iterated once.
    public func batches(for region: RegionID, entriesMax: Int = 256, bytesMax: Int = 1 << 20) -> ReplayBatches {
        let clock = machine.clock
        return store.batches(for: region, entriesMax: entriesMax, bytesMax: bytesMax) { clock.now }
    }

    /// Says that a region has received everything up to a position.
    ///
    /// On return it is durable. A position below the cursor changes nothing. Use ``ReplayBatch/acknowledge()`` for
    /// entries that came as a batch.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `staleEpoch`, `positionOutOfRange`, `replayerActive`,
    ///   `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func acknowledge(
        _ region: RegionID,
        through position: UInt64,
        ifEpoch: UInt64? = nil
    ) async throws(HoldfastError) -> AcknowledgeReceipt {
        try store.checkReplayer(region)
        let machine = machine
        return try await store.transact { (transaction) throws(HoldfastError) in
            try machine.checkEpoch(ifEpoch)
            return try transaction.acknowledge(region, through: position, now: machine.clock.now)
        }
    }

    /// Takes entries out of a queue and gives them to the caller, in one durable step: at most once.
    ///
    /// A crash after it loses what the caller had not delivered. Use ``batches(for:entriesMax:bytesMax:)`` unless that is
    /// what you want.
    ///
    /// - Parameters:
    ///   - region: The region whose queue it is.
    ///   - max: The most entries to take.
    /// - Returns: What was taken, and what is left.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `replayerActive`, `damaged`, `closed`, `poisoned` or `ioFailed`.
    public func drain(_ region: RegionID, max: Int = .max) async throws(HoldfastError) -> DrainReceipt {
        let clock = machine.clock
        // The region is held meanwhile, so that no batch shows what this call takes.
        return try await store.holding(region) { (transaction) throws(HoldfastError) in
            try transaction.drain(region, max: max, now: clock.now)
        }
    }
}

extension QueueSummary {
    init(_ row: RegionRow, now: Timestamp) {
        self.init(
            entries: row.entries,
            bytes: row.rawBytes,
            oldestMilliseconds: row.entries > 0 ? max(0, now.milliseconds(since: row.oldestEnqueuedAt)) : 0,
            dead: row.counters.dead,
            needsResync: row.needsResync,
            isPaused: row.isPaused
        )
    }
}
