private import Metrics
package import RegionFailover
internal import ReplayFormat

/// Every metric that Holdfast reports, by name.
///
/// Each is explained in the article "Metrics", which has the same table; a test compares the two, and what is emitted.
package enum MetricName: String, CaseIterable, Sendable {
    // Counters of the ledger, for each region.
    case acceptedWrites = "holdfast_accepted_writes_total"
    case acceptedBytes = "holdfast_accepted_bytes_total"
    case duplicateWrites = "holdfast_duplicate_writes_total"
    case acknowledgedWrites = "holdfast_acknowledged_writes_total"
    case drainedWrites = "holdfast_drained_writes_total"
    case droppedWrites = "holdfast_dropped_writes_total"
    case parkedWrites = "holdfast_parked_writes_total"
    case retriedWrites = "holdfast_retried_writes_total"
    case discardedWrites = "holdfast_discarded_writes_total"
    case lostWrites = "holdfast_lost_writes_total"
    case refusedCalls = "holdfast_refused_calls_total"
    // The writer.
    case commits = "holdfast_commits_total"
    case transactionSeconds = "holdfast_transaction_seconds"
    case syncSeconds = "holdfast_sync_seconds"
    case callsPerCommit = "holdfast_calls_per_commit"
    // The queues as they are, for each region.
    case queueEntries = "holdfast_queue_entries"
    case queueRawBytes = "holdfast_queue_raw_bytes"
    case queueStoredBytes = "holdfast_queue_stored_bytes"
    case queueOldestSeconds = "holdfast_queue_oldest_seconds"
    case queueLimitRatio = "holdfast_queue_limit_ratio"
    case queueCompressionRatio = "holdfast_queue_compression_ratio"
    case deadLetters = "holdfast_dead_letters"
    case needsResync = "holdfast_needs_resync"
    case paused = "holdfast_paused"
    // All queues together.
    case totalLimitRatio = "holdfast_total_limit_ratio"
    // The replay, for each region.
    case sentWrites = "holdfast_replay_sent_writes_total"
    case redeliveredWrites = "holdfast_replay_redelivered_writes_total"
    case failedSends = "holdfast_replay_failed_sends_total"
    case sendSeconds = "holdfast_replay_send_seconds"
    case batchEntries = "holdfast_replay_batch_entries"
    case rateLimit = "holdfast_replay_rate_limit"
    case secondsToDrained = "holdfast_replay_seconds_to_drained"

    /// `reason`: Why entries left; nil where the metric does not tell reasons apart.
    fileprivate func counter(_ region: RegionID, reason: LostRow.Reason? = nil) -> Counter {
        Counter(
            label: rawValue,
            dimensions: [("region", region.rawValue)] + (reason.map { [("reason", $0.name)] } ?? [])
        )
    }

    fileprivate func gauge(_ region: RegionID) -> Gauge {
        Gauge(label: rawValue, dimensions: [("region", region.rawValue)])
    }
}

/// What the writer thread reports.
struct StoreMetrics: Sendable {
    /// What one transaction changed in the queues.
    struct Tally: Sendable {
        var regions: [RegionID: Change] = [:]

        struct Change: Sendable {
            var accepted = 0
            var acceptedBytes = 0
            var duplicates = 0
            var acknowledged: UInt64 = 0
            var drained: UInt64 = 0
            var dropped: UInt64 = 0
            var parked: UInt64 = 0
            var retried: UInt64 = 0
            var discarded: UInt64 = 0
            var lost: [Lost] = []
        }

        /// A range of positions whose entries were found damaged or missing.
        struct Lost: Sendable {
            var first: UInt64
            var last: UInt64
            var entries: UInt64
            var reason: LostRow.Reason
        }
    }

    private let commits = Counter(label: MetricName.commits.rawValue)
    private let transactionDuration = Metrics.Timer(label: MetricName.transactionSeconds.rawValue)
    private let syncDuration = Metrics.Timer(label: MetricName.syncSeconds.rawValue)
    private let calls = Recorder(label: MetricName.callsPerCommit.rawValue)
    private let refused = Counter(label: MetricName.refusedCalls.rawValue)

