#if Etcd
internal import EtcdProtocol
public import RaftApply
public import ReplayStore
internal import SwiftProtobuf

extension EtcdLog {
    /// Puts a command at the end of the log.
    ///
    /// One transaction: where the entry's key is not there, it and `head` are put. A member that does not answer in
    /// ``EtcdConfiguration/attemptTimeout`` is left for the next, under the same identity, which finds the entry where it
    /// was put before all; that goes on for ``EtcdConfiguration/callTimeout``. A command whose entry has been trimmed is put
    /// again, at a new index: the state machine tells.
    ///
    /// - Parameters:
    ///   - command: At most ``ReplicationLimits/commandBytesMax`` bytes.
    ///   - id: Its identity.
    ///   - leadership: The transaction compares the key of its election, too.
    /// - Returns: The index: the revision at which the entry was put.
    /// - Throws: ``HoldfastError``, with `outcomeUnknown` as soon as any try may have reached a member and none was answered;
    ///   `logUnavailable` when none did, when each was refused, or when etcd's space is used up and the entry is not there;
    ///   `notLeader`; `tooLarge`.
    public func propose(
        _ command: [UInt8],
        as id: ProposalID,
        while leadership: Leadership?
    ) async throws(HoldfastError) -> UInt64 {
        guard command.count <= ReplicationLimits.commandBytesMax else {
            throw HoldfastError(
                code: .tooLarge,
                message: "The command has \(command.count) bytes; an entry has at most "
                    + "\(ReplicationLimits.commandBytesMax). Propose it in parts."
            )
        }
        let election = try leadership.map { held throws(HoldfastError) in try Election(held, keys) }
        let key = keys.entry(id)
        let before = cluster.revisionSeen
        let request = WireTxnRequest.with {
            $0.compare = [.created(key, at: 0)]
            $0.success = [.put(key, command), .put(keys.head, [])]
            $0.failure = [.get(key, keysOnly: true)]
            if let election {
                $0.compare.append(.created(keys.leader, at: election.revision))
                $0.failure.append(.get(keys.leader, keysOnly: true))
            }
        }
        let reply: WireTxnResponse
        let mayHaveLandedBefore: Bool
        do throws(Unanswered) {
            (reply, mayHaveLandedBefore) = try await cluster.ask { connection, call in
                (try await connection.call(WireKV.Method.Txn.descriptor, request, call), call.mayHaveLandedBefore)
            }
        } catch {
            guard error.last.reason == .noSpace, !error.mayHaveLandedBefore else { throw error.ofWrite }
            return try await indexDespiteNoSpace(key, before, error)
        }
        cluster.saw(reply.header)
        if reply.succeeded { return UInt64(reply.header.revision) }
        if let entry = reply.responses.first?.responseRange.kvs.first { return UInt64(entry.modRevision) }
        guard leadership != nil, !mayHaveLandedBefore else {
            // An earlier try may have put the entry, and it may have been applied and trimmed since.
            throw HoldfastError(
                code: .outcomeUnknown,
                message: "The entry is not in the log, but it may have been. Propose it again."
            )
        }
        throw HoldfastError(code: .notLeader, message: "Another member leads, or none. Nothing was proposed.")
    }

    /// What became of a transaction that etcd refused for want of space.
    ///
    /// It says so before it proposes one, when it does not execute one while the alarm is on, and also of the one that it has
    /// just executed with the last bytes. Where the entry is not there, and none can have been trimmed that is newer than the
    /// call, it was not executed.
    private func indexDespiteNoSpace(
        _ key: Key,
        _ before: Int64,
        _ failure: Unanswered
    ) async throws(HoldfastError) -> UInt64 {
        let entry: WireKeyValue?
        let trimmed: UInt64
        do throws(Unanswered) {
            entry = try await cluster.get(key, keysOnly: true).kvs.first
            trimmed = try await trimmedIndex()
        } catch {
            throw failure.ofWrite
        }
        if let entry { return UInt64(entry.modRevision) }
        throw trimmed > UInt64(max(before, 0)) ? failure.ofWrite : failure.last.unavailable
    }
}
#endif
