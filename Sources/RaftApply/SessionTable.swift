internal import Bytes
internal import ReplayFormat
internal import ReplayStore

/// The sessions of a replica: which commands of each were executed, and what they came to.
///
/// It is part of the state that replicas agree on: rows of the table `raft`, changed in the transaction of the effects.
struct SessionTable: Sendable {
    private struct Session: Sendable {
        var row: RaftRows.Session
        /// The sequences whose outcomes are kept.
        var outcomes: Set<UInt64> = []
        /// The parts that wait for the rest of their command, by its sequence.
        var parts: [UInt64: Set<UInt32>] = [:]
        var isChanged = false

        /// A session whose own row has not been read yet.
        static var unread: Self { Self(row: RaftRows.Session(respondedBelow: 1, lastIndex: 0)) }
    }

    private var sessions: [SessionID: Session] = [:]

    /// What is known of a command before it is executed.
    enum Finding: Sendable {
        /// It is to be executed now.
        case new
        /// It was executed: what it came to.
        case executed(RaftRows.Outcome)
        case expired
        case overloaded
    }

    // MARK: Loading

    /// Reads the rows of a store that was opened.
    mutating func load(_ transaction: borrowing StoreTransaction) throws(HoldfastError) {
        sessions = [:]
        var loaded: [SessionID: Session] = [:]
        try transaction.scan(.raft) { (key, value) throws(HoldfastError) in
            let (subject, fields) = try format("A row of 'raft'") { () throws(FormatError) in
                (try RaftRows.subject(key), try Row.open(value, key: key, in: .raft))
            }
            switch subject {
            case .session(let bytes):
                let row = try format("A session") { () throws(FormatError) in
                    try RaftRows.Session(decoding: fields.span)
                }
                // Parts and outcomes of it may have come before.
                loaded[SessionID(bytes), default: Session(row: row)].row = row
            case .outcome(let bytes, let sequence):
                loaded[SessionID(bytes), default: .unread].outcomes.insert(sequence)
            case .part(let bytes, let sequence, let part):
                loaded[SessionID(bytes), default: .unread].parts[sequence, default: []].insert(part)
            case .applied, .digest: break
            }
            return true
        }
        sessions = loaded
    }

    // MARK: Commands

    /// Opens a session at the entry `index`; the one that was used longest ago goes, where there are too many.
    mutating func open(
        _ session: SessionID,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        if sessions.count >= ReplicationLimits.sessionsMax,
            let oldest = sessions.min(by: { ($0.value.row.lastIndex, $0.key) < ($1.value.row.lastIndex, $1.key) })
        {
            try forget(oldest.key, below: .max, &transaction, &applied)
            try delete(RaftRows.sessionKey(oldest.key.bytes), &transaction, &applied)
            sessions[oldest.key] = nil
        }
        let row = RaftRows.Session(respondedBelow: 1, lastIndex: session.index)
        sessions[session] = Session(row: row)
        try put(row.encoded(), RaftRows.sessionKey(session.bytes), &transaction, &applied)
    }

    /// Notes that a command has come, and says what is known of it.
    mutating func find(
        _ envelope: CommandEnvelope,
        at index: UInt64,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) -> Finding {
        let id = envelope.id
        guard sessions[id.session] != nil else { return .expired }
        sessions[id.session]?.row.lastIndex = index
        sessions[id.session]?.isChanged = true
        try forget(id.session, below: envelope.respondedBelow, &transaction, &applied)
        guard let session = sessions[id.session], id.sequence >= session.row.respondedBelow else { return .expired }
        if session.outcomes.contains(id.sequence) {
            let key = RaftRows.outcomeKey(id.session.bytes, id.sequence)
            guard let fields = try transaction.row(key, in: .raft) else { throw Self.missing(key) }
            return .executed(
                try format("An outcome") { () throws(FormatError) in try RaftRows.Outcome(decoding: fields.span) }
            )
        }
        let isInside = id.sequence - session.row.respondedBelow < ReplicationLimits.sessionWindow
        return isInside ? .new : .overloaded
    }

    /// Keeps what a command came to, in place of its parts.
    mutating func keep(
        _ outcome: RaftRows.Outcome,
        of id: ProposalID,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        try removeParts(of: id.sequence, id.session, &transaction, &applied)
        let key = RaftRows.outcomeKey(id.session.bytes, id.sequence)
        try put(outcome.encoded(), key, &transaction, &applied)
        sessions[id.session]?.outcomes.insert(id.sequence)
    }

    // MARK: Parts

