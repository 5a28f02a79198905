import Holdfast
import HoldfastTesting
import RaftApply

func raftApply1(_ directory: String) async throws {
    // Three members of one process over a log in memory; one on etcd, `EtcdLog`, is another value in its place.
    let log = MemoryLog()
    let identity = try await log.identity()
    var replicas: [Replica] = []
    for name in ["a", "b", "c"] {
        let machine = try await FailoverStateMachine.open(at: "\(directory)/\(name)", cluster: identity.cluster)
        replicas.append(Replica(machine, log.connect(), options: ReplicaOptions(name: name)))
    }
    let members = replicas
    let running = Task {
        await withTaskGroup(of: Void.self) { group in
            for replica in members { group.addTask { try? await replica.run() } }
        }
    }

    let controller = ReplicatedController(members[0])
    try await controller.configure(FailoverConfiguration(local: "us", regions: ["us", "eu", "ap"]))
    let write = OutstandingWrite(origin: "us", incarnation: 1, sequence: 42, key: "user:7", value: "blue")
    let receipt = try await controller.append([write], to: "eu")
    print(receipt.positions)  // 1..<2

    // Any member tells what all have been told, and takes calls.
    let other = ReplicatedController(members[2])
    print(try await other.head(of: "eu", .linearizable).map(\.write.keyText))  // ["user:7"]
    print(try await other.acknowledge("eu", through: 1).acknowledged)  // 1

    running.cancel()
    await running.value
    for replica in members { await replica.machine.close() }
}
