package import Bytes
package import RegionFailover

/// The rows of the table `raft`: how far a replica has applied its log, and what it knows of its clients' sessions.
package enum RaftRows {
    /// The key of ``Applied``.
    package static let appliedKey: [UInt8] = [UInt8(ascii: "a")]
    private static let sessionPrefix = UInt8(ascii: "s")
    private static let outcomePrefix = UInt8(ascii: "o")
    private static let partPrefix = UInt8(ascii: "c")
    private static let digestPrefix = UInt8(ascii: "d")

    /// The last entry that was applied.
    package struct Applied: Sendable, Hashable {
        package var index: UInt64 = 0
        package var term: UInt64 = 0
        /// XXH3-128 of the last command: one index never means two.
        package var command = Hash128.zero
        /// The time of the log: that of its latest command.
        package var time = Timestamp(milliseconds: 0)
        /// Whether any command has set the time.
        package var hasTime = false
        /// The version of the commands' meaning that is in use.
        package var version: UInt32 = 1
        /// The sum, modulo 2^128, of the hashes of every session, outcome and part: equal where these are, in any order.
        package var sum = Hash128.zero
        /// The bytes of the parts that wait for the rest of their command.
        package var stagedBytes: UInt64 = 0

        package init() {}

        /// The row's fields.
        package func encoded() -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(bigEndian: index)
            bytes.append(bigEndian: term)
            bytes.append(bigEndian: command.high)
            bytes.append(bigEndian: command.low)
            bytes.append(bigEndian: time.milliseconds)
            bytes.append(hasTime ? 1 : 0)
            bytes.append(bigEndian: version)
            bytes.append(bigEndian: sum.high)
            bytes.append(bigEndian: sum.low)
            bytes.append(bigEndian: stagedBytes)
            return bytes
        }

        /// Reads what ``encoded()`` wrote.
        package init(decoding fields: Span<UInt8>) throws(FormatError) {
            var reader = ByteReader(fields)
            index = try reader.number(UInt64.self, "applied index")
            term = try reader.number(UInt64.self, "applied term")
            command = try reader.hash("command")
            time = Timestamp(milliseconds: try reader.signed("log time"))
            hasTime = try reader.flag("has time")
            version = try reader.number(UInt32.self, "version")
            sum = try reader.hash("sum")
            stagedBytes = try reader.number(UInt64.self, "staged bytes")
            try reader.end("the applied row")
        }
    }

    /// One client's session.
    package struct Session: Sendable, Hashable {
        /// The client knows every outcome below this sequence.
        package var respondedBelow: UInt64
        /// The index of its last command, or of its beginning.
        package var lastIndex: UInt64

        package init(respondedBelow: UInt64, lastIndex: UInt64) {
            self.respondedBelow = respondedBelow
            self.lastIndex = lastIndex
        }

        /// The row's fields.
        package func encoded() -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(bigEndian: respondedBelow)
            bytes.append(bigEndian: lastIndex)
            return bytes
        }

        /// Reads what ``encoded()`` wrote.
        package init(decoding fields: Span<UInt8>) throws(FormatError) {
            var reader = ByteReader(fields)
            respondedBelow = try reader.number(UInt64.self, "responded below")
            lastIndex = try reader.number(UInt64.self, "last index")
            try reader.end("a session")
        }
    }

    /// The 16 bytes of a session's identity, in keys.
    package typealias SessionBytes = (high: UInt64, low: UInt64)

    package static func sessionKey(_ session: SessionBytes) -> [UInt8] { key(sessionPrefix, session) }

    package static func outcomeKey(_ session: SessionBytes, _ sequence: UInt64) -> [UInt8] {
        var key = key(outcomePrefix, session)
        key.append(bigEndian: sequence)
        return key
    }

    package static func partKey(_ session: SessionBytes, _ sequence: UInt64, _ part: UInt32) -> [UInt8] {
        var key = key(partPrefix, session)
        key.append(bigEndian: sequence)
        key.append(bigEndian: part)
        return key
    }

    package static func digestKey(_ index: UInt64) -> [UInt8] {
        var key = [digestPrefix]
        key.append(bigEndian: index)
        return key
    }

    private static func key(_ prefix: UInt8, _ session: SessionBytes) -> [UInt8] {
        var key = [prefix]
        key.append(bigEndian: session.high)
        key.append(bigEndian: session.low)
        return key
    }

    /// What a key of the table is about.
    package enum Subject: Sendable {
        case applied
        case session(SessionBytes)
        case outcome(SessionBytes, UInt64)
        case part(SessionBytes, UInt64, UInt32)
        case digest(UInt64)
    }

    /// Reads a key.
    package static func subject(_ key: [UInt8]) throws(FormatError) -> Subject {
        var reader = ByteReader(key.span)
        let prefix = try reader.byte("kind")
        func session(_ reader: inout ByteReader) throws(FormatError) -> SessionBytes {
            (try reader.number(UInt64.self, "session"), try reader.number(UInt64.self, "session"))
        }
        let subject: Subject
        switch prefix {
        case appliedKey[0]: subject = .applied
        case sessionPrefix: subject = .session(try session(&reader))
        case outcomePrefix: subject = .outcome(try session(&reader), try reader.number(UInt64.self, "sequence"))
        case partPrefix:
            let session = try session(&reader)
            let sequence = try reader.number(UInt64.self, "sequence")
            subject = .part(session, sequence, try reader.number(UInt32.self, "part"))
        case digestPrefix: subject = .digest(try reader.number(UInt64.self, "index"))
        default: throw FormatError("a key of the table 'raft' begins with \(prefix)")
        }
        try reader.end("a key of the table 'raft'")
        return subject
    }

    /// The part of a row's fields that replicas agree on: of an outcome the text for people is left out, which can differ
    /// between versions.
    package static func agreed(_ key: [UInt8], _ fields: [UInt8]) -> [UInt8] {
        guard key.first == outcomePrefix, let outcome = try? Outcome(decoding: fields.span) else { return fields }
        return outcome.agreed
    }

    /// What a command came to.
    package struct Outcome: Sendable, Hashable {
        /// What every replica has.
        package var agreed: [UInt8]
        /// What is said to people.
        package var message: String

        package init(agreed: [UInt8], message: String = "") {
            self.agreed = agreed
            self.message = message
        }

        /// The row's fields.
        package func encoded() -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(bigEndian: UInt32(agreed.count))
            bytes.append(contentsOf: agreed)
            bytes.append(contentsOf: message.utf8)
            return bytes
        }

        /// Reads what ``encoded()`` wrote.
        package init(decoding fields: Span<UInt8>) throws(FormatError) {
            var reader = ByteReader(fields)
            let count = Int(try reader.number(UInt32.self, "outcome length"))
            agreed = try reader.array(count, "outcome")
            message = String(decoding: try reader.array(reader.remaining, "message"), as: UTF8.self)
        }
    }
}

extension Hash128 {
    /// The sum modulo 2^128.
    package static func &+ (lhs: Self, rhs: Self) -> Self {
        let (low, carry) = lhs.low.addingReportingOverflow(rhs.low)
        return Self(high: lhs.high &+ rhs.high &+ (carry ? 1 : 0), low: low)
    }

    /// The difference modulo 2^128.
    package static func &- (lhs: Self, rhs: Self) -> Self {
        let (low, borrow) = lhs.low.subtractingReportingOverflow(rhs.low)
        return Self(high: lhs.high &- rhs.high &- (borrow ? 1 : 0), low: low)
    }
}
