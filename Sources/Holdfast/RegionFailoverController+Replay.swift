public import RegionFailover
public import ReplayFormat
public import ReplayStore

extension RegionFailoverController {
    // MARK: How the queues are sent

    /// How a region's queue is sent.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    public func replaySettings(for region: RegionID) async throws(HoldfastError) -> ReplaySettings {
        try await store.read { (view) throws(HoldfastError) in
            guard try view.regionRow(region) != nil else { throw .unknownRegion(region) }
            return try view.replaySettings(region)
        }
    }

    /// Sets how a region's queue is sent.
    ///
    /// It survives a restart; a ``ReplayService`` that runs goes by it within a second.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `poisoned` or `ioFailed`.
    public func setReplaySettings(_ settings: ReplaySettings, for region: RegionID) async throws(HoldfastError) {
        try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.setReplaySettings(settings, of: region)
        }
    }

    // MARK: Dead letters

    /// A region's dead letters, in the order of the positions that they had.
    ///
    /// - Parameters:
    ///   - region: The region that has not received them.
    ///   - position: The first position to look at.
    ///   - limit: The most to give.
    /// - Returns: The dead letters; none where the region has none.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    public func deadLetters(
        for region: RegionID,
        from position: UInt64 = 0,
        limit: Int = 1000
    ) async throws(HoldfastError) -> [DeadLetter] {
        try await store.deadLetters(of: region, from: position, limit: limit)
    }

    /// Queues dead letters again, behind everything that waits.
    ///
    /// Each gets a new position. On return it is durable. They go in transactions of up to 16,384 letters or 64 MiB: after an
    /// error ``HoldfastError/count`` of them are queued, and the others are dead letters still. Under the policy `parkKey`
    /// a replay that runs parks what comes back of a key until all of it has; pause it to retry more of one key than that.
    ///
    /// - Parameters:
    ///   - region: The region.
    ///   - selection: Which ones.
    /// - Returns: How many were queued.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `full`, `closed`, `damaged`, `poisoned` or `ioFailed`.
    @discardableResult
    public func retryDeadLetters(
        _ region: RegionID,
        _ selection: DeadLetterSelection = .all
    ) async throws(HoldfastError) -> UInt64 {
        let (store, clock) = (store, machine.clock)
        return try await settle(region) { (end) async throws(HoldfastError) in
            try await store.retryDead(region, selection, below: end, now: clock.now)
        }
    }

    /// Gives dead letters up: they count as dropped, and the ledger keeps their positions.
    ///
    /// - Parameters:
    ///   - region: The region, which then never receives them from here.
    ///   - selection: Which ones.
    /// - Returns: How many were given up.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged`, `poisoned` or `ioFailed`.
    @discardableResult
    public func dropDeadLetters(
        _ region: RegionID,
        _ selection: DeadLetterSelection
    ) async throws(HoldfastError) -> UInt64 {
        let (store, clock) = (store, machine.clock)
        return try await settle(region) { (end) async throws(HoldfastError) in
            try await store.transact { (transaction) throws(HoldfastError) in
                try transaction.dropDead(region, selection, below: end, now: clock.now)
            }
        }
    }

    /// Runs transactions until none of the dead letters that are meant is left.
    ///
    /// `body` gets the end of the queue as it was: what is parked meanwhile is not meant.
    private func settle(
        _ region: RegionID,
        _ body: (_ end: UInt64) async throws(HoldfastError) -> StoreTransaction.Settled
    ) async throws(HoldfastError) -> UInt64 {
        let end = try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            return row.nextPosition
        }
        return try await StoreTransaction.Settled.all { () async throws(HoldfastError) in try await body(end) }
    }

    // MARK: Sync points

    /// A token for everything that is queued for a region now.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    public func syncPoint(for region: RegionID) async throws(HoldfastError) -> SyncPoint {
        let storeID = storeID
        return try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            return SyncPoint(store: storeID, region: region, queue: row.number, through: row.nextPosition - 1)
        }
    }

    /// Returns once everything that was queued before the token was taken has left the queue.
    ///
    /// - Parameters:
    ///   - point: The token.
    ///   - milliseconds: The longest wait; nil for as long as it takes.
    /// - Returns: What became of the entries that left while this waited.
    /// - Throws: ``HoldfastError``, with `staleToken` when the queue is not there any more or the token is another store's,
    ///   `replayPending` with the number of entries left when time is up, `cancelled`, `closed`, `poisoned`, `damaged` or
    ///   `ioFailed`.
    @discardableResult
    public func wait(
        for point: SyncPoint,
        atMost milliseconds: Int64? = nil
    ) async throws(HoldfastError) -> SyncOutcome {
        let deadline = milliseconds.map { milliseconds -> Int64 in
            let (end, overflow) = machine.clock.source.elapsedMilliseconds.addingReportingOverflow(max(0, milliseconds))
            return overflow ? .max : end
        }
        let begin = try await position(of: point)
        while true {
            let version = store.signal.version(of: point.region)
            let row = try await position(of: point)
            // Nothing changes any more in a store that has failed, and nobody is woken.
            try store.checkUsable()
            if row.headPosition > point.through {
                return SyncOutcome(
                    parked: row.counters.dead &+ row.counters.retried &- begin.counters.dead &- begin.counters.retried,
                    gone: row.gone &- begin.gone
                )
            }
            guard !Task.isCancelled else {
                throw HoldfastError(code: .cancelled, message: "The task was cancelled while it waited.")
            }
            let left = deadline.map { $0 - machine.clock.source.elapsedMilliseconds }
            guard left ?? 1 > 0 else {
                var error = HoldfastError(
                    code: .replayPending,
                    message:
                        "Region '\(point.region)' has still to receive \(point.through - row.headPosition + 1) of the "
                        + "entries up to position \(point.through). Nothing changed: wait again, or look at its replay.",
                    region: point.region
                )
                error.count = point.through - row.headPosition + 1
                throw error
            }
            await change(of: point.region, after: version, within: left)
        }
    }

    private func position(of point: SyncPoint) async throws(HoldfastError) -> RegionRow {
        try await store.read { (view) throws(HoldfastError) in
            let row = try view.regionRow(point.region)
            guard point.store == view.superblock.store, let row, row.number == point.queue else {
                throw HoldfastError(
                    code: .staleToken,
                    message:
                        "The sync point is from another store, or from a queue of region '\(point.region)' that was "
                        + "removed since. Take a new one.",
                    region: point.region
                )
            }
            return row
        }
    }

    /// Returns when a queue has changed, or time is up.
    private func change(of region: RegionID, after version: UInt64, within milliseconds: Int64?) async {
        let (signal, source) = (store.signal, machine.clock.source)
        guard let milliseconds else { return await signal.wait(for: region, after: version) }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await signal.wait(for: region, after: version) }
            // Cancelled once the queue has changed.
            group.addTask { try? await source.sleep(milliseconds: milliseconds) }
            await group.next()
            group.cancelAll()
        }
    }
}