    /// A transaction of so many calls has become durable.
    ///
    /// `nanoseconds`: How long it took from its beginning; `syncNanoseconds` of that the commit, with its syncs.
    func committed(calls count: Int, nanoseconds: UInt64, syncNanoseconds: UInt64) {
        commits.increment()
        calls.record(count)
        transactionDuration.recordNanoseconds(Int64(clamping: nanoseconds))
        syncDuration.recordNanoseconds(Int64(clamping: syncNanoseconds))
    }

    /// An append was refused, for want of room or for what it says.
    func refusedCall() { refused.increment() }

    /// What the callers of a transaction were told.
    func count(_ tally: Tally) {
        for (region, change) in tally.regions {
            count(.acceptedWrites, region, UInt64(change.accepted))
            count(.acceptedBytes, region, UInt64(change.acceptedBytes))
            count(.duplicateWrites, region, UInt64(change.duplicates))
            count(.acknowledgedWrites, region, change.acknowledged)
            count(.drainedWrites, region, change.drained)
            count(.droppedWrites, region, change.dropped)
            count(.parkedWrites, region, change.parked)
            count(.retriedWrites, region, change.retried)
            count(.discardedWrites, region, change.discarded)
            for lost in change.lost { count(.lostWrites, region, lost.entries, reason: lost.reason) }
        }
    }

    private func count(
        _ name: MetricName,
        _ region: RegionID,
        _ amount: UInt64,
        reason: LostRow.Reason? = nil
    ) {
        guard amount > 0 else { return }
        name.counter(region, reason: reason).increment(by: Int64(clamping: amount))
    }
}

/// What the controller reports of the queues as they are, each time it ticks.
package enum QueueGauges {
    /// Reports how much of the limits on all queues together is used; nil without such limits.
    package static func report(total use: Double?) {
        Gauge(label: MetricName.totalLimitRatio.rawValue).record(use ?? 0)
    }

    /// Reports one queue.
    package static func report(_ queue: QueueStatistics, now: Timestamp) {
        func set(_ name: MetricName, _ value: Double) { name.gauge(queue.region).record(value) }
        set(.queueEntries, Double(queue.entries))
        set(.queueRawBytes, Double(queue.rawBytes))
        set(.queueStoredBytes, Double(queue.storedBytes))
        set(.queueOldestSeconds, Double(queue.oldestMilliseconds(at: now)) / 1000)
        set(.queueLimitRatio, queue.limitUse(at: now) ?? 0)
        set(.queueCompressionRatio, queue.storedBytes > 0 ? Double(queue.rawBytes) / Double(queue.storedBytes) : 0)
        set(.deadLetters, Double(queue.dead))
        set(.needsResync, queue.needsResync ? 1 : 0)
        set(.paused, queue.isPaused ? 1 : 0)
    }
}

/// What the replay to one region reports.
package struct ReplayMetrics: Sendable {
    private let sent: Counter
    private let redelivered: Counter
    private let failures: Counter
    private let duration: Metrics.Timer
    private let batch: Gauge
    private let rate: Gauge
    private let toDrained: Gauge

    package init(_ region: RegionID) {
        sent = MetricName.sentWrites.counter(region)
        redelivered = MetricName.redeliveredWrites.counter(region)
        failures = MetricName.failedSends.counter(region)
        duration = Metrics.Timer(label: MetricName.sendSeconds.rawValue, dimensions: [("region", region.rawValue)])
        batch = MetricName.batchEntries.gauge(region)
        rate = MetricName.rateLimit.gauge(region)
        toDrained = MetricName.secondsToDrained.gauge(region)
    }

    /// A send begins.
    package func sending(_ entries: Int, repeated: UInt64) {
        sent.increment(by: entries)
        if repeated > 0 { redelivered.increment(by: Int64(clamping: repeated)) }
    }

    /// A send arrived.
    package func delivered(milliseconds: Int64) { duration.recordMilliseconds(milliseconds) }

    /// A send failed.
    package func failed() { failures.increment() }

    /// How fast the region is sent to now, and how long its queue will take at the speed of late.
    ///
    /// `rate`: Entries a second; nil for as fast as it goes, which is reported as 0.
    package func pace(rate current: Double?, batch entries: Int, secondsToDrained: Double?) {
        batch.record(entries)
        rate.record(current ?? 0)
        toDrained.record(secondsToDrained ?? -1)
    }
}
