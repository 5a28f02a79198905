import Holdfast

/// What has happened to the writes for one region, as a ``ConservationOracle`` knows it.
struct RegionAccount: Sendable {
    /// Where a write is, as far as anybody was told.
    struct Fate {
        var isIssued = false
        var isAcknowledged = false
        /// 0 where nobody knows.
        var position: UInt64 = 0
        /// The first position that it was known to have: a dead letter that is queued again gets another one.
        var appendedAt: UInt64 = 0
        /// The last position that a receipt had named when it was issued: its own is behind it.
        var after: UInt64 = 0
    }

    /// What came of a position.
    struct Place {
        /// 0 where nobody knows.
        var sequence: UInt64 = 0
        var isReceived = false
        var isDrained = false
    }

    let region: RegionID
    private let source: WriteSource
    private let window: UInt64
    /// By sequence, and by position: the first of each is 1.
    private(set) var fates: [Fate] = [Fate()]
    private(set) var places: [Place] = [Place()]
    /// Nothing up to this position may be received any more.
    private var settledThrough: UInt64 = 0
    /// The last position that a receipt has named.
    private var answeredThrough: UInt64 = 0
    /// The last position that was received.
    private var receivedThrough: UInt64 = 0
    /// Dead letters that were to be queued again.
    private var mayBeRetried: Set<UInt64> = []
    private var drainedCount: UInt64 = 0
    /// A drain that is under way, of at most so many.
    var drainMax: UInt64?
    var retrying: [UInt64] {
        get { Array(mayBeRetried) }
        set { mayBeRetried.formUnion(newValue) }
    }
    /// Positions that were damaged on purpose.
    var damaged: [ClosedRange<UInt64>] = []
    private(set) var tally = ConservationTally(issued: 0)

    init(_ region: RegionID, _ source: WriteSource, _ windowEntries: Int) {
        self.region = region
        self.source = source
        window = UInt64(max(1, windowEntries))
    }

    // MARK: Appends

    mutating func issue(_ sequences: Range<UInt64>) {
        while UInt64(fates.count) < sequences.upperBound { fates.append(Fate()) }
        for sequence in sequences {
            fates[Int(sequence)].isIssued = true
            fates[Int(sequence)].after = answeredThrough
        }
    }

    /// A call that was refused has left nothing, unless it had been made before.
    mutating func refuse(_ sequences: Range<UInt64>) {
        for sequence in sequences where fates[Int(sequence)].position == 0 { fates[Int(sequence)].isIssued = false }
    }

    mutating func answer(
        _ sequences: Range<UInt64>,
        _ first: UInt64,
        _ duplicates: [Int],
        _ violations: inout ConservationViolations
    ) {
        let duplicates = Set(duplicates)
        var position = first
        for (index, sequence) in sequences.enumerated() {
            if !fates[Int(sequence)].isAcknowledged { tally.acknowledged += 1 }
            fates[Int(sequence)].isAcknowledged = true
            if duplicates.contains(index) { continue }
            place(sequence, at: position, &violations)
            position += 1
        }
        if position > first { answeredThrough = max(answeredThrough, position - 1) }
    }

    /// Notes that a write has a position; each has one, and one at a time.
    private mutating func place(
        _ sequence: UInt64,
        at position: UInt64,
        _ violations: inout ConservationViolations
    ) {
        guard position > 0, position < 1 << 32 else {
            return violations.add(.outOfOrder, region, position, "there is no such position")
        }
        while UInt64(places.count) <= position { places.append(Place()) }
        let known = places[Int(position)].sequence
        if known == sequence { return }
        guard known == 0 else {
            return violations.add(
                .outOfOrder,
                region,
                position,
                "write \(sequence) is here, where write \(known) was appended"
            )
        }
        let before = fates[Int(sequence)].position
        if before != 0, !mayBeRetried.contains(before) {
            violations.add(.doubled, region, position, "write \(sequence) is queued again, which stood at \(before)")
        }
        let after = fates[Int(sequence)].after
        if position <= after {
            violations.add(
                .outOfOrder,
                region,
                position,
                "write \(sequence) is here, and was issued when an append up to position \(after) had returned"
            )
        }
        places[Int(position)].sequence = sequence
        fates[Int(sequence)].position = position
        if fates[Int(sequence)].appendedAt == 0 { fates[Int(sequence)].appendedAt = position }
    }

    private func isIssued(_ sequence: UInt64) -> Bool {
        sequence > 0 && sequence < UInt64(fates.count) && fates[Int(sequence)].isIssued
    }

    // MARK: Deliveries

