#if Etcd
import EtcdLog
import EtcdSupport
import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import Synchronization
import TestSupport
import Testing

/// One cluster for all cases of a suite, which ends with it: each case has a prefix of its own, which is a log of its own.
private struct OneCluster: SuiteTrait, TestScoping {
    @TaskLocal private static var cluster: EtcdCluster?
    private static let number = Mutex(0)

    @concurrent func provideScope(
        for test: Test,
        testCase: Test.Case?,
        performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        try await Self.$cluster.withValue(try await EtcdCluster()) { try await function() }
    }

    static func freshLog() throws -> @Sendable () async throws -> any ReplicatedLog {
        let cluster = try #require(cluster)
        let number = number.withLock { number in
            number += 1
            return number
        }
        return { try cluster.log(prefix: "case-\(number)/") }
    }
}

@Suite("The log on etcd, as an engine", .serialized, OneCluster()) struct EtcdConformanceTests {
    static let conformance = ReplicatedLogConformance { try OneCluster.freshLog() }

    @Test("gives what a replicated log must give", arguments: conformance.cases)
    func conforms(case: ConformanceCase) async throws { try await `case`.run() }
}

@Suite("Replicas on a real etcd", .serialized) struct EtcdReplicaTests {
    static func options(_ name: String) -> ReplicaOptions {
        var options = ReplicaOptions(name: name)
        options.maintenanceMilliseconds = 100
        options.proposalMilliseconds = 60_000
        options.logger = .silent
        return options
    }

    @Test("execute each command once while members of etcd are killed, and have one state")
    func killed() async throws {
        let cluster = try await EtcdCluster(EtcdCluster.Options(members: 3))
        let directory = try TemporaryDirectory()
        var replicas: [Replica] = []
        var runs: [Task<Void, Never>] = []
        for number in 0..<3 {
            let log = try cluster.log()
            let machine = try await FailoverStateMachine.open(
                at: directory.appending("r\(number)"),
                cluster: try await log.identity().cluster,
                options: .small
            )
            let replica = Replica(machine, log, options: Self.options("r\(number)"))
            replicas.append(replica)
            runs.append(Task { try? await replica.run() })
        }
        let controllers = replicas.map { ReplicatedController($0) }
        try await controllers[0].configure(
            FailoverConfiguration(local: "us", regions: ["us", "eu", "ap"], suspectAfterMilliseconds: 3_600_000)
        )
        let given = try await withThrowingTaskGroup(of: [UInt64].self) { group in
            for (number, controller) in controllers.enumerated() {
                group.addTask {
                    var given: [UInt64] = []
                    for call in 0..<30 {
                        let sequence = UInt64(number * 1000 + call)
                        let write = OutstandingWrite(
                            origin: "us",
                            incarnation: 1,
                            sequence: sequence,
                            key: "k",
                            value: "v"
                        )
                        try await controller.append([write], to: "eu")
                        given += try await controller.drain("eu", max: 1).entries.map(\.write.sequence)
                    }
                    return given
                }
            }
            group.addTask {
                for member in [0, 1] {
                    cluster.kill(member)
                    try cluster.start(member)
                    try await cluster.waitUntilHealthy()
                }
                return []
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        let left = try await controllers[0].drain("eu").entries.map(\.write.sequence)
        let all = (0..<3).flatMap { number in (0..<30).map { UInt64(number * 1000 + $0) } }
        #expect((given + left).sorted() == all)
        let index = try await controllers[1].checkDigest()
        var digests: Set<String?> = []
        for replica in replicas {
            try await replica.wait(for: .index(index))
            digests.insert(try await replica.machine.storedDigests()[index])
        }
        #expect(digests.count == 1 && !digests.contains(nil))
        for run in runs { run.cancel() }
        for run in runs { await run.value }
        for replica in replicas {
            await replica.machine.close()
            await replica.log.close()
        }
    }
}
#endif  // Etcd
