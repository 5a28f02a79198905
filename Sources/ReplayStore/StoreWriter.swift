internal import Dispatch
private import Glibc
internal import LMDB
internal import Logging
internal import Platform

/// The writer thread's mailbox: callers leave work and wait, the thread takes all that is there into one transaction.
final class StoreWriter: Sendable {
    /// An append and who waits for it.
    struct Append: Sendable {
        var ticket: UInt64
        var call: AppendCall
        var waiting: CheckedContinuation<Result<[AppendReceipt], HoldfastError>, Never>
    }

    /// Anything else: it runs in the transaction, and is told how that ended.
    struct Control: Sendable {
        /// The bytes of the large values that it puts, at most.
        ///
        /// None for what removes, or changes a few rows.
        var puts: [Int] = []
        /// Runs in the transaction.
        ///
        /// What it throws is for its caller alone, if it has changed nothing.
        var run: @Sendable (inout StoreTransaction) -> HoldfastError?
        /// Called once, after the commit or with the reason why there was none.
        var end: @Sendable (HoldfastError?) -> Void
    }

    struct Staged: Sendable {
        var controls: [Control] = []
        var appends: [Append] = []
        var nextTicket: UInt64 = 1
        /// Whether the thread sleeps until ``wakeAt`` requests are there.
        var isSleeping = false
        var wakeAt = 1
        var isClosing = false
        var isEnded = false
        var poison: HoldfastError?
        var closers: [CheckedContinuation<Void, Never>] = []

        var count: Int { controls.count + appends.count }
    }

    let staged = Lock(Staged())
    private let wake = DispatchSemaphore(value: 0)
    /// Tells of queues that changed.
    let signal = QueueSignal()
    /// What the last append was refused with for want of space; nil when there was some.
    let spaceRefusal = Lock<HoldfastError?>(nil)

    /// Leaves work for the thread; the error says why nothing more is taken.
    func submit(_ change: (inout Staged) -> Void) -> HoldfastError? {
        let (error, wakes) = staged.withLock { staged -> (HoldfastError?, Bool) in
            if let poison = staged.poison { return (poison, false) }
            guard !staged.isClosing else { return (Self.closed, false) }
            change(&staged)
            return (nil, staged.takeWake())
        }
        if wakes { wake.signal() }
        return error
    }

    /// Takes an append back, if its transaction has not begun.
    func cancel(_ ticket: UInt64) -> Append? {
        staged.withLock { staged in
            guard let index = staged.appends.firstIndex(where: { $0.ticket == ticket }) else { return nil }
            return staged.appends.remove(at: index)
        }
    }

    /// Ends the thread after the work that is there; returns when it has ended.
    func close() async {
        await withCheckedContinuation { continuation in
            let (isEnded, wakes) = staged.withLock { staged -> (Bool, Bool) in
                staged.isClosing = true
                if !staged.isEnded { staged.closers.append(continuation) }
                return (staged.isEnded, staged.takeWake(always: true))
            }
            if wakes { wake.signal() }
            if isEnded { continuation.resume() }
        }
    }

    /// Ends the thread without waiting for it.
    func abandon() {
        let wakes = staged.withLock { staged -> Bool in
            staged.isClosing = true
            return staged.takeWake(always: true)
        }
        if wakes { wake.signal() }
    }

    static let closed = HoldfastError(code: .closed, message: "The store has been closed. Open it again to go on.")

    /// The longest that the thread waits for callers to come back after a commit.
    private static let gatherMicroseconds = 100

    /// The work of one transaction; nil when the thread is to end.
    ///
    /// After a commit with n > 1 callers it waits until n are back, 100 us at most: otherwise it would wake for the
    /// first and commit fragments. A lone caller is never made to wait.
    private func nextWork(after lastCount: Int) -> (controls: [Control], appends: [Append])? {
        var gathers = lastCount > 1
        while true {
            let work = staged.withLock { staged -> (controls: [Control], appends: [Append])? in
                if staged.count >= (gathers ? lastCount : 1) || staged.isClosing { return staged.take() }
                staged.isSleeping = true
                staged.wakeAt = gathers ? lastCount : 1
                return nil
            }
            if let work { return work.controls.isEmpty && work.appends.isEmpty ? nil : work }
            if gathers {
                _ = wake.wait(timeout: .now() + .microseconds(Self.gatherMicroseconds))
                gathers = false
            } else {
                wake.wait()
            }
            staged.withLock { $0.isSleeping = false }
        }
    }

    /// Runs transactions until the store is closed or poisoned.
    func run(_ core: StoreCore, _ hooks: StoreHooks) {
        let metrics = StoreMetrics()
        var lastCount = 0
        while let work = nextWork(after: lastCount) {
            lastCount = work.controls.count + work.appends.count
            perform(work.controls, work.appends, core, hooks, metrics)
        }
    }

