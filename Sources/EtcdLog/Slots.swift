#if Etcd
internal import Synchronization

/// A number of places; who finds none waits, and is served in order.
final class Slots: Sendable {
    private struct State {
        var free: Int
        var tickets: UInt64 = 0
        /// Who waits, by ticket; one that was served or cancelled is gone.
        var waiting: [UInt64: CheckedContinuation<Void, any Error>] = [:]
        /// The tickets in the order in which they came, from `first` on.
        var order: [UInt64] = []
        var first = 0

        mutating func next() -> CheckedContinuation<Void, any Error>? {
            while first < order.count {
                first += 1
                if let waiter = waiting.removeValue(forKey: order[first - 1]) { return waiter }
            }
            order.removeAll(keepingCapacity: true)
            first = 0
            return nil
        }
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        precondition(count > 0, "\(count) slots")
        state = Mutex(State(free: count))
    }

    /// Runs `body` in a place.
    ///
    /// - Throws: `CancellationError` while it waits, and what `body` throws.
    func with<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await take()
        defer { give() }
        return try await body()
    }

    private func take() async throws {
        let ticket: UInt64? = state.withLock { state in
            guard state.free == 0 else {
                state.free -= 1
                return nil
            }
            state.tickets += 1
            return state.tickets
        }
        guard let ticket else { return }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
                let outcome = state.withLock { state -> Result<Void, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    // A place may have become free between the two looks.
                    if state.free > 0 {
                        state.free -= 1
                        return .success(())
                    }
                    state.waiting[ticket] = waiter
                    state.order.append(ticket)
                    return nil
                }
                if let outcome { waiter.resume(with: outcome) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiting.removeValue(forKey: ticket) }
            waiter?.resume(throwing: CancellationError())
        }
    }

    private func give() {
        let waiter = state.withLock { state -> CheckedContinuation<Void, any Error>? in
            if let waiter = state.next() { return waiter }
            state.free += 1
            return nil
        }
        waiter?.resume()
    }
}
#endif
