public import ReplayStore

/// A log that several processes agree on: the engine's side of the seam.
///
/// Holdfast has no consensus algorithm of its own. Whatever orders entries durably for a majority can stand behind this:
/// `EtcdLog` is one. What an engine must give is tested by `ReplicatedLogConformance` in `HoldfastTesting`, with any type.
///
/// Every call may be made by several tasks at once. A call that waits ends soon after its task is cancelled.
public protocol ReplicatedLog: Sendable {
    /// Which log this is: the same for every member, and for no other log.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`.
    func identity() async throws(HoldfastError) -> LogIdentity

    /// Puts a command at the end of the log.
    ///
    /// On return a majority has it durably; members apply it at the index. A command that is in the log under the same
    /// identity is not put again where the engine can tell; where it cannot, the state machine does not execute it twice.
    ///
    /// - Parameters:
    ///   - command: At most ``ReplicationLimits/commandBytesMax`` bytes.
    ///   - id: Its identity; a retry keeps it.
    ///   - leadership: Where it is given, the command is put only while that is held.
    /// - Returns: The index.
    /// - Throws: ``HoldfastError``, with `outcomeUnknown` when the command may be in the log or may get there;
    ///   `logUnavailable` when it is not and will not be; `notLeader` when `leadership` is not held any more.
    func propose(_ command: [UInt8], as id: ProposalID, while leadership: Leadership?) async throws(HoldfastError)
        -> UInt64

    /// The entries above `index`, in order, as they are committed; it goes on until the caller ends it.
    ///
    /// It goes on by itself after an engine that could not be reached for a while. An entry may come again.
    ///
    /// - Throws: From the iterator: ``HoldfastError`` with `logWentBack` where the log ends below `index`.
    func entries(after index: UInt64) -> any AsyncSequence<LogDelivery, any Error>

    /// The index up to which somebody who applies sees everything that was proposed before this call: for a linearizable read.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`.
    func barrier() async throws(HoldfastError) -> UInt64

    /// Lets the engine forget entries up to `index`.
    ///
    /// Whoever asks for them later gets ``LogDelivery/compacted(through:)``.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`; both may be tried again.
    func trim(through index: UInt64) async throws(HoldfastError)

    /// Tells the others about this member: how far it is, its last digest, and when it said so last.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`.
    func report(_ member: MemberReport) async throws(HoldfastError)

    /// What the members have last told, by name.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`.
    func members() async throws(HoldfastError) -> [MemberReport]

    /// Forgets a member that does not come back, so that the log need not be kept for it.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`.
    func forget(member: String) async throws(HoldfastError)

    /// Tells where the newest snapshot is; an older one than what is known changes nothing.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`.
    func publish(_ snapshot: SnapshotManifest) async throws(HoldfastError)

    /// The newest snapshot that was published; nil when there is none.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`.
    func newestSnapshot() async throws(HoldfastError) -> SnapshotManifest?

    /// Waits until this member leads, and then for as long as it does: for whoever must act alone.
    ///
    /// The leadership decides nothing by itself: it can be lost at any moment without notice, so what is done under it is
    /// proposed with it, or fenced by the epoch.
    ///
    /// - Parameters:
    ///   - member: Its name.
    ///   - body: Runs while the leadership is held; its task is cancelled soon after it is lost.
    /// - Throws: ``HoldfastError`` with `logUnavailable`, and what `body` throws.
    func lead(as member: String, _ body: @escaping @Sendable (Leadership) async throws -> Void) async throws

    /// Ends every connection. Calls that wait end with `logUnavailable` or `outcomeUnknown`.
    func close() async
}

extension ReplicatedLog {
    /// Puts a command at the end of the log, whoever leads.
    public func propose(_ command: [UInt8], as id: ProposalID) async throws(HoldfastError) -> UInt64 {
        try await propose(command, as: id, while: nil)
    }
}

/// Which log, and how far it goes.
public struct LogIdentity: Sendable, Hashable {
    /// The bytes by which the engine's cluster is known; at most 64.
    public var cluster: [UInt8]
    /// The index of the newest entry; a member that has applied more has met another log, or an older state of it.
    public var lastIndex: UInt64

    /// Creates an identity.
    public init(cluster: [UInt8], lastIndex: UInt64) {
        self.cluster = cluster
        self.lastIndex = lastIndex
    }
}

/// What comes from a log.
public enum LogDelivery: Sendable, Hashable {
    /// Entries in order, at least one.
    case entries([LogEntry])
    /// The log has forgotten entries up to this index, and some of them were asked for: a snapshot must take their place.
    ///
    /// Nothing comes after it.
    case compacted(through: UInt64)
}

/// What a member tells the others.
public struct MemberReport: Sendable, Hashable, Codable {
    /// Its name, the same after a restart: 1 to 63 of `A-Z a-z 0-9 . _ -`.
    public var member: String
    /// The last index whose effects are on its disk.
    public var syncedIndex: UInt64
    /// The index of its last digest; 0 before the first.
    public var digestIndex: UInt64
    /// That digest: the state before the entry of that index.
    public var digest: String
    /// The log's time at which it said so.
    public var at: Int64
    /// The index of the newest snapshot, while this member needs it and cannot get it; 0 where none was published.
    public var missingSnapshot: UInt64?

    /// Creates a report.
    public init(
        member: String,
        syncedIndex: UInt64,
        digestIndex: UInt64 = 0,
        digest: String = "",
        at: Int64 = 0,
        missingSnapshot: UInt64? = nil
    ) {
        self.member = member
        self.syncedIndex = syncedIndex
        self.digestIndex = digestIndex
        self.digest = digest
        self.at = at
        self.missingSnapshot = missingSnapshot
    }
}

/// That this member leads, as the engine knows it.
public struct Leadership: Sendable, Hashable {
    /// Who leads.
    public var member: String
    /// By what the engine tells whether it still does, such as the key and the revision of an election.
    public var token: [UInt8]

    /// Creates a leadership; engines do.
    public init(member: String, token: [UInt8]) {
        self.member = member
        self.token = token
    }
}

/// The bounds of replication.
public enum ReplicationLimits {
    /// The most bytes in an entry of the log: 1 MiB.
    public static let commandBytesMax = 1 << 20
    /// The most outcomes that are kept for a session: 1,024.
    public static let sessionWindow: UInt64 = 1024
    /// The most sessions; who opens one more ends the session that was used longest ago: 1,024.
    public static let sessionsMax = 1024
    /// The most bytes of parts that wait for the rest of their command: 256 MiB.
    public static let stagedBytesMax = 256 << 20
    /// The most digests that are kept: 64.
    public static let digestsMax = 64
    /// How many entries apart digests are: 1,024.
    public static let digestInterval: UInt64 = 1024
    /// How far the time of a command may be ahead of the last one's, beyond what has passed: 60 s, in milliseconds.
    public static let clockStepMilliseconds: Int64 = 60_000
}
