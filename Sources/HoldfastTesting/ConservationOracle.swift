public import Holdfast
private import ReplayStore

/// Knows what a store must hold, and says what it did to writes that it must not do.
///
/// It issues writes, hears what became of them, and compares the store with that: each write whose append returned was
/// received, is queued, is a dead letter, or left with a row of the ledger, and is in exactly one of these places; what was
/// received has the bytes that were issued, in the order of the appends: those of a call that was issued after another one
/// had returned come behind; those of one call are neighbours in the order of the call, and are all there or none, in each
/// of its regions, whether anybody heard of it or not; what came twice was in flight; nothing appeared
/// that was not issued; and for each region accepted = queued + acknowledged + drained + dropped + dead + lost, each number
/// being what has happened.
///
/// ```swift
/// var oracle = ConservationOracle(seed: 1, regions: ["eu-west-1"])
/// let call = oracle.issue(100, to: ["eu-west-1"])
/// oracle.appended(call, try await controller.append(call.writes, to: call.regions))
/// for try await batch in controller.batches(for: "eu-west-1", entriesMax: 10) {
///     oracle.received(batch)
///     oracle.acknowledged(try await batch.acknowledge(), batch)
/// }
/// await controller.close()
/// let violations = try oracle.violations(storeAt: path)
/// ```
///
/// Tell it of each step when it has happened, except ``issue(_:to:)``, ``willDrain(_:max:)`` and
/// ``willRetry(_:of:)``, which come before: what was under way when a process died may have happened or not, and the
/// next look at the store says which. It follows one receiver a region, whose batches have at most ``windowEntries``
/// entries. It is a value: keep it where the process that is killed is not.
public struct ConservationOracle: Sendable {
    /// Writes that were issued for a call of `append`.
    public struct Call: Sendable, Hashable {
        /// The call's number, from 1.
        public var number: UInt64
        /// The regions that it is for.
        public var regions: [RegionID]
        /// The writes.
        public var writes: [OutstandingWrite]
    }

    /// The most entries in a batch: so many may come again after a crash.
    public let windowEntries: Int
    let source: WriteSource
    var accounts: [RegionID: RegionAccount] = [:]
    var violations = ConservationViolations()
    private struct OpenCall {
        var regions: [RegionID]
        var sequences: Range<UInt64>
        /// The regions of which nobody has heard.
        var unanswered: [RegionID]
    }

    /// Calls whose outcome nobody has heard, by number.
    private var open: [UInt64: OpenCall] = [:]
    /// Calls that had been made before they were answered: what the first one left is looked at once more.
    private var repeated: [UInt64: OpenCall] = [:]
    private var nextCall: UInt64 = 1
    private var nextSequence: UInt64 = 1

    /// Creates an oracle that has issued nothing.
    ///
    /// - Parameters:
    ///   - seed: What the writes are made of: the same seed gives the same writes.
    ///   - regions: The regions that it follows; others may be in the store, and get none of its writes.
    ///   - origin: The origin of the writes.
    ///   - incarnation: Their incarnation.
    ///   - windowEntries: The most entries in a batch.
    public init(
        seed: UInt64,
        regions: [RegionID],
        origin: RegionID = "oracle",
        incarnation: UInt64 = 1,
        windowEntries: Int = 256
    ) {
        source = WriteSource(seed: seed, origin: origin, incarnation: incarnation)
        self.windowEntries = windowEntries
        for region in regions { accounts[region] = RegionAccount(region, source, windowEntries) }
    }

    // MARK: What is done to the store

    /// Makes new writes for a call of `append`.
    ///
    /// From here on they may appear in the queues of `regions`, which are some of those that the oracle follows.
    public mutating func issue(_ count: Int, to regions: [RegionID]) -> Call {
        let (event, call) = nextIssue(count, to: regions)
        apply(event)
        return call
    }

    /// The event of the next call, which has not been issued yet, and the call.
    package func nextIssue(_ count: Int, to regions: [RegionID]) -> (CrashEvent, Call) {
        let sequences = nextSequence..<(nextSequence + UInt64(max(0, count)))
        let call = Call(number: nextCall, regions: regions, writes: sequences.map(source.write))
        return (.issued(call: nextCall, regions: regions, sequences: sequences), call)
    }

