internal import Platform
internal import ReplayStore

/// The proposals of this process that are under way: whose outcome is waited for, and how many may be.
final class ProposalTable: Sendable {
    /// What a proposal that waits is told.
    enum Answer: Sendable {
        case outcome(ProposalOutcome)
        /// Its outcome has passed by unseen: it is to be proposed again.
        case again
        /// The replica has ended.
        case ended(HoldfastError?)
        /// Time is up, or the task was cancelled.
        case timeout
    }

    private struct State: Sendable {
        var waiting: [ProposalID: (number: UInt64, continuation: CheckedContinuation<Answer, Never>)] = [:]
        /// Outcomes that came before anybody waited.
        var early: [ProposalID: ProposalOutcome] = [:]
        var expected: Set<ProposalID> = []
        var entries = 0
        var bytes = 0
        var next: UInt64 = 0
        var isEnded = false
        var failure: HoldfastError?
    }

    private let state = Lock(State())
    private let entriesMax: Int
    private let bytesMax: Int

    init(_ options: ReplicaOptions) {
        entriesMax = options.windowEntriesMax
        bytesMax = options.windowBytesMax
    }

    /// Takes a place for a proposal of so many bytes; false where there is none.
    func enter(_ bytes: Int) -> Bool {
        state.withLock { state in
            guard state.entries < entriesMax, state.entries == 0 || state.bytes + bytes <= bytesMax else {
                return false
            }
            state.entries += 1
            state.bytes += bytes
            return true
        }
    }

    func leave(_ bytes: Int) {
        state.withLock { state in
            state.entries -= 1
            state.bytes -= bytes
        }
    }

    /// From here on the outcome of a proposal is kept for who will wait for it.
    func expect(_ id: ProposalID) { state.withLock { _ = $0.expected.insert(id) } }

    func forget(_ id: ProposalID) {
        state.withLock { state in
            state.expected.remove(id)
            state.early[id] = nil
        }
    }

    /// Tells who waits for a proposal what it came to.
    func resolve(_ entry: AppliedEntry) {
        guard let id = entry.id else { return }
        let waiter = state.withLock { state -> CheckedContinuation<Answer, Never>? in
            guard state.expected.contains(id) else { return nil }
            if let waiter = state.waiting.removeValue(forKey: id) { return waiter.continuation }
            state.early[id] = entry.outcome
            return nil
        }
        waiter?.resume(returning: .outcome(entry.outcome))
    }

    /// Lets everybody who waits propose again.
    func askAgain() { finish { .again } }

    /// Says that nothing more is applied.
    func end(with failure: HoldfastError?) {
        state.withLock { state in
            state.isEnded = true
            state.failure = failure
        }
        finish { .ended(failure) }
    }

    private func finish(_ answer: () -> Answer) {
        let waiting = state.withLock { state in
            defer { state.waiting = [:] }
            return state.waiting
        }
        for waiter in waiting.values { waiter.continuation.resume(returning: answer()) }
    }

    /// Waits for the outcome of a proposal that is expected, or until `cancel` is called by a timer or the task.
    func wait(for id: ProposalID) async -> Answer {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now = state.withLock { state -> Answer? in
                    if let outcome = state.early.removeValue(forKey: id) { return .outcome(outcome) }
                    if state.isEnded { return .ended(state.failure) }
                    if Task.isCancelled { return .timeout }
                    state.waiting[id] = (number, continuation)
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Answer, Never>? in
                guard state.waiting[id]?.number == number else { return nil }
                return state.waiting.removeValue(forKey: id)?.continuation
            }
            waiter?.resume(returning: .timeout)
        }
    }
}
