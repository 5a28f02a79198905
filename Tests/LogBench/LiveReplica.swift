#if Etcd
import EtcdLog
import Foundation
import Holdfast
import HoldfastTesting
import Platform
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport

/// A replica that runs in this process, with a controller over it.
final class LiveReplica: Sendable {
    static let deployment = FailoverConfiguration(
        local: "us",
        regions: ["us", "eu"],
        suspectAfterMilliseconds: 3_600_000
    )

    /// What follows, and applies.
    let controller: ReplicatedController
    private let log: EtcdLog
    private let task: Task<Void, any Error>
    private let sequence = Lock(UInt64(1))

    /// Starts one.
    ///
    /// - Parameters:
    ///   - name: Its name among the members.
    ///   - path: Its directory.
    ///   - endpoints: The members of etcd.
    ///   - snapshots: A directory through which snapshots travel, where they do.
    ///   - watch: Is told of every batch that was applied, and how long that has taken.
    /// - Throws: What opening the replica or reaching etcd throws.
    init(
        _ name: String,
        at path: String,
        _ endpoints: [String],
        snapshots: String? = nil,
        watch: (@Sendable (Duration) -> Void)? = nil
    ) async throws {
        var options = ReplicaOptions(name: name)
        // A snapshot is offered when the measurement says so.
        options.snapshotEveryBytes = .max
        options.logRetainedEntries = 256
        options.logger = .silent
        let log = try EtcdLog(EtcdConfiguration(endpoints: endpoints), logger: options.logger)
        let machine = try await FailoverStateMachine.open(
            at: path,
            cluster: try await log.identity().cluster,
            options: StoreOptions(logger: options.logger)
        )
        let replica = Replica(
            machine,
            watch.map { TimedLog(log, $0) } ?? log,
            transport: snapshots.map { DirectoryTransport(path: $0) },
            options: options
        )
        self.log = log
        controller = ReplicatedController(replica)
        task = Task {
            try await replica.run()
            await machine.close()
        }
    }

    /// Queues `count` new writes of 128 bytes for `eu`.
    func append(_ count: UInt64) async throws {
        let first = sequence.withLock { next in
            defer { next += count }
            return next
        }
        try await controller.append((first..<(first + count)).map { Noise.write($0, 128) }, to: "eu")
    }

    /// Empties the queue.
    func acknowledgeAll() async throws {
        guard let queue = try await controller.statistics().first(where: { $0.region == "eu" }), queue.entries > 0
        else {
            return
        }
        try await controller.acknowledge("eu", through: queue.nextPosition - 1)
    }

    /// Returns when it has ended by itself.
    func wait() async throws { try await task.value }

    /// Ends it, and returns when everything is on the disk.
    func close() async throws {
        task.cancel()
        try await task.value
        await log.close()
    }
}

/// A log that tells how long whoever follows it takes for each delivery: from its coming to the question for the next one.
private struct TimedLog: ReplicatedLog {
    private let log: EtcdLog
    private let watch: @Sendable (Duration) -> Void

    init(_ log: EtcdLog, _ watch: @escaping @Sendable (Duration) -> Void) {
        self.log = log
        self.watch = watch
    }

    func entries(after index: UInt64) -> any AsyncSequence<LogDelivery, any Error> {
        TimedEntries(entries: log.entries(after: index), watch: watch)
    }

    func identity() async throws(HoldfastError) -> LogIdentity { try await log.identity() }
    func propose(
        _ command: [UInt8],
        as id: ProposalID,
        while leadership: Leadership?
    ) async throws(HoldfastError) -> UInt64 {
        try await log.propose(command, as: id, while: leadership)
    }
    func barrier() async throws(HoldfastError) -> UInt64 { try await log.barrier() }
    func trim(through index: UInt64) async throws(HoldfastError) { try await log.trim(through: index) }
    func report(_ member: MemberReport) async throws(HoldfastError) { try await log.report(member) }
    func members() async throws(HoldfastError) -> [MemberReport] { try await log.members() }
    func forget(member: String) async throws(HoldfastError) { try await log.forget(member: member) }
    func publish(_ snapshot: SnapshotManifest) async throws(HoldfastError) { try await log.publish(snapshot) }
    func newestSnapshot() async throws(HoldfastError) -> SnapshotManifest? { try await log.newestSnapshot() }
    func lead(as member: String, _ body: @escaping @Sendable (Leadership) async throws -> Void) async throws {
        try await log.lead(as: member, body)
    }
    func close() async { await log.close() }
}

private struct TimedEntries: AsyncSequence {
    typealias Element = LogDelivery

    let entries: any AsyncSequence<LogDelivery, any Error>
    let watch: @Sendable (Duration) -> Void

    func makeAsyncIterator() -> Iterator { Iterator(entries: entries.makeAsyncIterator(), watch: watch) }

    struct Iterator: AsyncIteratorProtocol {
        var entries: any AsyncIteratorProtocol<LogDelivery, any Error>
        let watch: @Sendable (Duration) -> Void
        var cameAt: ContinuousClock.Instant?

        init(entries: any AsyncIteratorProtocol<LogDelivery, any Error>, watch: @escaping @Sendable (Duration) -> Void)
        {
            self.entries = entries
            self.watch = watch
        }

        mutating func next() async throws -> LogDelivery? { try await next(isolation: nil) }

        mutating func next(isolation actor: isolated (any Actor)?) async throws -> LogDelivery? {
            if let cameAt { watch(ContinuousClock.now - cameAt) }
            let delivery = try await entries.next(isolation: actor)
            cameAt = ContinuousClock.now
            return delivery
        }
    }
}
#endif
