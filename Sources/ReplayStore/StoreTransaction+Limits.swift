package import RegionFailover
package import ReplayFormat

extension StoreTransaction {
    /// What a queue may hold before something is appended to it; nil for what fits already.
    ///
    /// These are ends and not distances: each is looked at when the steps before have taken what they take.
    struct Excess {
        /// The most entries.
        var entriesAtMost: UInt64?
        /// The most bytes as stored.
        var storedAtMost: UInt64?
        /// Nothing that was appended before this.
        var before: Timestamp?

        var isNone: Bool { limit == nil }
        /// The name of the first limit that something must leave for.
        var limit: String? {
            if entriesAtMost != nil { return "entries" }
            if storedAtMost != nil { return "bytes" }
            return before == nil ? nil : "age"
        }

        mutating func keep(entries: UInt64) { entriesAtMost = min(entries, entriesAtMost ?? .max) }
        mutating func keep(stored: UInt64) { storedAtMost = min(stored, storedAtMost ?? .max) }
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
        let stored = core.limitedBytes(row) &+ UInt64(core.singlesBytes[region] ?? 0)
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
                        + (limit == 0
                            ? "raise the limit, which lets nothing in."
                            : added > limit ? "make calls of at most \(limit) writes." : "replay and acknowledge."),
                    neverFits: added > limit
                )
            }
            excess.keep(entries: limit - added)
        }
        if let limit = limits.bytesMax, stored &+ bytes > limit {
            guard limits.overflow == .dropOldest, bytes <= limit else {
                throw .full(
                    region,
                    limit: "bytes",
                    "The queue of region '\(region)' holds \(stored) of at most \(limit) bytes as stored, and up to "
                        + "\(bytes) more do not fit. Nothing of the call was queued: "
                        + (bytes > limit ? Self.tooMuch(limit, added, "the limit") : "replay and acknowledge."),
                    neverFits: bytes > limit
                )
            }
            excess.keep(stored: limit - bytes)
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

    /// What to do with a call that even an empty queue could not take.
    private static func tooMuch(_ limit: UInt64, _ entries: UInt64, _ what: String) -> String {
        if limit == 0 { return "raise \(what), which lets nothing in." }
        return entries > 1
            ? "an empty queue could not take them either. Make smaller calls, or raise \(what)."
            : "an empty queue could not take them either. Raise \(what), or make the write smaller."
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
        if let entries = excess.entriesAtMost {
            events += try dropHead(region, .entriesAtMost(entries), .dropped, now: now)
        }
        if let stored = excess.storedAtMost {
            let move: HeadMove = core.isReplicated ? .rawAtMost(stored) : .storedAtMost(stored)
            events += try dropHead(region, move, .dropped, now: now)
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
            let allowed = try allowed(limit, "bytes", needs.map { ($0.region, $0.bytes, $0.entries) }) { row, region in
                core.limitedBytes(row) &+ UInt64(core.singlesBytes[region] ?? 0)
            }
            for (region, bytes) in allowed { excess[region, default: Excess()].keep(stored: bytes) }
        }
        if let limit = limits.entriesMax {
            let needs = needs.map { ($0.region, $0.entries, entries: $0.entries) }
            let allowed = try allowed(limit, "entries", needs) { row, region in
                row.entries &+ UInt64(core.singles[region]?.count ?? 0)
            }
            for (region, entries) in allowed { excess[region, default: Excess()].keep(entries: entries) }
        }
        return excess
    }

    /// To what each region must shrink that is over; throws `full` for the first that refuses.
    private func allowed(
        _ limit: UInt64,
        _ unit: String,
        _ needs: [(RegionID, UInt64, entries: UInt64)],
        _ use: (RegionRow, RegionID) -> UInt64
    ) throws(HoldfastError) -> [RegionID: UInt64] {
        var uses: [RegionID: UInt64] = [:]
        for (region, row) in core.rows { uses[region] = use(row, region) }
        let shares = TotalShares(of: limit, core.rows.mapValues(\.limits))
        var shrinking: [RegionID: UInt64] = [:]
        for (region, need, entries) in needs where need > 0 {
            let own = uses[region] ?? 0
            let wanted = own &+ need
            let allowed = shares.allowed(region, uses)
            uses[region] = min(wanted, allowed)
            guard wanted > allowed else { continue }
            guard core.rows[region]?.limits.overflow == .dropOldest, need <= allowed else {
                // What it may have beside the shares of the others, where all queues are empty.
                let most = shares.allowed(region, [:])
                throw .full(
                    region,
                    limit: "total.\(unit)",
                    "All queues together may hold \(limit) \(unit), of which region '\(region)' may have \(allowed) now "
                        + "and has \(own); \(need) more do not fit. Nothing of the call was queued: "
                        + (need > most
                            ? Self.tooMuch(most, entries, "the total or the region's share")
                            : "replay and acknowledge, or raise the total."),
                    neverFits: need > most
                )
            }
            shrinking[region] = allowed - need
        }
        return shrinking
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
        try setLimits([region: limits])
    }

    /// Sets how much the queues of several regions may hold, for all of them or for none.
    package mutating func setLimits(_ limits: [RegionID: QueueLimits]) throws(HoldfastError) {
        for region in limits.keys.sorted() { _ = try regionRow(region) }
        try QueueLimits.checkShares(core.rows.mapValues(\.limits).merging(limits) { $1 })
        for (region, limits) in limits {
            var row = try regionRow(region)
            guard row.limits != limits else { continue }
            row.limits = limits
            setRegionRow(region, row)
        }
    }
}
