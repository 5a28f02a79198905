private import Dispatch
internal import Platform
public import ReplayFormat
public import ReplayStore

/// The writes that a receiver has applied, durably, so that delivery at least once is applied exactly once.
///
/// A directory of its own, which one process has open at a time. Use it in one of two ways:
///
/// - **Exactly once**: ``apply(_:epoch:_:)`` gives the receiver the writes that are new and a place for its state. The
///   state and the marks of the writes are one transaction: after any crash both are there, or neither.
/// - **At least once, seldom twice**: ``filter(_:)`` tells which writes are new, the receiver has their effect where it
///   likes, and ``record(_:epoch:)`` marks them. A crash between effect and mark brings the effect again, so it must be
///   one that can be repeated.
///
/// A receiver that has a database keeps an ``AppliedSet`` in it instead, in the transaction of the effect.
///
/// Every change is durable when its call returns: it survives a crash of the process, of the system and a loss of
/// power. When a call throws, nothing of it is there, unless the code is `poisoned`: then that is unknown until the ledger
/// is opened again. Calls run one after another, in the order in which they came.
public final class AppliedLedger: Sendable {
    /// Address space that a ledger asks for unless it is told otherwise: 64 GiB.
    public static let mapSizeBytes = 64 << 30

    /// The ledger's directory.
    public let path: String
    private let processID = System.processID
    private let queue: DispatchQueue
    private let opened: Lock<OpenLedger?>
    private let known: Lock<Known>

    /// What can be told without waiting for a transaction.
    private struct Known: Sendable {
        var highestEpoch: UInt64
        var poison: HoldfastError?
    }

    private init(_ path: String, _ queue: DispatchQueue, _ ledger: OpenLedger) {
        self.path = path
        self.queue = queue
        opened = Lock(ledger)
        known = Lock(Known(highestEpoch: ledger.core.epoch.highest))
    }

    // MARK: Opening and closing

    /// Makes a ledger at `path`, in which nothing was applied, and opens it.
    ///
    /// On return it is durable. Make it once, together with the data that it stands for: a new ledger beside old data
    /// takes every write for a new one. When it throws, there is no ledger at `path`; what it left of one is taken over
    /// by the next attempt.
    ///
    /// - Parameters:
    ///   - path: A directory that is empty or not there; its parent must be there. It is made with mode 0700.
    ///   - mapSizeBytes: Address space that is asked for, which bounds what the ledger can grow to. It costs no memory and
    ///     no disk. Where the system refuses it, half is tried, down to 16 MiB.
    /// - Returns: The ledger, open.
    /// - Throws: ``HoldfastError``, with `alreadyExists`, `inUse`, `alreadyOpen`, `networkFileSystem`, `notFound`,
    ///   `notPermitted`, `damaged`, `full` or `ioFailed`.
    public static func create(
        at path: String,
        mapSizeBytes: Int = AppliedLedger.mapSizeBytes
    ) async throws(HoldfastError) -> AppliedLedger {
        try await begin(path) { () throws(HoldfastError) in try OpenLedger.create(path, mapSizeBytes) }
    }

    /// Opens the ledger at `path`.
    ///
    /// Everything is as the last call that returned has left it.
    ///
    /// - Parameters:
    ///   - path: The ledger's directory.
    ///   - mapSizeBytes: Address space that is asked for, as for ``create(at:mapSizeBytes:)``.
    /// - Returns: The ledger, open.
    /// - Throws: ``HoldfastError``, with `notFound`, `inUse`, `alreadyOpen`, `damaged`, `formatTooNew`,
    ///   `networkFileSystem`, `notPermitted`, `full` or `ioFailed`.
    /// - Complexity: It reads a few rows, however many writes were applied.
    public static func open(
        at path: String,
        mapSizeBytes: Int = AppliedLedger.mapSizeBytes
    ) async throws(HoldfastError) -> AppliedLedger {
        try await open(at: path, mapSizeBytes: mapSizeBytes, limits: AppliedSet.Limits())
    }

    package static func open(
        at path: String,
        mapSizeBytes: Int,
        limits: AppliedSet.Limits
    ) async throws(HoldfastError) -> AppliedLedger {
        try await begin(path) { () throws(HoldfastError) in try OpenLedger.open(path, mapSizeBytes, limits) }
    }

