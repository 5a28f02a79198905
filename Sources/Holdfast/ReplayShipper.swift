internal import Logging
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// Sends one region its queue: one task, one batch in flight.
final class ReplayShipper: Sendable {
    let queues: any ReplayQueues
    let region: RegionID
    private let send: ReplaySend
    private let stop: QueueSignal
    private let metrics: ReplayMetrics
    let status: Lock<ReplayStatus>

    init(
        _ queues: any ReplayQueues,
        _ region: RegionID,
        _ sink: @escaping ReplaySink,
        _ stop: QueueSignal,
        graceMilliseconds: Int64
    ) {
        self.queues = queues
        self.region = region
        self.send = ReplaySend(sink, queues.source, stop, graceMilliseconds: graceMilliseconds)
        self.stop = stop
        self.metrics = ReplayMetrics(region)
        self.status = Lock(ReplayStatus(region))
    }

    var store: ReplayStore { queues.store }
    private var time: any TimeSource { queues.source }
    private var elapsed: Int64 { time.elapsedMilliseconds }
    private var isEnding: Bool { stop.isEnded || Task.isCancelled }

    /// What is known beyond the row of the region, as long as the service runs.
    struct Progress {
        var pace: ReplayPace
        /// Sends in vain of the entries at the cursor, those included that count against no entry.
        var attempts: UInt32 = 0
        /// The cursor that they were counted at.
        var attemptsAt: UInt64 = 0
        /// An entry that the region refuses stands at or before this position.
        var suspectThrough: UInt64 = 0
        /// The last position that was ever sent.
        var sentThrough: UInt64 = 0
        /// Keys of dead letters, for the policy `parkKey`; nil before they are read.
        var parkedKeys: Set<[UInt8]>?
        /// The counters of the ledger that they were read at.
        var parkedAt: [UInt64] = []
        /// Do not send before this.
        var retryAt: Int64 = 0
        /// The number of the queue that all this is about.
        var queue: UInt32?
        /// Whether the region has left the deployment.
        var isAway = false
        /// When the batch before was delivered and paid for; nil when the queue has been empty or paused since.
        var busySince: Int64?

    }

    /// The queue and its settings, as of one moment.
    private struct Look: Sendable {
        var version: UInt64
        var row: RegionRow
        var settings: ReplaySettings
    }

    /// How long a wait may keep a change of the settings waiting, in milliseconds.
    private static let lookEveryMilliseconds: Int64 = 250

    /// Takes the region, so that nobody else replays it.
    func take() throws(HoldfastError) -> Replayer { try store.takeReplayer(region) }

    /// Sends until the service ends; gives the reason when that is the store's.
    func run(_ replayer: Replayer) async -> HoldfastError? {
        defer { withExtendedLifetime(replayer) {} }
        var progress = Progress(pace: ReplayPace(.standard))
        while !isEnding {
            let version = store.signal.version(of: region)
            do throws(HoldfastError) {
                try await step(&progress, replayer.number)
            } catch {
                switch error.code {
                case .closed, .poisoned, .forkedChild: return error
                // The queue or its pause is another one by now: the next look finds that.
                case .staleToken: continue
                case .unknownRegion:
                    if !progress.isAway {
                        log(.notice, "The region has left the deployment; its replay waits until it is back", [:])
                    }
                    progress.isAway = true
                    await store.signal.wait(for: region, after: version)
                default: await waitOut(error, &progress)
                }
            }
        }
        return nil
    }

    /// Waits after an error of the store: no region and no entry is to blame, and the pace is nothing to it.
    private func waitOut(_ error: HoldfastError, _ progress: inout Progress) async {
        let troubles = status.withLock { status in
            status.storeError = error
            status.storeFailures += 1
            return status.storeFailures
        }
        if troubles.isPowerOfTwo {
            log(
                .error,
                "The replay cannot go on; it tries again",
                ["holdfast.failures": "\(troubles)", "holdfast.error": "\(error)"]
            )
        }
        let most = progress.pace.settings.backoffMaxMilliseconds(after: troubles)
        progress.retryAt = elapsed + Int64.random(in: 0...most)
        while !isEnding, progress.retryAt > elapsed { await sleep(progress.retryAt - elapsed) }
    }

    /// Notes that the store has done what it was asked for.
    private func storeWorks() { status.withLock { ($0.storeError, $0.storeFailures) = (nil, 0) } }