    /// The append of a call has returned: its writes are acknowledged to the caller, duplicates too.
    public mutating func appended(_ call: Call, _ receipts: [AppendReceipt]) {
        for receipt in receipts { apply(.appended(call.number, receipt)) }
    }

    /// The append of a call was refused, so none of its writes is there.
    ///
    /// Leave out what ended with an unknown outcome, and calls that were made again after one.
    public mutating func refused(_ call: Call) { apply(.refused(call: call.number)) }

    /// A receiver got a batch: before it is acknowledged.
    public mutating func received(_ batch: ReplayBatch) { received(batch.entries, from: batch.region) }

    /// A receiver got entries from the head of a region's queue, which are not acknowledged yet.
    public mutating func received(_ entries: [QueueEntry], from region: RegionID) {
        for event in CrashEvent.deliveries(entries, from: region, source, isDrain: false) { apply(event) }
    }

    /// The acknowledgement of a batch has returned.
    public mutating func acknowledged(_ receipt: AcknowledgeReceipt, _ batch: ReplayBatch) {
        apply(.acknowledged(receipt.region, through: batch.through))
    }

    /// At most `max` entries are about to be drained from a region's queue.
    public mutating func willDrain(_ region: RegionID, max: Int) { apply(.draining(region, max: UInt64(max))) }

    /// A drain has returned.
    public mutating func drained(_ receipt: DrainReceipt, from region: RegionID) {
        for event in CrashEvent.deliveries(receipt.entries, from: region, source, isDrain: true) { apply(event) }
        apply(.drainEnded(region))
    }

    /// Dead letters are about to be queued again, while nothing else is appended to the region.
    public mutating func willRetry(_ letters: [DeadLetter], of region: RegionID) {
        apply(.retrying(region, positions: letters.map(\.position)))
    }

    /// Entries were damaged on purpose: they may be in the ledger as damaged or missing, and need not be received.
    public mutating func willDamage(_ positions: ClosedRange<UInt64>, of region: RegionID) {
        apply(.damaging(region, positions))
    }

    // MARK: What came of it

    /// Calls of `append` whose outcome nobody has heard: they can be made again.
    public var unansweredCalls: [Call] {
        open.sorted { $0.key < $1.key }.map { number, call in
            Call(number: number, regions: call.unanswered, writes: call.sequences.map(source.write))
        }
    }

    /// Compares a closed store with what has happened, after a full check of it.
    ///
    /// What was under way when a process died is settled by it: call it after each crash, before the store is used again.
    /// It can be called at any time, again and again; violations stay.
    ///
    /// - Parameter path: The store's directory; this process has no handle to it open.
    /// - Returns: Every violation so far, in the order in which they were found; none where all is well.
    /// - Throws: ``Holdfast/HoldfastError`` where there is no store that can be read.
    public mutating func violations(storeAt path: String) throws(HoldfastError) -> [ConservationViolation] {
        let report = try StoreCheck.run(path, level: .full)
        for finding in report.findings where finding.severity == .error && !isExpected(finding) {
            violations.add(.damaged, finding.region, finding.first, "\(finding.code): \(finding.message)")
        }
        return violations(in: try QueueContents.read(storeAt: path))
    }

    /// Damage that was done on purpose, and has not been set aside yet.
    private func isExpected(_ finding: StoreCheck.Finding) -> Bool {
        guard let region = finding.region, let first = finding.first else { return false }
        return accounts[region]?.isDamaged(first...max(first, finding.last ?? first)) == true
    }

    /// Compares what a store holds of each region with what has happened.
    ///
    /// - Returns: Every violation so far.
    public mutating func violations(in contents: [RegionID: QueueContents]) -> [ConservationViolation] {
        for region in accounts.keys.sorted() {
            guard let held = contents[region] else {
                violations.add(.missing, region, nil, "the region is not in the store")
                continue
            }
            accounts[region]?.compare(held, &violations)
        }
        let calls = open.merging(repeated) { $1 }
        for number in calls.keys.sorted() { if let call = calls[number] { judge(call, in: contents) } }
        repeated = [:]
        return violations.all
    }

