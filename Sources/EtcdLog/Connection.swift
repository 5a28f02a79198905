#if Etcd
internal import EtcdProtocol
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCProtobuf
internal import ReplayStore
internal import SwiftProtobuf
internal import Synchronization

/// The connection to one member: made when it is first used, and again when it ends.
final class Connection: Sendable {
    typealias Client = GRPCClient<HTTP2ClientTransport.Posix>

    /// A client, and the task that keeps it connected.
    private struct Live: Sendable {
        let client: Client
        let task: Task<Void, Never>
        let number: UInt64
    }

    private struct State {
        var live: Live?
        var number: UInt64 = 0
        var isClosed = false
    }

    /// The most bytes in an answer: a page of entries of 1 MiB.
    static let answerBytesMax = 64 << 20

    let endpoint: Endpoint
    private let security: HTTP2ClientTransport.Posix.TransportSecurity
    private let serverName: String?
    private let state = Mutex(State())

    init(_ endpoint: Endpoint, security: HTTP2ClientTransport.Posix.TransportSecurity, serverName: String?) {
        self.endpoint = endpoint
        self.security = security
        self.serverName = serverName
    }

    /// Calls a method that takes one message and gives one.
    ///
    /// - Throws: ``CallFailure``.
    func call<Request: Message, Reply: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ call: Call,
        of: Reply.Type = Reply.self
    ) async throws -> Reply {
        let sent = SentMark()
        do {
            let live = try live()
            do {
                return try await live.client.clientStreaming(
                    request: Self.request(request, call, sent),
                    descriptor: method,
                    serializer: ProtobufSerializer<Request>(),
                    deserializer: ProtobufDeserializer<Reply>(),
                    options: Self.options(call.timeout)
                ) { try $0.message }
            } catch let error as RPCError where error.code == .deadlineExceeded && !sent.isSet {
                // Not even a stream in all that time: what hangs may hang for ever, such as the greeting of a host that
                // went away while it was connected to.
                drop(live.number)
                throw error
            }
        } catch let error as CallFailure {
            throw error
        } catch {
            throw CallFailure(error, wasSent: sent.isSet)
        }
    }

    /// Sends one message, and hands the messages that come to `body`.
    ///
    /// - Throws: ``CallFailure``, and what `body` throws that is no error of the library's.
    func stream<Request: Message, Reply: Message, Result: Sendable>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ call: Call,
        _ body: @escaping @Sendable (RPCAsyncSequence<Reply, any Error>) async throws -> Result
    ) async throws -> Result {
        let sent = SentMark()
        do {
            return try await live().client.bidirectionalStreaming(
                request: Self.request(request, call, sent),
                descriptor: method,
                serializer: ProtobufSerializer<Request>(),
                deserializer: ProtobufDeserializer<Reply>(),
                options: Self.options(call.timeout)
            ) { try await body($0.messages) }
        } catch let error as HoldfastError {
            throw error
        } catch let error as CallFailure {
            throw error
        } catch {
            throw CallFailure(error, wasSent: sent.isSet)
        }
    }

    /// Ends the connection, with every call on it.
    func close() async {
        let live = state.withLock { state in
            state.isClosed = true
            defer { state.live = nil }
            return state.live
        }
        live?.client.beginGracefulShutdown()
        live?.task.cancel()
        await live?.task.value
    }

    /// Ends the connection under a number, if it is still that one; the next call makes another.
    private func drop(_ number: UInt64) {
        let live = state.withLock { state -> Live? in
            guard let live = state.live, live.number == number else { return nil }
            state.live = nil
            return live
        }
        live?.client.beginGracefulShutdown()
        live?.task.cancel()
    }

    private func live() throws -> Live {
        try state.withLock { state in
            if let live = state.live { return live }
            guard !state.isClosed else { throw CallFailure.closed }
            state.number += 1
            let client = Client(transport: try transport())
            let task = Task<Void, Never> {
                // What it throws is told to every call.
                do { try await client.runConnections() } catch {}
            }
            let live = Live(client: client, task: task, number: state.number)
            state.live = live
            return live
        }
    }

    private func transport() throws -> HTTP2ClientTransport.Posix {
        let target: any ResolvableTarget =
            switch endpoint.kind {
            case .ipv4: .ipv4(address: endpoint.host, port: endpoint.port)
            case .ipv6: .ipv6(address: endpoint.host, port: endpoint.port)
            case .name: .dns(host: endpoint.host, port: endpoint.port)
            }
        return try HTTP2ClientTransport.Posix(
            target: target,
            transportSecurity: security,
            config: .defaults { config in
                // A member that comes back is used soon; the library's own 1 s to 2 minutes is for servers far away.
                config.backoff = .init(initial: .milliseconds(50), max: .seconds(2), multiplier: 1.6, jitter: 0.2)
                // What has gone without a word is noticed in 15 s. etcd allows a PING each 5 s.
                config.connection.keepalive = .init(time: .seconds(10), timeout: .seconds(5), allowWithoutCalls: false)
                config.http2.authority = serverName
                config.channelDebuggingCallbacks.onCreateTCPConnection = { PingHandler.install(in: $0) }
            }
        )
    }

    /// A request whose message is noted as sent before it is handed on: what fails earlier has surely had no effect.
    private static func request<Request: Message>(
        _ message: Request,
        _ call: Call,
        _ sent: SentMark
    ) -> StreamingClientRequest<Request> {
        var metadata = Metadata()
        if let token = call.token { metadata.addString(token, forKey: "token") }
        if call.needsLeader { metadata.addString("true", forKey: "hasleader") }
        return StreamingClientRequest(metadata: metadata) { writer in
            sent.set()
            try await writer.write(message)
        }
    }

    private static func options(_ timeout: Duration?) -> CallOptions {
        var options = CallOptions.defaults
        options.timeout = timeout
        // The library takes the first of these for the limit of what comes, too.
        options.maxRequestMessageBytes = answerBytesMax
        options.maxResponseMessageBytes = answerBytesMax
        return options
    }
}

/// Whether a request has been handed to a connection.
private final class SentMark: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}

/// What a call takes beside its message.
struct Call: Sendable {
    /// How long it may take; nil for a watch.
    var timeout: Duration?
    /// The token of a user, where there is one.
    var token: String?
    /// Whether a member that knows no leader is to end the call.
    var needsLeader = false
    /// Whether an earlier try of the same request may have been executed, or may be yet.
    var mayHaveLandedBefore = false
}
#endif
