private import Logging
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// Sends one region its queue: one task, one batch in flight.
final class ReplayShipper: Sendable {
    private let controller: RegionFailoverController
    private let region: RegionID
    private let send: ReplaySend
    private let stop: QueueSignal
    private let metrics: ReplayMetrics
    let status: Lock<ReplayStatus>

    init(
        _ controller: RegionFailoverController,
        _ region: RegionID,
        _ sink: @escaping ReplaySink,
        _ stop: QueueSignal,
        graceMilliseconds: Int64
    ) {
        self.controller = controller
        self.region = region
        self.send = ReplaySend(sink, controller.machine.clock.source, stop, graceMilliseconds: graceMilliseconds)
        self.stop = stop
        self.metrics = ReplayMetrics(region)
        self.status = Lock(ReplayStatus(region))
    }

    private var store: ReplayStore { controller.store }
    private var time: any TimeSource { controller.machine.clock.source }
    private var elapsed: Int64 { time.elapsedMilliseconds }
    private var isEnding: Bool { stop.isEnded || Task.isCancelled }

    /// What is known beyond the row of the region, as long as the service runs.
    private struct Progress {
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
            do throws(HoldfastError) {
                try await step(&progress, replayer.number)
            } catch {
                switch error.code {
                case .closed, .poisoned, .forkedChild: return error
                // The queue was removed and added again meanwhile: the next look finds the new one.
                case .staleToken: continue
                case .unknownRegion:
                    log(.notice, "The region has left the deployment; its replay ends", [:])
                    return nil
                default:
                    log(.error, "The replay cannot go on; it tries again", ["holdfast.error": "\(error)"])
                    failed(&progress, "\(error)")
                    await sleep(progress.retryAt - elapsed)
                }
            }
        }
        return nil
    }

    /// Looks at the queue, and waits or sends.
    private func step(_ progress: inout Progress, _ replayer: UInt64) async throws(HoldfastError) {
        let look = try await look()
        // Whoever ends the service wakes those who wait after this, but not those who have yet to.
        guard !isEnding else { return }
        progress.pace.set(look.settings)
        publish(progress, look)
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
        let clock = controller.machine.clock
        var head = try await store.readHead(
            region,
            entriesMax: entriesMax,
            bytesMax: allowance.bytes,
            now: { clock.now }
        )
        guard !head.entries.isEmpty, try await !parkFollowers(&head, look.settings, &progress) else { return }
        let batch = ReplayBatch(
            region: region,
            attempt: Int(progress.attempts) + 1,
            head: head,
            store: store,
            replayer: replayer,
            now: { clock.now }
        )
        try await deliver(batch, look, &progress)
    }

    private func look() async throws(HoldfastError) -> Look {
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
        let left = until.milliseconds(since: controller.now)
        guard left <= 0 else { return await sleep(left) }
        log(.notice, "The pause of the replay has ended", [:])
        _ = try await controller.resume(region)
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
            try await batch.acknowledge()
            progress.attempts = 0
            progress.retryAt = 0
            progress.pace.succeeded(entries: batch.entries.count, after: milliseconds, at: elapsed)
            metrics.delivered(milliseconds: milliseconds)
            let now = controller.now
            status.withLock { status in
                let speed = Double(batch.entries.count) * 1000 / Double(max(1, milliseconds))
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
            if batch.first <= progress.suspectThrough {
                // One entry is looked for: that is not the load.
                progress.retryAt = elapsed + Int64.random(in: 0...Int64(look.settings.backoffBaseMilliseconds))
                told(reason)
            } else {
                failed(&progress, reason)
            }
            if look.settings.attemptsMax != nil { progress.suspectThrough = batch.through }
            try await count(batch, look, reason, &progress)
        }
    }

    // MARK: Failures

    /// Slows down, and waits a random time before the next send.
    private func failed(_ progress: inout Progress, _ reason: String) {
        progress.pace.failed(at: elapsed)
        progress.retryAt = elapsed + Int64.random(in: 0...progress.pace.backoffMaxMilliseconds)
        told(reason)
        // A region that is down for hours says so once in a while, not each time.
        let failures = progress.pace.failures
        guard failures & (failures - 1) == 0 else { return }
        log(
            .warning,
            "A send failed; it is tried again",
            ["holdfast.failures": "\(failures)", "holdfast.error": "\(reason)"]
        )
    }

    private func told(_ reason: String) {
        metrics.failed()
        status.withLock { $0.lastError = reason }
    }

    /// Stores an attempt that a region refused, and does what the settings say when it was the last.
    private func count(
        _ batch: ReplayBatch,
        _ look: Look,
        _ reason: String,
        _ progress: inout Progress
    ) async throws(HoldfastError) {
        let (region, queue, first) = (region, batch.queue, batch.first)
        let attempts = look.row.attempts + 1
        guard let most = look.settings.attemptsMax, batch.entries.count == 1, attempts >= most else {
            try await store.transact { (transaction) throws(HoldfastError) in
                try transaction.setAttempts(attempts, at: first, of: region, queue: queue)
            }
            return
        }
        progress.retryAt = 0
        switch look.settings.exhaustion {
        case .halt:
            log(.error, "The replay is paused: the region refused an entry too often", position(first, reason))
            try await store.transact { (transaction) throws(HoldfastError) in
                try transaction.setAttempts(attempts, at: first, of: region, queue: queue)
            }
            let why = "position \(first) was refused \(attempts) times: \(reason)"
            _ = try await controller.pause(region, reason: why)
        case .park, .parkKey:
            try await park(batch.entries[...], queue, .attempts, attempts, reason)
        }
    }

    @discardableResult
    private func park(
        _ entries: ArraySlice<QueueEntry>,
        _ queue: UInt32,
        _ cause: DeadRow.Cause,
        _ attempts: UInt32,
        _ reason: String
    ) async throws(HoldfastError) -> UInt64 {
        guard let first = entries.first, let last = entries.last else { return 0 }
        let (region, clock, positions) = (region, controller.machine.clock, first.position...last.position)
        let sizes = entries.map { DeadRow.bytesMax(rawBytes: $0.write.rawBytes) }
        let parked = try await store.transact(adding: sizes) { (transaction) throws(HoldfastError) in
            try transaction.park(
                region,
                queue: queue,
                positions,
                cause: cause,
                attempts: attempts,
                reason: reason,
                now: clock.now
            ).parked
        }
        if parked > 0 {
            log(.error, "Entries were parked as dead letters", position(positions.lowerBound, reason, parked))
        }
        return parked
    }

    /// Parks the entries at the head whose key has a dead letter; true when there were some.
    ///
    /// Otherwise the batch ends before the first such entry.
    private func parkFollowers(
        _ head: inout ReplayStore.Head,
        _ settings: ReplaySettings,
        _ progress: inout Progress
    ) async throws(HoldfastError) -> Bool {
        guard settings.exhaustion == .parkKey else {
            progress.parkedKeys = nil
            return false
        }
        let keys = try await parkedKeys(&progress)
        guard !keys.isEmpty else { return false }
        guard let first = head.entries.first, keys.contains(first.write.key) else {
            head.entries = Array(head.entries.prefix { !keys.contains($0.write.key) })
            return false
        }
        // Not sent, so the pace is nothing to them: as many as a transaction takes well.
        let clock = controller.machine.clock
        let all = try await store.readHead(
            region,
            entriesMax: Self.followersMax,
            bytesMax: Self.followersBytesMax,
            now: { clock.now }
        )
        guard all.queue == head.queue, let first = all.entries.first, keys.contains(first.write.key) else {
            return true
        }
        let followers = all.entries.prefix { keys.contains($0.write.key) }
        let reason = "an earlier write of the key was parked"
        let parked = try await park(followers, all.queue, .key, 0, reason)
        // Their keys are known already.
        if progress.parkedAt.count == 3 { progress.parkedAt[0] &+= parked }
        return true
    }

    private static let followersMax = 4096
    private static let followersBytesMax = 4 << 20

    /// The keys of the dead letters, read again when there may be other ones.
    private func parkedKeys(_ progress: inout Progress) async throws(HoldfastError) -> Set<[UInt8]> {
        let region = region
        let known = progress.parkedKeys.map { (progress.parkedAt, $0) }
        let (settled, keys) = try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            let settled = [row.counters.dead, row.counters.retried, row.counters.dropped]
            if let known, known.0 == settled { return known }
            var keys: Set<[UInt8]> = []
            try view.deadLetters(of: region) { (letter) throws(HoldfastError) in
                keys.insert(letter.write.key)
                return true
            }
            return (settled, keys)
        }
        progress.parkedKeys = keys
        progress.parkedAt = settled
        return keys
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

    private func position(_ position: UInt64, _ reason: String, _ entries: UInt64 = 1) -> Logger.Metadata {
        ["holdfast.position": "\(position)", "holdfast.entries": "\(entries)", "holdfast.error": "\(reason)"]
    }

    private func log(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) {
        store.options.logger.log(
            level: level,
            "\(message)",
            metadata: metadata.merging(["holdfast.region": "\(region)"]) { $1 }
        )
    }
}