    /// Says that the thread has ended: nobody who waits is forgotten.
    func end() {
        let closers = staged.withLock { staged -> [CheckedContinuation<Void, Never>] in
            staged.isEnded = true
            defer { staged.closers = [] }
            return staged.closers
        }
        for closer in closers { closer.resume() }
        signal.end()
    }

    /// Does work that came together: in one transaction, unless the disk is full.
    private func perform(
        _ controls: [Control],
        _ appends: [Append],
        _ core: StoreCore,
        _ hooks: StoreHooks,
        _ metrics: StoreMetrics
    ) {
        if let gone = core.space.place.gone {
            for control in controls { control.end(gone) }
            for append in appends { append.waiting.resume(returning: .failure(gone)) }
            return
        }
        let adding = controls.filter { !$0.puts.isEmpty }
        guard !appends.isEmpty || !adding.isEmpty else { return run(controls, [], core, hooks, metrics) }
        if case .reserved = core.space.makeRoom(for: appends, adding) {
            spaceRefusal.withLock { $0 = nil }
            return run(controls, appends, core, hooks, metrics)
        }
        // The disk is full. What makes room goes first, on its own; then each that adds and may fit.
        let removing = controls.filter(\.puts.isEmpty)
        if !removing.isEmpty { run(removing, [], core, hooks, metrics) }
        if core.space.mayHaveFreed {
            // LMDB uses a page again one transaction after the one that follows its removal.
            run([Self.rewriteSuperblock], [], core, hooks, metrics)
            core.space.mayHaveFreed = false
        }
        for control in adding {
            switch core.space.makeRoom(for: [], [control]) {
            case .none(let error): control.end(error)
            case .reserved, .tight: run([control], [], core, hooks, metrics)
            }
        }
        for var append in appends {
            var refusal: HoldfastError?
            if case .none(let error) = core.space.makeRoom(for: [append], []) { refusal = error }
            spaceRefusal.withLock { $0 = refusal }
            // What needs no room is answered also then.
            append.call.behind = append.call.behind ?? refusal
            run([], [append], core, hooks, metrics)
        }
    }

    /// A transaction that changes nothing.
    private static let rewriteSuperblock = Control(
        run: { transaction in
            transaction.core.superblockChanged = true
            transaction.core.changes += 1
            return nil
        },
        end: { _ in }
    )

    /// Runs one transaction, and tells its callers.
    private func run(
        _ controls: [Control],
        _ appends: [Append],
        _ core: StoreCore,
        _ hooks: StoreHooks,
        _ metrics: StoreMetrics
    ) {
        if let poison = staged.withLock({ $0.poison }) {
            for control in controls { control.end(poison) }
            for append in appends { append.waiting.resume(returning: .failure(poison)) }
            return
        }
        if appends.isEmpty, controls.allSatisfy(\.puts.isEmpty) { core.space.makeRoomToRemove() }
        let started = System.monotonicNanoseconds
        var refusals: [HoldfastError?] = []
        var outcomes: [Result<[AppendReceipt], HoldfastError>] = []
        let failure = Self.attempt(controls, appends, core, hooks, &refusals, &outcomes)
        if let failure {
            // Nothing of the transaction is there, or nobody knows: every caller in it hears so.
            if failure.isOutcomeUnknown { poison(failure.error, core) } else { recover(core, hooks) }
            for control in controls { control.end(failure.error) }
            for append in appends { append.waiting.resume(returning: .failure(failure.error)) }
            return
        }
        if core.changes > 0 {
            metrics.committed(
                calls: controls.count + appends.count,
                nanoseconds: System.monotonicNanoseconds - started,
                syncNanoseconds: core.commitNanoseconds
            )
        }
        metrics.count(core.tally)
        core.options.logger.lost(core.tally)
        signal.changed(core.changedQueues)
        for (control, refusal) in zip(controls, refusals) { control.end(refusal) }
        for (append, outcome) in zip(appends, outcomes) {
            if case .failure(let error) = outcome, !append.call.waits || !error.isWantOfRoom { metrics.refusedCall() }
            append.waiting.resume(returning: outcome)
        }
    }

    private struct Failure {
        var error: HoldfastError
        var isOutcomeUnknown = false
    }

