#if Etcd
import FoundationEssentials
import HoldfastTesting
import Platform
import RegionFailover
import ReplayFormat
import ReplayStore
import Synchronization

/// What clients have asked replicas for, and what they heard.
final class History: Sendable {
    typealias QueueOperation = Operation<QueueModel.Call, QueueModel.Outcome>
    typealias LeadOperation = Operation<LeadModel.Call, LeadModel.Outcome>

    /// An append that was made again under the same identities until somebody said that it is there.
    struct Repeated: Sendable {
        var client: Int
        var writes: [WriteIdentity]
        var region: RegionID
        var invoked: UInt64
        var returned: UInt64
    }

    struct Content: Sendable {
        var queues: [QueueOperation] = []
        var lead: [LeadOperation] = []
        var repeated: [Repeated] = []
        /// What was read at the heads of the queues before it was acknowledged.
        var seen: [RegionID: [UInt64: Set<WriteIdentity>]] = [:]
        var unknown = 0
    }

    private let content = Mutex(Content())

    var all: Content { content.withLock { $0 } }

    /// Adds a call, which has returned even where nobody knows with what.
    func add<Call, Outcome>(
        _ list: any WritableKeyPath<Content, [Operation<Call, Outcome>]> & Sendable,
        _ client: Int,
        _ call: Call,
        _ outcome: Outcome?,
        _ invoked: UInt64,
        _ returned: UInt64
    ) {
        let operation = Operation(
            client: client,
            call: call,
            outcome: outcome,
            invoked: invoked,
            returned: outcome == nil ? nil : returned
        )
        content.withLock { content in
            if outcome == nil { content.unknown += 1 }
            content[keyPath: list].append(operation)
        }
    }

    func add(_ repeated: Repeated) { content.withLock { $0.repeated.append(repeated) } }

    func see(_ region: RegionID, _ position: UInt64, _ write: WriteIdentity) {
        content.withLock { _ = $0.seen[region, default: [:]][position, default: []].insert(write) }
    }
}

// What a door gives, as far as the tests read it.

struct AppendReply: Decodable {
    var accepted: Int
    var duplicates: [Int]
    var first: UInt64
}

struct AcknowledgeReply: Decodable {
    var acknowledged: UInt64
    var remaining: UInt64
}

struct EntryReply: Decodable {
    var origin: String
    var incarnation: UInt64
    var sequence: UInt64
    var position: UInt64

    var identity: WriteIdentity? {
        RegionID(utf8: origin.utf8).map { WriteIdentity(origin: $0, incarnation: incarnation, sequence: sequence) }
    }
}

struct DrainReply: Decodable {
    var entries: [EntryReply]
    var remaining: UInt64
}

struct LeadReply: Decodable {
    var epoch: UInt64
    var actingPrimary: RegionName
}

struct StateReply: Decodable {
    struct Queue: Decodable {
        var region: RegionName
        var head: UInt64
        var next: UInt64
        var entries: UInt64
    }

    var epoch: UInt64
    var actingPrimary: RegionName
    var regions: [Queue]
}

/// A region's name in an answer.
struct RegionName: Decodable, Sendable {
    var region: RegionID

    init(from decoder: any Decoder) throws {
        let name = try decoder.singleValueContainer().decode(String.self)
        guard let region = RegionID(utf8: name.utf8) else {
            throw NodeCluster.Failure(description: "no region: \(name)")
        }
        self.region = region
    }
}

/// The end of a round, which every client looks for.
final class Ending: Sendable {
    private let flag = Atomic(false)

    var hasBegun: Bool { flag.load(ordering: .relaxed) }

    func begin() { flag.store(true, ordering: .relaxed) }
}

/// A client of replicas, with several calls under way at once, each to any of them.
///
/// All its writes are of one origin, and come out of order where one call overtakes another.
struct Client: Sendable {
    private let origin: RegionID
    private let sequences = Lock(UInt64(0))

    init(_ name: String) throws {
        guard let origin = RegionID(utf8: name.utf8) else {
            throw NodeCluster.Failure(description: "no region: \(name)")
        }
        self.origin = origin
    }

    /// The identities of the next `count` writes.
    func next(_ count: UInt64) -> [WriteIdentity] {
        let first = sequences.withLock { last in
            defer { last += count }
            return last + 1
        }
        return (first..<(first + count)).map { WriteIdentity(origin: origin, incarnation: 1, sequence: $0) }
    }
}

/// What makes a client's calls, one after the other.
struct Caller: Sendable {
    /// The regions whose queues are filled.
    static let targets: [RegionID] = ["eu", "ap"]

    /// Among the callers of all clients.
    let number: Int
    let client: Client
    let cluster: NodeCluster
    let history: History
    private let ending: Ending
    private var random: SplitMix64
    private var lead: (epoch: UInt64, primary: RegionID) = (1, "us")

    /// Refusals that say that nothing happened, and nothing of the object.
    private static let nothing: Set<String> = [
        "overloaded", "logUnavailable", "cancelled", "notLeader", "notConfigured",
    ]

