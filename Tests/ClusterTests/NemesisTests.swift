#if Etcd
import FoundationEssentials
import EtcdSupport
import HoldfastTesting
import Platform
import RegionFailover
import ReplayFormat
import Testing

/// A number from the environment.
func setting(_ name: String, _ usual: UInt64) -> UInt64 {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) ?? usual
}

@Suite("Replicas as processes, on a real etcd", .serialized) struct NemesisTests {
    private static let firstSeed = setting("HOLDFAST_NEMESIS_SEED", 1)
    private static let seeds = Array(firstSeed..<(firstSeed + setting("HOLDFAST_NEMESIS_ROUNDS", 1)))
    private static let seconds = setting("HOLDFAST_NEMESIS_SECONDS", 15)
    private static let clients = 4
    /// The calls that each client has under way.
    private static let callers = 3

    @Test(
        "lose nothing, do nothing twice, and answer as one, whatever is killed, halted, wiped or cut off",
        arguments: seeds
    )
    func nemesis(seed: UInt64) async throws {
        let cluster = try await NodeCluster([
            "--snapshot-every", "20000", "--retain-bytes", "40000", "--retain-entries", "64",
        ])
        try await cluster.ask(
            0,
            "POST",
            "/configure",
            #"{"local":"us","regions":["us","eu","ap"],"suspectAfterMs":3600000}"#
        )
        let history = History()
        let ending = Ending()
        let end = System.monotonicNanoseconds + Self.seconds * 1_000_000_000
        var nemesis = Nemesis(cluster, seed: seed)
        try await withThrowingTaskGroup { group in
            for number in 0..<Self.clients {
                let client = try Client("client-\(number)")
                for caller in (number * Self.callers)..<((number + 1) * Self.callers) {
                    group.addTask {
                        var caller = Caller(caller, of: client, cluster, history, ending, seed: seed)
                        await caller.run()
                    }
                }
            }
            while System.monotonicNanoseconds < end { try await nemesis.strike() }
            ending.begin()
            try await group.waitForAll()
        }
        try await cluster.etcd.waitUntilHealthy()
        try await cluster.waitUntilReady()
        let (number, client) = (Self.clients * Self.callers, try Client("last"))
        var last = Caller(number, of: client, cluster, history, Ending(), seed: seed)
        await last.read()
        let digests = try await cluster.digests()
        #expect(Set(digests).count == 1, "seed \(seed): \(digests)")
        let content = history.all
        let found = try await found(in: cluster, content.seen)
        let queues = content.queues + repeated(content.repeated, found)
        judge(queues, found, seed)
        let resolved = UnknownAppends(found: found).resolve(queues)
        let report = LinearizabilityChecker(QueueModel()).check(resolved)
        #expect(report.verdict == .linearizable, "seed \(seed): \(report.verdict)")
        let model = LeadModel(regions: ["us", "eu", "ap"], primary: "us")
        let lead = LinearizabilityChecker(model).check(content.lead)
        #expect(lead.verdict == .linearizable, "seed \(seed): \(lead.verdict)")
        let calls = content.queues.count + content.lead.count
        let writes = found.values.map(\.count).reduce(0, +)
        let harm = nemesis.log.map { "\($0)" }.joined(separator: ", ")
        print("seed \(seed): \(calls) calls, \(content.unknown) of unknown outcome, \(writes) writes, harm: \(harm)")
        print("seed \(seed): \(content.repeated.count) were there when made again, \(report.steps + lead.steps) steps")
    }

    /// The position of every write that is queued or was ever seen, taken out of the queues.
    private func found(
        in cluster: NodeCluster,
        _ seen: [RegionID: [UInt64: Set<WriteIdentity>]]
    ) async throws -> [RegionID: [WriteIdentity: UInt64]] {
        var found: [RegionID: [WriteIdentity: UInt64]] = [:]
        for region in Caller.targets {
            var places = seen[region] ?? [:]
            while true {
                let reply = try await cluster.ask(0, "POST", "/drain?region=\(region)").decode(DrainReply.self)
                for entry in reply.entries {
                    let write = try #require(entry.identity)
                    places[entry.position, default: []].insert(write)
                }
                if reply.remaining == 0 { break }
            }
            // Positions from 1 without a gap, each with one write, and each write once.
            #expect(places.keys.sorted() == Array(1...UInt64(max(1, places.count))))
            for (position, writes) in places {
                #expect(writes.count == 1, "position \(position) of \(region) has been \(writes)")
                for write in writes {
                    #expect(found[region]?[write] == nil, "\(write) stands twice in the queue of \(region)")
                    found[region, default: [:]][write] = position
                }
            }
        }
        return found
    }

    /// Appends that were made again, with the outcome that the first attempt has had.
    private func repeated(
        _ repeated: [History.Repeated],
        _ found: [RegionID: [WriteIdentity: UInt64]]
    ) -> [History.QueueOperation] {
        repeated.compactMap { append in
            let positions = append.writes.compactMap { found[append.region]?[$0] }
            guard let first = positions.first, positions.count == append.writes.count else {
                Issue.record("\(append.writes) were said to be in the queue of \(append.region), and are not")
                return nil
            }
            return Operation(
                client: append.client,
                call: .append(append.writes, to: append.region),
                outcome: .appended(first: first, accepted: positions.count, duplicates: []),
                invoked: append.invoked,
                returned: append.returned
            )
        }
    }

    /// Every write that was acknowledged to its client is where it was said to be.
    private func judge(
        _ queues: [History.QueueOperation],
        _ found: [RegionID: [WriteIdentity: UInt64]],
        _ seed: UInt64
    ) {
        for operation in queues {
            guard case .append(let writes, let region) = operation.call,
                case .appended(let first, let accepted, let duplicates)? = operation.outcome
            else { continue }
            #expect(accepted == writes.count && duplicates.isEmpty, "seed \(seed): \(operation)")
            for (write, position) in zip(writes, first...) {
                #expect(found[region]?[write] == position, "seed \(seed): \(write) is not at \(position) of \(region)")
            }
        }
    }
}
#endif