    /// A call that was under way has left all of its writes in each of its regions, or nothing in any.
    private mutating func judge(_ call: OpenCall, in contents: [RegionID: QueueContents]) {
        var somewhere = call.regions.first { !call.unanswered.contains($0) }
        var nowhere: [RegionID] = []
        for region in call.regions where contents[region] != nil {
            switch accounts[region]?.trace(of: call.sequences, &violations) {
            case .found: somewhere = region
            case .nothing where call.unanswered.contains(region): nowhere.append(region)
            default: break
            }
        }
        guard let somewhere, let first = call.sequences.first else { return }
        for region in nowhere {
            violations.add(
                .missing,
                region,
                nil,
                "write \(first) and its call are in region \(somewhere), and not here"
            )
        }
    }

    /// The numbers of what has happened in all regions.
    public var tally: ConservationTally {
        accounts.values.reduce(into: ConservationTally(issued: nextSequence - 1)) { $0.add($1.tally) }
    }

    /// Takes part of what has happened.
    package mutating func apply(_ event: CrashEvent) {
        switch event {
        case .issued(let call, let regions, let sequences):
            nextCall = max(nextCall, call + 1)
            nextSequence = max(nextSequence, sequences.upperBound)
            open[call] = OpenCall(regions: regions, sequences: sequences, unanswered: regions)
            for region in regions { accounts[region]?.issue(sequences) }
        case .answered(let call, let region, let first, let duplicates):
            guard var answered = open[call] else { return }
            accounts[region]?.answer(answered.sequences, first, duplicates, &violations)
            answered.unanswered.removeAll { $0 == region }
            open[call] = answered.unanswered.isEmpty ? nil : answered
            if !duplicates.isEmpty { repeated[call] = answered }
        case .refused(let call):
            guard let refused = open.removeValue(forKey: call) else { return }
            for region in refused.unanswered { accounts[region]?.refuse(refused.sequences) }
        case .received(let region, let run): accounts[region]?.receive(run, isDrain: false, &violations)
        case .drained(let region, let run): accounts[region]?.receive(run, isDrain: true, &violations)
        case .foreign(let region, let position, let identity, let isDrain):
            accounts[region]?.receive(foreign: identity, at: position, isDrain: isDrain, &violations)
        case .acknowledged(let region, let through): accounts[region]?.settle(through)
        case .draining(let region, let max): accounts[region]?.drainMax = max
        case .drainEnded(let region): accounts[region]?.drainMax = nil
        case .retrying(let region, let positions): accounts[region]?.retrying = positions
        case .damaging(let region, let positions): accounts[region]?.damaged.append(positions)
        case .opened, .closed, .controlling, .controlled: break
        }
    }
}

/// Numbers of what has happened to the writes of a ``ConservationOracle``.
public struct ConservationTally: Sendable, Hashable {
    /// Writes that were issued.
    public var issued: UInt64
    /// Writes whose append returned, counted for each region.
    public var acknowledged: UInt64 = 0
    /// Entries that a receiver got by batches, each counted once.
    public var received: UInt64 = 0
    /// Entries that it got again.
    public var redelivered: UInt64 = 0
    /// Entries that were drained.
    public var drained: UInt64 = 0
    /// Entries that were dropped, or given up, with a row of the ledger.
    public var dropped: UInt64 = 0
    /// Dead letters, as of the last look at the store.
    public var dead: UInt64 = 0
    /// Dead letters that were queued again.
    public var retried: UInt64 = 0

    /// Creates numbers.
    public init(issued: UInt64) { self.issued = issued }

    /// Adds those of other writes.
    public mutating func add(_ other: Self) {
        issued += other.issued
        acknowledged += other.acknowledged
        received += other.received
        redelivered += other.redelivered
        drained += other.drained
        dropped += other.dropped
        dead += other.dead
        retried += other.retried
    }
}
