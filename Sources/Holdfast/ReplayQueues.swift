package import RegionFailover
package import ReplayFormat
package import ReplayStore

/// The queues that a ``ReplayService`` sends, and how they are changed: those of a store of this process, or of a replica, whose
/// changes go through its log.
package protocol ReplayQueues: Sendable {
    /// Where the queues are read.
    var store: ReplayStore { get }
    /// Where waits and their lengths come from.
    var source: any TimeSource { get }
    /// The time of the controller.
    var now: Timestamp { get }
    /// The regions of the deployment.
    var regions: [RegionID] { get }

    /// Takes a batch that the region has received out of its queue; see ``ReplayBatch/acknowledge()``.
    func acknowledge(_ batch: ReplayBatch) async throws(HoldfastError)

    /// Notes how often the entry at the head was refused.
    func setAttempts(_ attempts: UInt32, of batch: ReplayBatch) async throws(HoldfastError)

    /// Sets entries at the head aside as dead letters; gives how many were still there.
    func park(_ entries: ParkedEntries, of region: RegionID) async throws(HoldfastError) -> UInt64

    /// Pauses the replay.
    func pause(_ region: RegionID, reason: String) async throws(HoldfastError)

    /// Ends a pause whose time has come; a later one stays.
    func endPause(_ region: RegionID, until: Timestamp) async throws(HoldfastError)
}

/// Entries at the head of a queue that become dead letters.
package struct ParkedEntries: Sendable {
    package var queue: UInt32
    package var positions: ClosedRange<UInt64>
    package var cause: DeadRow.Cause
    package var attempts: UInt32
    package var reason: String
    /// The most bytes that the row of each may take.
    package var rowBytes: [Int]
}

/// The queues of a controller's own store.
struct OwnQueues: ReplayQueues {
    let controller: RegionFailoverController

    var store: ReplayStore { controller.store }
    var source: any TimeSource { controller.machine.clock.source }
    var now: Timestamp { controller.now }
    var regions: [RegionID] { controller.configuration.regions }

    func acknowledge(_ batch: ReplayBatch) async throws(HoldfastError) { _ = try await batch.acknowledge() }

    func setAttempts(_ attempts: UInt32, of batch: ReplayBatch) async throws(HoldfastError) {
        let (region, queue, first) = (batch.region, batch.queue, batch.first)
        try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.setAttempts(attempts, at: first, of: region, queue: queue)
        }
    }

    func park(_ entries: ParkedEntries, of region: RegionID) async throws(HoldfastError) -> UInt64 {
        let clock = controller.machine.clock
        return try await store.transact(adding: entries.rowBytes) { (transaction) throws(HoldfastError) in
            try transaction.park(
                region,
                queue: entries.queue,
                entries.positions,
                cause: entries.cause,
                attempts: entries.attempts,
                reason: entries.reason,
                now: clock.now
            ).parked
        }
    }

    func pause(_ region: RegionID, reason: String) async throws(HoldfastError) {
        _ = try await controller.pause(region, reason: reason)
    }

    func endPause(_ region: RegionID, until: Timestamp) async throws(HoldfastError) {
        try await controller.endPause(region, until: until)
    }
}
