#if Etcd
import EtcdLog
import EtcdProtocol
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
import SwiftProtobuf

/// A client of one member of etcd that does a proposal's transaction, and nothing else: no retry, no other member, no limit.
///
/// It answers PINGs as the log's own does: without that its connection would end at every 200th call.
final class BareClient: Sendable {
    private let client: GRPCClient<HTTP2ClientTransport.Posix>
    private let task: Task<Void, Never>

    init(port: Int) throws {
        let client = GRPCClient(
            transport: try HTTP2ClientTransport.Posix(
                target: .ipv4(address: "127.0.0.1", port: port),
                transportSecurity: .plaintext,
                config: .defaults { config in
                    config.channelDebuggingCallbacks.onCreateTCPConnection = { PingHandler.install(in: $0) }
                }
            )
        )
        self.client = client
        task = Task { try? await client.runConnections() }
    }

    /// Puts a key that is not there, and `head`.
    func put(_ key: String, _ value: [UInt8]) async throws {
        let request = WireTxnRequest.with {
            $0.compare = [
                .with {
                    $0.result = .equal
                    $0.target = .create
                    $0.key = Data(key.utf8)
                    $0.createRevision = 0
                }
            ]
            $0.success = [Self.put(Data(key.utf8), value), Self.put(Data("bare/head".utf8), [])]
            $0.failure = [
                .with {
                    $0.requestRange.key = Data(key.utf8)
                    $0.requestRange.keysOnly = true
                }
            ]
        }
        let reply: WireTxnResponse = try await client.unary(
            request: ClientRequest(message: request),
            descriptor: WireKV.Method.Txn.descriptor,
            serializer: ProtobufSerializer<WireTxnRequest>(),
            deserializer: ProtobufDeserializer<WireTxnResponse>(),
            options: .defaults
        ) { try $0.message }
        guard reply.succeeded else { throw BenchFailure(what: "The key '\(key)' was there already.") }
    }

    func close() async {
        client.beginGracefulShutdown()
        task.cancel()
        await task.value
    }

    private static func put(_ key: Data, _ value: [UInt8]) -> WireRequestOp {
        .with {
            $0.requestPut.key = key
            $0.requestPut.value = Data(value)
        }
    }
}

struct BenchFailure: Error {
    var what: String
}
#endif
