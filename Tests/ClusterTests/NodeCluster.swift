#if Etcd
import EtcdSupport
import Foundation
import Glibc
import HoldfastTesting

/// Replicas, each a process of its own, on an etcd cluster whose members each reaches through relays of its own.
final class NodeCluster: Sendable {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    let etcd: EtcdCluster
    let nodes: [Node]
    /// For each replica a relay to each member.
    let relays: [[Relay]]
    private let directory: TemporaryDirectory

    /// Starts a cluster, and returns when every replica answers.
    ///
    /// `arguments`: Further ones of each replica.
    init(members: Int = 3, replicas: Int = 3, _ arguments: [String] = []) async throws {
        var options = EtcdCluster.Options(members: members)
        // The disks of a test machine are busy.
        options.arguments = ["--heartbeat-interval", "100", "--election-timeout", "1000"]
        etcd = try await EtcdCluster(options)
        directory = try TemporaryDirectory()
        var relays: [[Relay]] = []
        var nodes: [Node] = []
        for number in 0..<replicas {
            var own: [Relay] = []
            for endpoint in etcd.endpoints { own.append(try await Relay(to: endpoint)) }
            relays.append(own)
            nodes.append(
                Node(
                    "r\(number)",
                    port: try LoopbackPort.free(),
                    in: directory.path,
                    own.map(\.endpoint),
                    ["--maintenance", "200"] + arguments
                )
            )
        }
        self.relays = relays
        self.nodes = nodes
        for node in nodes { try node.start() }
        try await waitUntilReady()
    }

    deinit { for node in nodes { node.end(by: SIGKILL) } }

    /// Returns when each of some replicas, or of all, reads what is linearizable; starts those again that have ended by
    /// themselves.
    func waitUntilReady(_ which: [Int]? = nil) async throws {
        for node in (which ?? Array(nodes.indices)).map({ nodes[$0] }) {
            var last: Answer?
            var isReady = false
            for _ in 0..<120 where !isReady {
                last = await NodeClient.ask(node.port, "GET", "/state", seconds: 5)
                isReady = last?.status == 200 || last?.code == "notConfigured"
                if !isReady {
                    try node.restartIfEnded()
                    try await Task.sleep(for: .milliseconds(250))
                }
            }
            guard isReady else {
                let said = last.map { String(decoding: $0.body, as: UTF8.self) } ?? "nothing"
                throw Failure(description: "\(node.name) is not ready: \(said)\n\(node.log.suffix(4000))")
            }
        }
    }

    /// Sends a request to a replica, which must answer with 200.
    @discardableResult
    func ask(_ node: Int, _ method: String, _ path: String, _ body: String = "") async throws -> Answer {
        let answer = await NodeClient.ask(nodes[node].port, method, path, body, seconds: 60)
        guard let answer, answer.status == 200 || answer.status == 204 else {
            let said = answer.map { "\($0.status) \(String(decoding: $0.body, as: UTF8.self))" } ?? "no answer"
            throw Failure(description: "\(nodes[node].name) answered to \(method) \(path): \(said)")
        }
        return answer
    }

    /// The digests of all replicas at an index that is chosen for it.
    func digests() async throws -> [String] {
        struct Digest: Decodable {
            var index: UInt64
            var digest: String
        }
        let index = try await ask(0, "POST", "/check-digest").decode(Digest.self).index
        var digests: [String] = []
        for node in nodes.indices {
            digests.append(try await ask(node, "GET", "/digest?index=\(index)").decode(Digest.self).digest)
        }
        return digests
    }
}
#endif