    private static func begin(
        _ path: String,
        _ body: @escaping @Sendable () throws(HoldfastError) -> OpenLedger
    ) async throws(HoldfastError) -> AppliedLedger {
        let queue = DispatchQueue(label: "holdfast.ledger")
        let result = await run(on: queue) { () -> Result<AppliedLedger, HoldfastError> in
            do throws(HoldfastError) {
                return .success(AppliedLedger(path, queue, try body()))
            } catch {
                return .failure(error.forOpeningLedger(path))
            }
        }
        return try result.get()
    }

    /// Gives the directory free, after the calls that are under way.
    ///
    /// Later calls throw `closed`. Calling it again does nothing. A ledger that is not closed gives the directory free soon
    /// after the last reference to it has gone.
    public func close() async {
        guard processID == System.processID else { return }
        await withCheckedContinuation { waiting in
            queue.async {
                self.release()
                waiting.resume()
            }
        }
    }

    deinit { release() }

    private func release() {
        opened.withLock { ledger in
            // The environment goes first: the lock on the directory must outlive every use of the file.
            let directory = ledger?.directory
            let isPoisoned = ledger?.core.poison != nil
            ledger = nil
            if !isPoisoned { directory?.noteClosed() }
        }
    }

    // MARK: Applying

    /// Applies the writes that are new: the receiver's state and the marks in one transaction.
    ///
    /// On return both are durable. When it throws, nothing of the call is there: apply the same writes again. Give it the
    /// writes in the order in which they came, such as those of one batch, and let the batch be acknowledged when it has
    /// returned.
    ///
    /// ```
    /// try await ledger.apply(writes) { (new, state) throws(HoldfastError) in
    ///     for write in new { try state.set(write.value, for: write.key) }
    /// }
    /// ```
    ///
    /// - Parameters:
    ///   - writes: At most ``StoreLimits/callEntriesMax``; of those that are the same, the first counts.
    ///   - epoch: The sender's epoch; one below the highest that the ledger has seen is refused, a higher one is kept, in
    ///     the same transaction.
    ///   - body: Gets the new writes in their order, none when there are none, and the state. It runs while the ledger does
    ///     nothing else, and must not wait. To refuse the writes it throws: nothing is applied then.
    /// - Returns: What `body` returns.
    /// - Throws: ``HoldfastError``, with `identityBelowFloor` when nobody can know whether a write was applied, whose
    ///   `index` says which; `identityConflict`, `staleEpoch`, `tooLarge`, `damaged`, `full`, `closed`, `poisoned`,
    ///   `forkedChild` or `ioFailed`; `inUse` or `notFound` when the LOCK or the directory is not the one that was opened;
    ///   and what `body` throws.
    /// - Complexity: A few page writes for each origin and each pair that is set, and two syncs; none when nothing changes.
    public func apply<Value: Sendable>(
        _ writes: [OutstandingWrite],
        epoch: UInt64? = nil,
        _ body: @escaping @Sendable ([OutstandingWrite], inout LedgerState) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        try await perform { (core) throws(HoldfastError) in try core.apply(writes, epoch: epoch, body) }
    }

    /// Tells which writes are new, and changes nothing.
    ///
    /// For an effect outside the ledger. Mark the writes with ``record(_:epoch:)`` when they have had their effect. A crash
    /// in between makes them new again: at least once, so the effect must be one that can be repeated, such as a file
    /// that is written anew under the same name.
    ///
    /// - Parameter writes: At most ``StoreLimits/callEntriesMax``.
    /// - Returns: Those that are new, in their order; of those that are the same, the first.
    /// - Throws: ``HoldfastError``, with `identityBelowFloor`, `identityConflict`, `tooLarge`, `damaged`, `closed`,
    ///   `poisoned`, `forkedChild`, `ioFailed`, `inUse` or `notFound`.
    public func filter(_ writes: [OutstandingWrite]) async throws(HoldfastError) -> [OutstandingWrite] {
        try await perform { (core) throws(HoldfastError) in try core.filter(writes) }
    }

