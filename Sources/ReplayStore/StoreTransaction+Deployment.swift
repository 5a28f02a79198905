package import RegionFailover
package import ReplayFormat

// What commands of the failover machine mean for the queues.

extension StoreTransaction {
    /// Refuses a configuration under which the shares of all regions would be more than everything together.
    ///
    /// As all of it will be: what is half way there is nobody's configuration.
    ///
    /// `limits`: Those of all regions; nil leaves each its own.
    package func checkShares(
        _ new: FailoverConfiguration,
        _ limits: QueueLimits?
    ) throws(HoldfastError) {
        var all: [RegionID: QueueLimits] = [:]
        for region in new.regions {
            let present = regions.contains(region) ? try regionRow(region).limits : nil
            all[region] = limits ?? present ?? .unlimited
        }
        try QueueLimits.checkShares(all)
    }

    /// Gives a new configuration its queues: those of regions that have gone go with them.
    package mutating func reconfigure(
        _ new: FailoverConfiguration,
        _ limits: QueueLimits?,
        now: Timestamp
    ) throws(HoldfastError) {
        core.historyCapacity = new.historyCapacity
        let wanted = Set(new.regions)
        for region in regions where !wanted.contains(region) { try removeRegion(region, now: now) }
        if let limits {
            let all = regions.map { ($0, limits) }
            try setLimits([RegionID: QueueLimits](uniqueKeysWithValues: all))
        }
        for region in new.regions where !regions.contains(region) {
            try addRegion(region, limits: limits ?? .unlimited)
        }
        try trimHistory()
    }

    /// Notes that the replay to a region is paused; of the reason the beginning is kept, whole characters.
    package mutating func pause(
        _ region: RegionID,
        reason: String,
        until: Timestamp?
    ) throws(HoldfastError) {
        var kept = reason
        while kept.utf8.count > RegionRow.pauseReasonMax { kept.removeLast() }
        try changeRow(of: region) { row in
            row.isPaused = true
            row.pauseReason = kept
            row.pausedUntil = until
        }
    }

    /// Notes that the replay to a region goes on.
    package mutating func resume(_ region: RegionID) throws(HoldfastError) {
        try changeRow(of: region) { row in
            row.isPaused = false
            row.pauseReason = ""
            row.pausedUntil = nil
        }
    }

    /// Refuses where the pause is not the one that was to last until a time.
    package func checkPause(_ region: RegionID, until seen: Timestamp) throws(HoldfastError) {
        guard try regionRow(region).pausedUntil == seen else {
            throw HoldfastError(code: .staleToken, message: "The pause is another one by now.", region: region)
        }
    }

    /// Notes that a region was brought up to date by other means.
    package mutating func clearResync(_ region: RegionID) throws(HoldfastError) {
        try changeRow(of: region) { $0.needsResync = false }
    }

    private mutating func changeRow(
        of region: RegionID,
        _ change: (inout RegionRow) -> Void
    ) throws(HoldfastError) {
        let before = try regionRow(region)
        var row = before
        change(&row)
        if row != before { setRegionRow(region, row) }
    }
}
