#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
internal import GRPCCore
public import RaftApply
internal import ReplayStore
internal import SwiftProtobuf

extension EtcdLog {
    /// Waits until this member leads, and then for as long as it does.
    ///
    /// The election's key is put with a lease of ``EtcdConfiguration/leaseSeconds`` where it is not there. The lease is kept
    /// alive three times in its length; it counts as lost when etcd says so, when no answer has come for its whole length by
    /// this process's clock, or when the key has gone. When `body` returns the lease is revoked, so that another can lead at
    /// once; a process that dies leaves it to run out.
    ///
    /// It returns when `body` does: also after the leadership was lost, so call it again to lead again.
    ///
    /// - Parameters:
    ///   - member: Its name.
    ///   - body: Runs while the leadership is held; its task is cancelled when it is lost.
    /// - Throws: ``HoldfastError`` with `logUnavailable` where nobody answers while it waits; `invalidConfiguration` for a name
    ///   that is none; what `body` throws, but not the `CancellationError` of a leadership that was lost.
    public func lead(as member: String, _ body: @escaping @Sendable (Leadership) async throws -> Void) async throws {
        let name = try Self.checked(member)
        let held = try await campaign(name)
        let result = await serve(held, Leadership(member: name, token: held.election.token), body)
        // Also for a task that was cancelled: who comes next need not wait for the lease.
        await Task { await revoke(held.lease) }.value
        try result.get()
    }

    private enum Ending: Sendable {
        case body(Result<Void, any Error>)
        case leadership
    }

    private struct Held {
        let election: Election
        let lease: Int64
        /// Until when the lease is surely held, by this process's clock.
        let until: ContinuousClock.Instant
    }

    private func campaign(_ name: String) async throws -> Held {
        while true {
            try Task.checkCancellation()
            let look: WireRangeResponse
            do throws(Unanswered) {
                look = try await cluster.get(keys.leader, keysOnly: true, isUrgent: true)
            } catch {
                throw error.ofRead
            }
            if look.kvs.isEmpty {
                if let held = try await stand(name) { return held }
            } else {
                await leaderChanges(after: look.header.revision)
            }
        }
    }

    /// Puts the election's key where it is not there; nil when another was faster, or the lease ran out before.
    private func stand(_ name: String) async throws -> Held? {
        let begun = ContinuousClock.now
        // A number of one's own: a second try finds the lease of the first.
        let lease = Int64.random(in: 1...(.max))
        do throws(Unanswered) {
            try await grant(lease)
            let request = WireTxnRequest.with {
                $0.compare = [.created(keys.leader, at: 0)]
                $0.success = [.put(keys.leader, Array(name.utf8), lease: lease)]
                $0.failure = [.get(keys.leader, keysOnly: true)]
            }
            let reply = try await cluster.transact(request, isUrgent: true)
            let until = begun + .seconds(cluster.configuration.leaseSeconds)
            if reply.succeeded {
                return Held(election: Election(revision: reply.header.revision), lease: lease, until: until)
            }
            if let key = reply.responses.first?.responseRange.kvs.first, key.lease == lease {
                return Held(election: Election(revision: key.createRevision), lease: lease, until: until)
            }
            await revoke(lease)
            return nil
        } catch {
            // It ran out before the key was put, or with it, as where a member stood still meanwhile: the caller looks again.
            if error.last.reason == .leaseGone { return nil }
            await Task { await revoke(lease) }.value
            throw error.ofRead
        }
    }

    private func grant(_ lease: Int64) async throws(Unanswered) {
        let request = WireLeaseGrantRequest.with {
            $0.id = lease
            $0.ttl = Int64(cluster.configuration.leaseSeconds)
        }
        do throws(Unanswered) {
            _ = try await cluster.ask(isUrgent: true) { connection, call -> WireLeaseGrantResponse in
                try await connection.call(WireLease.Method.LeaseGrant.descriptor, request, call)
            }
        } catch {
            guard error.last.reason == .leaseExists else { throw error }
        }
    }