/// A token for everything that was queued for a region at one moment.
///
/// Its text can be kept and handed on: whoever has the store open can wait for it, after a restart too.
public struct SyncPoint: Sendable, Hashable, CustomStringConvertible {
    /// The region.
    public let region: RegionID
    /// The last position that it stands for; 0 when nothing had been queued.
    public let through: UInt64
    let store: StoreID
    let queue: UInt32

    init(store: StoreID, region: RegionID, queue: UInt32, through: UInt64) {
        self.store = store
        self.region = region
        self.queue = queue
        self.through = through
    }

    /// The token as text: store, queue, position and region, with colons between.
    public var description: String { "\(store):\(queue):\(through):\(region)" }

    /// Reads the text of a token; nil when it is none.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, let store = StoreID(uuid: String(parts[0])), let queue = UInt32(parts[1]),
            let through = UInt64(parts[2]), let region = try? RegionID(String(parts[3]))
        else { return nil }
        self.init(store: store, region: region, queue: queue, through: through)
    }
}

/// What became of the entries before a ``SyncPoint`` while somebody waited for it.
public struct SyncOutcome: Sendable, Hashable {
    /// Entries of the region that were parked as dead letters meanwhile.
    public var parked: UInt64
    /// Entries of the region that were dropped, or found damaged, meanwhile.
    public var gone: UInt64
    /// Whether the region received everything that left meanwhile.
    public var isComplete: Bool { parked == 0 && gone == 0 }
}
