internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

// What each command does. Nothing here asks for the time, a random number or anything else that another replica could answer
// differently: all comes from the command, and from what the commands before it have left.

extension ReplicaState {
    mutating func execute(
        _ command: FailoverCommand,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        switch command {
        case .configure(let new, let limits, let force, let ifEpoch):
            return try configure(new, limits, force, ifEpoch, now, &transaction)
        case .raiseVersion(let version): return try raise(to: version)
        default: break
        }
        guard machine != nil else {
            throw HoldfastError(
                code: .notConfigured,
                message: "The log has no deployment yet. Configure it first: 'configure' names its regions."
            )
        }
        switch command {
        case .append(let regions, let frames, let ifEpoch):
            return try append(regions, frames, ifEpoch, now, &transaction)
        case .acknowledge(let region, let through, let batch, let ifEpoch):
            return try acknowledge(region, through, batch, ifEpoch, now, &transaction)
        case .drain(let region, let max):
            return .drained(
                try transaction.drain(region, max: Int(max), bytesMax: Self.drainBytesMax, now: now)
            )
        case .setLimits(let region, let limits): try transaction.setLimits(limits, of: region)
        case .setTotalLimits(let limits): try transaction.setTotalLimits(limits)
        case .setReplaySettings(let region, let settings): try transaction.setReplaySettings(settings, of: region)
        case .setAttempts(let region, let place, let attempts):
            try transaction.setAttempts(attempts, at: place.position, of: region, queue: place.queue)
        case .park, .retryDead, .dropDead: return try settle(command, now, &transaction)
        default: return try change(command, now, &transaction)
        }
        return .done
    }

    /// A drain's outcome stays below a megabyte.
    private static let drainBytesMax = 768 << 10

    private mutating func raise(to version: UInt32) throws(HoldfastError) -> FailoverOutcome {
        guard version <= FailoverCommand.versionMax else {
            throw HoldfastError(
                code: .unknownCommand,
                message:
                    "The log goes on in version \(version), and this program knows versions up to \(FailoverCommand.versionMax). "
                    + "The replica has stopped: use a newer version."
            )
        }
        applied.version = max(applied.version, version)
        return .done
    }

    // MARK: Queues

    private func append(
        _ regions: [RegionID],
        _ frames: [LogFrame],
        _ ifEpoch: UInt64?,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        guard !regions.isEmpty, Set(regions).count == regions.count else {
            var error = HoldfastError(
                code: .invalidConfiguration,
                message: "An append names each of its regions once, and at least one. Nothing was queued."
            )
            error.field = "regions"
            throw error
        }
        let call: AppendCall
        do throws(HoldfastError) {
            call = try AppendCall(
                frames,
                to: regions,
                ifEpoch: ifEpoch,
                enqueuedAt: now,
                codec: transaction.core.codec
            )
        } catch {
            // The same bytes cannot be read anywhere.
            guard error.code == .damaged else { throw error }
            var refusal = HoldfastError(code: .invalidConfiguration, message: error.message)
            refusal.field = "frames"
            throw refusal
        }
        return .appended(try transaction.append(call))
    }

    private func acknowledge(
        _ region: RegionID,
        _ through: UInt64,
        _ batch: FailoverCommand.SentBatch?,
        _ ifEpoch: UInt64?,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        try refusing { () throws(FailoverError) in try machine?.checkEpoch(ifEpoch) }
        if let batch { try transaction.checkQueue(batch.queue, of: region) }
        return .acknowledged(
            try transaction.acknowledge(
                region,
                through: through,
                of: batch.map { (entries: Int($0.entries), goneBefore: $0.goneBefore) },
                now: now
            )
        )
    }

