package import RegionFailover
package import ReplayFormat

/// What a limit takes from a queue.
public struct DropEstimate: Sendable, Hashable {
    /// Entries that leave at the head.
    public var entries: UInt64
    /// The positions of the first and the last of them; nil when none leaves.
    public var positions: ClosedRange<UInt64>?

    /// Nothing leaves.
    public static let nothing = Self(entries: 0, positions: nil)

    /// Creates an estimate.
    public init(entries: UInt64, positions: ClosedRange<UInt64>?) {
        self.entries = entries
        self.positions = positions
    }
}

extension StoreTransaction {
    /// How much must leave the head of a queue before something is appended to it.
    struct Excess {
        /// Entries, for the limits on entries.
        var entries: UInt64 = 0
        /// What the queue may take as stored, for the limits on bytes; nil when it fits.
        var untilStored: UInt64?
        /// Entries that were appended before this go, for the limit on age; nil when none is too old.
        var before: Timestamp?

        var isNone: Bool { entries == 0 && untilStored == nil && before == nil }
    }

    /// Decides whether `added` entries of at most `bytes` fit into a queue, and what must leave for them.
    ///
    /// Throws `full` where the region's policy is to refuse.
    mutating func excess(
        of region: RegionID,
        adding added: UInt64,
        bytes: UInt64,
        now: Timestamp
    ) throws(HoldfastError) -> Excess {
        let row = try regionRow(region)
        let limits = row.limits
        let waiting = UInt64(core.singles[region]?.count ?? 0)
        let entries = row.entries + waiting
        let stored = row.storedBytes &+ UInt64(core.singlesBytes[region] ?? 0)
        guard row.nextPosition < UInt64.max - waiting - added else {
            throw .full(region, limit: "position", "The queue of region '\(region)' has used every position.")
        }
        var excess = Excess()
        if let limit = limits.entriesMax, entries + added > limit {
            guard limits.overflow == .dropOldest, added <= limit else {
                throw .full(
                    region,
                    limit: "entries",
                    "The queue of region '\(region)' holds \(entries) of at most \(limit) entries, and the call's "
                        + "\(added) do not fit. Nothing of the call was queued: "
                        + (added > limit ? "make calls of at most \(limit) writes." : "replay and acknowledge."),
                    neverFits: added > limit
                )
            }
            excess.entries = entries + added - limit
        }
        if let limit = limits.bytesMax, stored &+ bytes > limit {
            guard limits.overflow == .dropOldest, bytes <= limit else {
                throw .full(
                    region,
                    limit: "bytes",
                    "The queue of region '\(region)' holds \(stored) of at most \(limit) bytes as stored, and up to "
                        + "\(bytes) more do not fit. Nothing of the call was queued: "
                        + (bytes > limit ? "make smaller calls." : "replay and acknowledge."),
                    neverFits: bytes > limit
                )
            }
            excess.untilStored = limit - bytes
        }
        if let cutoff = Self.cutoff(row, now: now) {
            guard limits.overflow == .dropOldest else {
                throw .full(
                    region,
                    limit: "age",
                    "The oldest entry for region '\(region)', position \(row.headPosition), waits longer than the "
                        + "\(limits.ageMaxMilliseconds ?? 0) ms that its limit allows. Nothing of the call was queued: "
                        + "replay and acknowledge."
                )
            }
            excess.before = cutoff
        }
        return excess
    }

    /// Entries appended before this are too old; nil when none is.
    static func cutoff(_ row: RegionRow, now: Timestamp) -> Timestamp? {
        guard let age = row.limits.ageMaxMilliseconds, row.entries > 0 else { return nil }
        let cutoff = now.advanced(by: -Int64(clamping: age))
        return row.oldestEnqueuedAt < cutoff ? cutoff : nil
    }

    /// Takes from the head of a queue what its limits ask for.
    mutating func drop(_ excess: Excess, from region: RegionID, now: Timestamp) throws(HoldfastError) -> [FailoverEvent]
    {
        guard !excess.isNone else { return [] }
        try storeSingles(region)
        var events: [FailoverEvent] = []
        if let before = excess.before {
            events += try dropHead(region, .enqueuedBefore(before), .expired, now: now)
        }
        if excess.entries > 0 { events += try dropHead(region, .entries(excess.entries), .dropped, now: now) }
        if let stored = excess.untilStored {
            events += try dropHead(region, .storedAtMost(stored), .dropped, now: now)
        }
        return events
    }

    /// Drops the entries that are older than their queue allows, where its policy is to drop.
    package mutating func expire(now: Timestamp) throws(HoldfastError) -> [FailoverEvent] {
        var events: [FailoverEvent] = []
        for region in regions {
            let row = try regionRow(region)
            guard row.limits.overflow == .dropOldest, let cutoff = Self.cutoff(row, now: now) else { continue }
            events += try drop(Excess(before: cutoff), from: region, now: now)
        }
        return events
    }

    // MARK: All queues together

    /// Decides whether a call fits into the total, beside what the other regions have a claim on.
    ///
    /// `needs`: What the call adds to each of its regions, in bytes as stored and in entries.
    /// Gives what must leave the queues of regions that drop their oldest.
    func totalExcess(
        _ needs: [(region: RegionID, bytes: UInt64, entries: UInt64)]
    ) throws(HoldfastError) -> [RegionID: Excess] {
        let limits = core.totalLimits
        guard limits != .unlimited, !needs.isEmpty else { return [:] }
        var excess: [RegionID: Excess] = [:]
        if let limit = limits.bytesMax {
            let over = try over(limit, "bytes", needs.map { ($0.region, $0.bytes) }) { row, region in
                row.storedBytes &+ UInt64(core.singlesBytes[region] ?? 0)
            }
            for (region, bytes) in over {
                let row = try regionRow(region)
                excess[region, default: Excess()].untilStored = row.storedBytes > bytes ? row.storedBytes - bytes : 0
            }
        }
        if let limit = limits.entriesMax {
            let over = try over(limit, "entries", needs.map { ($0.region, $0.entries) }) { row, region in
                row.entries &+ UInt64(core.singles[region]?.count ?? 0)
            }
            for (region, entries) in over { excess[region, default: Excess()].entries = entries }
        }
        return excess
    }

