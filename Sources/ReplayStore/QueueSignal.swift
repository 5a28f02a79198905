internal import Platform
package import RegionFailover

/// Wakes tasks that wait for a queue to change.
package final class QueueSignal: Sendable {
    private struct Waiter: Sendable {
        var region: RegionID?
        var continuation: CheckedContinuation<Void, Never>
    }

    private struct State: Sendable {
        /// How often each queue has changed; nil for all of them.
        var versions: [RegionID?: UInt64] = [:]
        /// How often everybody was woken.
        var wakes: UInt64 = 0
        var waiters: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
        /// Waiters that were cancelled before they were there.
        var cancelled: Set<UInt64> = []
        var isEnded = false

        func version(of region: RegionID?) -> UInt64 { (versions[region] ?? 0) &+ wakes }
    }

    private let state = Lock(State())

    package init() {}

    /// Whether nobody waits any more.
    package var isEnded: Bool { state.withLock { $0.isEnded } }

    /// How often the queue has changed; nil for any queue.
    ///
    /// Ask before looking at the queue: a change after that is not missed.
    package func version(of region: RegionID?) -> UInt64 { state.withLock { $0.version(of: region) } }

    /// Says that queues have changed, durably.
    func changed(_ regions: Set<RegionID>) {
        guard !regions.isEmpty else { return }
        let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            for region in regions { state.versions[region, default: 0] += 1 }
            state.versions[nil, default: 0] += 1
            guard !state.waiters.isEmpty else { return [] }
            let numbers = state.waiters.filter { $0.value.region.map(regions.contains) ?? true }.keys
            return numbers.compactMap { state.waiters.removeValue(forKey: $0)?.continuation }
        }
        for continuation in woken { continuation.resume() }
    }

    /// Wakes everybody, to look again.
    package func wakeAll() {
        let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.wakes += 1
            defer { state.waiters = [:] }
            return state.waiters.values.map(\.continuation)
        }
        for continuation in woken { continuation.resume() }
    }

    /// Wakes everybody, and lets nobody wait any more.
    package func end() {
        let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.isEnded = true
            defer { state.waiters = [:] }
            return state.waiters.values.map(\.continuation)
        }
        for continuation in woken { continuation.resume() }
    }

    /// Returns once the queue has changed since `version`, when the task is cancelled, or when the store has ended.
    package func wait(for region: RegionID?, after version: UInt64) async {
        let number = state.withLock { state -> UInt64 in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isLate = state.withLock { state -> Bool in
                    let isCancelled = state.cancelled.remove(number) != nil
                    if isCancelled || state.isEnded || state.version(of: region) != version { return true }
                    state.waiters[number] = Waiter(region: region, continuation: continuation)
                    return false
                }
                if isLate { continuation.resume() }
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                if let waiter = state.waiters.removeValue(forKey: number) { return waiter }
                state.cancelled.insert(number)
                return nil
            }
            waiter?.continuation.resume()
        }
        state.withLock { _ = $0.cancelled.remove(number) }
    }
}