    private func settle(
        _ command: FailoverCommand,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        switch command {
        case .park(let region, let range):
            let parked = try transaction.park(
                region,
                queue: range.queue,
                range.first...range.last,
                cause: range.cause,
                attempts: range.attempts,
                reason: range.reason,
                now: now
            ).parked
            return .count(parked, isLast: true)
        case .retryDead(let region, let selection, let end):
            let settled = try transaction.retryDead(region, selection, below: end, now: now)
            return .count(settled.count, isLast: settled.isLast)
        case .dropDead(let region, let selection, let end):
            let settled = try transaction.dropDead(region, selection, below: end, now: now)
            return .count(settled.count, isLast: settled.isLast)
        default: preconditionFailure("a command that settles no dead letters")
        }
    }

    // MARK: The machine

    private mutating func configure(
        _ new: FailoverConfiguration,
        _ limits: QueueLimits?,
        _ force: Bool,
        _ ifEpoch: UInt64?,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        guard var next = machine else {
            let first = try refusing { () throws(FailoverError) in
                try FailoverMachine(configuration: new, now: now)
            }
            try transaction.checkShares(new, limits)
            machine = first
            transaction.core.epoch = first.epoch
            try transaction.reconfigure(new, limits, now: now)
            return .events([])
        }
        try refusing { () throws(FailoverError) in try next.checkEpoch(ifEpoch) }
        try transaction.checkShares(new, limits)
        let pending = try transaction.summaries(now: now)
        let events = try refusing { () throws(FailoverError) in
            try next.configure(new, force: force, ifEpoch: ifEpoch, pending: pending, now: now)
        }
        machine = next
        try transaction.reconfigure(new, limits, now: now)
        try transaction.record(events)
        return .events(events)
    }

    private mutating func change(
        _ command: FailoverCommand,
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        guard var next = machine else { preconditionFailure("a deployment that is there has a machine") }
        let pending = try transaction.summaries(now: now)
        if case .resume(let region, let until?) = command { try transaction.checkPause(region, until: until) }
        let outcome = try refusing { () throws(FailoverError) in
            try next.change(command, pending: pending, now: now)
        }
        machine = next
        transaction.core.epoch = next.epoch
        switch command {
        case .pause(let region, let reason, let until): try transaction.pause(region, reason: reason, until: until)
        case .resume(let region, _): try transaction.resume(region)
        case .clearResync(let region): try transaction.clearResync(region)
        default: break
        }
        switch outcome {
        case .promotion(let promotion):
            try transaction.record(promotion.events)
            return outcome
        case .events(var events):
            try transaction.record(events)
            if case .observe = command { events += try transaction.expire(now: now) }
            return .events(events)
        default: return outcome
        }
    }

    private func refusing<Value>(_ body: () throws(FailoverError) -> Value) throws(HoldfastError) -> Value {
        do throws(FailoverError) {
            return try body()
        } catch {
            throw HoldfastError(error)
        }
    }
}

extension FailoverMachine {
    fileprivate mutating func change(
        _ command: FailoverCommand,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> FailoverOutcome {
        switch command {
        case .heartbeat(let region): return .events(try heartbeat(region, now: now))
        case .observe(let silences):
            var seen: [RegionID: Int64] = [:]
            for silence in silences { seen[silence.region] = silence.milliseconds }
            return .events(observe(silences: seen, now: now))
        case .demoteAndPromote(let region, let ifEpoch):
            return .promotion(try demoteAndPromote(region, ifEpoch: ifEpoch, pending: pending, now: now))
        case .switchover(let region, let ifEpoch):
            return .promotion(try switchover(to: region, ifEpoch: ifEpoch, pending: pending, now: now))
        case .readmit(let region, let maximumPending, let force, let ifEpoch):
            return .events(
                try readmit(
                    region,
                    maximumPending: maximumPending,
                    force: force,
                    ifEpoch: ifEpoch,
                    pending: pending,
                    now: now
                )
            )
        case .pause(let region, _, _): return .events(try pauseReplay(region, pending: pending, now: now))
        case .resume(let region, _): return .events(try resumeReplay(region, pending: pending, now: now))
        case .clearResync(let region): return .events(try clearResync(region, pending: pending, now: now))
        default: preconditionFailure("a command that is not the machine's")
        }
    }
}
