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

/// What each region may have of a total.
///
/// The shares are never more than the total: what is set, and for each region that has none half of an equal part of the
/// rest. What nobody has a claim on is for whoever comes first.
struct TotalShares {
    private let limit: UInt64
    private var shares: [RegionID: UInt64] = [:]

    init(of limit: UInt64, _ limits: [RegionID: QueueLimits]) {
        self.limit = limit
        let (whole, rest) = limit.quotientAndRemainder(dividingBy: 100)
        var left = limit
        for (region, limits) in limits {
            guard let percent = limits.sharePercent.map({ UInt64(min($0, 100)) }) else { continue }
            let share = whole * percent + rest * percent / 100
            shares[region] = share
            left -= min(left, share)
        }
        let equal = left / UInt64(max(1, 2 * (limits.count - shares.count)))
        for region in limits.keys where shares[region] == nil { shares[region] = equal }
    }

    /// What a region may have beside what the others hold, or may claim at any moment.
    ///
    /// `uses`: What each region holds.
    func allowed(_ region: RegionID, _ uses: [RegionID: UInt64]) -> UInt64 {
        var claimed: UInt64 = 0
        for (other, share) in shares where other != region { claimed &+= max(uses[other] ?? 0, share) }
        return max(shares[region] ?? 0, limit > claimed ? limit - claimed : 0)
    }
}

extension QueueLimits {
    /// The share of a region whose limits name none, in per cent.
    ///
    /// `all`: The limits of each region, that one's too.
    package static func unsetSharePercent(_ all: [QueueLimits]) -> Double {
        let set = all.compactMap(\.sharePercent)
        let left = 100 - min(100, set.reduce(0) { $0 + Int($1) })
        return Double(left) / Double(max(1, 2 * (all.count - set.count)))
    }

    /// Refuses shares that are more than everything together.
    ///
    /// `all`: The limits of each region that there will be.
    package static func checkShares(_ all: [RegionID: QueueLimits]) throws(HoldfastError) {
        let sum = all.values.reduce(0) { $0 + Int($1.sharePercent ?? 0) }
        guard sum > 100 else { return }
        var error = HoldfastError(
            code: .invalidConfiguration,
            message: "The shares of all regions together would be \(sum) %: \(sum - 100) % more than there is. Nothing "
                + "changed."
        )
        error.field = "sharePercent"
        throw error
    }
}

extension StoreView {
    /// What the next append to each region would drop, were it the next one; the regions that would drop nothing are left out.
    ///
    /// `limits`: The limits that are considered; a region that is not named has its own.
    /// `total`: The limits on all queues together.
    package func dropEstimates(
        _ limits: [RegionID: QueueLimits],
        total: TotalLimits,
        now: Timestamp,
        decode: (VerifiedBlock) throws(FormatError) -> [QueueEntry]
    ) throws(HoldfastError) -> [RegionID: DropEstimate] {
        var rows: [RegionID: RegionRow] = [:]
        for (region, row) in try regionRows() {
            rows[region] = row
            if let wanted = limits[region] { rows[region]?.limits = wanted }
        }
        for region in limits.keys.sorted() where rows[region] == nil { throw .unknownRegion(region) }
        let all = rows.mapValues(\.limits)
        let entries = total.entriesMax.map { TotalShares(of: $0, all) }
        let bytes = total.bytesMax.map { TotalShares(of: $0, all) }
        let (held, stored) = (rows.mapValues(\.entries), rows.mapValues(\.storedBytes))
        var estimates: [RegionID: DropEstimate] = [:]
        for (region, row) in rows where row.limits.overflow == .dropOldest && row.entries > 0 {
            var excess = StoreTransaction.Excess()
            excess.before = StoreTransaction.cutoff(row, now: now)
            if let most = row.limits.entriesMax { excess.keep(entries: most) }
            if let most = row.limits.bytesMax { excess.keep(stored: most) }
            if let entries { excess.keep(entries: entries.allowed(region, held)) }
            if let bytes { excess.keep(stored: bytes.allowed(region, stored)) }
            let estimate = try estimate(excess, row, decode)
            if estimate != .nothing { estimates[region] = estimate }
        }
        return estimates
    }

    /// What leaves the head of a queue so that it holds no more than that.
    private func estimate(
        _ excess: StoreTransaction.Excess,
        _ row: RegionRow,
        _ decode: (VerifiedBlock) throws(FormatError) -> [QueueEntry]
    ) throws(HoldfastError) -> DropEstimate {
        // Each limit moves the head to some place, and the furthest one satisfies them all.
        var head = row.headPosition
        if let most = excess.entriesAtMost, row.entries > most { head += row.entries - most }
        var stored = row.storedBytes
        var cutoff = excess.before
        let store = superblock.store
        try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
            let isOver = excess.storedAtMost.map { stored > $0 } ?? false
            guard isOver || cutoff != nil else { return false }
            let position = try? Key.number(from: key.span)
            guard
                let block = try? VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
            else { return false }
            if isOver { head = max(head, block.header.lastPosition + 1) }
            if let time = cutoff {
                let entries = block.header.firstEnqueuedAt < time ? try? decode(block) : nil
                let old = entries?.filter { $0.position >= row.headPosition }.prefix { $0.enqueuedAt < time }
                if let last = old?.last?.position { head = max(head, last + 1) }
                if old?.last?.position != block.header.lastPosition { cutoff = nil }
            }
            stored -= min(stored, block.storedBytes)
            return true
        }
        guard head > row.headPosition else { return .nothing }
        return DropEstimate(entries: head - row.headPosition, positions: row.headPosition...(head - 1))
    }
}