    mutating func receive(_ run: CrashEvent.Run, isDrain: Bool, _ violations: inout ConservationViolations) {
        for offset in 0..<run.count {
            let (position, sequence) = (run.position + offset, run.sequence + offset)
            arrive(at: position, isDrain: isDrain, &violations)
            if isIssued(sequence) {
                place(sequence, at: position, &violations)
            } else {
                violations.add(.notIssued, region, position, "write \(sequence) was not issued for the region")
            }
        }
    }

    /// Something was received that is not what was issued.
    mutating func receive(
        foreign identity: WriteIdentity,
        at position: UInt64,
        isDrain: Bool,
        _ violations: inout ConservationViolations
    ) {
        arrive(at: position, isDrain: isDrain, &violations)
        note(foreign: identity, at: position, "was received", &violations)
    }

    private func note(
        foreign identity: WriteIdentity,
        at position: UInt64,
        _ what: String,
        _ violations: inout ConservationViolations
    ) {
        let name = "write \(identity.sequence) of \(identity.origin), incarnation \(identity.incarnation)"
        let isOurs = identity.origin == source.origin && identity.incarnation == source.incarnation
        if isOurs, isIssued(identity.sequence) {
            violations.add(.changed, region, position, "\(name) \(what) with other bytes than were issued")
        } else {
            violations.add(.notIssued, region, position, "\(name) \(what), and nobody had issued it for the region")
        }
    }

    private mutating func arrive(at position: UInt64, isDrain: Bool, _ violations: inout ConservationViolations) {
        guard position > 0, position < 1 << 32 else { return }
        while UInt64(places.count) <= position { places.append(Place()) }
        let wasReceived = places[Int(position)].isReceived
        if position <= settledThrough {
            violations.add(.doubled, region, position, "it was received again, after everything up to it had left")
        } else if wasReceived, position + window <= receivedThrough {
            let last = receivedThrough
            violations.add(
                .doubled,
                region,
                position,
                "it was received again, and \(last) had been: more than the \(window) in flight"
            )
        } else if !wasReceived, position < receivedThrough {
            violations.add(
                .outOfOrder,
                region,
                position,
                "it was received for the first time after position \(receivedThrough)"
            )
        }
        if isDrain {
            if !places[Int(position)].isDrained { drainedCount += 1 }
            places[Int(position)].isDrained = true
            settledThrough = max(settledThrough, position)
        } else if wasReceived {
            tally.redelivered += 1
        } else {
            tally.received += 1
        }
        places[Int(position)].isReceived = true
        receivedThrough = max(receivedThrough, position)
    }

    mutating func settle(_ position: UInt64) { settledThrough = max(settledThrough, position) }

    // MARK: The store

    /// Compares what the store holds with what has happened, and settles what was under way.
    mutating func compare(_ held: QueueContents, _ violations: inout ConservationViolations) {
        let queue = held.statistics
        if queue.headPosition <= settledThrough {
            violations.add(
                .doubled,
                region,
                queue.headPosition,
                "it is queued, though everything up to position \(settledThrough) had left"
            )
        }
        while UInt64(places.count) < queue.nextPosition, queue.nextPosition < 1 << 32 { places.append(Place()) }
        compareQueue(held, &violations)
        for letter in held.deadLetters { compare(letter.write, at: letter.position, "is a dead letter", &violations) }
        let count = departed(held, &violations)
        compareAppends(held, unknown: count.unknown, &violations)
        settledThrough = max(settledThrough, queue.headPosition - 1)
        let expected: [(String, UInt64, UInt64)] = [
            ("accepted", queue.nextPosition - 1 - min(queue.retried, queue.nextPosition - 1), queue.accepted),
            ("queued", queue.nextPosition - queue.headPosition, queue.entries),
            ("acknowledged", count.acknowledged, queue.acknowledged),
            ("drained", drainedCount, queue.drained), ("dropped", count.dropped, queue.dropped),
            ("dead", UInt64(held.deadLetters.count), queue.dead), ("lost", count.lost, queue.lost),
            ("retried", count.retried, queue.retried),
        ]
        for (name, wanted, found) in expected where wanted != found {
            violations.add(.counter, region, nil, "\(name) is \(found), and \(wanted) is what has happened")
        }
        let gone = [queue.acknowledged, queue.drained, queue.dropped, queue.dead, queue.lost]
        if gone.reduce(queue.entries, &+) != queue.accepted {
            violations.add(
                .counter,
                region,
                nil,
                "accepted \(queue.accepted) is not queued \(queue.entries) + acknowledged \(queue.acknowledged) + drained "
                    + "\(queue.drained) + dropped \(queue.dropped) + dead \(queue.dead) + lost \(queue.lost)"
            )
        }
        tally.drained = drainedCount
        tally.dropped = count.dropped
        tally.dead = UInt64(held.deadLetters.count)
        tally.retried = count.retried
    }

