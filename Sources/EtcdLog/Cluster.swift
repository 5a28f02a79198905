#if Etcd
internal import EtcdProtocol
internal import GRPCNIOTransportHTTP2Posix
internal import ReplayStore
internal import SwiftProtobuf
internal import Synchronization

/// The members of a cluster, of which one is used until it does not answer.
final class Cluster: Sendable {
    private struct State {
        var current = 0
        var revisionSeen: Int64 = 0
        var isClosed = false
    }

    /// Where the pauses between rounds through all members begin and end.
    private static let pauses = (first: Duration.milliseconds(50), last: Duration.seconds(1))

    let configuration: EtcdConfiguration
    let connections: [Connection]
    let logging: EtcdLogging
    private let slots: Slots
    private let tokens: Tokens?
    private let state = Mutex(State())

    init(_ configuration: EtcdConfiguration, _ logging: EtcdLogging) throws(HoldfastError) {
        try configuration.check()
        let security = try configuration.security()
        var connections: [Connection] = []
        for text in configuration.endpoints {
            let endpoint = try Endpoint(text, isEncrypted: configuration.tls != nil)
            connections.append(Connection(endpoint, security: security, serverName: configuration.tls?.serverName))
        }
        self.configuration = configuration
        self.connections = connections
        self.logging = logging
        slots = Slots(configuration.requestsMax)
        tokens = configuration.credentials.map { Tokens($0) }
    }

    /// The member that is used now.
    var current: Connection { connections[state.withLock { $0.current }] }
    /// Whether ``close()`` was called.
    var isClosed: Bool { state.withLock { $0.isClosed } }
    /// The greatest revision that any answer has named.
    var revisionSeen: Int64 { state.withLock { $0.revisionSeen } }

    /// Notes what an answer says of the cluster.
    func saw(_ header: WireResponseHeader) {
        state.withLock { $0.revisionSeen = max($0.revisionSeen, header.revision) }
    }

    /// Uses the member after `connection`, unless somebody has already moved on.
    func moveOn(from connection: Connection, _ reason: CallFailure) {
        let next = state.withLock { state -> Connection? in
            guard connections[state.current] === connection, connections.count > 1 else { return nil }
            state.current = (state.current + 1) % connections.count
            return connections[state.current]
        }
        guard let next else { return }
        logging.memberChanged(from: connection.endpoint, to: next.endpoint, reason.message)
    }

    /// Asks member after member until one answers, refuses for good, or the time is up.
    ///
    /// What `body` sends may be executed more than once, and an earlier try later than a later one.
    ///
    /// - Parameters:
    ///   - timeout: For all tries together; as configured where it is nil.
    ///   - isUrgent: Whether it goes ahead of what waits for its turn, as a lease must that would run out meanwhile.
    ///   - body: One try, which throws ``CallFailure``.
    /// - Returns: What `body` returns.
    /// - Throws: ``Unanswered``.
    func ask<Reply>(
        for timeout: Duration? = nil,
        isUrgent: Bool = false,
        _ body: (Connection, Call) async throws -> Reply
    ) async throws(Unanswered) -> Reply {
        do {
            if isUrgent { return try await askInTurn(timeout ?? configuration.callTimeout, body) }
            return try await slots.with { try await askInTurn(timeout ?? configuration.callTimeout, body) }
        } catch let error as Unanswered {
            throw error
        } catch {
            throw Unanswered(last: CallFailure(error, wasSent: false), mayHaveLandedBefore: false)
        }
    }

    private func askInTurn<Reply>(
        _ timeout: Duration,
        _ body: (Connection, Call) async throws -> Reply
    ) async throws -> Reply {
        let deadline = ContinuousClock.now + timeout
        var mayHaveLanded = false
        var tries = 0
        var pause = Self.pauses.first
        while true {
            let connection = current
            let remaining = max(deadline - .now, .milliseconds(1))
            let failure: CallFailure
            do {
                return try await attempt(connection, min(configuration.attemptTimeout, remaining)) { connection, call in
                    var call = call
                    call.mayHaveLandedBefore = mayHaveLanded
                    return try await body(connection, call)
                }
            } catch let error as CallFailure {
                failure = error
            } catch {
                failure = CallFailure(error, wasSent: true)
            }
            let isOver = !failure.isRetryable || isClosed || Task.isCancelled || .now >= deadline
            if isOver { throw Unanswered(last: failure, mayHaveLandedBefore: mayHaveLanded) }
            mayHaveLanded = mayHaveLanded || failure.effect == .unknown
            tries += 1
            if failure.reason != .badToken { moveOn(from: connection, failure) }
            if tries % connections.count == 0 {
                // A cancelled pause is noticed after the next try.
                try? await Task.sleep(for: min(pause * Double.random(in: 0.5...1), deadline - .now))
                pause = min(pause * 2, Self.pauses.last)
            }
        }
    }

    /// One try at one member.
    func attempt<Reply>(
        _ connection: Connection,
        _ timeout: Duration?,
        needsLeader: Bool = false,
        _ body: (Connection, Call) async throws -> Reply
    ) async throws -> Reply {
        let token = try await tokens?.token(connection, timeout ?? configuration.attemptTimeout)
        do {
            return try await body(connection, Call(timeout: timeout, token: token, needsLeader: needsLeader))
        } catch let error as CallFailure where error.reason == .badToken {
            // Who has no user will not have one the next time.
            guard let tokens else { throw error.final }
            if let token { await tokens.forget(token) }
            throw error
        }
    }

