public import ReplayStore

/// A state machine whose state is on a disk of its own: the store's side of the seam.
///
/// ``FailoverStateMachine`` is one. What a machine must hold is tested by `StateMachineConformance` in `HoldfastTesting`, with
/// any type and any generator of commands.
///
/// Whoever applies calls ``apply(_:)`` serially, with indices that rise. Entries at or below ``applied`` are skipped; the
/// applied index is stored in the same transaction as the effects. What an entry does depends on nothing but the entries
/// before it: no clock, no random number, no order of a hash table, no locale, no disk that is full.
public protocol OnDiskStateMachine: Sendable {
    /// The last entry whose effects a read sees.
    var applied: AppliedPosition { get }

    /// Applies entries in order.
    ///
    /// On return their effects are in the store, in one transaction or several, and survive a crash of the process;
    /// they survive a loss of power once ``sync()`` has said so. A command that is refused is an outcome like another.
    ///
    /// - Parameter entries: With rising indices; those at or below ``applied`` are skipped.
    /// - Returns: What became of each, in order.
    /// - Throws: ``HoldfastError``, with `logConflict`, `unknownCommand`, `damaged`, `full`, `ioFailed` or `poisoned`: the
    ///   replica stops. Of the entries a prefix has been applied, as ``applied`` says; none was skipped.
    func apply(_ entries: [LogEntry]) async throws(HoldfastError) -> [AppliedEntry]

    /// Returns when everything that was applied before the call is on the disk, and says up to which index that is.
    ///
    /// The engine may forget entries up to there.
    func sync() async throws(HoldfastError) -> UInt64

    /// The digest of the state after the last entry that was applied, as hexadecimal digits.
    ///
    /// Equal on every replica that has applied the same entries, however they came in batches and whatever the blocks on its
    /// disk look like.
    func digest() async throws(HoldfastError) -> (position: AppliedPosition, digest: String)

    /// The digests that entries of the log have stored, by the index of the entry: the last
    /// ``ReplicationLimits/digestsMax`` of them.
    ///
    /// Each is that of the state before the entry.
    func storedDigests() async throws(HoldfastError) -> [UInt64: String]

    /// Writes a snapshot of one moment into a file, while entries go on being applied.
    ///
    /// On return the file is whole, proved and on the disk. Killed before that it leaves nothing at `path`, but perhaps a
    /// directory beside it whose name begins with the file's and `.scratch-`.
    ///
    /// - Parameter path: The file to write, on whatever disk; it is not there before.
    /// - Returns: What the snapshot is; its location is empty.
    /// - Throws: ``HoldfastError``, with `damaged`, `full`, `alreadyExists` or `ioFailed`; what is at `path` means nothing then.
    func writeSnapshot(to path: String) async throws(HoldfastError) -> SnapshotManifest

    /// Takes a snapshot in place of the state.
    ///
    /// It is proved first; killed at any moment the old state or the new one is there, whole. One at or below ``applied``
    /// changes nothing, unless the state is marked as one that needs a snapshot.
    ///
    /// - Parameters:
    ///   - path: The file; it stays the caller's.
    ///   - manifest: What it is said to be.
    /// - Returns: Whether it was taken.
    /// - Throws: ``HoldfastError``, with `damaged` when the file is not what the manifest says, `formatTooNew`, `logWentBack`
    ///   when it is of another log, `full` or `ioFailed`.
    @discardableResult
    func installSnapshot(from path: String, _ manifest: SnapshotManifest) async throws(HoldfastError) -> Bool

    /// Ends all work, with everything on the disk. Calling it again does nothing.
    func close() async
}

/// What became of an entry.
public struct AppliedEntry: Sendable, Hashable {
    /// Its index.
    public var index: UInt64
    /// Whose proposal it was; nil for an entry that was skipped.
    public var id: ProposalID?
    /// What it came to.
    public var outcome: ProposalOutcome

    /// Creates a result.
    public init(index: UInt64, id: ProposalID?, outcome: ProposalOutcome) {
        self.index = index
        self.id = id
        self.outcome = outcome
    }
}

/// What a proposal came to.
public enum ProposalOutcome: Sendable, Hashable {
    /// It was executed, now or when it came before: the answer, as the machine encodes it.
    case executed([UInt8])
    /// It is not known here whether it was executed: its session has gone, or has forgotten it.
    case sessionExpired
    /// It was not executed: its session has too much under way.
    case overloaded
    /// It was not executed: other parts of it are missing.
    case partMissing
    /// It is a part, which waits for the last one.
    case staged
    /// The entry had been applied before.
    case skipped
}
