internal import Bytes
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// What a replica knows beside its store's rows, as of the last commit and with the changes of the transaction that runs.
///
/// The writer thread alone changes it. After an abort it is of no use any more: the replica has stopped.
struct ReplicaState: Sendable {
    var applied = RaftRows.Applied()
    var sessions = SessionTable()
    /// Nil before the first command that configures the deployment.
    var machine: FailoverMachine?
    /// What the rows of the table `controller` say.
    var stored: FailoverMachine.Snapshot?
    /// The indices of the digests that are kept, in order.
    var digests: [UInt64] = []

    /// Reads the rows of a store.
    init(_ transaction: borrowing StoreTransaction) throws(HoldfastError) {
        if let fields = try transaction.row(RaftRows.appliedKey, in: .raft) {
            applied = try format("The applied index") { () throws(FormatError) in
                try RaftRows.Applied(decoding: fields.span)
            }
        }
        try sessions.load(transaction)
        var digests: [UInt64] = []
        try transaction.scan(.raft) { (key, _) throws(HoldfastError) in
            if case .digest(let index)? = try? RaftRows.subject(key) { digests.append(index) }
            return true
        }
        self.digests = digests
        guard !transaction.regions.isEmpty else { return }
        let snapshot = try MachineRows.load(transaction.regions, rows: try transaction.machineRows())
        do throws(FailoverError) {
            machine = try FailoverMachine(restoring: snapshot)
        } catch {
            var damaged = HoldfastError(error)
            damaged.code = .needsSnapshot
            throw damaged
        }
        stored = snapshot
        transaction.core.historyCapacity = snapshot.configuration.historyCapacity
    }

    /// Adds the rows that changed to a transaction that is about to commit.
    mutating func store(_ transaction: inout StoreTransaction) throws(HoldfastError) {
        try sessions.store(&transaction, &applied)
        try transaction.put(applied.encoded(), key: RaftRows.appliedKey, in: .raft)
        guard let snapshot = machine?.snapshot else { return }
        try MachineRows.store(snapshot, over: stored, &transaction)
        stored = snapshot
    }

    // MARK: Applying

    /// Applies one entry, whose command is `envelope`.
    ///
    /// `digest`: That of the state before it, for a command that stores it.
    mutating func apply(
        _ entry: LogEntry,
        _ envelope: CommandEnvelope,
        digest: Hash128?,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> AppliedEntry {
        let outcome = try execute(entry.index, envelope, digest, &transaction)
        applied.index = entry.index
        applied.term = entry.term
        applied.command = XXH3.hash128(entry.command.span)
        return AppliedEntry(index: entry.index, id: envelope.id, outcome: outcome)
    }

    private mutating func execute(
        _ index: UInt64,
        _ envelope: CommandEnvelope,
        _ digest: Hash128?,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> ProposalOutcome {
        if let refusal = refusal(of: envelope) { return .executed(FailoverOutcome.refused(refusal).row.encoded()) }
        let now = applied.hasTime ? max(applied.time, envelope.now) : envelope.now
        (applied.time, applied.hasTime) = (now, true)
        if envelope.kind == CommandEnvelope.openSession {
            let session = SessionID(index: index, nonce: envelope.id.session.nonce)
            try sessions.open(session, &transaction, &applied)
            return .executed(FailoverOutcome.done.row.encoded())
        }
        switch try sessions.find(envelope, at: index, &transaction, &applied) {
        case .new: break
        case .executed(let outcome): return .executed(outcome.encoded())
        case .expired: return .sessionExpired
        case .overloaded: return .overloaded
        }
        var payload = envelope.payload
        if envelope.parts > 1 {
            guard envelope.id.part == envelope.parts - 1 else {
                return try sessions.stage(envelope, &transaction, &applied) ? .staged : .overloaded
            }
            guard let whole = try sessions.assemble(envelope, transaction) else { return .partMissing }
            payload = whole
        }
        let outcome: RaftRows.Outcome
        if envelope.kind == CommandEnvelope.checkDigest {
            guard let digest else { preconditionFailure("entry \(index) stores a digest, and none was made") }
            try keep(digest, at: index, &transaction)
            outcome = FailoverOutcome.done.row
        } else {
            outcome = try run(envelope, payload, now, &transaction).row
        }
        try sessions.keep(outcome, of: envelope.id, &transaction, &applied)
        return .executed(outcome.encoded())
    }

    /// Refuses a time that is too far ahead of the log's; it is not kept, so that a retry with a right time is executed.
    private func refusal(of envelope: CommandEnvelope) -> HoldfastError? {
        guard applied.hasTime else { return nil }
        let latest = applied.time.advanced(by: max(0, envelope.elapsedMilliseconds))
            .advanced(by: ReplicationLimits.clockStepMilliseconds)
        guard envelope.now > latest else { return nil }
        return HoldfastError(
            code: .clockStep,
            message:
                "The command says that it is \(envelope.now.milliseconds) ms since 1970, which is more than "
                + "\(ReplicationLimits.clockStepMilliseconds) ms ahead of the log and what has passed since. Nothing changed: "
                + "look at the clock of the member that proposed it."
        )
    }

    /// Stores a digest, and forgets the oldest beyond those that are kept.
    private mutating func keep(
        _ digest: Hash128,
        at index: UInt64,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) {
        var fields: [UInt8] = []
        fields.append(bigEndian: digest.high)
        fields.append(bigEndian: digest.low)
        try transaction.put(fields, key: RaftRows.digestKey(index), in: .raft)
        digests.append(index)
        while digests.count > ReplicationLimits.digestsMax {
            try transaction.delete(RaftRows.digestKey(digests.removeFirst()), in: .raft)
        }
    }

    /// Runs a command: a refusal is an outcome, and has changed nothing; anything else ends the replica.
    private mutating func run(
        _ envelope: CommandEnvelope,
        _ payload: [UInt8],
        _ now: Timestamp,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> FailoverOutcome {
        let decoded: FailoverCommand?
        do throws(FormatError) {
            // A newer payload may be anything.
            let isKnown = envelope.kindVersion <= FailoverCommand.kindVersion
            decoded = isKnown ? try FailoverCommand.decode(kind: envelope.kind, payload) : nil
        } catch {
            throw HoldfastError(
                code: .damaged,
                message: "The command \(envelope.id) of the log cannot be read: \(error.description)."
            )
        }
        guard let command = decoded else {
            throw HoldfastError(
                code: .unknownCommand,
                message:
                    "The log has a command of the kind \(envelope.kind), version \(envelope.kindVersion), which this program "
                    + "does not know. The replica has stopped before it: use a newer version."
            )
        }
        let before = transaction.changeCount
        do throws(HoldfastError) {
            return try execute(command, now, &transaction)
        } catch {
            guard error.isBusinessRefusal, transaction.changeCount == before, !transaction.hasFailed else {
                throw error
            }
            return .refused(error)
        }
    }
}

extension HoldfastError {
    /// Whether it says what is wrong with a command, and not with this replica.
    fileprivate var isBusinessRefusal: Bool {
        switch code {
        case .unknownRegion, .noSecondaryAvailable, .illegalTransition, .replayPending, .needsResync, .staleEpoch,
            .invalidConfiguration, .tooLarge, .identityBelowFloor, .identityConflict, .positionOutOfRange, .staleToken,
            .notConfigured:
            true
        // A limit of a queue; a full disk is this replica's alone.
        case .full: !["disk", "fileSize", "map", "tables", "reserve"].contains(field)
        default: false
        }
    }
}
