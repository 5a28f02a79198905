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
/// 16 bytes that whoever opens the session draws at random.
public struct SessionID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The first eight bytes.
    public var high: UInt64
    /// The last eight bytes.
    public var low: UInt64

    /// Creates an identity.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An identity that nobody else has.
    public static func random() -> Self { Self(high: .random(in: 0...(.max)), low: .random(in: 0...(.max))) }

    /// 32 hexadecimal digits.
    public var description: String { Self.hex(high) + Self.hex(low) }

    /// Reads the 32 digits; nil when they are none.
    public init?(_ text: String) {
        guard text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// By the numbers, which is the order of the bytes.
    public static func < (lhs: Self, rhs: Self) -> Bool { (lhs.high, lhs.low) < (rhs.high, rhs.low) }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Names one command: a retry keeps it, so that the command is executed once.
public struct ProposalID: Sendable, Hashable, CustomStringConvertible {
    /// Whose command it is.
    public var session: SessionID
    /// Which of the session's, from 1.
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
