#if Etcd
import EtcdLog
import EtcdSupport
import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import TestSupport
import Testing

@Suite("A replica on an etcd with little space", .timeLimit(.minutes(10)))
struct QuotaTests {
    private static let quota = 16 << 20

    private static func writes(_ sequences: Range<UInt64>, _ bytes: Int) -> [OutstandingWrite] {
        sequences.map { sequence in
            OutstandingWrite(
                origin: "us",
                incarnation: 1,
                sequence: sequence,
                key: Array("k".utf8),
                value: Array(repeating: UInt8(truncatingIfNeeded: sequence), count: bytes)
            )
        }
    }

    @Test("lets the log forget in time for five times the quota; a command that comes again then is not done again")
    func fiveTimes() async throws {
        var etcd = EtcdCluster.Options()
        etcd.quotaBytes = Self.quota
        let cluster = try await EtcdCluster(etcd)
        let log = try cluster.log()
        let directory = try TemporaryDirectory()
        let machine = try await FailoverStateMachine.open(
            at: directory.appending("r1"),
            cluster: try await log.identity().cluster,
            options: .small
        )
        var options = EtcdReplicaTests.options("r1")
        options.logRetainedEntries = 8
        let replica = Replica(machine, log, options: options)
        let run = Task { try? await replica.run() }
        let controller = ReplicatedController(replica, compressionLevel: 0)
        try await controller.configure(
            FailoverConfiguration(local: "us", regions: ["us", "eu"], suspectAfterMilliseconds: 3_600_000)
        )
        let session = try await replica.openSession()
        let id = ProposalID(session: session, sequence: 1)
        let command = try ReplicatedController.append(Self.writes(1..<2, 64), to: ["eu"], nil, machine.time, 0).command
        let first = try await replica.propose(command, as: id, respondedBelow: 1)

        var (proposed, next) = (0, 2 as UInt64)
        while proposed < 5 * Self.quota {
            let receipt = try await controller.append(Self.writes(next..<(next + 15), 4 << 10), to: "eu")
            next += 15
            proposed += 15 * 4 << 10
            // The replica's own store stays small.
            if next % 64 == 0 { try await controller.acknowledge("eu", through: receipt.through) }
        }
        #expect(try await !cluster.control(["alarm", "list"]).contains("NOSPACE"))
        guard case .compacted(let through)? = try await log.delivery(after: 0), through >= first.index else {
            Issue.record("the log still has the first command")
            return
        }

        let accepted = try await controller.statistics().first { $0.region == "eu" }?.accepted
        #expect(accepted == next - 1)
        let again = try await replica.propose(command, as: id, respondedBelow: 1)
        #expect(again.outcome == first.outcome)
        #expect(again.index > first.index)
        // From here on its caller has said that it knows the outcome.
        _ = try await replica.propose(
            .heartbeat("eu"),
            as: ProposalID(session: session, sequence: 2),
            respondedBelow: 2
        )
        #expect(await code { _ = try await replica.propose(command, as: id, respondedBelow: 2) } == .sessionExpired)
        #expect(try await controller.statistics().first { $0.region == "eu" }?.accepted == accepted)
        run.cancel()
        _ = await run.value
        await machine.close()
        await log.close()
    }
}
#endif
