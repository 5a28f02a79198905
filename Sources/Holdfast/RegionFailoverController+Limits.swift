public import RegionFailover
public import ReplayFormat
public import ReplayStore

extension RegionFailoverController {
    /// Sets how much one region's queue may hold.
    ///
    /// A queue that is over a new limit keeps what it has until the next append, or, for the limit on age, the next tick;
    /// what those drop then is what this returns.
    ///
    /// - Parameters:
    ///   - limits: The limits; they replace the present ones.
    ///   - region: The region.
    /// - Returns: What the next append drops there. Another share can make appends to other regions drop, too:
    ///   ``dropEstimates(of:total:)``.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `invalidConfiguration` when the shares of all regions are more than
    ///   100 %, `closed`, `poisoned` or `ioFailed`.
    @discardableResult
    public func setLimits(_ limits: QueueLimits, for region: RegionID) async throws(HoldfastError) -> DropEstimate {
        let estimate = try await dropEstimate(of: limits, for: region)
        try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.setLimits(limits, of: region)
        }
        return estimate
    }

    /// What the next append would drop if a region's queue had these limits; nothing changes.
    ///
    /// - Parameters:
    ///   - limits: The limits that are considered.
    ///   - region: The region.
    /// - Returns: How many entries would leave, and their positions; none under a policy that refuses.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    /// - Complexity: It reads the blocks that would leave.
    public func dropEstimate(
        of limits: QueueLimits,
        for region: RegionID
    ) async throws(HoldfastError) -> DropEstimate {
        try await dropEstimates(of: [region: limits])[region] ?? .nothing
    }

    /// What the next append to each region would drop under other limits; nothing changes.
    ///
    /// It counts what is there, without what the append brings; for each region as if it were the next one.
    ///
    /// - Parameters:
    ///   - limits: The limits that are considered; a region that is not named has its own.
    ///   - total: The limits on all queues together that are considered; nil for the present ones.
    /// - Returns: How many entries would leave, and their positions, for each region whose next append drops any.
    /// - Throws: ``HoldfastError``, with `unknownRegion`, `closed`, `damaged` or `ioFailed`.
    /// - Complexity: It reads the blocks that would leave.
    public func dropEstimates(
        of limits: [RegionID: QueueLimits] = [:],
        total: TotalLimits? = nil
    ) async throws(HoldfastError) -> [RegionID: DropEstimate] {
        let now = now
        let codec = store.codec
        return try await store.read { (view) throws(HoldfastError) in
            let wanted = if let total { total } else { try view.totalLimits() }
            return try view.dropEstimates(limits, total: wanted, now: now) { (block) throws(FormatError) in
                try block.entries(codec)
            }
        }
    }

    /// How much all queues may hold together.
    ///
    /// - Throws: ``HoldfastError``, with `closed`, `damaged` or `ioFailed`.
    public func totalLimits() async throws(HoldfastError) -> TotalLimits {
        try await store.read { (view) throws(HoldfastError) in try view.totalLimits() }
    }

    /// Sets how much all queues may hold together.
    ///
    /// Each region keeps a share that the others cannot take: ``QueueLimits/sharePercent``. What is over a new limit stays
    /// until the next append.
    ///
    /// - Throws: ``HoldfastError``, with `closed`, `poisoned` or `ioFailed`.
    public func setTotalLimits(_ limits: TotalLimits) async throws(HoldfastError) {
        try await store.transact { (transaction) throws(HoldfastError) in try transaction.setTotalLimits(limits) }
    }

    /// Drops what is older than its queue's limit on age, where the policy is to drop.
    func expire() async throws(HoldfastError) -> [FailoverEvent] {
        let clock = machine.clock
        return try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.expire(now: clock.now)
        }
    }
}
