internal import Platform
public import RegionFailover
public import ReplayStore

#if ServiceLifecycleSupport
public import ServiceLifecycle
#endif  // ServiceLifecycleSupport

/// Sends a batch to its region: returns once the region has every entry of it, durably.
///
/// It may throw anything. An error of any kind counts as an attempt against ``ReplaySettings/attemptsMax``, except
/// ``RegionUnavailable``, which says that no entry is to blame. It must end soon after its task is cancelled: the next
/// send to the region begins only when this one has ended, so that the order is kept.
public typealias ReplaySink = @Sendable (_ batch: ReplayBatch) async throws -> Void

/// What a ``ReplaySink`` throws when the region cannot be reached or is overloaded: no entry is to blame.
///
/// The send is tried again for as long as it takes, and counts against no entry.
public struct RegionUnavailable: Error, Sendable, Hashable, CustomStringConvertible {
    /// What was met, for people.
    public var description: String

    /// Creates an error.
    public init(_ description: String) { self.description = description }
}

/// What the replay to one region is doing.
public struct ReplayStatus: Sendable, Hashable {
    /// The region.
    public var region: RegionID
    /// The most entries a second that are sent now; nil for as fast as the region takes them.
    public var entriesPerSecondMax: Double?
    /// The most entries in a batch now.
    public var batchEntriesMax: Int
    /// Entries a second that have been delivered of late, while there were any; 0 before the first batch.
    public var entriesPerSecond: Double
    /// Sends that failed since the last one that did not.
    public var failures: UInt32
    /// What the last failed send threw; nil when a batch has been delivered since.
    public var lastError: String?
    /// Why the store could not do what the replay needs, such as an acknowledgement; nil once it could.
    public var storeError: HoldfastError?
    /// How often the store was asked in vain since.
    public var storeFailures: UInt32
    /// When the region last received a batch; nil before.
    public var lastDeliveredAt: Timestamp?
    /// Entries that were sent more than once by this service.
    public var redeliveries: UInt64

    init(_ region: RegionID) {
        self.region = region
        batchEntriesMax = 0
        entriesPerSecond = 0
        failures = 0
        storeFailures = 0
        redeliveries = 0
    }
}

/// Sends every region its queue, for as long as it runs.
///
/// For each region: entries in order, one batch in flight, acknowledged when its sink returns. A send that fails or takes
/// too long is tried again, after a random wait that grows with each failure (full jitter); the rate and the size of the
/// batches halve with it, and grow back by equal steps. So an overloaded region gets the load that it can carry. How fast
/// and how often is up to ``ReplaySettings``, which can be changed at any moment and are kept in the store, as are pauses and
/// the number of attempts. Delivery is at least once: see the article "Exactly once" for the receiver's side.
public final class ReplayService: Sendable {
    private let queues: any ReplayQueues
    private let shippers: [RegionID: ReplayShipper]
    private let stop = QueueSignal()

    /// Creates a service; nothing is sent before ``run()``.
    ///
    /// - Parameters:
    ///   - controller: Whose queues are sent. It is not closed by the service.
    ///   - sinks: For each region how a batch is sent to it; the queues of other regions wait.
    ///   - graceMilliseconds: How long a send may still take when the service shuts down gracefully.
    public convenience init(
        _ controller: RegionFailoverController,
        sinks: [RegionID: ReplaySink],
        graceMilliseconds: Int64 = 10_000
    ) {
        self.init(OwnQueues(controller: controller), sinks: sinks, graceMilliseconds: graceMilliseconds)
    }

    package init(_ queues: any ReplayQueues, sinks: [RegionID: ReplaySink], graceMilliseconds: Int64) {
        self.queues = queues
        var shippers: [RegionID: ReplayShipper] = [:]
        for (region, sink) in sinks {
            shippers[region] = ReplayShipper(queues, region, sink, stop, graceMilliseconds: graceMilliseconds)
        }
        self.shippers = shippers
    }

    /// What the replay to a region is doing; nil for a region without a sink.
    public func status(of region: RegionID) -> ReplayStatus? { shippers[region]?.status.withLock { $0 } }

    /// What the replay to each region is doing, in the order of the regions' bytes.
    public var statuses: [ReplayStatus] { shippers.keys.sorted().compactMap { status(of: $0) } }

    /// Sends until the task is cancelled or the service is shut down.
    ///
    /// On a graceful shutdown (swift-service-lifecycle) or after ``shutDown()`` a send that is under way is finished and
    /// acknowledged; after the grace it is cancelled, and its entries stay queued, whatever the sink throws. On return no
    /// sink runs. It can be run once.
    ///
    /// A region that leaves the deployment meanwhile is waited for. After an error of the store, such as a full disk, it tries
    /// again, with waits that grow, and ``ReplayStatus/storeError`` says why; what was delivered is then acknowledged without
    /// sending it again. An error with the code `damaged` does not end by waiting: close the store and look at it.
    ///
    /// - Throws: ``HoldfastError``, with `unknownRegion` or `replayerActive` before anything is sent; with `closed`,
    ///   `poisoned` or `forkedChild` when the store has ended.
    public func run() async throws {
        #if ServiceLifecycleSupport
        let failure = await withGracefulShutdownHandler {
            await self.ship()
        } onGracefulShutdown: {
            self.shutDown()
        }
        #else
        let failure = await ship()
        #endif  // ServiceLifecycleSupport
        if let failure { throw failure }
    }

    /// Lets ``run()`` return when the sends that are under way have ended.
    public func shutDown() {
        stop.end()
        queues.store.signal.wakeAll()
    }

    private func ship() async -> HoldfastError? {
        let known = Set(queues.regions)
        if let unknown = shippers.keys.sorted().first(where: { !known.contains($0) }) { return .unknownRegion(unknown) }
        var taken: [(shipper: ReplayShipper, replayer: Replayer)] = []
        for shipper in shippers.values {
            do throws(HoldfastError) {
                taken.append((shipper, try shipper.take()))
            } catch {
                return error
            }
        }
        return await withTaskGroup(of: HoldfastError?.self) { group in
            for (shipper, replayer) in taken {
                group.addTask { await shipper.run(replayer) }
            }
            var failure: HoldfastError?
            for await error in group {
                guard let error else { continue }
                failure = failure ?? error
                group.cancelAll()
            }
            return failure
        }
    }
}

#if ServiceLifecycleSupport
extension ReplayService: Service {}
#endif  // ServiceLifecycleSupport
