import Dispatch
import HoldfastTesting
import Platform
import ReplayFormat
import Synchronization
import TestSupport

@testable import Holdfast
@testable import ReplayStore

/// A clock that is moved from one look of a replay service to the next.
///
/// Between two looks a service sleeps 250 ms at most; what sleeps longer is the time-out of a send.
final class SteppedTime: TimeSource {
    let manual = ManualTime(wallMilliseconds: 1_000_000)
    private let napping = Atomic(0)

    var wallMilliseconds: Int64 { manual.wallMilliseconds }
    var elapsedMilliseconds: Int64 { manual.elapsedMilliseconds }

    func sleep(milliseconds: Int64) async throws {
        let isNap = milliseconds > 0 && milliseconds <= 250
        if isNap { napping.add(1, ordering: .acquiringAndReleasing) }
        defer { if isNap { napping.subtract(1, ordering: .acquiringAndReleasing) } }
        try await manual.sleep(milliseconds: milliseconds)
    }

    /// Lets time pass, a nap of the only service at a time, until it is so.
    func advance(until isSo: () async throws -> Bool) async throws {
        while try await !isSo() {
            // One that was woken, and has not gone on yet, sleeps no more.
            if napping.load(ordering: .acquiring) == 1, manual.sleepers == 1 { manual.advanceToNextSleeper() }
            await Task.yield()
        }
    }
}

extension LogLines {
    /// The options of a store that logs here.
    var options: StoreOptions {
        var options = Deployment.options
        options.logger = logger
        return options
    }
}

/// Holds the writer thread of a store up in a transaction of its own.
final class WriterHold: Sendable {
    private let gate = DispatchSemaphore(value: 0)
    private let isHeld = Atomic(false)

    /// Leaves the transaction for the thread; when it is let go it fails with `failure`, and everybody else in it.
    @discardableResult
    func begin(_ controller: RegionFailoverController, failingWith failure: HoldfastError? = nil) -> Task<Void, Never> {
        Task {
            try? await controller.store.transact { (transaction) throws(HoldfastError) in
                self.isHeld.store(true, ordering: .releasing)
                self.gate.wait()
                guard let failure else { return }
                transaction.core.failure = failure
                throw failure
            }
        }
    }

    /// Returns when the thread is held up.
    func held() async { while !isHeld.load(ordering: .acquiring) { await Task.yield() } }

    func letGo() { gate.signal() }
}

extension RegionFailoverController {
    /// How much waits for the writer thread: appends, and everything else.
    var staged: (appends: Int, controls: Int) {
        store.writer.staged.withLock { ($0.appends.count, $0.controls.count) }
    }

    /// Poisons the store: a transaction fails, and what is on the disk cannot be read again.
    func poison() async throws {
        try await store.transact { (transaction) throws(HoldfastError) in
            let key = Key.controller(ControllerRows.Name.limits.rawValue)
            try transaction.put([255], key: key, in: .controller)
        }
        let failure = HoldfastError(code: .ioFailed, message: "a test")
        try? await store.transact { (transaction) throws(HoldfastError) in
            transaction.core.failure = failure
            throw failure
        }
    }
}
