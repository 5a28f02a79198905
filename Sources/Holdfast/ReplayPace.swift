internal import ReplayFormat

/// How fast one region's queue is sent: a rate and a batch size that halve when a send fails, and grow back.
///
/// A receiver that is overloaded answers late, so a sender of fixed speed times out, sends the same again, and keeps it
/// overloaded for ever. Halving on each failure finds a load that it can carry whatever that is; the way back is by equal
/// steps, larger ones up to nine tenths of what last failed and small ones from there (additive increase, multiplicative
/// decrease: Chiu and Jain, 1989). A batch begins small, doubles until something fails, and does not grow while its answer
/// takes more than half of the time-out: so a region that is slow and steady makes nothing fail.
///
/// A value without a clock of its own: times are milliseconds from anywhere.
struct ReplayPace: Sendable {
    /// What may be sent, and when.
    struct Allowance: Sendable, Hashable {
        /// How long to wait first, in milliseconds.
        var waitMilliseconds: Int64
        var entries: Int
        var bytes: Int
    }

    private(set) var settings: ReplaySettings
    /// The most entries in a batch now.
    private(set) var batch: Double
    /// Entries a second that may be sent now; nil as long as nothing has failed.
    private(set) var rate: Double?
    /// Sends that failed since the last one that did not.
    private(set) var failures: UInt32 = 0
    /// What failed last: up to nine tenths of it the way back is fast.
    private var failedBatch = 0.0
    private var failedRate = 0.0
    /// Entries a second that the receiver has been seen to take: of late, and at most.
    private var observed: Double?
    private var peak = 1.0
    private var lastGrowth: Int64?
    /// When the entries and the bytes that were sent are paid for.
    private var entriesPaidAt = 0.0
    private var bytesPaidAt = 0.0

    init(_ settings: ReplaySettings) {
        self.settings = settings
        batch = Double(min(settings.batchEntriesMax, Self.batchAtFirst))
    }

    /// The most entries in the first batch.
    private static let batchAtFirst: UInt32 = 16

    /// Takes new settings; they count from the next send on.
    mutating func set(_ new: ReplaySettings) {
        guard new != settings else { return }
        batch = min(batch, Double(new.batchEntriesMax))
        settings = new
        // What a lower rate made us owe is not waited for at a higher one.
        (entriesPaidAt, bytesPaidAt) = (0, 0)
    }

    /// Entries a second that are allowed now, by the settings and by what failed; nil for as fast as it goes.
    var rateNow: Double? {
        guard let most = settings.entriesPerSecondMax else { return rate }
        return min(Double(most), rate ?? .infinity)
    }

    /// How long to wait before the next send, and how much it may carry: no more than a second's worth.
    func allowance(at now: Int64) -> Allowance {
        var entries = batch
        var bytes = Double(settings.batchBytesMax)
        if let rate = rateNow { entries = min(entries, rate) }
        if let rate = settings.bytesPerSecondMax { bytes = min(bytes, Double(rate)) }
        let wait = max(entriesPaidAt, bytesPaidAt) - Double(now)
        return Allowance(
            waitMilliseconds: Int64(max(0, wait).rounded(.up)),
            entries: Int(max(1, entries)),
            bytes: Int(max(1, bytes))
        )
    }

    /// Notes that a send begins: what it carries is paid for by waiting before the next one.
    mutating func sending(entries: Int, bytes: Int, at now: Int64) {
        if let rate = rateNow {
            entriesPaidAt = max(entriesPaidAt, Double(now)) + Double(entries) * 1000 / rate
        }
        if let rate = settings.bytesPerSecondMax {
            bytesPaidAt = max(bytesPaidAt, Double(now)) + Double(bytes) * 1000 / Double(rate)
        }
    }

    /// Notes that a send of so many entries arrived, `milliseconds` after it began.
    mutating func succeeded(entries: Int, after milliseconds: Int64, at now: Int64) {
        failures = 0
        let speed = Double(entries) * 1000 / Double(max(1, milliseconds))
        let seen = observed.map { $0 * 0.75 + speed * 0.25 } ?? speed
        observed = seen
        peak = max(peak, seen)
        growBatch(entries, milliseconds)
        if let current = rate {
            // Steps are for the time that has passed, one second at most.
            let seconds = Double(min(1000, max(0, now - (lastGrowth ?? now)))) / 1000
            let step = current < 0.9 * failedRate ? max(failedRate / 5, 1) : max(peak / 100, 1)
            rate = current + step * seconds
        }
        lastGrowth = now
    }

    /// Lets the batch grow after one that was full, and that was answered in good time.
    private mutating func growBatch(_ entries: Int, _ milliseconds: Int64) {
        let timeout = Int64(settings.timeoutMilliseconds)
        guard Double(entries) + 1 > batch, milliseconds < timeout / 2 else { return }
        let step: Double
        if failedBatch == 0 {
            step = milliseconds < timeout / 4 ? batch : batch / 8
        } else {
            step = batch < 0.9 * failedBatch ? failedBatch / 8 : failedBatch / 32
        }
        batch = min(Double(settings.batchEntriesMax), batch + max(1, step))
    }

    /// Notes that a send failed or took too long.
    mutating func failed(at now: Int64) {
        if failures == 0 { failedBatch = batch }
        batch = max(1, (batch / 2).rounded(.down))
        // Before anything arrived there is no rate to halve.
        if let observed {
            let carried = min(rate ?? .infinity, observed)
            if failures == 0 { failedRate = carried }
            // Far below what the region has taken the batch of one and the waits are what spares it.
            rate = max(1, peak / 64, (failures == 0 ? carried : rate ?? carried) / 2)
        }
        failures += 1
        lastGrowth = now
    }

    /// Notes that a send failed for an entry that is being found: it counts, and says nothing of the load.
    mutating func refused() { failures += 1 }

    /// The longest wait before the next attempt, in milliseconds.
    var backoffMaxMilliseconds: Int64 { settings.backoffMaxMilliseconds(after: failures) }
}

extension ReplaySettings {
    /// The longest wait after so many failures in a row, in milliseconds: it doubles with each.
    ///
    /// The wait itself is any time up to that ("full jitter":
    /// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    func backoffMaxMilliseconds(after failures: UInt32) -> Int64 {
        let doublings = min(failures == 0 ? 0 : failures - 1, 20)
        return min(Int64(backoffMaxMilliseconds), Int64(backoffBaseMilliseconds) << Int64(doublings))
    }
}