    /// Begins, does the work, and commits; on return without a failure everything is on the disk.
    private static func attempt(
        _ controls: [Control],
        _ appends: [Append],
        _ core: StoreCore,
        _ hooks: StoreHooks,
        _ refusals: inout [HoldfastError?],
        _ outcomes: inout [Result<[AppendReceipt], HoldfastError>]
    ) -> Failure? {
        do throws(HoldfastError) {
            var transaction = try StoreTransaction(core)
            let number = transaction.number
            guard number == core.lastTransaction + 1 else {
                hooks.ended(core, committed: false)
                return Failure(error: core.space.place.foreignWriter, isOutcomeUnknown: true)
            }
            for control in controls {
                refusals.append(control.run(&transaction))
                if let failure = core.failure { throw failure }
            }
            for append in appends {
                outcomes.append(try outcome(of: append.call, &transaction))
            }
            guard core.changes > 0 else {
                hooks.ended(core, committed: true)
                return nil
            }
            try hooks.willCommit(&transaction)
            try transaction.finish()
            let began = System.monotonicNanoseconds
            do throws(LMDBError) {
                _ = try transaction.commit()
                core.commitNanoseconds = System.monotonicNanoseconds - began
                try core.committed(number)
            } catch {
                if let full = core.space.full(error, after: core.lastTransaction) {
                    hooks.ended(core, committed: false)
                    return Failure(error: full)
                }
                var mapped = HoldfastError(error)
                mapped.code = .ioFailed
                mapped.message = "A commit failed, so nobody knows whether it is on the disk. " + mapped.message
                return Failure(error: mapped, isOutcomeUnknown: true)
            }
            hooks.ended(core, committed: true)
            return nil
        } catch {
            hooks.ended(core, committed: false)
            return Failure(error: error)
        }
    }

    /// What one append comes to; throws when the whole transaction must go.
    private static func outcome(
        of call: AppendCall,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) -> Result<[AppendReceipt], HoldfastError> {
        let before = transaction.core.changes
        do throws(HoldfastError) {
            return .success(try transaction.append(call))
        } catch {
            // A refusal touches its caller alone; one that comes after a change cannot be told from a failure.
            if transaction.core.failure != nil || transaction.core.changes != before { throw error }
            return .failure(error)
        }
    }

    /// Reads again what the aborted transaction may have changed in memory.
    private func recover(_ core: StoreCore, _ hooks: StoreHooks) {
        do throws(HoldfastError) {
            try core.reload()
            hooks.reloaded(core)
        } catch {
            poison(error, core)
        }
    }

    private func poison(_ error: HoldfastError, _ core: StoreCore) {
        let advice =
            error.code == .damaged
            ? "since the data file is damaged: \(error.message)"
            : "since what is on the disk became unknown: \(error.message) Close it and open it again; everything "
                + "acknowledged is there. Append again what was not: a write that did arrive is not queued twice."
        var poisoned = HoldfastError(code: .poisoned, message: "The store does nothing any more, \(advice)")
        poisoned.cause = error.code
        poisoned.systemCall = error.systemCall
        core.options.logger.critical("The store is poisoned", metadata: ["holdfast.error": "\(error)"])
        staged.withLock { $0.poison = poisoned }
        signal.end()
    }
}

extension StoreWriter.Staged {
    /// Whether the thread must be woken now; it is told once.
    fileprivate mutating func takeWake(always: Bool = false) -> Bool {
        guard isSleeping, always || count >= wakeAt else { return false }
        isSleeping = false
        return true
    }

    /// Takes what fits one transaction: all control work, and appends in order up to the bounds, at least one.
    fileprivate mutating func take() -> (controls: [StoreWriter.Control], appends: [StoreWriter.Append]) {
        let taken = controls
        controls = []
        var entries = 0
        var bytes = 0
        var end = 0
        while end < appends.count {
            let call = appends[end].call
            entries += call.count * call.regions.count
            bytes += call.rawBytes * call.regions.count
            let isOver = entries > StoreLimits.transactionEntriesMax || bytes > StoreLimits.transactionBytesMax
            if end > 0, isOver { break }
            end += 1
        }
        let batch = Array(appends[..<end])
        appends.removeFirst(end)
        return (taken, batch)
    }
}

/// What the controller above the store takes part in.
package struct StoreHooks: Sendable {
    /// Adds its rows to a transaction that is about to commit.
    package var willCommit: @Sendable (inout StoreTransaction) throws(HoldfastError) -> Void = { _ in }
    /// Hears that a transaction is durable, or gone.
    package var didEnd: @Sendable (_ committed: Bool) -> Void = { _ in }
    /// Hears that what the transaction had changed in memory was read again from the disk.
    package var didReload: @Sendable (StoreCore) -> Void = { _ in }
    /// Receives the names that readers may use, after each transaction.
    var publish: @Sendable (StoreCatalog) -> Void = { _ in }

    package init() {}

    func ended(_ core: StoreCore, committed: Bool) {
        didEnd(committed)
        if committed, core.changes > 0 { publish(core.catalog) }
    }

    func reloaded(_ core: StoreCore) {
        didReload(core)
        publish(core.catalog)
    }
}