    private mutating func compare(
        _ write: OutstandingWrite,
        at position: UInt64,
        _ what: String,
        _ violations: inout ConservationViolations
    ) {
        guard isIssued(write.sequence), write == source.write(write.sequence) else {
            return note(foreign: write.identity, at: position, what, &violations)
        }
        place(write.sequence, at: position, &violations)
    }

    private mutating func compareQueue(_ held: QueueContents, _ violations: inout ConservationViolations) {
        let queue = held.statistics
        var next = queue.headPosition
        for entry in held.entries {
            if entry.position < next {
                violations.add(.outOfOrder, region, entry.position, "it is queued behind position \(next - 1)")
                continue
            }
            noteMissing(next..<entry.position, &violations)
            compare(entry.write, at: entry.position, "is queued", &violations)
            next = entry.position + 1
        }
        if next < queue.nextPosition { noteMissing(next..<queue.nextPosition, &violations) }
    }

    /// Whether positions were damaged on purpose, but for those that have left.
    func isDamaged(_ positions: ClosedRange<UInt64>) -> Bool {
        guard damaged.contains(where: { $0.overlaps(positions) }) else { return false }
        var next = max(positions.lowerBound, settledThrough + 1)
        while next <= positions.upperBound {
            guard let range = damaged.first(where: { $0.contains(next) }) else { return false }
            next = range.upperBound + 1
        }
        return true
    }

    private func isDamaged(_ position: UInt64) -> Bool { damaged.contains { $0.contains(position) } }

    private func noteMissing(_ positions: Range<UInt64>, _ violations: inout ConservationViolations) {
        for position in positions where !isDamaged(position) {
            violations.add(.missing, region, position, "it is not in the queue, between the cursor and its end")
        }
    }

    private struct Departed {
        var acknowledged: UInt64 = 0
        var dropped: UInt64 = 0
        var lost: UInt64 = 0
        var retried: UInt64 = 0
        /// Positions in the ledger of which nobody knows which write they were.
        var unknown: UInt64 = 0
    }

    /// Says how each position left that is not queued; each must have left somehow.
    private mutating func departed(_ held: QueueContents, _ violations: inout ConservationViolations) -> Departed {
        let queue = held.statistics
        var count = Departed()
        var gone: Set<UInt64> = []
        for range in held.departures {
            if range.isDamage { count.lost += range.entries } else { count.dropped += range.entries }
            for position in range.positions where position < queue.nextPosition {
                gone.insert(position)
                if places[Int(position)].sequence == 0 { count.unknown += 1 }
                if range.isDamage, !isDamaged(position) {
                    violations.add(.missing, region, position, "the ledger says that it is \(range.reason)")
                }
            }
        }
        let dead = Set(held.deadLetters.map(\.position))
        settleDrain(queue, gone.union(dead))
        for position in 1..<max(1, min(queue.headPosition, UInt64(places.count))) {
            let place = places[Int(position)]
            if gone.contains(position) || dead.contains(position) || place.isDrained { continue }
            if mayBeRetried.contains(position) {
                count.retried += 1
                continue
            }
            count.acknowledged += 1
            guard !place.isReceived else { continue }
            let isAcknowledged = place.sequence > 0 && fates[Int(place.sequence)].isAcknowledged
            violations.add(
                .missing,
                region,
                position,
                (isAcknowledged ? "its append had returned, and nobody" : "nobody")
                    + " has received it, nor is it queued, a dead letter, or in the ledger"
            )
        }
        return count
    }

    /// A drain that was under way has taken what stood before the cursor, or nothing.
    private mutating func settleDrain(_ queue: QueueStatistics, _ gone: Set<UInt64>) {
        guard let most = drainMax else { return }
        drainMax = nil
        var left = queue.drained > drainedCount ? min(queue.drained - drainedCount, most) : 0
        var position = queue.headPosition
        while left > 0, position > 1 {
            position -= 1
            guard !gone.contains(position), !places[Int(position)].isDrained else { continue }
            places[Int(position)].isDrained = true
            drainedCount += 1
            left -= 1
        }
    }

    /// Each write whose append returned has a position, which is one that the queue has given.
    private func compareAppends(
        _ held: QueueContents,
        unknown: UInt64,
        _ violations: inout ConservationViolations
    ) {
        var homeless = unknown
        for (sequence, fate) in fates.enumerated() where fate.isAcknowledged {
            if fate.position >= held.statistics.nextPosition {
                violations.add(
                    .missing,
                    region,
                    fate.position,
                    "its append had returned, and the queue ends at position \(held.statistics.nextPosition - 1)"
                )
            } else if fate.position == 0 {
                // It may be one of those that were dropped before anybody had seen them.
                if homeless > 0 {
                    homeless -= 1
                } else {
                    violations.add(
                        .missing,
                        region,
                        nil,
                        "write \(sequence): its append had returned, and it is nowhere"
                    )
                }
            }
        }
    }
}