    /// Ends a lease, and with it the key; where nobody answers, it ends by itself.
    private func revoke(_ lease: Int64) async {
        let request = WireLeaseRevokeRequest.with { $0.id = lease }
        let timeout = cluster.configuration.attemptTimeout
        _ = try? await cluster.ask(for: timeout, isUrgent: true) { connection, call -> WireLeaseRevokeResponse in
            try await connection.call(WireLease.Method.LeaseRevoke.descriptor, request, call)
        }
    }

    /// Runs `body` until it returns, or until the leadership is lost and `body` has returned after that.
    private func serve(
        _ held: Held,
        _ leadership: Leadership,
        _ body: @escaping @Sendable (Leadership) async throws -> Void
    ) async -> Result<Void, any Error> {
        await withTaskGroup(of: Ending.self) { group in
            group.addTask {
                do {
                    return .body(.success(try await body(leadership)))
                } catch {
                    return .body(.failure(error))
                }
            }
            group.addTask { [self] in
                await keepAlive(held)
                return .leadership
            }
            group.addTask { [self] in
                await leaderGoes(held.election)
                return .leadership
            }
            var isLost = false
            var result: Result<Void, any Error> = .success(())
            for await ending in group {
                group.cancelAll()
                guard case .body(let ended) = ending else {
                    isLost = isLost || !Task.isCancelled
                    continue
                }
                result = ended
                break
            }
            if isLost, case .failure(let error) = result, error is CancellationError { return .success(()) }
            return result
        }
    }

    /// Keeps a lease alive; returns when it is lost, or the task is cancelled.
    private func keepAlive(_ held: Held) async {
        let length = Duration.seconds(cluster.configuration.leaseSeconds)
        let request = WireLeaseKeepAliveRequest.with { $0.id = held.lease }
        var until = held.until
        var pause = length / 3
        while !Task.isCancelled {
            do { try await Task.sleep(for: min(pause, until - .now)) } catch { return }
            let sent = ContinuousClock.now
            guard sent < until else { return }
            let answer: WireLeaseKeepAliveResponse?
            do throws(Unanswered) {
                answer = try await cluster.ask(for: min(length / 3, until - sent), isUrgent: true) { connection, call in
                    try await connection.stream(WireLease.Method.LeaseKeepAlive.descriptor, request, call) {
                        (messages: RPCAsyncSequence<WireLeaseKeepAliveResponse, any Error>) in
                        try await messages.first { _ in true }
                    }
                }
            } catch {
                pause = .milliseconds(200)
                continue
            }
            pause = length / 3
            guard let answer, answer.ttl > 0 else { return }
            until = sent + min(length, .seconds(answer.ttl))
        }
    }

    /// Returns when the election's key is not there, or is another's, or the task is cancelled.
    private func leaderGoes(_ election: Election) async {
        while !Task.isCancelled {
            guard let look = try? await cluster.get(keys.leader, keysOnly: true, isUrgent: true) else { continue }
            guard look.kvs.first?.createRevision == election.revision else { return }
            await leaderChanges(after: look.header.revision)
        }
    }

    /// Returns when the election's key was put or deleted after a revision, or it is not known whether it was.
    private func leaderChanges(after revision: Int64) async {
        let connection = cluster.current
        let request = WireWatchRequest.with {
            $0.createRequest.key = Data(keys.leader.bytes)
            $0.createRequest.startRevision = revision + 1
        }
        // Also a watch that its member has forgotten ends in time.
        let timeout = Duration.seconds(cluster.configuration.leaseSeconds)
        do {
            try await cluster.attempt(connection, timeout, needsLeader: true) { connection, call in
                try await connection.stream(WireWatch.Method.Watch.descriptor, request, call) {
                    (messages: RPCAsyncSequence<WireWatchResponse, any Error>) in
                    for try await message in messages where message.canceled || !message.events.isEmpty { return }
                }
            }
        } catch let error as CallFailure {
            if error.reason != .deadline { try? await Task.sleep(for: .milliseconds(100)) }
        } catch {
            // Cancelled: the caller looks.
        }
    }
}
#endif
