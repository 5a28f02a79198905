public import Holdfast
public import RegionFailover
internal import ReplayFormat
internal import ReplayStore

extension ReplayService {
    /// Creates a service that sends the queues of a replicated controller; nothing is sent before `run()`.
    ///
    /// Run it on the replica that leads alone, as `whileLeading` of ``Replica``: every replica has the same queues. A leader that
    /// was cut off can send for a moment beside its successor, so a region may see a batch again after a later one: it knows
    /// writes by their identity, as it must anyway. Acknowledgements, attempts, dead letters and pauses go through the log.
    ///
    /// - Parameters:
    ///   - controller: Whose queues are sent.
    ///   - sinks: For each region how a batch is sent to it; the queues of other regions wait.
    ///   - graceMilliseconds: How long a send may still take when the service shuts down gracefully.
    public convenience init(
        _ controller: ReplicatedController,
        sinks: [RegionID: ReplaySink],
        graceMilliseconds: Int64 = 10_000
    ) {
        self.init(ReplicatedQueues(controller), sinks: sinks, graceMilliseconds: graceMilliseconds)
    }
}

/// The queues of a replica: read where they are, changed through the log.
struct ReplicatedQueues: ReplayQueues {
    private let controller: ReplicatedController
    private let replica: Replica

    init(_ controller: ReplicatedController) {
        self.controller = controller
        replica = controller.replica
    }

    var store: ReplayStore { replica.machine.store }
    var source: any TimeSource { replica.clock.source }
    var now: Timestamp { replica.clock.now.time }
    var regions: [RegionID] { replica.machine.machine?.configuration.regions ?? [] }

    func acknowledge(_ batch: ReplayBatch) async throws(HoldfastError) {
        let sent = FailoverCommand.SentBatch(
            queue: batch.queue,
            entries: UInt32(clamping: batch.entries.count),
            goneBefore: batch.gone
        )
        try await propose(.acknowledge(batch.region, through: batch.through, batch: sent, ifEpoch: nil))
    }

    func setAttempts(_ attempts: UInt32, of batch: ReplayBatch) async throws(HoldfastError) {
        let place = FailoverCommand.QueuePlace(queue: batch.queue, position: batch.first)
        try await propose(.setAttempts(batch.region, at: place, attempts))
    }

    func park(_ entries: ParkedEntries, of region: RegionID) async throws(HoldfastError) -> UInt64 {
        let range = FailoverCommand.ParkedRange(
            queue: entries.queue,
            first: entries.positions.lowerBound,
            last: entries.positions.upperBound,
            cause: entries.cause,
            attempts: entries.attempts,
            reason: entries.reason
        )
        guard case .count(let parked, _) = try await propose(.park(region, range)) else { return 0 }
        return parked
    }

    func pause(_ region: RegionID, reason: String) async throws(HoldfastError) {
        try await propose(.pause(region, reason: reason, until: nil))
    }

    func endPause(_ region: RegionID, until: Timestamp) async throws(HoldfastError) {
        try await propose(.resume(region, until: until))
    }

    @discardableResult
    private func propose(_ command: FailoverCommand) async throws(HoldfastError) -> FailoverOutcome {
        try await controller.session.propose(command).outcome
    }
}
