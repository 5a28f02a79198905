/// One entry of a replicated log: a command, and where it stands.
public struct LogEntry: Sendable, Hashable {
    /// Where it stands: rising from entry to entry, with gaps where the log holds what is not for the state machine.
    public var index: UInt64
    /// The term in which it was committed; 0 where the engine gives none for each entry.
    ///
    /// It is stored beside the applied index, and never decides or enters a digest.
    public var term: UInt64
    /// The command, as ``CommandEnvelope`` encodes it.
    public var command: [UInt8]

    /// Creates an entry.
    public init(index: UInt64, term: UInt64 = 0, command: [UInt8]) {
        self.index = index
        self.term = term
        self.command = command
    }
}

/// The last entry whose effects are in a store.
public struct AppliedPosition: Sendable, Hashable {
    /// Its index; 0 before the first.
    public var index: UInt64
    /// Its term; 0 where the engine gives none.
    public var term: UInt64

    /// Creates a position.
    public init(index: UInt64, term: UInt64 = 0) {
        self.index = index
        self.term = term
    }

    /// Before the first entry.
    public static var zero: Self { Self(index: 0) }
}

/// Names a session: one client's proposals, told apart by their sequences.
///
/// A session is opened by a command of its own, at an index that no other one has: so a session that was forgotten never
/// comes back, however late a second copy of a command arrives.
public struct SessionID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The index of the entry that opened it; 0 in the proposal that opens one.
    public var index: UInt64
    /// What its client drew at random, to know its own again.
    public var nonce: UInt64

    /// Creates an identity.
    public init(index: UInt64, nonce: UInt64) {
        self.index = index
        self.nonce = nonce
    }

    /// 32 hexadecimal digits.
    public var description: String { Self.hex(index) + Self.hex(nonce) }

    /// Reads the 32 digits; nil when they are none.
    public init?(_ text: String) {
        guard text.utf8.count == 32, let index = UInt64(text.prefix(16), radix: 16),
            let nonce = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(index: index, nonce: nonce)
    }

    /// By the numbers, which is the order of the bytes.
    public static func < (lhs: Self, rhs: Self) -> Bool { (lhs.index, lhs.nonce) < (rhs.index, rhs.nonce) }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Names one command: a retry keeps it, so that the command is executed once.
public struct ProposalID: Sendable, Hashable, CustomStringConvertible {
    /// Whose command it is.
    public var session: SessionID
    /// Which of the session's, from 1; 0 for the command that opens it.
    public var sequence: UInt64
    /// Which part of it, from 0: a command that is larger than an entry travels in several.
    public var part: UInt32

    /// Creates an identity.
    public init(session: SessionID, sequence: UInt64, part: UInt32 = 0) {
        self.session = session
        self.sequence = sequence
        self.part = part
    }

    /// Session, sequence and part, with slashes between.
    public var description: String { "\(session)/\(sequence)/\(part)" }
}
