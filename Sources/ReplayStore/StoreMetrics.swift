private import Metrics
internal import RegionFailover

/// Every metric the store reports.
///
/// The names and their meaning are listed in the article "Metrics"; a new metric is added to both in the same commit.
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
            var lost: UInt64 = 0
        }
    }

    private let commits = Counter(label: "holdfast_commits_total")
    private let commitDuration = Metrics.Timer(label: "holdfast_commit_seconds")

    /// A transaction has become durable, `nanoseconds` after it began.
    func committed(nanoseconds: UInt64) {
        commits.increment()
        commitDuration.recordNanoseconds(Int64(clamping: nanoseconds))
    }

    /// What the callers of a transaction were told.
    func count(_ tally: Tally) {
        for (region, change) in tally.regions {
            count("holdfast_accepted_writes_total", region, UInt64(change.accepted))
            count("holdfast_accepted_bytes_total", region, UInt64(change.acceptedBytes))
            count("holdfast_duplicate_writes_total", region, UInt64(change.duplicates))
            count("holdfast_acknowledged_writes_total", region, change.acknowledged)
            count("holdfast_drained_writes_total", region, change.drained)
            count("holdfast_dropped_writes_total", region, change.dropped)
            count("holdfast_lost_writes_total", region, change.lost)
        }
    }

    private func count(_ label: String, _ region: RegionID, _ amount: UInt64) {
        guard amount > 0 else { return }
        Counter(label: label, dimensions: [("region", region.rawValue)]).increment(by: Int64(clamping: amount))
    }
}
