internal import Holdfast
internal import Platform
internal import RegionFailover
internal import ReplayFormat
public import ReplayStore

/// How fresh a read is.
public enum ReadConsistency: Sendable, Hashable {
    /// What this replica has applied so far.
    case local
    /// At least everything up to an index, such as one that a write has given.
    case index(UInt64)
    /// Everything that had been acknowledged to anybody before the read began.
    case linearizable
}

extension Replica {
    /// Returns once a read of this replica is as fresh as is asked for.
    ///
    /// - Returns: The index that is applied at least.
    /// - Throws: ``HoldfastError``, with `logUnavailable`, `cancelled`, or the reason why the replica has stopped.
    @discardableResult
    public func wait(for consistency: ReadConsistency) async throws(HoldfastError) -> UInt64 {
        let index: UInt64
        switch consistency {
        case .local:
            if let failure = machine.failure { throw failure }
            return machine.applied.index
        case .index(let wanted): index = wanted
        case .linearizable: index = try await log.barrier()
        }
        guard await applied.wait(for: index) else {
            if let failure = machine.failure { throw failure }
            throw HoldfastError(
                code: Task.isCancelled ? .cancelled : .logUnavailable,
                message: "The read was to wait for index \(index), and the replica is at \(machine.applied.index)."
            )
        }
        return index
    }

    /// Proposes a command under an identity that the caller has given it, and returns what it came to.
    ///
    /// Proposed again under the same identity it is executed once, on whatever replica.
    ///
    /// - Parameters:
    ///   - command: What to do.
    ///   - id: Its identity in a session that was opened.
    ///   - respondedBelow: The caller knows the outcomes of all its commands below this sequence.
    ///   - leadership: Where it is given, it is proposed only while that is held.
    /// - Returns: The outcome, and an index at which it had been applied.
    /// - Throws: ``HoldfastError``, with `sessionExpired`, `overloaded`, `partMissing`, `outcomeUnknown`, `logUnavailable`,
    ///   `notLeader`, `tooLarge` or the reason why the replica has stopped.
    package func propose(
        _ command: FailoverCommand,
        as id: ProposalID,
        respondedBelow: UInt64,
        while leadership: Leadership? = nil
    ) async throws(HoldfastError) -> (outcome: FailoverOutcome, index: UInt64) {
        try await propose(command.kind, command.encoded(), id, respondedBelow, leadership)
    }

    /// Opens a session.
    package func openSession() async throws(HoldfastError) -> SessionID {
        let nonce = UInt64.random(in: 1...(.max))
        let id = ProposalID(session: SessionID(index: 0, nonce: nonce), sequence: 0)
        let index = try await propose(CommandEnvelope.openSession, [], id, 0, nil).index
        return SessionID(index: index, nonce: nonce)
    }

    /// Stores a digest at an entry of the log, on every replica.
    package func checkDigest(
        as id: ProposalID,
        respondedBelow: UInt64,
        while leadership: Leadership?
    ) async throws(HoldfastError) -> UInt64 {
        try await propose(CommandEnvelope.checkDigest, [], id, respondedBelow, leadership).index
    }

    func propose(
        _ kind: UInt8,
        _ payload: [UInt8],
        _ id: ProposalID,
        _ respondedBelow: UInt64,
        _ leadership: Leadership?
    ) async throws(HoldfastError) -> (outcome: FailoverOutcome, index: UInt64) {
        if let failure = machine.failure { throw failure }
        guard payload.count <= Self.payloadBytesMax else {
            throw HoldfastError(
                code: .tooLarge,
                message: "A command has at most \(Self.payloadBytesMax) bytes; this one has \(payload.count). Split it."
            )
        }
        guard proposals.enter(payload.count) else {
            throw HoldfastError(
                code: .overloaded,
                message:
                    "This replica has \(options.windowEntriesMax) proposals or \(options.windowBytesMax) bytes of them under way. "
                    + "Nothing was proposed: wait for one to end, and call again."
            )
        }
        defer { proposals.leave(payload.count) }
        let parts = Self.parts(of: payload)
        // The outcome may come while an attempt seems to have failed.
        let last = ProposalID(session: id.session, sequence: id.sequence, part: UInt32(parts.count - 1))
        proposals.expect(last)
        defer { proposals.forget(last) }
        let started = clock.source.elapsedMilliseconds
        // Once something may be in the log, nothing less than an outcome says what became of it.
        var mayBeThere = false
        var wait = Backoff()
        while true {
            do throws(HoldfastError) {
                return try await attempt(kind, parts, id, respondedBelow, leadership, since: started)
            } catch {
                mayBeThere = mayBeThere || error.code == .outcomeUnknown
                guard error.code == .outcomeUnknown || error.code == .logUnavailable || error.code == .partMissing
                else {
                    throw error
                }
                let left = options.proposalMilliseconds - (clock.source.elapsedMilliseconds - started)
                guard left > 0, !Task.isCancelled else {
                    guard mayBeThere, error.code != .outcomeUnknown else { throw error }
                    throw Self.unknown(id, error.message)
                }
            }
            await wait.pause(clock.source)
        }
    }