    /// Marks writes as applied.
    ///
    /// On return it is durable. A write that is marked already stays so.
    ///
    /// - Parameters:
    ///   - writes: At most ``StoreLimits/callEntriesMax`` writes that have had their effect.
    ///   - epoch: The sender's epoch, as for ``apply(_:epoch:_:)``; it comes too late to keep the effect back.
    /// - Returns: How many of them were new.
    /// - Throws: ``HoldfastError``, as ``apply(_:epoch:_:)`` does.
    @discardableResult
    public func record(_ writes: [OutstandingWrite], epoch: UInt64? = nil) async throws(HoldfastError) -> Int {
        try await apply(writes, epoch: epoch) { (new, _) throws(HoldfastError) in new.count }
    }

    // MARK: Reading and fencing

    /// Reads the state as of the last call that returned.
    ///
    /// - Parameter body: Gets the state; it must not wait.
    /// - Returns: What `body` returns.
    /// - Throws: ``HoldfastError``, with `damaged`, `closed`, `poisoned`, `forkedChild`, `inUse` or `ioFailed`; and what
    ///   `body` throws.
    public func read<Value: Sendable>(
        _ body: @escaping @Sendable (borrowing LedgerState) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        try await perform { (core) throws(HoldfastError) in try core.read(body) }
    }

    /// The highest epoch that the ledger has seen, durably; 0 before the first.
    public var highestEpoch: UInt64 { known.withLock { $0.highestEpoch } }

    /// Admits a sender whose epoch is not below the highest, and keeps it.
    ///
    /// On return the highest epoch is durable. Where writes come with it, give their epoch to ``apply(_:epoch:_:)`` instead:
    /// after this call another sender may be admitted before the effect.
    ///
    /// - Parameter epoch: The sender's epoch, from 1.
    /// - Returns: Whether it is higher than all before.
    /// - Throws: ``HoldfastError``, with `staleEpoch`, whose `count` is the highest; `invalidConfiguration` for 0; `full`,
    ///   `closed`, `poisoned`, `forkedChild`, `ioFailed`, `inUse` or `notFound`.
    /// - Complexity: Two syncs for a higher epoch, none for the highest.
    @discardableResult
    public func admit(_ epoch: UInt64) async throws(HoldfastError) -> Bool {
        try await perform { (core) throws(HoldfastError) in
            let before = core.epoch.highest
            try core.apply([], epoch: epoch) { (_, _) throws(HoldfastError) in }
            return core.epoch.highest > before
        }
    }

    // MARK: The queue

    /// Runs `body` with the ledger when the calls before it have ended.
    private func perform<Value: Sendable>(
        _ body: @escaping @Sendable (inout LedgerCore) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        guard processID == System.processID else {
            throw HoldfastError(
                code: .forkedChild,
                message: "The ledger was opened by process \(processID); this is \(System.processID), a fork of it. "
                    + "Open ledgers after forking, in one process only."
            ).at(path)
        }
        return try await Self.run(on: queue) { self.performNow(body) }.get()
    }

    /// Runs `body` on the queue, and gives what it returned.
    ///
    /// By way of a lock: the thread sanitizer does not see that a continuation hands a value over.
    private static func run<Value: Sendable>(
        on queue: DispatchQueue,
        _ body: @escaping @Sendable () -> Value
    ) async -> Value {
        let outcome = Lock<Value?>(nil)
        await withCheckedContinuation { waiting in
            queue.async {
                let value = body()
                outcome.withLock { $0 = value }
                waiting.resume()
            }
        }
        guard let value = outcome.withLock({ $0 }) else { preconditionFailure("the queue has run the body") }
        return value
    }

    private func performNow<Value>(
        _ body: (inout LedgerCore) throws(HoldfastError) -> Value
    ) -> Result<Value, HoldfastError> {
        if let poison = known.withLock({ $0.poison }) { return .failure(poison) }
        do throws(HoldfastError) {
            let value = try opened.withLock { (ledger) throws(HoldfastError) in
                guard var core = ledger?.core else {
                    throw HoldfastError(code: .closed, message: "The ledger has been closed. Open it again to go on.")
                }
                // What throws leaves the ledger as it was.
                defer { if let poison = core.poison { known.withLock { $0.poison = poison.forLedger(path) } } }
                let value = try body(&core)
                ledger?.core = core
                known.withLock { $0.highestEpoch = core.epoch.highest }
                return value
            }
            return .success(value)
        } catch {
            return .failure(error.forLedger(path))
        }
    }
}
