internal import Bytes
private import Logging
internal import Platform
public import RegionFailover
internal import ReplayFormat
public import ReplayStore

/// The failover controller as a replicated state machine: the machine and the queues, changed by a log alone.
///
/// Each batch of entries is one transaction, with the applied index, the last command's hash, the sessions of the clients and
/// every effect in it. A replica that has met what no replica may go past stops: it does nothing more, and says why.
public final class FailoverStateMachine: OnDiskStateMachine {
    /// The replica's directory.
    public let path: String
    /// The log's identity.
    public let cluster: [UInt8]
    let directory: ReplicaDirectory
    private let options: StoreOptions
    private let opened: Lock<Opened>

    /// The store that counts, with what is known beside it.
    struct Opened: Sendable {
        var name: String
        var store: ReplayStore
        var state: ReplicaHolder
        /// Why the replica has stopped; nil while it goes on.
        var failure: HoldfastError?
    }

    private init(_ directory: ReplicaDirectory, _ cluster: [UInt8], _ options: StoreOptions, _ opened: Opened) {
        self.directory = directory
        path = directory.path
        self.cluster = cluster
        self.options = options
        self.opened = Lock(opened)
    }

    // MARK: Opening and closing

    /// Opens the replica in the directory at `path`, or makes one there that has applied nothing.
    ///
    /// One that is marked as needing a snapshot begins anew; what it had is set aside in the directory.
    ///
    /// - Parameters:
    ///   - path: The replica's directory; its parent must be there.
    ///   - cluster: The log's identity, from ``ReplicatedLog/identity()``.
    ///   - options: How the store is opened.
    /// - Returns: The replica, open.
    /// - Throws: ``HoldfastError``, with `logWentBack` when the replica is of another log, `inUse`, `alreadyOpen`, `damaged`,
    ///   `formatTooNew`, `notPermitted`, `full` or `ioFailed`.
    public static func open(
        at path: String,
        cluster: [UInt8],
        options: StoreOptions = .standard
    ) async throws(HoldfastError) -> FailoverStateMachine {
        let directory = try ReplicaDirectory(path)
        if let reason = try directory.reasonForSnapshot(), let name = try directory.current() {
            options.logger.warning(
                "The replica begins anew, and takes a snapshot",
                metadata: ["holdfast.path": "\(path)", "holdfast.error": "\(reason)"]
            )
            try directory.setAside(name)
        }
        let name: String
        let opened: Opened
        if let current = try directory.current() {
            name = current
            opened = try await Self.open(directory, name, .existing, cluster, options)
        } else {
            name = try directory.nextName()
            let id = Self.storeID(of: cluster)
            let created = Timestamp(milliseconds: System.wallMilliseconds)
            opened = try await Self.open(directory, name, .new(id, created: created), cluster, options)
            try directory.point(to: name)
        }
        directory.removeOthers(than: name)
        return FailoverStateMachine(directory, cluster, options, opened)
    }

    /// Every replica of a log has the same identity, so that blocks, batches and sync points mean the same on each.
    private static func storeID(of cluster: [UInt8]) -> StoreID {
        let hash = XXH3.hash128((Array("holdfast replica ".utf8) + cluster).span)
        return StoreID(high: hash.high, low: hash.low)
    }

    private static func open(
        _ directory: ReplicaDirectory,
        _ name: String,
        _ opening: ReplayStore.Opening,
        _ cluster: [UInt8],
        _ options: StoreOptions
    ) async throws(HoldfastError) -> Opened {
        let (store, state) = try await ReplayStore.open(
            directory.store(name),
            opening,
            replicaOf: cluster,
            options: options
        ) { (transaction) throws(HoldfastError) in
            let state = ReplicaHolder(try ReplicaState(transaction))
            return (state, state.hooks)
        }
        // A compaction and a backup keep it; what was made of a dump, of a backup or of damaged pages need not be what the log
        // has led to.
        guard store.storeID == storeID(of: cluster) else {
            await store.close()
            let error = HoldfastError(
                code: .needsSnapshot,
                message:
                    "The store in '\(directory.store(name))' was made by a load, a restore or a recovery, so nobody can know that "
                    + "it is what the log has led to. Nothing was touched. Start the replica again: it sets this store aside, "
                    + "and takes a snapshot of another member, or the whole log."
            )
            try directory.markNeedsSnapshot("\(error)")
            throw error
        }
        return Opened(name: name, store: store, state: state)
    }

    /// Ends all work, with everything on the disk, and gives the directory free.
    ///
    /// Calling it again does nothing.
    public func close() async {
        let store = opened.withLock { opened in
            opened.failure = opened.failure ?? Self.closed
            return opened.store
        }
        try? await store.syncCommits()
        await store.close()
    }

