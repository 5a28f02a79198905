internal import Bytes
public import RegionFailover
internal import ReplayFormat
public import ReplayStore

/// A command as it stands in the log: whose it is, when it was proposed, and what it says.
///
/// The bytes, numbers big-endian: the version of the envelope (1 byte); the kind of the command and its version (1 byte each);
/// session (16), sequence (8), part (4), parts (4); `respondedBelow` (8); now (8), elapsed (8); the payload; XXH3-64 of all
/// before it (8). A codec of its own, since the same command must be the same bytes in every version of every library, and
/// a state machine must be able to tell a flipped bit from a command.
public struct CommandEnvelope: Sendable, Hashable {
    /// The identity, which a retry keeps.
    public var id: ProposalID
    /// How many parts the command has: 1 for one that fits an entry.
    public var parts: UInt32
    /// The client knows the outcomes of all its commands below this sequence, so that they can be forgotten.
    public var respondedBelow: UInt64
    /// When it was proposed.
    public var now: Timestamp
    /// How long before that the proposer had applied its last entry, in milliseconds, by a clock that only goes forward.
    public var elapsedMilliseconds: Int64
    /// The kind of the command: ``openSession`` or ``checkDigest``, or the state machine's own.
    public var kind: UInt8
    /// The version of the payload.
    public var kindVersion: UInt8
    /// What the command says.
    public var payload: [UInt8]

    /// Opens a session, whose identity is the entry's index and the envelope's nonce; every state machine knows it.
    public static let openSession: UInt8 = 1
    /// Stores the digest of the state before it; every state machine knows it.
    public static let checkDigest: UInt8 = 2
    /// Kinds of commands of a state machine begin here.
    public static let firstKind: UInt8 = 16

    private static let version: UInt8 = 1
    private static let headerSize = 3 + 16 + 8 + 4 + 4 + 8 + 8 + 8
    /// The bytes around a payload.
    public static let overheadBytes = headerSize + 8

    /// Creates an envelope.
    public init(
        id: ProposalID,
        parts: UInt32 = 1,
        respondedBelow: UInt64,
        now: Timestamp,
        elapsedMilliseconds: Int64 = 0,
        kind: UInt8,
        kindVersion: UInt8 = 1,
        payload: [UInt8]
    ) {
        self.id = id
        self.parts = parts
        self.respondedBelow = respondedBelow
        self.now = now
        self.elapsedMilliseconds = elapsedMilliseconds
        self.kind = kind
        self.kindVersion = kindVersion
        self.payload = payload
    }

    /// The bytes of the entry.
    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = [Self.version, kind, kindVersion]
        bytes.reserveCapacity(Self.overheadBytes + payload.count)
        bytes.append(bigEndian: id.session.index)
        bytes.append(bigEndian: id.session.nonce)
        bytes.append(bigEndian: id.sequence)
        bytes.append(bigEndian: id.part)
        bytes.append(bigEndian: parts)
        bytes.append(bigEndian: respondedBelow)
        bytes.append(bigEndian: now.milliseconds)
        bytes.append(bigEndian: elapsedMilliseconds)
        bytes.append(contentsOf: payload)
        bytes.append(bigEndian: XXH3.hash64(bytes.span))
        return bytes
    }

    /// Reads the bytes of an entry.
    ///
    /// - Throws: ``HoldfastError``, with `unknownCommand` for a newer version, and `damaged` for what is no command.
    public init(decoding bytes: [UInt8]) throws(HoldfastError) {
        do throws(FormatError) {
            try self.init(reading: bytes)
        } catch {
            let isNewer = bytes.first.map { $0 > Self.version } ?? false
            throw HoldfastError(
                code: isNewer ? .unknownCommand : .damaged,
                message: isNewer
                    ? "The log has a command in version \(bytes.first ?? 0) of its envelope; this program knows version "
                        + "\(Self.version). Nothing was applied. Use a newer one."
                    : "An entry of the log is no command: \(error.description). Nothing of it was applied."
            )
        }
    }

    private init(reading bytes: [UInt8]) throws(FormatError) {
        guard bytes.count >= Self.overheadBytes else { throw FormatError("it has \(bytes.count) bytes") }
        let content = bytes.span.extracting(..<(bytes.count - 8))
        guard bytes.first == Self.version else { throw FormatError("its version is \(bytes.first ?? 0)") }
        guard XXH3.hash64(content) == bytes.span.bigEndian(at: content.count) else {
            throw FormatError("its checksum is wrong")
        }
        var reader = ByteReader(content)
        _ = try reader.byte("version")
        kind = try reader.byte("kind")
        kindVersion = try reader.byte("kind's version")
        let session = SessionID(
            index: try reader.number(UInt64.self, "session"),
            nonce: try reader.number(UInt64.self, "session")
        )
        let sequence = try reader.number(UInt64.self, "sequence")
        id = ProposalID(session: session, sequence: sequence, part: try reader.number(UInt32.self, "part"))
        parts = try reader.number(UInt32.self, "parts")
        respondedBelow = try reader.number(UInt64.self, "responded below")
        now = Timestamp(milliseconds: try reader.signed("now"))
        elapsedMilliseconds = try reader.signed("elapsed")
        payload = try reader.array(reader.remaining, "payload")
    }
}
