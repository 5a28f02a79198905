import Holdfast
import Lines
import Platform
import ReplayFormat
import ReplayStore

/// Every queue of a store as of one moment.
struct QueueLook: Sendable {
    var store: StoreID
    var epoch: UInt64
    var actingPrimary: RegionID?
    /// The present, for the ages.
    var time: Timestamp
    /// When it was looked, on a clock that only goes forward.
    var nanoseconds: UInt64
    /// How much all queues may hold together.
    var limits: TotalLimits
    /// In the order of the names' bytes.
    var queues: [QueueStatistics]
    /// The states of the regions that are not healthy.
    var states: [RegionID: RegionState] = [:]
    /// The first block at or beyond the end of a queue, of those regions whose row is older than their queue.
    var beyond: [RegionID: UInt64] = [:]

    /// What somebody should look at, in short words.
    func marks(_ queue: QueueStatistics) -> [String] {
        (beyond[queue.region] == nil ? [] : ["damaged"]) + queue.marks(now: time)
            + (states[queue.region].map { [$0.rawValue] } ?? [])
    }

    /// How much a region needs attention, 0 for one without a mark.
    func urgency(_ queue: QueueStatistics) -> Int {
        if beyond[queue.region] != nil { return 6 }
        if queue.needsResync { return 5 }
        if states[queue.region] == .failed { return 4 }
        if let use = queue.limitUse(at: time), use >= 1 { return 3 }
        return queue.dead > 0 || queue.isPaused ? 2 : states[queue.region] == nil ? 0 : 1
    }
}

extension QueueLook {
    /// Looks at the store as it is now, beside a process that may be writing.
    init(at path: String) throws(HoldfastError) {
        self = try StoreReader.open(path).look { (view) throws(HoldfastError) in
            let machine = try view.machine()
            let rows = try view.regionRows()
            var beyond: [RegionID: UInt64] = [:]
            for (region, row) in rows {
                beyond[region] = try view.blockBeyond(row)
                try view.proveDeadLetters(region, row)
            }
            return QueueLook(
                store: view.superblock.store,
                epoch: machine.epoch,
                actingPrimary: machine.actingPrimary,
                time: readingTime(machine.time),
                nanoseconds: System.monotonicNanoseconds,
                limits: try view.totalLimits(),
                queues: rows.map { QueueStatistics($0.0, $0.1) },
                states: Dictionary(machine.regions.filter { $0.state != .healthy }.map { ($0.region, $0.state) }) {
                    first,
                    _ in first
                },
                beyond: beyond
            )
        }
    }

    /// That the row of a region is older than its queue; nil where none is.
    func damage(_ store: String) -> Failure? {
        for queue in queues {
            guard let block = beyond[queue.region] else { continue }
            return .beyond(queue.region, end: queue.nextPosition, block: block, store)
        }
        return nil
    }

    /// How much of the total limits is used, of the one that is nearest; nil without a total limit.
    var totalUse: Double? { limits.use(of: queues) }
}

/// How fast a queue fills and empties between two looks, in entries a second.
struct QueueRate: Sendable, Hashable {
    /// Entries that were accepted.
    var incoming: Double
    /// Entries that were acknowledged or drained.
    var outgoing: Double

    init(incoming: Double, outgoing: Double) {
        self.incoming = incoming
        self.outgoing = outgoing
    }

    /// Compares two looks at one queue; nil where they are not looks at one queue, or no time went by.
    init?(_ before: QueueStatistics, _ now: QueueStatistics, nanoseconds: UInt64) {
        guard before.queue == now.queue, nanoseconds > 0, now.accepted >= before.accepted,
            now.acknowledged >= before.acknowledged, now.drained >= before.drained
        else { return nil }
        let seconds = Double(nanoseconds) / 1e9
        incoming = Double(now.accepted - before.accepted) / seconds
        outgoing = Double(now.acknowledged - before.acknowledged + now.drained - before.drained) / seconds
    }

    /// How long until `entries` have left, as it goes on now.
    func outlook(_ entries: UInt64) -> QueueOutlook {
        guard entries > 0 else { return .empty }
        if incoming > outgoing { return .grows }
        return outgoing > incoming ? .drained(seconds: Double(entries) / (outgoing - incoming)) : .stands
    }
}

/// What becomes of a queue as it goes on now.
enum QueueOutlook: Sendable, Hashable {
    case empty, grows, stands
    case drained(seconds: Double)

