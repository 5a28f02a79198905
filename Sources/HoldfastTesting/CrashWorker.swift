import Holdfast
private import Platform

/// One life of a ``CrashWorkload``.
struct CrashWorker {
    /// What it does.
    enum Operation: Sendable, CaseIterable {
        case append, appendAtOnce, deliver, drain, dropOldest, expire, reject, park, retry, discard, transition,
            configure

        /// How often each is done: a list of so many of each.
        static let share: [Operation] =
            allCases + [.append, .append, .append, .append, .deliver, .deliver, .deliver, .transition]
        /// The same where it is about the controller.
        static let controlShare: [Operation] = [
            .transition, .transition, .transition, .transition, .configure, .configure, .reject,
        ]
    }

    let controller: RegionFailoverController
    let journal: CrashJournal
    var oracle: ConservationOracle
    var random: SplitMix64

    private mutating func note(_ events: [CrashEvent]) throws(HoldfastError) {
        try journal.note(events)
        for event in events { oracle.apply(event) }
    }

    private mutating func anyRegion() -> RegionID {
        CrashWorkload.regions.randomElement(using: &random) ?? CrashWorkload.regions[0]
    }

    private func entries(of region: RegionID) async throws -> UInt64 {
        try await controller.pendingCount(for: region)
    }

    // MARK: A life

    /// Takes back what the life before has left half way.
    mutating func begin() async throws {
        for queue in try await controller.statistics() where queue.limits != .unlimited {
            try await control(.limit(queue.region, .unlimited))
        }
        // Their callers have not heard, so they call again.
        for call in oracle.unansweredCalls { try await append(call, isFirst: false) }
    }

    mutating func work(_ operation: Operation) async throws {
        switch operation {
        case .append: try await appendSome(to: anyRegion(), [1, 1, 1, 2, 5, 40, 300])
        case .appendAtOnce: try await appendAtOnce()
        case .deliver: try await deliver(anyRegion(), batches: Int.random(in: 1...4, using: &random))
        case .drain: try await drain(anyRegion())
        case .dropOldest: try await dropOldest(anyRegion())
        case .expire: try await expire(anyRegion())
        case .reject: try await reject(anyRegion())
        case .park: try await park(anyRegion())
        case .retry: try await retry(anyRegion())
        case .discard: try await discard(anyRegion())
        case .transition: try await transition()
        case .configure: try await configure()
        }
    }

    /// Delivers everything.
    mutating func empty() async throws {
        for region in CrashWorkload.regions { try await deliver(region, batches: .max, leavesNone: true) }
    }

    // MARK: Appends

    private mutating func appendSome(to region: RegionID, _ counts: [Int]) async throws {
        let isFanOut = Int.random(in: 0..<4, using: &random) == 0
        let regions = isFanOut ? CrashWorkload.regions : [region]
        try await append(try issue(counts.randomElement(using: &random) ?? 1, to: regions), isFirst: true)
    }

    private mutating func issue(_ count: Int, to regions: [RegionID]) throws -> ConservationOracle.Call {
        let (event, call) = oracle.nextIssue(count, to: regions)
        try note([event])
        return call
    }

    private mutating func append(_ call: ConservationOracle.Call, isFirst: Bool) async throws {
        do throws(HoldfastError) {
            let receipts = try await controller.append(call.writes, to: call.regions)
            try note(receipts.map { .appended(call.number, $0) })
        } catch {
            guard error.code == .full else { throw error }
            if isFirst { try note([.refused(call: call.number)]) }
        }
    }

