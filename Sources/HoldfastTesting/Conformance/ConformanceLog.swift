package import RaftApply
internal import RegionFailover

/// Makes the entries of a log for a state machine: sessions, sequences, times, indices with gaps.
package struct ConformanceLog {
    private(set) var entries: [LogEntry] = []
    private var taken = 0
    var now = Timestamp(milliseconds: 1_800_000_000_000)
    private var nextIndex: UInt64 = 3
    private var nextNonce: UInt64 = 1
    private var nextSequence: [SessionID: UInt64] = [:]
    private(set) var session = SessionID(index: 0, nonce: 0)

    /// A log that has a session, and what a machine needs first.
    package init(_ commands: some ConformanceCommands) {
        session = open()
        for command in commands.setUp { add(command) }
    }

    /// Gives the entries that were added since it was last asked, and forgets those before.
    package mutating func take() -> [LogEntry] {
        let new = Array(entries[taken...])
        // Some stay, so that they can come again.
        entries = entries.suffix(200)
        taken = entries.count
        return new
    }

    var last: LogEntry { entries[entries.count - 1] }

    /// Adds an entry, a gap before it or not.
    @discardableResult
    mutating func add(_ envelope: CommandEnvelope) -> LogEntry {
        let entry = LogEntry(index: nextIndex, term: 1, command: envelope.encoded())
        nextIndex += nextIndex % 3 == 0 ? 2 : 1
        entries.append(entry)
        return entry
    }

    /// Opens a session.
    mutating func open() -> SessionID {
        let nonce = nextNonce
        nextNonce += 1
        let id = ProposalID(session: SessionID(index: 0, nonce: nonce), sequence: 0)
        let entry = add(
            CommandEnvelope(id: id, respondedBelow: 0, now: now, kind: CommandEnvelope.openSession, payload: [])
        )
        return SessionID(index: entry.index, nonce: nonce)
    }

    /// Adds the next command of a session, that of the log where none is given.
    @discardableResult
    mutating func add(
        _ command: ConformanceCommand,
        _ session: SessionID? = nil,
        respondedBelow: UInt64? = nil
    ) -> LogEntry {
        let session = session ?? self.session
        let sequence = nextSequence[session, default: 1]
        nextSequence[session] = sequence + 1
        return add(command, session, sequence, respondedBelow: respondedBelow ?? (sequence > 8 ? sequence - 8 : 1))
    }

    /// Adds a command under a sequence.
    @discardableResult
    mutating func add(
        _ command: ConformanceCommand,
        _ session: SessionID,
        _ sequence: UInt64,
        respondedBelow: UInt64 = 1
    ) -> LogEntry {
        now = now.advanced(by: 7)
        let id = ProposalID(session: session, sequence: sequence)
        return add(
            CommandEnvelope(
                id: id,
                respondedBelow: respondedBelow,
                now: now,
                elapsedMilliseconds: 7,
                kind: command.kind,
                payload: command.payload
            )
        )
    }

    /// Adds an entry that stores the digest of what comes before it.
    @discardableResult
    package mutating func addDigest() -> LogEntry {
        add(ConformanceCommand(kind: CommandEnvelope.checkDigest, payload: []))
    }

    /// The parts of a command, in order, without an index.
    func parts(_ command: ConformanceCommand, _ session: SessionID, _ sequence: UInt64, count: Int) -> [CommandEnvelope]
    {
        let size = (command.payload.count + count - 1) / count
        return (0..<count).map { part in
            let start = min(part * size, command.payload.count)
            return CommandEnvelope(
                id: ProposalID(session: session, sequence: sequence, part: UInt32(part)),
                parts: UInt32(count),
                respondedBelow: 1,
                now: now,
                kind: command.kind,
                payload: Array(command.payload[start..<min(start + size, command.payload.count)])
            )
        }
    }

    /// Random commands of several sessions, with repetitions and overtaking.
    package mutating func addRandom(_ commands: some ConformanceCommands, _ count: Int, _ random: inout SplitMix64) {
        var sessions = [session, open(), open()]
        for _ in 0..<count {
            let session = sessions[Int.random(in: 0..<sessions.count, using: &random)]
            switch Int.random(in: 0..<20, using: &random) {
            case 0: sessions.append(open())
            case 1:
                // A command that had been proposed comes again.
                let earlier = entries[Int.random(in: 0..<entries.count, using: &random)]
                if let envelope = try? CommandEnvelope(decoding: earlier.command) { add(envelope) }
            case 2: addDigest()
            case 3:
                // Two of one session change places.
                let sequence = nextSequence[session, default: 1]
                nextSequence[session] = sequence + 2
                for sequence in [sequence + 1, sequence] {
                    add(commands.any(&random), session, sequence, respondedBelow: max(1, sequence &- 8))
                }
            default: add(commands.any(&random), session)
            }
        }
    }
}