    /// In a word, or a length of time.
    var text: String {
        switch self {
        case .empty: "-"
        case .grows: "grows"
        case .stands: "stands"
        case .drained(let seconds): shortDuration(seconds * 1000)
        }
    }
}

/// Two looks at a store, one after the other.
struct QueueSight: Sendable {
    var look: QueueLook
    /// By region; none for a region that was not there before, and after the first look.
    var rates: [RegionID: QueueRate] = [:]

    init(_ look: QueueLook, after before: QueueLook? = nil) {
        self.look = look
        guard let before, before.store == look.store, look.nanoseconds > before.nanoseconds else { return }
        let earlier = Dictionary(before.queues.map { ($0.region, $0) }) { first, _ in first }
        for queue in look.queues {
            guard let old = earlier[queue.region] else { continue }
            rates[queue.region] = QueueRate(old, queue, nanoseconds: look.nanoseconds - before.nanoseconds)
        }
    }

    /// All regions together; nil while no rate is known.
    var totalRate: QueueRate? {
        guard !rates.isEmpty else { return nil }
        return rates.values.reduce(QueueRate(incoming: 0, outgoing: 0)) {
            QueueRate(incoming: $0.incoming + $1.incoming, outgoing: $0.outgoing + $1.outgoing)
        }
    }
}

extension QueueStatistics {
    /// How long the oldest entry has waited; nil when none waits.
    func oldestMilliseconds(now: Timestamp) -> Int64? {
        oldestEnqueuedAt.map { max(0, now.milliseconds(since: $0)) }
    }

    /// The numbers as `queues` and `snapshot` print them.
    func json(now: Timestamp) -> JSON { .object(members(now: now)) }

    /// The members of that object.
    func members(now: Timestamp) -> [(String, JSON)] {
        var members: [(String, JSON)] = [
            ("region", .string(region.rawValue)), ("entries", .unsigned(entries)), ("rawBytes", .unsigned(rawBytes)),
            ("storedBytes", .unsigned(storedBytes)),
            ("oldestMs", oldestMilliseconds(now: now).map { .integer($0) } ?? .null),
            ("headPosition", .unsigned(headPosition)), ("nextPosition", .unsigned(nextPosition)),
            ("accepted", .unsigned(accepted)), ("acknowledged", .unsigned(acknowledged)),
            ("drained", .unsigned(drained)),
            ("dropped", .unsigned(dropped)), ("dead", .unsigned(dead)), ("retried", .unsigned(retried)),
            ("lost", .unsigned(lost)), ("attempts", .unsigned(UInt64(attempts))),
            ("needsResync", .bool(needsResync)), ("paused", .bool(isPaused)),
        ]
        if isPaused {
            if !pauseReason.isEmpty { members.append(("pauseReason", .string(pauseReason))) }
            if let pausedUntil { members.append(("pausedUntilMs", .integer(pausedUntil.milliseconds))) }
        }
        members.append(("limitUse", limitUse(at: now).map { .double($0) } ?? .null))
        if let entries = limits.entriesMax { members.append(("limitEntries", .unsigned(entries))) }
        if let bytes = limits.bytesMax { members.append(("limitBytes", .unsigned(bytes))) }
        if let age = limits.ageMaxMilliseconds { members.append(("limitAgeMs", .unsigned(age))) }
        if limits.entriesMax != nil || limits.bytesMax != nil || limits.ageMaxMilliseconds != nil {
            members.append(("overflow", .string(limits.overflow.name)))
        }
        if let share = limits.sharePercent { members.append(("sharePercent", .unsigned(UInt64(share)))) }
        return members
    }

    /// That the replay is paused, why, and until when; nil when it is not.
    var pauseText: String? {
        guard isPaused else { return nil }
        let why = pauseReason.isEmpty ? "" : ": \(pauseReason)"
        return "\(region): paused\(why), until \(pausedUntil.map(timeText) ?? "it is resumed")"
    }

    /// What somebody should look at.
    var flags: [String] { (isPaused ? ["paused"] : []) + (needsResync ? ["needsResync"] : []) }

    /// The same, with dead letters and limits, in short words: the most urgent first.
    func marks(now: Timestamp) -> [String] {
        var marks: [String] = []
        if needsResync { marks.append("resync") }
        if let use = limitUse(at: now), use >= 1 { marks.append("full") }
        if dead > 0 { marks.append("\(shortCount(dead)) dead") }
        if isPaused { marks.append("paused") }
        return marks
    }
}