    private static let closed = HoldfastError(code: .closed, message: "The replica has been closed. Open it again.")

    // MARK: Reading

    /// The store that counts now; a snapshot that is installed gives another one.
    package var store: ReplayStore { opened.withLock { $0.store } }

    var holder: ReplicaHolder { opened.withLock { $0.state } }

    /// Why the replica has stopped; nil while it goes on.
    public var failure: HoldfastError? { opened.withLock { $0.failure } }

    /// The last entry whose effects a read sees.
    public var applied: AppliedPosition { holder.published.applied }

    /// The failover machine as of the last entry applied; nil before the deployment is configured.
    public var machine: FailoverMachine? { holder.published.machine }

    /// The time of the log: that of its latest command.
    public var time: Timestamp { holder.published.time }

    /// The numbers of every queue, in the order of the regions' bytes.
    ///
    /// - Throws: ``HoldfastError``, with `closed`, `damaged` or `ioFailed`.
    public func statistics() async throws(HoldfastError) -> [QueueStatistics] { try await store.statistics() }

    // MARK: Applying

    /// Stops the replica: from here on it does nothing but say why.
    ///
    /// One that cannot trust its state is marked, so that it takes a snapshot when it is opened next.
    @discardableResult
    public func stop(_ error: HoldfastError) -> HoldfastError {
        let error = error.at(path)
        let isFirst = opened.withLock { opened -> Bool in
            defer { opened.failure = opened.failure ?? error }
            return opened.failure == nil
        }
        guard isFirst, error.code != .closed else { return error }
        if error.code == .needsSnapshot || error.code == .digestMismatch {
            try? directory.markNeedsSnapshot("\(error)")
        }
        options.logger.critical(
            "The replica has stopped",
            metadata: ["holdfast.applied": "\(applied.index)", "holdfast.error": "\(error)"]
        )
        return error
    }

    /// Applies entries in order; see ``OnDiskStateMachine/apply(_:)``.
    public func apply(_ entries: [LogEntry]) async throws(HoldfastError) -> [AppliedEntry] {
        let (store, holder, failure) = opened.withLock { ($0.store, $0.state, $0.failure) }
        if let failure { throw failure }
        do throws(HoldfastError) {
            return try await Self.apply(entries, store, holder)
        } catch {
            var error = error
            // What the store does not know any more another member tells.
            if error.code == .damaged { error.code = .needsSnapshot }
            throw stop(error)
        }
    }

    /// The most bytes and entries in one transaction.
    private static let batchBytesMax = 16 << 20
    private static let batchEntriesMax = 4096

    private static func apply(
        _ entries: [LogEntry],
        _ store: ReplayStore,
        _ holder: ReplicaHolder
    ) async throws(HoldfastError) -> [AppliedEntry] {
        var results: [AppliedEntry] = []
        var batch = Batch()
        var last = holder.published.last
        for entry in entries {
            let command = XXH3.hash128(entry.command.span)
            guard entry.index > last.index else {
                guard entry.index < last.index || command == last.command else {
                    results += try await batch.apply(to: store, holder)
                    throw Self.conflict(entry.index)
                }
                results += try await batch.apply(to: store, holder)
                results.append(AppliedEntry(index: entry.index, id: nil, outcome: .skipped))
                continue
            }
            let envelope: CommandEnvelope
            do throws(HoldfastError) {
                envelope = try CommandEnvelope(decoding: entry.command)
            } catch {
                // What came before it is applied; it is not skipped.
                results += try await batch.apply(to: store, holder)
                throw error
            }
            let isDigest = envelope.kind == CommandEnvelope.checkDigest
            if isDigest || batch.bytes > batchBytesMax || batch.entries.count >= batchEntriesMax {
                results += try await batch.apply(to: store, holder)
            }
            let digest = isDigest ? try await ReplicaDigest.read(store).digest : nil
            batch.add(entry, envelope, digest)
            last = (entry.index, command)
        }
        return results + (try await batch.apply(to: store, holder))
    }

    private static func conflict(_ index: UInt64) -> HoldfastError {
        HoldfastError(
            code: .logConflict,
            message:
                "The log has another command at index \(index) than the one that this replica has applied. The replica has "
                + "stopped, and its store is as it was: the engine has lost or changed entries. Look at the other members "
                + "before anything is trusted."
        )
    }

    /// Returns when everything applied so far is on the disk; see ``OnDiskStateMachine/sync()``.
    public func sync() async throws(HoldfastError) -> UInt64 {
        let (store, holder) = opened.withLock { ($0.store, $0.state) }
        let index = holder.published.applied.index
        try await store.syncCommits()
        return index
    }

    /// The digest of the state; see ``OnDiskStateMachine/digest()``.
    public func digest() async throws(HoldfastError) -> (position: AppliedPosition, digest: String) {
        let read = try await ReplicaDigest.read(store)
        return (read.position, read.text)
    }

