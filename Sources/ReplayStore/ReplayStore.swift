private import Dispatch
private import Glibc
internal import LMDB
private import Logging
internal import Platform
package import RegionFailover
package import ReplayFormat
package import Zstd

/// Durable replay queues, one for each region, in one LMDB environment.
///
/// Every change goes through one writer thread and is one LMDB transaction; reads run beside it.
package final class ReplayStore: Sendable {
    /// The store's directory.
    package let path: String
    /// The store's identity.
    package let storeID: StoreID
    package let options: StoreOptions
    let writer: StoreWriter
    package let codec: FrameCodec
    private let processID = System.processID
    private let opened: Lock<Opened?>
    /// Tells of queues that changed.
    package var signal: QueueSignal { writer.signal }
    let replayers = Lock<[RegionID: UInt64]>([:])
    private let readers = DispatchQueue(label: "holdfast.read", attributes: .concurrent)

    /// What reads need, until the store is closed.
    struct Opened: Sendable {
        var environment: Environment
        var catalog: StoreCatalog
        var directory: StoreDirectory
    }

    private init(_ path: String, _ core: StoreCore, _ options: StoreOptions, _ writer: StoreWriter, _ opened: Opened) {
        self.path = path
        self.codec = core.codec
        self.options = options
        self.writer = writer
        self.storeID = opened.catalog.store
        self.opened = Lock(opened)
    }

    deinit { writer.abandon() }

    // MARK: Opening

    /// What to do where there is no store yet.
    package enum Opening: Sendable {
        case existing
        /// Makes a store: an empty one of that identity, which `prepare` then fills.
        case new(StoreID, created: Timestamp)
    }

    /// Opens the store in the directory at `path`, or makes one there.
    ///
    /// `cluster`: The log whose replica it is; nil for a store that callers change.
    /// `prepare`: Runs in a first transaction of its own, on the writer thread, and gives what takes part in every
    /// later one.
    package static func open<Value: Sendable>(
        _ path: String,
        _ opening: Opening,
        replicaOf cluster: [UInt8]? = nil,
        options: StoreOptions,
        prepare: @escaping @Sendable (inout StoreTransaction) throws(HoldfastError) -> (Value, StoreHooks)
    ) async throws(HoldfastError) -> (ReplayStore, Value) {
        let result = await withCheckedContinuation {
            (waiting: CheckedContinuation<Result<(ReplayStore, Value), HoldfastError>, Never>) in
            do throws(SystemError) {
                try startThread(name: "holdfast-writer") {
                    runWriter(path, opening, cluster, options, prepare) { waiting.resume(returning: $0) }
                }
            } catch {
                waiting.resume(returning: .failure(HoldfastError(error)))
            }
        }
        return try result.get()
    }

    /// The writer thread from its first step to its last.
    private static func runWriter<Value: Sendable>(
        _ path: String,
        _ opening: Opening,
        _ cluster: [UInt8]?,
        _ options: StoreOptions,
        _ prepare: @Sendable (inout StoreTransaction) throws(HoldfastError) -> (Value, StoreHooks),
        _ opened: (Result<(ReplayStore, Value), HoldfastError>) -> Void
    ) {
        System.holdBackFileSizeSignal()
        let writer = StoreWriter()
        var directory: StoreDirectory?
        var failure: HoldfastError?
        do throws(HoldfastError) {
            try serve(writer, path, opening, cluster, options, prepare, &directory, opened)
        } catch {
            failure = error.at(path)
        }
        // The environment went with `serve`; only now may the lock go, and only then is anybody told.
        directory?.closeEnvironment()
        directory = nil
        if let failure { opened(.failure(failure)) }
        writer.end()
    }

    /// Opens, says so, and runs transactions until the store is closed.
    ///
    /// Throws when it could not be opened.
    private static func serve<Value: Sendable>(
        _ writer: StoreWriter,
        _ path: String,
        _ opening: Opening,
        _ cluster: [UInt8]?,
        _ options: StoreOptions,
        _ prepare: @Sendable (inout StoreTransaction) throws(HoldfastError) -> (Value, StoreHooks),
        _ held: inout StoreDirectory?,
        _ opened: (Result<(ReplayStore, Value), HoldfastError>) -> Void
    ) throws(HoldfastError) {
        let core: StoreCore
        var hooks: StoreHooks
        do {
            let (prepared, directory) = try prepareCore(path, opening, cluster, options, &held)
            core = prepared
            let value: Value
            do throws(HoldfastError) {
                (value, hooks) = try runFirst(core, prepare)
                if case .new = opening { try syncNames(path) }
                try directory.noteStore()
            } catch {
                // Whoever wants a store hears that there is none, so there is none: also where the commit had got through.
                if case .new = opening { try? FileSystem.remove(path + "/" + DataFile.name) }
                // Damage is found before anything is written; what a commit needs that failed, nobody knows.
                if case .existing = opening, error.code == .damaged { core.space.undo() }
                throw error
            }
            let store = ReplayStore(
                path,
                core,
                options,
                writer,
                Opened(environment: core.environment, catalog: core.catalog, directory: directory)
            )
            hooks.publish = { [weak store] catalog in store?.opened.withLock { $0?.catalog = catalog } }
            hooks.ended(core, committed: true)
            opened(.success((store, value)))
        }
        writer.run(core, hooks)
        FaultPoint.reach(.close)
        // After a failure nobody knows how long the file must be, nor what is in it.
        if writer.staged.withLock({ $0.poison }) == nil {
            core.space.close()
            held?.noteClosed()
        }
    }

    private static func runFirst<Value>(
        _ core: StoreCore,
        _ prepare: (inout StoreTransaction) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        core.space.makeRoomToRemove()
        var transaction = try StoreTransaction(core)
        if core.databases[.superblock] == nil { try transaction.makeTables() }
        let value = try prepare(&transaction)
        if let failure = core.failure { throw failure }
        guard core.changes > 0 else { return value }
        try transaction.finish()
        let number = transaction.number
        do throws(LMDBError) {
            _ = try transaction.commit()
            try core.committed(number)
        } catch {
            throw HoldfastError(error)
        }
        return value
    }

    /// Makes the names of a new store durable: the files' in the directory, and the directory's in its parent.
    private static func syncNames(_ path: String) throws(HoldfastError) {
        try system { () throws(SystemError) in try FileSystem.syncDirectory(path) }
        FaultPoint.reach(.namesSync)
        try system { () throws(SystemError) in try FileSystem.syncDirectory(path + "/..") }
        FaultPoint.reach(.parentSync)
    }

    /// Ends all work and gives the directory free.
    ///
    /// Work that was left before is done and synced first.
    ///
    /// Calling it again does nothing.
    package func close() async {
        // A fork has no writer thread to wait for, and nothing that is its own to close.
        guard processID == System.processID else { return }
        await writer.close()
        // Reads that are under way hold the environment: they end first.
        await withCheckedContinuation { waiting in readers.async(flags: .barrier) { waiting.resume() } }
        opened.withLock { opened in
            opened?.directory.closeEnvironment()
            opened = nil
        }
    }

    // MARK: Changing

    /// What the last append was refused with for want of space; nil when there was some.
    package var spaceRefusal: HoldfastError? { writer.spaceRefusal.withLock { $0 } }

    /// Refuses where a change would be refused: after a close or a failure, and in a fork.
    package func checkUsable() throws(HoldfastError) {
        try checkProcess()
        let error = writer.staged.withLock { $0.poison ?? ($0.isClosing ? StoreWriter.closed : nil) }
        if let error { throw error.at(path) }
    }

    /// Refuses a `fork` of the process that opened the store.
    func checkProcess() throws(HoldfastError) {
        guard processID == System.processID else {
            throw HoldfastError(
                code: .forkedChild,
                message:
                    "The store was opened by process \(processID); this is \(System.processID), a fork of it. Open "
                    + "stores after forking, in one process only."
            ).at(path)
        }
    }

    /// Queues `writes` for each of `regions`, for all or for none of them.
    ///
    /// `waits`: Whether the caller tries again where there is no room, so that it is not refused yet.
    /// `behind`: What the call is refused with if it needs room, since others wait for that.
    ///
    /// - Returns: A receipt for each region, in the order given, once everything is on the disk.
    package func append(
        _ writes: [OutstandingWrite],
        to regions: [RegionID],
        ifEpoch: UInt64?,
        at now: Timestamp,
        waits: Bool = false,
        behind: HoldfastError? = nil
    ) async throws(HoldfastError) -> [AppendReceipt] {
        try checkProcess()
        var call = try AppendCall(
            writes,
            to: regions,
            ifEpoch: ifEpoch,
            enqueuedAt: now,
            codec: codec,
            level: options.compressionLevel
        )
        (call.waits, call.behind) = (waits, behind)
        let ticket = Lock<UInt64?>(nil)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (waiting: CheckedContinuation<Result<[AppendReceipt], HoldfastError>, Never>) in
                let error = writer.submit { [call] staged in
                    let number = staged.nextTicket
                    staged.nextTicket += 1
                    staged.appends.append(StoreWriter.Append(ticket: number, call: call, waiting: waiting))
                    ticket.withLock { $0 = number }
                }
                if let error { waiting.resume(returning: .failure(error)) }
                // Cancelled before it was left: the handler has found nothing to take back.
                if Task.isCancelled { cancel(ticket.withLock { $0 }) }
            }
        } onCancel: {
            cancel(ticket.withLock { $0 })
        }
        do throws(HoldfastError) {
            return try result.get()
        } catch {
            throw error.at(path)
        }
    }

    /// Counts a call that has waited for room in vain.
    package func countRefusedCall() { StoreMetrics().refusedCall() }

    private func cancel(_ ticket: UInt64?) {
        guard let ticket, let append = writer.cancel(ticket) else { return }
        append.waiting.resume(
            returning: .failure(
                HoldfastError(
                    code: .cancelled,
                    message: "The task was cancelled before anything of the call was queued."
                )
            )
        )
    }

    /// Runs `body` in a transaction, before the appends that wait.
    ///
    /// `puts`: The bytes of the large values that it puts, at most; on a full disk it is refused for them as an append is, and
    /// what removes has the reserve to itself.
    ///
    /// - Returns: What `body` gave, once it is on the disk.
    package func transact<Value: Sendable>(
        adding puts: [Int] = [],
        _ body: @escaping @Sendable (inout StoreTransaction) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        try checkProcess()
        let outcome = Lock<Result<Value, HoldfastError>?>(nil)
        let failure = await withCheckedContinuation { (waiting: CheckedContinuation<HoldfastError?, Never>) in
            let control = StoreWriter.Control(
                puts: puts,
                run: { transaction in
                    let before = transaction.core.changes
                    do throws(HoldfastError) {
                        let value = try body(&transaction)
                        outcome.withLock { $0 = .success(value) }
                        return nil
                    } catch {
                        // What throws after a change must not leave half of it: the whole transaction goes.
                        if transaction.core.changes != before {
                            transaction.core.failure = transaction.core.failure ?? error
                        }
                        return error
                    }
                },
                end: { waiting.resume(returning: $0) }
            )
            if let error = writer.submit({ $0.controls.append(control) }) { waiting.resume(returning: error) }
        }
        if let failure { throw failure.at(path) }
        guard case .success(let value) = outcome.withLock({ $0 }) else {
            preconditionFailure("a transaction without a refusal has a value")
        }
        return value
    }

    /// Returns when every commit so far is on the disk.
    ///
    /// Each is already, but in a replica's store the last one.
    package func syncCommits() async throws(HoldfastError) {
        try checkUsable()
        guard let environment = opened.withLock({ $0?.environment }) else { throw StoreWriter.closed }
        let error = await withCheckedContinuation { (waiting: CheckedContinuation<LMDBError?, Never>) in
            readers.async {
                do throws(LMDBError) {
                    try environment.sync()
                    waiting.resume(returning: nil)
                } catch {
                    waiting.resume(returning: error)
                }
            }
        }
        if let error { throw HoldfastError(error).at(path) }
    }

    // MARK: Reading

    /// Reads the store as of the last commit, off the caller's executor.
    package func read<Value: Sendable>(
        _ body: @escaping @Sendable (borrowing StoreView) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        try checkProcess()
        let result = await withCheckedContinuation {
            (waiting: CheckedContinuation<Result<Value, HoldfastError>, Never>) in
            readers.async { waiting.resume(returning: self.readNow(body)) }
        }
        do throws(HoldfastError) {
            return try result.get()
        } catch {
            throw error.at(path)
        }
    }

    private func readNow<Value>(
        _ body: (borrowing StoreView) throws(HoldfastError) -> Value
    ) -> Result<Value, HoldfastError> {
        guard let opened = opened.withLock({ $0 }) else { return .failure(StoreWriter.closed) }
        do throws(HoldfastError) {
            let lmdb = try Self.beginRead(opened.environment)
            return .success(try body(try StoreView.open(lmdb, with: opened.catalog)))
        } catch {
            return .failure(error)
        }
    }

    /// Begins a read; where every slot is taken, first frees those of processes that have gone.
    static func beginRead(_ environment: Environment) throws(HoldfastError) -> Transaction {
        do throws(LMDBError) {
            do throws(LMDBError) {
                return try environment.beginRead()
            } catch {
                guard error.isReadersFull else { throw error }
                try environment.clearStaleReaders()
                return try environment.beginRead()
            }
        } catch {
            throw HoldfastError(error)
        }
    }

    /// The numbers of every queue, in the order of the regions' bytes.
    package func statistics() async throws(HoldfastError) -> [QueueStatistics] {
        try await read { (view) throws(HoldfastError) in
            try view.regionRows().map { QueueStatistics($0.0, $0.1) }
        }
    }
}

extension StoreTransaction {
    /// Makes the tables of a new store and its superblock.
    fileprivate mutating func makeTables() throws(HoldfastError) {
        for table in [Table.superblock, .regions, .controller, .history, .lost, .dictionaries, .raft] {
            _ = try database(table)
        }
        core.superblockChanged = true
        core.changes += 1
        FaultPoint.reach(.tablesMake)
    }
}
