internal import Platform
internal import RegionFailover
internal import ReplayStore

/// Lets appends wait for room, in the order in which they came.
///
/// Who waits for the same queue stands in one line; only the first of a line tries, each time that something left. One who
/// finds room there, but none in another of his regions, goes to the end of that one's line.
final class AppendLine: Sendable {
    private struct Place: Sendable {
        var number: UInt64
        var turn: CheckedContinuation<Void, Never>?
    }

    private struct State: Sendable {
        var lines: [RegionID?: [Place]] = [:]
        /// What the first of each line was refused with.
        var refusals: [RegionID?: HoldfastError] = [:]
        var next: UInt64 = 0
    }

    /// Who has joined which line.
    private struct Ticket: Sendable {
        var number: UInt64
        var region: RegionID?
        /// Whether nobody was there before.
        var isFirst: Bool
    }

    private let state = Lock(State())

    /// What those were refused with who wait for one of these queues, or for the store; nil when nobody waits.
    func refusal(of regions: [RegionID]) -> HoldfastError? {
        state.withLock { state in
            guard !state.lines.isEmpty else { return nil }
            return state.refusals[nil] ?? regions.first { state.refusals[$0] != nil }.flatMap { state.refusals[$0] }
        }
    }

    /// Joins the line for what `refusal` says that is missing: a queue's room, or the store's where it names none.
    private func join(_ refusal: HoldfastError) -> Ticket {
        state.withLock { state in
            state.next += 1
            let line = state.lines[refusal.region, default: []]
            state.lines[refusal.region] = line + [Place(number: state.next)]
            state.refusals[refusal.region] = refusal
            return Ticket(number: state.next, region: refusal.region, isFirst: line.isEmpty)
        }
    }

    /// Returns once all who came before have left the line, or the task is cancelled.
    private func turn(_ ticket: Ticket) async {
        let (number, region) = (ticket.number, ticket.region)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isNow = state.withLock { state -> Bool in
                    guard !Task.isCancelled, state.lines[region]?.first?.number != number,
                        let index = state.lines[region]?.firstIndex(where: { $0.number == number })
                    else { return true }
                    state.lines[region]?[index].turn = continuation
                    return false
                }
                if isNow { continuation.resume() }
            }
        } onCancel: {
            let turn = state.withLock { state -> CheckedContinuation<Void, Never>? in
                guard let index = state.lines[region]?.firstIndex(where: { $0.number == number }) else { return nil }
                defer { state.lines[region]?[index].turn = nil }
                return state.lines[region]?[index].turn
            }
            turn?.resume()
        }
    }

    private func leave(_ ticket: Ticket) {
        let (number, region) = (ticket.number, ticket.region)
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.lines[region]?.removeAll { $0.number == number }
            guard state.lines[region]?.isEmpty == false else {
                state.lines[region] = nil
                state.refusals[region] = nil
                return nil
            }
            defer { state.lines[region]?[0].turn = nil }
            return state.lines[region]?[0].turn
        }
        next?.resume()
    }

    /// Tries `append` again, each time that room was made, until it is not refused for want of room or time is up.
    ///
    /// `full`: The refusal that was met, by this call or by who waits before it; it is thrown when time is up.
    /// `regions`: Those that the call is for.
    func retry<Value: Sendable>(
        after full: HoldfastError,
        of regions: [RegionID],
        within milliseconds: Int64,
        _ time: any TimeSource,
        _ signal: QueueSignal,
        _ append: @escaping @Sendable () async throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        let last = Lock(full)
        let ticket = join(full)
        let result = await withTaskGroup(of: Result<Value, HoldfastError>?.self) { group in
            group.addTask { await self.retry(ticket, last, regions, signal, append) }
            group.addTask {
                // Cancelled by the other: then nobody asks for what it gives.
                try? await time.sleep(milliseconds: milliseconds)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            if let first { return first }
            // Time is up; what the other one got at the last moment counts.
            let second = await group.next() ?? nil
            return second ?? .failure(last.withLock { $0 })
        }
        // Anything else says itself what became of the call.
        guard case .failure(let error) = result, error.code == .cancelled || error.code == .full else {
            return try result.get()
        }
        guard !Task.isCancelled else {
            throw HoldfastError(
                code: .cancelled,
                message: "The task was cancelled while it waited for room. Nothing of the call was queued."
            )
        }
        // An attempt is taken back also when time is up.
        throw error.code == .full ? error : last.withLock { $0 }
    }

    /// Tries again, in the line for whatever was missing last; nil when the task is cancelled.
    private func retry<Value: Sendable>(
        _ first: Ticket,
        _ last: Lock<HoldfastError>,
        _ regions: [RegionID],
        _ signal: QueueSignal,
        _ append: @Sendable () async throws(HoldfastError) -> Value
    ) async -> Result<Value, HoldfastError>? {
        var ticket = first
        defer { leave(ticket) }
        await turn(ticket)
        while !Task.isCancelled {
            let version = signal.version(of: nil)
            let versions = regions.map { signal.version(of: $0) }
            let refusal: HoldfastError
            do throws(HoldfastError) {
                return .success(try await append())
            } catch {
                guard error.isWantOfRoom else { return .failure(error) }
                refusal = error
            }
            last.withLock { $0 = refusal }
            guard !signal.isEnded else { return .failure(refusal) }
            if refusal.region != ticket.region {
                // Who waits for the other queue, where there is room now, goes on.
                leave(ticket)
                ticket = join(refusal)
                if !ticket.isFirst {
                    await turn(ticket)
                    continue
                }
            }
            // Room in the total comes from any queue.
            if !refusal.isOfTotal, let index = regions.firstIndex(where: { $0 == refusal.region }) {
                await signal.wait(for: regions[index], after: versions[index])
            } else {
                await signal.wait(for: nil, after: version)
            }
        }
        return nil
    }
}

extension HoldfastError {
    /// Whether it is about all queues together, and not about one.
    fileprivate var isOfTotal: Bool { field?.hasPrefix("total.") == true }
}
