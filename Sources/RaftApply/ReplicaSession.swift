internal import Platform
internal import RegionFailover
package import ReplayStore

/// A session of this process: gives each command its sequence, and says which outcomes are known.
///
/// It is opened when it is first needed, and again where the replicas have forgotten it.
package final class ReplicaSession: Sendable {
    private struct State: Sendable {
        var session: SessionID?
        var next: UInt64 = 1
        /// Sequences whose outcome is not known yet.
        var open: Set<UInt64> = []

        var respondedBelow: UInt64 { open.min() ?? next }
    }

    private let replica: Replica
    private let state = Lock(State())
    private let opening = AsyncGate()

    package init(_ replica: Replica) { self.replica = replica }

    /// Proposes a command, and returns what it came to: an answer, or a refusal that is thrown.
    package func propose(
        _ command: FailoverCommand,
        while leadership: Leadership? = nil
    ) async throws(HoldfastError) -> (outcome: FailoverOutcome, index: UInt64) {
        let replica = replica
        let result = try await run { (id, respondedBelow) async throws(HoldfastError) in
            try await replica.propose(command, as: id, respondedBelow: respondedBelow, while: leadership)
        }
        if case .refused(let error) = result.outcome { throw error.at(replica.machine.path) }
        return result
    }

    /// Lets every replica store its digest, and returns the index at which it does.
    package func checkDigest(while leadership: Leadership? = nil) async throws(HoldfastError) -> UInt64 {
        let replica = replica
        return try await run { (id, respondedBelow) async throws(HoldfastError) in
            try await replica.checkDigest(as: id, respondedBelow: respondedBelow, while: leadership)
        }
    }

    private func run<Value: Sendable>(
        _ body: @Sendable (ProposalID, _ respondedBelow: UInt64) async throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        let session = try await current()
        let (sequence, respondedBelow) = try state.withLock { (state) throws(HoldfastError) in
            let sequence = state.next
            guard sequence - state.respondedBelow < ReplicationLimits.sessionWindow else {
                throw HoldfastError(
                    code: .overloaded,
                    message:
                        "A command of this process has been under way for \(ReplicationLimits.sessionWindow) others. Nothing was "
                        + "proposed: wait for it to end."
                )
            }
            state.next += 1
            state.open.insert(sequence)
            return (sequence, state.respondedBelow)
        }
        defer {
            // Also an outcome that was given up: from here on the command is not executed any more.
            state.withLock { state in if state.session == session { state.open.remove(sequence) } }
        }
        do throws(HoldfastError) {
            return try await body(ProposalID(session: session, sequence: sequence), respondedBelow)
        } catch {
            if error.code == .sessionExpired { forget(session) }
            throw error
        }
    }

    private func forget(_ session: SessionID) {
        state.withLock { state in
            guard state.session == session else { return }
            state = State()
        }
    }

    private func current() async throws(HoldfastError) -> SessionID {
        if let session = state.withLock({ $0.session }) { return session }
        await opening.enter()
        defer { opening.leave() }
        if let session = state.withLock({ $0.session }) { return session }
        let session = try await replica.openSession()
        state.withLock { state in
            state = State()
            state.session = session
        }
        return session
    }
}

/// Lets one task through at a time, in the order in which they come.
final class AsyncGate: Sendable {
    private struct State: Sendable {
        var isTaken = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Lock(State())

    func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state -> Bool in
                guard state.isTaken else {
                    state.isTaken = true
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiting.isEmpty else {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