    /// By how much each region must shrink; throws `full` for the first that refuses.
    private func over(
        _ limit: UInt64,
        _ unit: String,
        _ needs: [(RegionID, UInt64)],
        _ use: (RegionRow, RegionID) -> UInt64
    ) throws(HoldfastError) -> [RegionID: UInt64] {
        var uses: [RegionID: UInt64] = [:]
        for (region, row) in core.rows { uses[region] = use(row, region) }
        var over: [RegionID: UInt64] = [:]
        for (region, need) in needs where need > 0 {
            let own = uses[region] ?? 0
            let wanted = own &+ need
            // What the others hold, or may claim at any moment.
            var claimed: UInt64 = 0
            for (other, row) in core.rows where other != region {
                claimed &+= max(uses[other] ?? 0, share(of: row, in: limit))
            }
            let mine = core.rows[region].map { share(of: $0, in: limit) } ?? 0
            let allowed = max(mine, limit > claimed ? limit - claimed : 0)
            uses[region] = min(wanted, max(own, allowed))
            guard wanted > allowed else { continue }
            guard core.rows[region]?.limits.overflow == .dropOldest, need <= allowed, own >= wanted - allowed else {
                throw .full(
                    region,
                    limit: "total.\(unit)",
                    "All queues together may hold \(limit) \(unit), of which region '\(region)' may have \(allowed) now "
                        + "and has \(own); \(need) more do not fit. Nothing of the call was queued: "
                        + (need > limit ? "make smaller calls." : "replay and acknowledge, or raise the total."),
                    neverFits: need > limit
                )
            }
            over[region] = wanted - allowed
        }
        return over
    }

    /// What a region may have of a total whatever the others hold: half of an equal share unless its limits say more.
    private func share(of row: RegionRow, in limit: UInt64) -> UInt64 {
        guard let percent = row.limits.sharePercent else { return limit / UInt64(max(1, 2 * core.rows.count)) }
        let (whole, rest) = limit.quotientAndRemainder(dividingBy: 100)
        return whole * UInt64(min(percent, 100)) + rest * UInt64(min(percent, 100)) / 100
    }

    /// Sets how much all queues may hold together.
    package mutating func setTotalLimits(_ limits: TotalLimits) throws(HoldfastError) {
        guard limits != core.totalLimits else { return }
        core.totalLimits = limits
        let key = Key.controller(ControllerRows.Name.limits.rawValue)
        try put(limits.encoded(), key: key, in: .controller)
        core.changedQueues.formUnion(core.rows.keys)
    }

    /// Sets how much a region's queue may hold.
    ///
    /// Refuses shares that are more than everything together.
    package mutating func setLimits(_ limits: QueueLimits, of region: RegionID) throws(HoldfastError) {
        var row = try regionRow(region)
        let others = core.rows.filter { $0.key != region }.values.reduce(0) { $0 + Int($1.limits.sharePercent ?? 0) }
        if let share = limits.sharePercent, Int(share) + others > 100 {
            var error = HoldfastError(
                code: .invalidConfiguration,
                message: "The shares of the other regions are \(others) % already: region '\(region)' can have at most "
                    + "\(max(0, 100 - others)) %. Nothing changed.",
                region: region
            )
            error.field = "sharePercent"
            throw error
        }
        guard row.limits != limits else { return }
        row.limits = limits
        setRegionRow(region, row)
    }
}

extension StoreView {
    /// What the next append would drop from a queue if it had these limits.
    package func dropEstimate(
        _ limits: QueueLimits,
        of region: RegionID,
        now: Timestamp,
        decode: (VerifiedBlock) throws(FormatError) -> [QueueEntry]
    ) throws(HoldfastError) -> DropEstimate {
        guard var row = try regionRow(region) else { throw .unknownRegion(region) }
        guard limits.overflow == .dropOldest, row.entries > 0 else { return .nothing }
        row.limits = limits
        var last = row.headPosition - 1
        if let most = limits.entriesMax, row.entries > most {
            last = max(last, row.headPosition + (row.entries - most) - 1)
        }
        let cutoff = StoreTransaction.cutoff(row, now: now)
        var stored = row.storedBytes
        if limits.bytesMax != nil || cutoff != nil {
            try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
                let block = try? VerifiedBlock(
                    value,
                    store: superblock.store,
                    queue: row.number,
                    firstPosition: try? Key.number(from: key.span)
                )
                guard let block else { return false }
                let isOver = limits.bytesMax.map { stored > $0 } ?? false
                if isOver {
                    last = max(last, block.header.lastPosition)
                } else if let cutoff, block.header.firstEnqueuedAt < cutoff {
                    let old = (try? decode(block))?.prefix { $0.enqueuedAt < cutoff }.last?.position
                    if let old { last = max(last, old) }
                    if old != block.header.lastPosition { return false }
                } else {
                    return false
                }
                stored = stored >= block.storedBytes ? stored - block.storedBytes : 0
                return true
            }
        }
        guard last >= row.headPosition else { return .nothing }
        last = min(last, row.nextPosition - 1)
        return DropEstimate(entries: last - row.headPosition + 1, positions: row.headPosition...last)
    }
}