    /// Keeps a part of a command; false where too much waits.
    mutating func stage(
        _ envelope: CommandEnvelope,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) -> Bool {
        let id = envelope.id
        if sessions[id.session]?.parts[id.sequence]?.contains(id.part) == true { return true }
        let bytes = UInt64(envelope.payload.count)
        guard applied.stagedBytes + bytes <= UInt64(ReplicationLimits.stagedBytesMax) else { return false }
        let key = RaftRows.partKey(id.session.bytes, id.sequence, id.part)
        try put(envelope.payload, key, &transaction, &applied)
        applied.stagedBytes += bytes
        sessions[id.session]?.parts[id.sequence, default: []].insert(id.part)
        return true
    }

    /// The whole payload of a command whose last part has come; nil where others are missing.
    func assemble(
        _ envelope: CommandEnvelope,
        _ transaction: borrowing StoreTransaction
    ) throws(HoldfastError) -> [UInt8]? {
        let id = envelope.id
        let staged = sessions[id.session]?.parts[id.sequence] ?? []
        guard (0..<envelope.parts - 1).allSatisfy(staged.contains) else { return nil }
        var payload: [UInt8] = []
        for part in 0..<(envelope.parts - 1) {
            let key = RaftRows.partKey(id.session.bytes, id.sequence, part)
            guard let fields = try transaction.row(key, in: .raft) else { throw Self.missing(key) }
            payload += fields
        }
        return payload + envelope.payload
    }

    private mutating func removeParts(
        of sequence: UInt64,
        _ session: SessionID,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        guard let parts = sessions[session]?.parts.removeValue(forKey: sequence) else { return }
        for part in parts.sorted() {
            let key = RaftRows.partKey(session.bytes, sequence, part)
            applied.stagedBytes -= UInt64(try delete(key, &transaction, &applied).count)
        }
    }

    // MARK: Rows

    /// Writes the rows of the sessions that changed.
    mutating func store(
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        for id in sessions.keys.sorted() {
            guard let session = sessions[id], session.isChanged else { continue }
            let key = RaftRows.sessionKey(id.bytes)
            try remove(key, &transaction, &applied)
            try put(session.row.encoded(), key, &transaction, &applied)
            sessions[id]?.isChanged = false
        }
    }

    /// Forgets the outcomes that the client knows.
    private mutating func forget(
        _ id: SessionID,
        below sequence: UInt64,
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        guard let session = sessions[id], sequence > session.row.respondedBelow else { return }
        for outcome in session.outcomes.filter({ $0 < sequence }).sorted() {
            try delete(RaftRows.outcomeKey(id.bytes, outcome), &transaction, &applied)
            sessions[id]?.outcomes.remove(outcome)
        }
        for staged in session.parts.keys.filter({ $0 < sequence }).sorted() {
            try removeParts(of: staged, id, &transaction, &applied)
        }
        sessions[id]?.row.respondedBelow = sequence
    }

    private func put(
        _ fields: [UInt8],
        _ key: [UInt8],
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) {
        try transaction.put(fields, key: key, in: .raft)
        applied.sum = applied.sum &+ Self.hash(key, fields)
    }

    /// Takes a row out of the sum, and leaves it to be overwritten.
    @discardableResult
    private func remove(
        _ key: [UInt8],
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) -> [UInt8] {
        guard let fields = try transaction.row(key, in: .raft) else { throw Self.missing(key) }
        applied.sum = applied.sum &- Self.hash(key, fields)
        return fields
    }

    @discardableResult
    private func delete(
        _ key: [UInt8],
        _ transaction: inout StoreTransaction,
        _ applied: inout RaftRows.Applied
    ) throws(HoldfastError) -> [UInt8] {
        let fields = try remove(key, &transaction, &applied)
        try transaction.delete(key, in: .raft)
        return fields
    }

    /// What a row adds to the sum that replicas agree on.
    static func hash(_ key: [UInt8], _ fields: [UInt8]) -> Hash128 {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: UInt16(key.count))
        bytes.append(contentsOf: key)
        bytes.append(contentsOf: RaftRows.agreed(key, fields))
        return XXH3.hash128(bytes.span)
    }

    private static func missing(_ key: [UInt8]) -> HoldfastError {
        HoldfastError(
            code: .needsSnapshot,
            message:
                "The row \(key.hex) of the table 'raft' is gone, and what it said with it. The replica has stopped: it "
                + "takes a snapshot of another member."
        )
    }
}

extension SessionID {
    var bytes: RaftRows.SessionBytes { (index, nonce) }

    init(_ bytes: RaftRows.SessionBytes) { self.init(index: bytes.high, nonce: bytes.low) }
}