    /// Looks at the queue, and waits or sends.
    private func step(_ progress: inout Progress, _ replayer: UInt64) async throws(HoldfastError) {
        let look = try await look()
        // Whoever ends the service wakes those who wait after this, but not those who have yet to.
        guard !isEnding else { return }
        // What was known of a queue that is gone says nothing about the one in its place.
        if let queue = progress.queue, queue != look.row.number { progress = Progress(pace: ReplayPace(look.settings)) }
        progress.queue = look.row.number
        progress.isAway = false
        progress.pace.set(look.settings)
        publish(progress, look)
        if look.row.isPaused || look.row.entries == 0 {
            // Nothing is to be sent, and the store has said so.
            progress.busySince = nil
            storeWorks()
        }
        if look.row.isPaused { return try await waitOutPause(look) }
        guard look.row.entries > 0 else { return await store.signal.wait(for: region, after: look.version) }
        let allowance = progress.pace.allowance(at: elapsed)
        let wait = max(allowance.waitMilliseconds, progress.retryAt - elapsed)
        guard wait <= 0 else { return await sleep(wait) }
        if progress.attemptsAt != look.row.headPosition {
            progress.attemptsAt = look.row.headPosition
            progress.attempts = look.row.attempts
        }
        var entriesMax = allowance.entries
        if look.settings.attemptsMax != nil, look.row.headPosition <= progress.suspectThrough {
            // Half of what is suspected: the one that is refused is found in so many steps as it has bits.
            entriesMax = min(entriesMax, max(1, Int(progress.suspectThrough - look.row.headPosition + 1) / 2))
        }
        let queues = queues
        var head = try await store.readHead(
            region,
            entriesMax: entriesMax,
            bytesMax: allowance.bytes,
            now: { queues.now }
        )
        guard !head.entries.isEmpty, try await !parkFollowers(&head, look.settings, &progress) else { return }
        let batch = ReplayBatch(
            region: region,
            attempt: Int(progress.attempts) + 1,
            head: head,
            store: store,
            replayer: replayer,
            now: { queues.now }
        )
        try await deliver(batch, look, &progress)
    }