    /// The digests that were stored at entries of the log, by index.
    ///
    /// - Throws: ``HoldfastError``, with `closed`, `damaged` or `ioFailed`.
    public func storedDigests() async throws(HoldfastError) -> [UInt64: String] {
        try await store.read { (view) throws(HoldfastError) in try ReplicaDigest.stored(view) }
    }

    /// What a proposal came to that was applied before, so far as its session keeps it; nil where it was not executed yet.
    ///
    /// `index`: Where it stands in the log, for one that opens a session.
    func outcome(of id: ProposalID, at index: UInt64) async throws(HoldfastError) -> ProposalOutcome? {
        try await store.read { (view) throws(HoldfastError) in
            guard id.sequence > 0 else {
                let session = SessionID(index: index, nonce: id.session.nonce)
                let row = try view.row(RaftRows.sessionKey(session.bytes), in: .raft)
                return row.map { _ in .executed(FailoverOutcome.done.row.encoded()) }
            }
            guard let fields = try view.row(RaftRows.sessionKey(id.session.bytes), in: .raft) else {
                return .sessionExpired
            }
            let session = try format("A session") { () throws(FormatError) in
                try RaftRows.Session(decoding: fields.span)
            }
            guard id.sequence >= session.respondedBelow else { return .sessionExpired }
            return try view.row(RaftRows.outcomeKey(id.session.bytes, id.sequence), in: .raft).map { .executed($0) }
        }
    }

    // MARK: Another store

    /// Lets another store count in place of this one, which is closed.
    func replace(with name: String) async throws(HoldfastError) {
        let next = try await Self.open(directory, name, .existing, cluster, options)
        do throws(HoldfastError) {
            try directory.point(to: name)
        } catch {
            await next.store.close()
            throw error
        }
        let before = opened.withLock { opened in
            defer { opened = next }
            return opened.store
        }
        await before.close()
        directory.removeOthers(than: name)
    }
}

/// Entries that become one transaction.
private struct Batch: Sendable {
    struct Item: Sendable {
        var entry: LogEntry
        var envelope: CommandEnvelope
        var digest: Hash128?
    }

    private(set) var entries: [Item] = []
    private(set) var bytes = 0

    mutating func add(_ entry: LogEntry, _ envelope: CommandEnvelope, _ digest: Hash128?) {
        entries.append(Item(entry: entry, envelope: envelope, digest: digest))
        bytes += entry.command.count
    }

    /// Applies them, and is empty then.
    mutating func apply(
        to store: ReplayStore,
        _ holder: ReplicaHolder
    ) async throws(HoldfastError) -> [AppliedEntry] {
        guard !entries.isEmpty else { return [] }
        let items = entries
        self = Batch()
        return try await store.transact(adding: items.map(\.entry.command.count)) {
            (transaction) throws(HoldfastError) in
            try holder.apply(items.map { ($0.entry, $0.envelope, $0.digest) }, &transaction)
        }
    }
}

/// The state of a replica, as the writer thread has it and as others see it.
final class ReplicaHolder: Sendable {
    /// What others see: as of the last commit.
    struct Published: Sendable {
        var applied: AppliedPosition
        var last: (index: UInt64, command: Hash128)
        var time: Timestamp
        var machine: FailoverMachine?

        init(_ state: ReplicaState) {
            applied = AppliedPosition(index: state.applied.index, term: state.applied.term)
            last = (state.applied.index, state.applied.command)
            time = state.applied.time
            machine = state.machine
        }
    }

    private let working: Lock<ReplicaState>
    private let visible: Lock<Published>

    init(_ state: ReplicaState) {
        working = Lock(state)
        visible = Lock(Published(state))
    }

    var published: Published { visible.withLock { $0 } }

    func apply(
        _ items: [(entry: LogEntry, envelope: CommandEnvelope, digest: Hash128?)],
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> [AppliedEntry] {
        try working.withLock { (state) throws(HoldfastError) in
            var results: [AppliedEntry] = []
            results.reserveCapacity(items.count)
            for item in items {
                results.append(try state.apply(item.entry, item.envelope, digest: item.digest, &transaction))
            }
            transaction.touch()
            return results
        }
    }

    /// What takes part in every transaction of the store.
    var hooks: StoreHooks {
        var hooks = StoreHooks()
        hooks.willCommit = { (transaction) throws(HoldfastError) in
            try self.working.withLock { (state) throws(HoldfastError) in try state.store(&transaction) }
        }
        hooks.didEnd = { committed in
            guard committed else { return }
            let published = self.working.withLock { Published($0) }
            self.visible.withLock { $0 = published }
        }
        return hooks
    }
}
