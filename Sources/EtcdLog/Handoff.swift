#if Etcd
internal import Synchronization

/// Hands elements from one task to another: who gives waits until the other has taken, so that what is not read stays with
/// etcd.
final class Handoff<Element: Sendable>: Sendable {
    private struct State {
        var ahead: Element?
        var giver: CheckedContinuation<Void, any Error>?
        var taker: CheckedContinuation<Element?, any Error>?
        var end: Result<Void, any Error>?
    }

    private let state = Mutex(State())

    /// Whether the taker is behind: an element waits for it.
    var isFull: Bool { state.withLock { $0.ahead != nil } }

    /// Gives an element; returns when it has been taken.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; the element has not been taken, and will not be.
    func give(_ element: Element) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (giver: CheckedContinuation<Void, any Error>) in
                let (taker, outcome) = state.withLock {
                    state -> (CheckedContinuation<Element?, any Error>?, Result<Void, any Error>?) in
                    if Task.isCancelled || state.end != nil { return (nil, .failure(CancellationError())) }
                    if let taker = state.taker {
                        state.taker = nil
                        return (taker, .success(()))
                    }
                    precondition(state.ahead == nil, "two tasks give to one sequence")
                    state.ahead = element
                    state.giver = giver
                    return (nil, nil)
                }
                taker?.resume(returning: element)
                if let outcome { giver.resume(with: outcome) }
            }
        } onCancel: {
            let giver = state.withLock { state in
                defer { (state.ahead, state.giver) = (nil, nil) }
                return state.giver
            }
            giver?.resume(throwing: CancellationError())
        }
    }

    /// Ends it: nil or the error comes from now on.
    func end(_ end: Result<Void, any Error> = .success(())) {
        let (giver, taker) = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { (state.ahead, state.giver, state.taker) = (nil, nil, nil) }
            return (state.giver, state.taker)
        }
        giver?.resume(throwing: CancellationError())
        taker?.resume(with: end.map { nil })
    }

    /// Takes the next element; nil after the last.
    func take() async throws -> Element? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (taker: CheckedContinuation<Element?, any Error>) in
                let (giver, outcome) = state.withLock {
                    state -> (CheckedContinuation<Void, any Error>?, Result<Element?, any Error>?) in
                    if let ahead = state.ahead {
                        defer { (state.ahead, state.giver) = (nil, nil) }
                        return (state.giver, .success(ahead))
                    }
                    if let end = state.end { return (nil, end.map { nil }) }
                    if Task.isCancelled { return (nil, .failure(CancellationError())) }
                    precondition(state.taker == nil, "two tasks take from one sequence")
                    state.taker = taker
                    return (nil, nil)
                }
                giver?.resume()
                if let outcome { taker.resume(with: outcome) }
            }
        } onCancel: {
            let taker = state.withLock { state in
                defer { state.taker = nil }
                return state.taker
            }
            taker?.resume(throwing: CancellationError())
        }
    }
}
#endif