    private func look() async throws(HoldfastError) -> Look {
        // A store that has failed can be read still, and wakes nobody any more.
        try store.checkUsable()
        let version = store.signal.version(of: region)
        let region = region
        return try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            return Look(version: version, row: row, settings: try view.replaySettings(region))
        }
    }

    private func waitOutPause(_ look: Look) async throws(HoldfastError) {
        guard let until = look.row.pausedUntil else {
            return await store.signal.wait(for: region, after: look.version)
        }
        let left = until.milliseconds(since: queues.now)
        guard left <= 0 else { return await sleep(left) }
        try await queues.endPause(region, until: until)
        log(.notice, "The pause of the replay has ended", [:])
    }

    /// Sleeps a part of a wait: the settings may change meanwhile.
    private func sleep(_ milliseconds: Int64) async {
        // A cancelled sleep ends the loop, or the send that follows.
        try? await time.sleep(milliseconds: min(milliseconds, Self.lookEveryMilliseconds))
    }

    // MARK: Sending

    private func deliver(_ batch: ReplayBatch, _ look: Look, _ progress: inout Progress) async throws(HoldfastError) {
        let bytes = batch.entries.reduce(0) { $0 + $1.write.rawBytes }
        let repeated =
            batch.first <= progress.sentThrough ? min(batch.through, progress.sentThrough) - batch.first + 1 : 0
        progress.sentThrough = max(progress.sentThrough, batch.through)
        progress.pace.sending(entries: batch.entries.count, bytes: bytes, at: elapsed)
        metrics.sending(batch.entries.count, repeated: repeated)
        status.withLock { $0.redeliveries += repeated }
        let started = elapsed
        let outcome = await send.run(batch, timeout: Int64(look.settings.timeoutMilliseconds))
        let milliseconds = elapsed - started
        switch outcome {
        case .givenBack: return
        case .delivered:
            try await acknowledge(batch, &progress)
            progress.attempts = 0
            progress.retryAt = 0
            storeWorks()
            progress.pace.succeeded(entries: batch.entries.count, after: milliseconds, at: elapsed)
            metrics.delivered(milliseconds: milliseconds)
            let now = queues.now
            let speed = speed(of: batch, sentAt: started, &progress)
            status.withLock { status in
                status.entriesPerSecond =
                    status.lastDeliveredAt == nil ? speed : status.entriesPerSecond * 0.75 + speed * 0.25
                status.lastDeliveredAt = now
                status.lastError = nil
            }
        case .unavailable(let reason):
            progress.attempts += 1
            failed(&progress, reason)
        case .refused(let reason):
            progress.attempts += 1
            // While one entry is looked for, each refusal finds more of it: that is not the load.
            let isFinding = batch.entries.count > 1 && batch.through < progress.suspectThrough
            failed(&progress, reason, isFinding: isFinding)
            if look.settings.attemptsMax != nil { progress.suspectThrough = batch.through }
            try await count(batch, look, reason, &progress)
            storeWorks()
        }
    }

    /// Takes what was delivered out of the queue, however often the store has to be asked: the region is not sent the same
    /// again because the store could not note that it has it.
    private func acknowledge(_ batch: ReplayBatch, _ progress: inout Progress) async throws(HoldfastError) {
        while true {
            do throws(HoldfastError) {
                return try await queues.acknowledge(batch)
            } catch {
                switch error.code {
                case .closed, .poisoned, .forkedChild, .staleToken, .unknownRegion: throw error
                default:
                    await waitOut(error, &progress)
                    if isEnding { throw error }
                }
            }
        }
    }

    /// The speed of a batch that was delivered, in entries a second: from the one before, where the queue had more, until
    /// it is paid for where a rate is set.
    private func speed(of batch: ReplayBatch, sentAt started: Int64, _ progress: inout Progress) -> Double {
        let end = elapsed + progress.pace.allowance(at: elapsed).waitMilliseconds
        let milliseconds = end - min(progress.busySince ?? started, started)
        progress.busySince = end
        return Double(batch.entries.count) * 1000 / Double(max(1, milliseconds))
    }

    // MARK: Failures

    /// Slows down, and waits a random time before the next send: both as for a failure of the region, unless the one entry
    /// that it refuses is being found.
    private func failed(_ progress: inout Progress, _ reason: String, isFinding: Bool = false) {
        if isFinding { progress.pace.refused() } else { progress.pace.failed(at: elapsed) }
        let most =
            isFinding
            ? Int64(progress.pace.settings.backoffBaseMilliseconds) : progress.pace.backoffMaxMilliseconds
        progress.retryAt = elapsed + Int64.random(in: 0...most)
        metrics.failed()
        status.withLock { $0.lastError = reason }
        // A region that is down for hours says so once in a while, not each time.
        let failures = progress.pace.failures
        guard failures.isPowerOfTwo else { return }
        log(
            .warning,
            "A send failed; it is tried again",
            ["holdfast.failures": "\(failures)", "holdfast.error": "\(reason)"]
        )
    }

    /// Stores an attempt that a region refused, and does what the settings say when it was the last.
    private func count(
        _ batch: ReplayBatch,
        _ look: Look,
        _ reason: String,
        _ progress: inout Progress
    ) async throws(HoldfastError) {
        let attempts = look.row.attempts + 1
        guard let most = look.settings.attemptsMax, batch.entries.count == 1, attempts >= most else {
            return try await queues.setAttempts(attempts, of: batch)
        }
        progress.retryAt = 0
        switch look.settings.exhaustion {
        case .halt:
            log(.error, "The replay is paused: the region refused an entry too often", position(batch.first, reason))
            try await queues.setAttempts(attempts, of: batch)
            let why = "position \(batch.first) was refused \(attempts) times: \(reason)"
            try await queues.pause(region, reason: why)
        case .park, .parkKey:
            try await park(batch.entries[...], batch.queue, .attempts, attempts, reason)
        }
    }

    // MARK: Telling

    private func publish(_ progress: Progress, _ look: Look) {
        let pace = progress.pace
        status.withLock { status in
            status.entriesPerSecondMax = pace.rateNow
            status.batchEntriesMax = Int(pace.batch)
            status.failures = pace.failures
        }
        metrics.pace(rate: pace.rateNow, batch: Int(pace.batch), secondsToDrained: secondsToDrained(look.row.entries))
    }

    /// How long the queue takes at the speed of late; nil before anything was delivered.
    private func secondsToDrained(_ entries: UInt64) -> Double? {
        let speed = status.withLock { $0.entriesPerSecond }
        guard entries > 0 else { return 0 }
        return speed > 0 ? Double(entries) / speed : nil
    }

    func position(_ position: UInt64, _ reason: String, _ entries: UInt64 = 1) -> Logger.Metadata {
        ["holdfast.position": "\(position)", "holdfast.entries": "\(entries)", "holdfast.error": "\(reason)"]
    }

    func log(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) {
        store.options.logger.log(
            level: level,
            "\(message)",
            metadata: metadata.merging(["holdfast.region": "\(region)"]) { $1 }
        )
    }
}

extension UInt32 {
    fileprivate var isPowerOfTwo: Bool { self != 0 && self & (self - 1) == 0 }
}