    /// Ends every connection.
    func close() async {
        state.withLock { $0.isClosed = true }
        for connection in connections { await connection.close() }
    }
}

/// That nobody answered a request, in all its tries.
struct Unanswered: Error {
    /// What the last try came to.
    let last: CallFailure
    /// Whether a try before the last one may have been executed, or may be yet.
    let mayHaveLandedBefore: Bool

    /// Whether any of them may have been.
    var mayHaveLanded: Bool { mayHaveLandedBefore || last.effect == .unknown }

    /// The error of a call that changes nothing.
    var ofRead: HoldfastError { last.unavailable }

    /// The error of a call that changes something.
    var ofWrite: HoldfastError {
        guard mayHaveLanded else { return last.unavailable }
        return HoldfastError(code: .outcomeUnknown, message: "It may have been done: \(last.advice)")
    }
}

/// A user's token, for which the password is checked once for all calls: that is slow by intention.
private actor Tokens {
    private let credentials: EtcdConfiguration.Credentials
    private var known: String?
    private var asking: Task<String?, any Error>?

    init(_ credentials: EtcdConfiguration.Credentials) { self.credentials = credentials }

    /// The token; nil where the cluster has no authentication.
    func token(_ connection: Connection, _ timeout: Duration) async throws -> String? {
        if let known { return known }
        let task = asking ?? Task { try await Self.ask(credentials, connection, timeout) }
        asking = task
        // Who waits for another's question is not told of its cancellation: it has none, and ends in time.
        let result = await task.result
        if asking == task {
            asking = nil
            known = try? result.get()
        }
        do {
            return try result.get()
        } catch let failure as CallFailure {
            // The request that the token is for has not been sent.
            throw CallFailure(
                effect: .unsent,
                reason: failure.reason,
                isRetryable: failure.isRetryable,
                message: failure.message
            )
        }
    }

    func forget(_ token: String) { if known == token { known = nil } }

    private static func ask(
        _ credentials: EtcdConfiguration.Credentials,
        _ connection: Connection,
        _ timeout: Duration
    ) async throws -> String? {
        let request = WireAuthenticateRequest.with {
            $0.name = credentials.user
            $0.password = credentials.password
        }
        do {
            let reply: WireAuthenticateResponse = try await connection.call(
                WireAuth.Method.Authenticate.descriptor,
                request,
                Call(timeout: timeout)
            )
            return reply.token
        } catch let error as CallFailure where error.reason == .noAuthentication {
            return nil
        }
    }
}

extension EtcdConfiguration {
    /// Refuses what cannot be.
    func check() throws(HoldfastError) {
        guard (1...64).contains(endpoints.count) else {
            throw .configuration("endpoints", "There are \(endpoints.count) endpoints; give 1 to 64.")
        }
        guard (1...255).contains(prefix.utf8.count) else {
            throw .configuration("prefix", "The prefix has \(prefix.utf8.count) bytes; give it 1 to 255.")
        }
        guard (.milliseconds(10) ... .seconds(60)).contains(attemptTimeout) else {
            throw .configuration("attemptTimeout", "A member may take \(attemptTimeout); give 10 ms to 1 minute.")
        }
        guard (.milliseconds(10) ... .seconds(600)).contains(callTimeout) else {
            throw .configuration("callTimeout", "The time for a call is \(callTimeout); give 10 ms to 10 minutes.")
        }
        guard (2...600).contains(leaseSeconds) else {
            throw .configuration("leaseSeconds", "The lease is \(leaseSeconds) s; give 2 to 600.")
        }
        guard (1...65_536).contains(requestsMax) else {
            throw .configuration("requestsMax", "At most \(requestsMax) requests may wait; give 1 to 65,536.")
        }
        guard (tls?.certificatePath == nil) == (tls?.privateKeyPath == nil) else {
            throw .configuration("tls", "A certificate and its private key go together; give both or neither.")
        }
    }

    /// The transport's security, for which the files are read once here, so that what is wrong with them is told now.
    func security() throws(HoldfastError) -> HTTP2ClientTransport.Posix.TransportSecurity {
        guard let tls else { return .plaintext }
        var configuration = HTTP2ClientTransport.Posix.TransportSecurity.TLS.defaults
        if let path = tls.authorityPath { configuration.trustRoots = .certificates([.file(path: path, format: .pem)]) }
        if let certificate = tls.certificatePath, let key = tls.privateKeyPath {
            configuration.certificateChain = [.file(path: certificate, format: .pem)]
            configuration.privateKey = .file(path: key, format: .pem)
        }
        let security = HTTP2ClientTransport.Posix.TransportSecurity.tls(configuration)
        do {
            _ = try HTTP2ClientTransport.Posix(
                target: .ipv4(address: "127.0.0.1", port: 2379),
                transportSecurity: security
            )
        } catch {
            throw .configuration("tls", "The TLS files cannot be used: \(error). Look at what is there.")
        }
        return security
    }
}
#endif