    init(
        _ number: Int,
        of client: Client,
        _ cluster: NodeCluster,
        _ history: History,
        _ ending: Ending,
        seed: UInt64
    ) {
        self.number = number
        self.client = client
        self.cluster = cluster
        self.history = history
        self.ending = ending
        random = SplitMix64(seed: seed &* 1000 &+ UInt64(number))
    }

    private var now: UInt64 { System.monotonicNanoseconds }

    private mutating func ask(_ method: String, _ path: String, _ body: String = "") async -> Answer? {
        let node = cluster.nodes.randomElement(using: &random) ?? cluster.nodes[0]
        return await NodeClient.ask(node.port, method, path, body)
    }

    mutating func run() async {
        while !ending.hasBegun {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<60: await append()
            case 60..<80: await read()
            case 80..<92: await acknowledge()
            default: await change()
            }
        }
    }

    private mutating func append() async {
        let region = Self.targets.randomElement(using: &random) ?? "eu"
        let writes = client.next(UInt64.random(in: 1...3, using: &random))
        let body = writes.map { write in
            #"{"origin":"\#(write.origin)","incarnation":1,"sequence":\#(write.sequence),"key":"k","value":"v"}"#
        }.joined(separator: "\n")
        let invoked = now
        var mayBeThere = false
        while true {
            let answer = await ask("POST", "/append?region=\(region)", body)
            let returned = now
            if answer?.status == 200, let reply = try? answer?.decode([AppendReply].self).first {
                guard mayBeThere, reply.duplicates.count == writes.count else {
                    let outcome = QueueModel.Outcome.appended(
                        first: reply.first,
                        accepted: reply.accepted,
                        duplicates: reply.duplicates
                    )
                    return history.add(\.queues, number, .append(writes, to: region), outcome, invoked, returned)
                }
                // An attempt before this one has brought them: where they stand is found in the end.
                return history.add(
                    History.Repeated(
                        client: number,
                        writes: writes,
                        region: region,
                        invoked: invoked,
                        returned: returned
                    )
                )
            }
            let isRefusal = answer?.code.map(Self.nothing.contains) ?? false
            mayBeThere = mayBeThere || !isRefusal
            guard !ending.hasBegun, isRefusal || Bool.random(using: &random) else {
                if mayBeThere { history.add(\.queues, number, .append(writes, to: region), nil, invoked, returned) }
                return
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    mutating func read() async {
        let invoked = now
        guard let answer = await ask("GET", "/state"), answer.status == 200,
            let state = try? answer.decode(StateReply.self)
        else { return }
        let returned = now
        lead = (state.epoch, state.actingPrimary.region)
        history.add(\.lead, number, .read, .lead(epoch: lead.epoch, primary: lead.primary), invoked, returned)
        for queue in state.regions where Self.targets.contains(queue.region.region) {
            let outcome = QueueModel.Outcome.statistics(head: queue.head, next: queue.next, entries: queue.entries)
            history.add(\.queues, number, .read(queue.region.region), outcome, invoked, returned)
        }
    }

    private mutating func acknowledge() async {
        let region = Self.targets.randomElement(using: &random) ?? "eu"
        guard let answer = await ask("GET", "/batches?region=\(region)&max=20"), answer.status == 200 else { return }
        let entries = answer.body.split(separator: UInt8(ascii: "\n")).compactMap {
            try? JSONDecoder().decode(EntryReply.self, from: $0)
        }
        for entry in entries { if let write = entry.identity { history.see(region, entry.position, write) } }
        guard let through = entries.last?.position else { return }
        let invoked = now
        let taken = await ask("POST", "/acknowledge?region=\(region)&through=\(through)")
        if let code = taken?.code, Self.nothing.contains(code) { return }
        let reply = taken?.status == 200 ? try? taken?.decode(AcknowledgeReply.self) : nil
        let outcome = reply.map { QueueModel.Outcome.acknowledged($0.acknowledged, remaining: $0.remaining) }
        history.add(\.queues, number, .acknowledge(region, through: through), outcome, invoked, now)
    }

    /// Lets another region lead, and takes the one before back.
    private mutating func change() async {
        let (epoch, failed) = lead
        let invoked = now
        let answer = await ask("POST", "/fail?region=\(failed)&epoch=\(epoch)")
        let returned = now
        if let code = answer?.code, Self.nothing.contains(code) { return }
        var outcome: LeadModel.Outcome?
        if answer?.status == 200, let reply = try? answer?.decode(LeadReply.self) {
            lead = (reply.epoch, reply.actingPrimary.region)
            outcome = .changed(epoch: reply.epoch, primary: reply.actingPrimary.region)
        } else if let refusal = try? answer?.decode(Answer.Refusal.self).error {
            switch refusal.code {
            case "staleEpoch": outcome = refusal.current.map { .staleEpoch($0) }
            case "noSecondaryAvailable": outcome = .refused(.noSecondaryAvailable)
            case "illegalTransition": outcome = .refused(.illegalTransition)
            default: break
            }
        }
        history.add(\.lead, number, .promote(awayFrom: failed, ifEpoch: epoch), outcome, invoked, returned)
        _ = await ask("POST", "/heartbeat?region=\(failed)")
        _ = await ask("POST", "/readmit?region=\(failed)&force=true")
        await read()
    }
}
#endif
