public import RegionFailover
public import ReplayStore

/// How the store and every region do, as of one moment.
public struct Health: Sendable, Hashable, CustomStringConvertible {
    /// One region's part.
    public struct Region: Sendable, Hashable {
        /// The region.
        public var region: RegionID
        /// Its role.
        public var role: RegionRole
        /// Its state, as the detector sees it.
        public var state: RegionState
        /// Entries that it has not received.
        public var entries: UInt64
        /// How long the oldest of them has waited, in milliseconds; 0 when none waits.
        public var oldestMilliseconds: Int64
        /// Its dead letters.
        public var deadLetters: UInt64
        /// Whether replay alone can no longer bring it up to date.
        public var needsResync: Bool
        /// Whether its replay is paused.
        public var isPaused: Bool
        /// Why; empty when nobody said.
        public var pauseReason: String
        /// How much of its own limits it uses, of the one that is nearest; nil without limits.
        public var limitUse: Double?

        /// What somebody should look at, in a few words each.
        public var concerns: [String] {
            var concerns: [String] = []
            if needsResync { concerns.append("needs a resynchronisation") }
            if deadLetters > 0 { concerns.append("\(deadLetters) dead letters") }
            if isPaused { concerns.append(pauseReason.isEmpty ? "paused" : "paused: \(pauseReason)") }
            if let limitUse, limitUse >= 0.8 {
                concerns.append(limitUse >= 1 ? "at its limit" : "above 80 % of its limit")
            }
            if state == .failed || state == .suspect { concerns.append(state.rawValue) }
            return concerns
        }
    }

    /// Why the store does nothing any more; nil while it works.
    public var failure: HoldfastError?
    /// What the last tick failed with; nil when it did not fail.
    ///
    /// As long as ticks fail, no region is suspected, and nobody is promoted.
    public var tickFailure: HoldfastError?
    /// What the last append was refused with for want of space, on the disk or in the address space; nil when there was
    /// some.
    public var spaceRefusal: HoldfastError?
    /// How much of the limits on all queues together is used, of the one that is nearest; nil without limits.
    public var totalUse: Double?
    /// The fencing number.
    public var epoch: UInt64
    /// The region that accepts writes.
    public var actingPrimary: RegionID
    /// Every region, in the order of the names' bytes; empty when the store cannot be read.
    public var regions: [Region]

    /// What somebody should look at that is no single region's, in a few words each.
    public var concerns: [String] {
        var concerns: [String] = []
        if let failure { concerns.append("store: \(failure.code)") }
        if let tickFailure, failure == nil { concerns.append("the last tick failed: \(tickFailure.code)") }
        if let spaceRefusal { concerns.append("no space for appends: \(spaceRefusal.field ?? "disk")") }
        if let totalUse, totalUse >= 0.8 {
            concerns.append(totalUse >= 1 ? "at the limit of all queues" : "above 80 % of the limit of all queues")
        }
        return concerns
    }

    /// Whether nothing needs to be looked at.
    public var isGood: Bool { concerns.isEmpty && regions.allSatisfy(\.concerns.isEmpty) }

    /// Everything on one line, fit for a log.
    public var description: String {
        var parts = [isGood ? "good" : "look", "epoch \(epoch)", "primary \(actingPrimary)"]
        parts += concerns
        for region in regions {
            var words = "\(region.region) \(region.state.rawValue)"
            if region.entries > 0 { words += " \(region.entries) queued, oldest \(region.oldestMilliseconds / 1000) s" }
            if !region.concerns.isEmpty { words += " (" + region.concerns.joined(separator: ", ") + ")" }
            parts.append(words)
        }
        return parts.joined(separator: "; ")
    }
}

extension RegionFailoverController {
    /// How the store and every region do.
    ///
    /// It always answers: a store that cannot be read any more is what it tells then.
    public func health() async -> Health {
        let machine = machine.committed
        var health = Health(epoch: machine.epoch, actingPrimary: machine.actingPrimary, regions: [])
        do throws(HoldfastError) {
            health.tickFailure = tickFailure
            try store.checkUsable()
            health.spaceRefusal = store.spaceRefusal
            let now = now
            let queues = try await statistics()
            health.totalUse = try await totalLimits().use(of: queues)
            for queue in queues {
                guard let status = machine.statuses.first(where: { $0.region == queue.region }) else { continue }
                health.regions.append(
                    Health.Region(
                        region: queue.region,
                        role: status.role,
                        state: status.state,
                        entries: queue.entries,
                        oldestMilliseconds: queue.oldestMilliseconds(at: now),
                        deadLetters: queue.dead,
                        needsResync: queue.needsResync,
                        isPaused: queue.isPaused,
                        pauseReason: queue.pauseReason,
                        limitUse: queue.limitUse(at: now)
                    )
                )
            }
        } catch {
            health.failure = error
        }
        return health
    }
}
