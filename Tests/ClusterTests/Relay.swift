#if Etcd
import NIOCore
import NIOPosix
import Synchronization

/// Forwards connections of loopback, until it is cut: then whatever is on its way waits, and so do new connections.
final class Relay: Sendable {
    /// Where it listens, `HOST:PORT`.
    let endpoint: String
    private let gate = Gate()
    private let running: Task<Void, any Error>

    /// Starts a relay to `target`, `HOST:PORT`.
    init(to target: String) async throws {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .bind(host: "127.0.0.1", port: 0, childChannelInitializer: Self.asynchronous)
        endpoint = "127.0.0.1:\(server.channel.localAddress?.port ?? 0)"
        let gate = gate
        running = Task { try await Self.serve(server, target, gate) }
    }

    deinit {
        running.cancel()
        gate.open()
    }

    /// Lets nothing through from here on.
    func cut() { gate.shut() }

    /// Lets everything through again, what has waited first.
    func heal() { gate.open() }

    private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    @Sendable private static func asynchronous(_ channel: any Channel) -> EventLoopFuture<Connection> {
        channel.eventLoop.makeCompletedFuture { try Connection(wrappingChannelSynchronously: channel) }
    }

    private static func serve(
        _ server: NIOAsyncChannel<Connection, Never>,
        _ target: String,
        _ gate: Gate
    ) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            try await server.executeThenClose { connections in
                for try await connection in connections {
                    // One end that fails closes the other, and nothing else.
                    group.addTask { try? await forward(connection, target, gate) }
                }
            }
        }
    }

    private static func forward(_ near: Connection, _ target: String, _ gate: Gate) async throws {
        try await near.executeThenClose { fromNear, toNear in
            await gate.pass()
            let parts = target.split(separator: ":")
            let far = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connect(host: String(parts[0]), port: Int(parts[1]) ?? 0, channelInitializer: asynchronous)
            try await far.executeThenClose { fromFar, toFar in
                try await withThrowingTaskGroup { group in
                    group.addTask { try await pump(fromNear, toFar, gate) }
                    group.addTask { try await pump(fromFar, toNear, gate) }
                    // Where one direction ends the connection does: HTTP/2 has no use for a half.
                    defer { group.cancelAll() }
                    try await group.next()
                }
            }
        }
    }

    private static func pump(
        _ source: NIOAsyncChannelInboundStream<ByteBuffer>,
        _ target: NIOAsyncChannelOutboundWriter<ByteBuffer>,
        _ gate: Gate
    ) async throws {
        for try await bytes in source {
            await gate.pass()
            try await target.write(bytes)
        }
    }
}

/// Holds up who wants to pass while it is shut.
private final class Gate: Sendable {
    private struct State {
        var isShut = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func shut() { state.withLock { $0.isShut = true } }

    func open() {
        let waiting = state.withLock { state in
            state.isShut = false
            defer { state.waiting = [] }
            return state.waiting
        }
        for waiter in waiting { waiter.resume() }
    }

    func pass() async {
        await withCheckedContinuation { waiter in
            let isOpen = state.withLock { state in
                if state.isShut { state.waiting.append(waiter) }
                return !state.isShut
            }
            if isOpen { waiter.resume() }
        }
    }
}
#endif
