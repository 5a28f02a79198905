import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// What came of a replay.
struct ReplaySummary: Sendable {
    /// Positions that left the queue without being received.
    struct Gone: Sendable {
        var positions: ClosedRange<UInt64>
        var reason: LostRow.Reason

        var isDamage: Bool { reason == .damaged || reason == .missing }
    }

    private let region: RegionID
    private let queue: UInt32
    /// The first position that was queued when it began.
    private let from: UInt64
    private(set) var received: UInt64
    private(set) var parked: UInt64
    private(set) var left: UInt64
    /// Entries that were damaged or missing.
    private(set) var lost: UInt64
    /// Entries that a limit took.
    private(set) var dropped: UInt64
    private let tally: ReplayReceiver.Tally
    private let redelivered: UInt64
    private var gone: [Gone] = []

    /// So many ranges are named; all are counted.
    private static let rangesNamed = 1000
    private static let rangesPrinted = 8

    init(_ before: QueueStatistics, _ after: QueueStatistics, _ tally: ReplayReceiver.Tally, redelivered: UInt64) {
        func grown(_ counter: KeyPath<QueueStatistics, UInt64>) -> UInt64 {
            after[keyPath: counter] > before[keyPath: counter] ? after[keyPath: counter] - before[keyPath: counter] : 0
        }
        region = after.region
        queue = after.queue
        from = before.headPosition
        received = grown(\.acknowledged)
        parked = grown(\.dead)
        lost = grown(\.lost)
        dropped = grown(\.dropped)
        left = after.entries
        self.tally = tally
        self.redelivered = redelivered
    }

    /// Looks up in the ledger which positions were lost or dropped.
    mutating func lookUp(_ store: String) throws {
        guard lost > 0 || dropped > 0 else { return }
        var found: [Gone] = []
        try StoreReader.open(store).ledger(of: region) { item in
            // A row that cannot be read is told by `lost`.
            if case .success((let place, let row)) = item.row, place.queue == queue, place.first >= from {
                found.append(Gone(positions: place.first...place.last, reason: row.reason))
            }
            return found.count < Self.rangesNamed
        }
        gone = found
    }

    private func json(_ ranges: [Gone]) -> JSON {
        .array(
            ranges.map { range in
                .object([
                    ("first", .unsigned(range.positions.lowerBound)),
                    ("through", .unsigned(range.positions.upperBound)),
                    ("reason", .string(range.reason.name)),
                ])
            }
        )
    }

    var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("received", .unsigned(received)),
            ("batches", .unsigned(tally.received)), ("refused", .unsigned(tally.refused)),
            ("unavailable", .unsigned(tally.unavailable)), ("redelivered", .unsigned(redelivered)),
            ("parked", .unsigned(parked)), ("lost", .unsigned(lost)), ("dropped", .unsigned(dropped)),
            ("gone", json(gone)), ("left", .unsigned(left)), ("lastFailure", tally.lastFailure?.json ?? .null),
        ])
    }

    /// What happened, for people, without what to type next.
    var sentences: String {
        var text = "Region \(region) has received \(counted(received, "entry", "entries")) in "
        text += "\(counted(tally.received, "batch", "batches")); "
        text += left == 0 ? "the queue is empty." : left == 1 ? "1 waits." : "\(left) wait."
        if tally.refused > 0 { text += " Refused: \(counted(tally.refused, "batch", "batches"))." }
        if tally.unavailable > 0 { text += " Could not be reached: \(counted(tally.unavailable, "time"))." }
        if let failure = tally.lastFailure { text += " The last failure: \(failure.text)." }
        if lost > 0 { text += " Lost to damage: \(lost)\(positions(gone.filter(\.isDamage)))." }
        if dropped > 0 { text += " Dropped by a limit: \(dropped)\(positions(gone.filter { !$0.isDamage }))." }
        if parked > 0 { text += " Parked: \(parked)." }
        return text
    }

    private func positions(_ ranges: [Gone]) -> String {
        guard !ranges.isEmpty else { return "" }
        let words = ranges.prefix(Self.rangesPrinted).map { range in
            range.positions.count == 1
                ? "\(range.positions.lowerBound)" : "\(range.positions.lowerBound)-\(range.positions.upperBound)"
        }
        return " (positions \(words.joined(separator: ", "))\(ranges.count > words.count ? " and more" : ""))"
    }

    /// The same with what to type next.
    func text(store: String) -> String {
        var text = "holdfast: \(sentences)"
        if dropped > 0 { text += "\n  holdfast lost \(shellQuoted(store)) --region \(region)" }
        if parked > 0 { text += "\n  holdfast dlq list \(shellQuoted(store)) --region \(region)" }
        return text
    }
}
