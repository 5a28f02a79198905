import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore

typealias QueueOperation = HoldfastTesting.Operation<QueueModel.Call, QueueModel.Outcome>
typealias LeadOperation = HoldfastTesting.Operation<LeadModel.Call, LeadModel.Outcome>

/// A queue that is written down as plainly as can be: what ``QueueModel`` is measured by.
struct PlainQueue: Hashable {
    var all: [WriteIdentity] = []
    var known: Set<WriteIdentity> = []
    var gone = 0

    var left: UInt64 { UInt64(all.count - gone) }

    mutating func answer(_ call: QueueModel.Call) -> QueueModel.Outcome {
        switch call {
        case .append(let identities, _):
            let first = UInt64(all.count + 1)
            var duplicates: [Int] = []
            for (index, identity) in identities.enumerated() {
                if known.insert(identity).inserted { all.append(identity) } else { duplicates.append(index) }
            }
            return .appended(first: first, accepted: identities.count - duplicates.count, duplicates: duplicates)
        case .acknowledge(_, let position):
            if position > UInt64(all.count) { return .outOfRange(last: UInt64(all.count)) }
            let before = gone
            gone = max(gone, Int(position))
            return .acknowledged(UInt64(gone - before), remaining: left)
        case .drain(_, let most):
            let taken = min(max(0, most), all.count - gone)
            let entries = (gone..<gone + taken).map {
                QueueModel.Entry(position: UInt64($0 + 1), identity: all[$0])
            }
            gone += taken
            return .drained(entries, remaining: left)
        case .read:
            return .statistics(head: UInt64(gone + 1), next: UInt64(all.count + 1), entries: left)
        }
    }
}

/// Clients that call at the same time, and one object that serves each call at a random moment while it is under way.
struct Simulation {
    var clients = 4
    var calls = 5
    /// How often, of a hundred, a client never hears what came of its call.
    var unknown = 0
    var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    struct Slot {
        var client: Int
        var invoked: UInt64
        /// When the object serves it; nil: never.
        var moment: UInt64?
        /// Nil when its client never hears.
        var returned: UInt64?
    }

    /// When each call is made, served and answered, in the order in which they are served.
    mutating func slots() -> [Slot] {
        var slots: [Slot] = []
        for client in 0..<clients {
            var now = UInt64.random(in: 0..<20, using: &random)
            for _ in 0..<calls {
                let invoked = now
                let moment = invoked + UInt64.random(in: 1...20, using: &random)
                let returned = moment + UInt64.random(in: 1...20, using: &random)
                now = returned + UInt64.random(in: 1...10, using: &random)
                guard Int.random(in: 0..<100, using: &random) < unknown else {
                    slots.append(Slot(client: client, invoked: invoked, moment: moment, returned: returned))
                    continue
                }
                // It may be served long after its client has gone on, or never.
                let late = moment + UInt64.random(in: 0...60, using: &random)
                slots.append(
                    Slot(client: client, invoked: invoked, moment: Bool.random(using: &random) ? late : nil)
                )
            }
        }
        return slots.sorted { ($0.moment ?? $0.invoked, $0.client) < ($1.moment ?? $1.invoked, $1.client) }
    }
}

// MARK: - Queues

extension Simulation {
    static let queues: [RegionID] = ["eu", "ap"]

    static func identity(_ number: UInt64) -> WriteIdentity {
        WriteIdentity(origin: "us", incarnation: 1, sequence: number)
    }

    /// A history of queues, and what is found in them in the end.
    mutating func queueHistory(regions: Int = 2) -> (history: [QueueOperation], found: UnknownAppends) {
        var queues: [RegionID: PlainQueue] = [:]
        var history: [QueueOperation] = []
        var appended: [(RegionID, [WriteIdentity])] = []
        var next: UInt64 = 1
        for region in Self.queues.prefix(regions) { queues[region] = PlainQueue() }
        for slot in slots() {
            let region = Self.queues[Int.random(in: 0..<regions, using: &random)]
            var queue = queues[region] ?? PlainQueue()
            let call = queueCall(to: region, queue, &appended, &next)
            let outcome = slot.moment == nil ? nil : queue.answer(call)
            queues[region] = queue
            history.append(
                QueueOperation(
                    client: slot.client,
                    call: call,
                    outcome: slot.returned == nil ? nil : outcome,
                    invoked: slot.invoked,
                    returned: slot.returned
                )
            )
        }
        history.shuffle(using: &random)
        let found = queues.mapValues { queue in
            [WriteIdentity: UInt64](uniqueKeysWithValues: zip(queue.all, 1...))
        }
        return (history, UnknownAppends(found: found))
    }