    /// The most bytes of a command in all its parts: an append of 64 MiB, and what goes with it.
    private static let payloadBytesMax = 80 << 20

    private static func unknown(_ id: ProposalID, _ why: String) -> HoldfastError {
        HoldfastError(
            code: .outcomeUnknown,
            message:
                "The command \(id) may have been executed, or may be yet: \(why) Propose it again under the same identity to "
                + "know; an append can be made again as a new call, since its writes carry theirs."
        )
    }

    /// A payload cut so that each part fits an entry.
    private static func parts(of payload: [UInt8]) -> [ArraySlice<UInt8>] {
        let most = ReplicationLimits.commandBytesMax - CommandEnvelope.overheadBytes
        guard payload.count > most else { return [payload[...]] }
        return stride(from: 0, to: payload.count, by: most).map { payload[$0..<min($0 + most, payload.count)] }
    }

    private func attempt(
        _ kind: UInt8,
        _ parts: [ArraySlice<UInt8>],
        _ id: ProposalID,
        _ respondedBelow: UInt64,
        _ leadership: Leadership?,
        since started: Int64
    ) async throws(HoldfastError) -> (outcome: FailoverOutcome, index: UInt64) {
        let last = ProposalID(session: id.session, sequence: id.sequence, part: UInt32(parts.count - 1))
        var index: UInt64 = 0
        for (number, part) in parts.enumerated() {
            let (now, elapsed) = clock.now
            let envelope = CommandEnvelope(
                id: ProposalID(session: id.session, sequence: id.sequence, part: UInt32(number)),
                parts: UInt32(parts.count),
                respondedBelow: respondedBelow,
                now: now,
                elapsedMilliseconds: elapsed,
                kind: kind,
                payload: Array(part)
            )
            index = try await log.propose(envelope.encoded(), as: envelope.id, while: leadership)
        }
        // Where it has been applied unseen, as part of a snapshot, its outcome is kept.
        if machine.applied.index >= index, let outcome = try await machine.outcome(of: last, at: index) {
            return (try read(outcome, of: id), index)
        }
        switch await answer(for: last, since: started) {
        case .outcome(let outcome): return (try read(outcome, of: id), index)
        case .again: throw Self.unknown(id, "this replica has taken a snapshot meanwhile.")
        case .ended(let failure):
            throw failure ?? Self.unknown(id, "this replica has ended.")
        case .timeout: throw Self.unknown(id, "this replica has not applied index \(index) in time.")
        }
    }

    private func answer(for id: ProposalID, since started: Int64) async -> ProposalTable.Answer {
        let left = options.proposalMilliseconds - (clock.source.elapsedMilliseconds - started)
        let (proposals, source) = (proposals, clock.source)
        return await withTaskGroup(of: ProposalTable.Answer?.self) { group in
            group.addTask { await proposals.wait(for: id) }
            group.addTask {
                // Cancelled once there is an answer.
                try? await source.sleep(milliseconds: max(1, left))
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            if let first { return first }
            return await group.next().flatMap(\.self) ?? .timeout
        }
    }

    private func read(_ outcome: ProposalOutcome, of id: ProposalID) throws(HoldfastError) -> FailoverOutcome {
        switch outcome {
        case .executed(let bytes):
            return try format("The outcome of \(id)") { () throws(FormatError) in
                try FailoverOutcome.decode(try RaftRows.Outcome(decoding: bytes.span))
            }
        case .sessionExpired:
            throw HoldfastError(
                code: .sessionExpired,
                message:
                    "The session \(id.session) is not known any more, or has forgotten its command \(id.sequence). The command "
                    + "was not executed now; whether it was before is not known. Open a new session."
            )
        case .overloaded:
            throw HoldfastError(
                code: .overloaded,
                message:
                    "The session \(id.session) has \(ReplicationLimits.sessionWindow) commands under way, or too many bytes "
                    + "wait for their rest. The command was not executed."
            )
        case .partMissing, .staged, .skipped:
            throw HoldfastError(
                code: .partMissing,
                message:
                    "Parts of the command \(id) are missing in the log. It was not executed: all are proposed again."
            )
        }
    }
}