    /// Many callers at one moment, who share a transaction.
    private mutating func appendAtOnce() async throws {
        var calls: [ConservationOracle.Call] = []
        for _ in 0..<8 { calls.append(try issue(Int.random(in: 1...3, using: &random), to: [anyRegion()])) }
        let (controller, journal) = (controller, journal)
        let events = try await withThrowingTaskGroup(of: [CrashEvent].self) { group in
            for call in calls {
                group.addTask {
                    let receipts = try await controller.append(call.writes, to: call.regions)
                    let events = receipts.map { CrashEvent.appended(call.number, $0) }
                    try journal.note(events)
                    return events
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        for event in events { oracle.apply(event) }
    }

    // MARK: Leaving

    private mutating func deliver(_ region: RegionID, batches: Int, leavesNone: Bool = false) async throws {
        let most =
            leavesNone ? CrashWorkload.windowEntries : Int.random(in: 1...CrashWorkload.windowEntries, using: &random)
        var left = batches
        for try await batch in controller.batches(for: region, entriesMax: most) {
            try note(CrashEvent.deliveries(batch.entries, from: region, oracle.source, isDrain: false))
            // The acknowledgement never arrives: the batch stays in flight.
            if !leavesNone, Int.random(in: 0..<6, using: &random) == 0 { return }
            try await batch.acknowledge()
            try note([.acknowledged(region, through: batch.through)])
            left -= 1
            if left == 0 { return }
        }
    }

    private mutating func drain(_ region: RegionID) async throws {
        let most = Int.random(in: 1...40, using: &random)
        if try await entries(of: region) == 0 { try await appendSome(to: region, [5]) }
        try note([.draining(region, max: UInt64(most))])
        let receipt = try await controller.drain(region, max: most)
        try note(
            CrashEvent.deliveries(receipt.entries, from: region, oracle.source, isDrain: true) + [.drainEnded(region)]
        )
    }

    private mutating func dropOldest(_ region: RegionID) async throws {
        if try await entries(of: region) < 2 { try await appendSome(to: region, [40]) }
        let most = try await max(3, entries(of: region) / 2)
        try await control(.limit(region, QueueLimits(entriesMax: most, overflow: .dropOldest)))
        try await append(try issue(3, to: [region]), isFirst: true)
        try await control(.limit(region, .unlimited))
        try await control(.clearResync(region))
    }

    private mutating func expire(_ region: RegionID) async throws {
        if try await entries(of: region) == 0 { try await appendSome(to: region, [5]) }
        try await control(.limit(region, QueueLimits(ageMaxMilliseconds: 0, overflow: .dropOldest)))
        try await control(.tick)
        try await control(.limit(region, .unlimited))
    }

    private mutating func reject(_ region: RegionID) async throws {
        try await control(.limit(region, QueueLimits(entriesMax: 1)))
        try await append(try issue(5, to: [region]), isFirst: true)
        try await control(.limit(region, .unlimited))
    }

    // MARK: Dead letters

    /// Lets the replay service send, to a receiver that refuses every second entry.
    private mutating func park(_ region: RegionID) async throws {
        if try await entries(of: region) < 8 { try await append(try issue(8, to: [region]), isFirst: true) }
        var settings = ReplaySettings(batchEntriesMax: 1, backoffBaseMilliseconds: 1, backoffMaxMilliseconds: 1)
        settings.attemptsMax = 1
        settings.exhaustion = .park
        try await controller.setReplaySettings(settings, for: region)
        try await control(.resume(region))
        let receiver = CrashReceiver(region, journal, oracle.source, sends: 6)
        let service = ReplayService(controller, sinks: [region: { batch in try await receiver.receive(batch) }])
        receiver.service.withLock { $0 = service }
        try await service.run()
        receiver.service.withLock { $0 = nil }
        for event in receiver.events.withLock({ $0 }) { oracle.apply(event) }
    }

    private mutating func letters(of region: RegionID) async throws -> [DeadLetter] {
        let letters = try await controller.deadLetters(for: region)
        guard letters.isEmpty else { return letters }
        try await park(region)
        return try await controller.deadLetters(for: region)
    }

    private mutating func retry(_ region: RegionID) async throws {
        let letters = try await letters(of: region)
        try note([.retrying(region, positions: letters.map(\.position))])
        try await controller.retryDeadLetters(region)
    }

    private mutating func discard(_ region: RegionID) async throws {
        let some = try await letters(of: region).prefix(2)
        try await controller.dropDeadLetters(region, .positions(Set(some.map(\.position))))
    }

    // MARK: Failover

    /// Makes a call of the controller's own, and notes what it promises.
    private mutating func control(_ call: ControllerCall) async throws {
        let (before, after, words) = try await call.forecast(controller)
        try note([.controlling(before: before, after: after, words: words)])
        var events: [FailoverEvent] = []
        do throws(HoldfastError) {
            events = try await call.make(on: controller)
        } catch {
            guard ControllerCall.refusals.contains(error.code) else { throw error }
        }
        try note([.controlled(try await ControllerPromise(controller), words: ControllerPromise.words(events))])
    }

    private mutating func transition() async throws {
        let region = anyRegion()
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            try await control(.heartbeat(region))
            try await control(.tick)
        case 1: try await control(.pause(region))
        case 2: try await control(.switchover(region))
        case 3: try await control(.readmit(region))
        default:
            let failed = controller.actingPrimary
            try await control(.demoteAndPromote(failed))
            try await control(.readmit(failed))
        }
        try await control(.resume(region))
    }

    /// Adds a region with a write of somebody else's, or removes it with what it holds.
    private mutating func configure() async throws {
        var wanted = controller.configuration
        if wanted.regions.contains(CrashWorkload.spare) {
            guard controller.actingPrimary != CrashWorkload.spare else { return }
            wanted.regions.removeAll { $0 == CrashWorkload.spare }
            try await control(.configure(wanted))
        } else {
            wanted.regions.append(CrashWorkload.spare)
            try await control(.configure(wanted))
            let write = OutstandingWrite(origin: "other", incarnation: 1, sequence: random.next(), key: "k", value: "v")
            try await controller.append([write], to: CrashWorkload.spare)
        }
    }
}