    private mutating func queueCall(
        to region: RegionID,
        _ queue: PlainQueue,
        _ appended: inout [(RegionID, [WriteIdentity])],
        _ next: inout UInt64
    ) -> QueueModel.Call {
        switch Int.random(in: 0..<10, using: &random) {
        case 0...4:
            if let again = appended.randomElement(using: &random), again.0 == region,
                Int.random(in: 0..<5, using: &random) == 0
            {
                return .append(again.1, to: region)
            }
            var identities = (0..<UInt64.random(in: 1...3, using: &random)).map { Self.identity(next + $0) }
            next += UInt64(identities.count)
            if Int.random(in: 0..<10, using: &random) == 0 { identities.append(identities[0]) }
            appended.append((region, identities))
            return .append(identities, to: region)
        case 5, 6:
            let last = UInt64(queue.all.count)
            let low = UInt64(queue.gone)
            return .acknowledge(region, through: UInt64.random(in: low...min(low + 3, last + 1), using: &random))
        case 7: return .drain(region, max: Int.random(in: 0...3, using: &random))
        default: return .read(region)
        }
    }
}

// MARK: - Lead

extension Simulation {
    static let regions: [RegionID] = ["us", "eu", "ap"]
    static var leadModel: LeadModel { LeadModel(regions: regions, primary: "us") }

    /// A history of the lead.
    mutating func leadHistory() -> [LeadOperation] {
        var epoch: UInt64 = 1
        var primary: RegionID = "us"
        var history: [LeadOperation] = []
        for slot in slots() {
            let region = Self.regions[Int.random(in: 0..<3, using: &random)]
            let expected: UInt64? = [nil, epoch, epoch, max(2, epoch) - 1].randomElement(using: &random) ?? nil
            let call: LeadModel.Call
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1: call = .promote(awayFrom: Bool.random(using: &random) ? primary : region, ifEpoch: expected)
            case 2: call = .switchover(to: region, ifEpoch: expected)
            default: call = .read
            }
            var outcome: LeadModel.Outcome?
            if slot.moment != nil { outcome = serve(call, &epoch, &primary) }
            history.append(
                LeadOperation(
                    client: slot.client,
                    call: call,
                    outcome: slot.returned == nil ? nil : outcome,
                    invoked: slot.invoked,
                    returned: slot.returned
                )
            )
        }
        return history.shuffled(using: &random)
    }

    private mutating func serve(
        _ call: LeadModel.Call,
        _ epoch: inout UInt64,
        _ primary: inout RegionID
    ) -> LeadModel.Outcome {
        switch call {
        case .read: return .lead(epoch: epoch, primary: primary)
        case .promote(_, let expected?) where expected != epoch: return .staleEpoch(epoch)
        case .switchover(_, let expected?) where expected != epoch: return .staleEpoch(epoch)
        case .promote(let failed, _):
            guard failed == primary else { return .refused(.illegalTransition) }
            let others = Self.regions.filter { $0 != failed }
            guard let promoted = others.randomElement(using: &random), Int.random(in: 0..<6, using: &random) > 0 else {
                return .refused(.noSecondaryAvailable)
            }
            primary = promoted
        case .switchover(let target, _):
            guard target != primary else { return .refused(.illegalTransition) }
            guard Int.random(in: 0..<6, using: &random) > 0 else { return .refused(.replayPending) }
            primary = target
        }
        epoch += 1
        return .changed(epoch: epoch, primary: primary)
    }
}
