#if Etcd
import EtcdSupport
import Glibc
import HoldfastTesting

/// Does harm to a cluster, and makes it good again, one thing after the other: what and when follows from a seed.
struct Nemesis: Sendable {
    enum Harm: CaseIterable, Sendable {
        case killReplica, haltReplica, wipeReplica, outrunReplica, killMember, haltMember, partition, killAllReplicas
    }

    let cluster: NodeCluster
    private var random: SplitMix64
    /// What was done, for people.
    private(set) var log: [Harm] = []

    init(_ cluster: NodeCluster, seed: UInt64) {
        self.cluster = cluster
        random = SplitMix64(seed: seed)
    }

    /// Does one harm, and makes it good.
    mutating func strike() async throws {
        let harm = Harm.allCases.randomElement(using: &random) ?? .killReplica
        log.append(harm)
        let replica = Int.random(in: cluster.nodes.indices, using: &random)
        let member = Int.random(in: 0..<cluster.etcd.count, using: &random)
        let node = cluster.nodes[replica]
        switch harm {
        case .killReplica:
            node.end(by: SIGKILL)
            try await pause(100...1500)
            try node.start()
        case .haltReplica:
            node.signal(SIGSTOP)
            try await pause(200...4000)
            node.signal(SIGCONT)
        case .wipeReplica:
            // What is on one disk alone, because the others began anew a moment ago, nothing brings back.
            try await cluster.waitUntilReady()
            node.end(by: SIGKILL)
            try node.wipe()
            try await pause(100...1500)
            try node.start()
        case .outrunReplica:
            // The log forgets what it would need: it takes a snapshot of another one.
            node.end(by: SIGKILL)
            try await pause(1500...3000)
            let other = cluster.nodes[(replica + 1) % cluster.nodes.count]
            _ = await NodeClient.ask(other.port, "POST", "/snapshot")
            try await pause(1500...3000)
            try node.start()
        case .killMember:
            cluster.etcd.kill(member)
            try await pause(100...2500)
            try cluster.etcd.start(member)
        case .haltMember:
            cluster.etcd.pause(member)
            try await pause(200...4000)
            cluster.etcd.resume(member)
        case .partition:
            for relay in cluster.relays[replica] { relay.cut() }
            try await pause(200...6000)
            for relay in cluster.relays[replica] { relay.heal() }
        case .killAllReplicas:
            for node in cluster.nodes { node.end(by: SIGKILL) }
            for node in cluster.nodes { try node.start() }
        }
        try await pause(200...1200)
        for node in cluster.nodes { try node.restartIfEnded() }
    }

    private mutating func pause(_ milliseconds: ClosedRange<Int>) async throws {
        try await Task.sleep(for: .milliseconds(Int.random(in: milliseconds, using: &random)))
    }
}
#endif
