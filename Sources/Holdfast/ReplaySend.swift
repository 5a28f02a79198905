internal import ReplayStore

/// Runs a region's sink for one batch, within a time and until the service ends.
struct ReplaySend: Sendable {
    /// What came of it.
    enum Outcome: Sendable {
        case delivered
        /// The region does not want the entries.
        case refused(String)
        /// No entry is to blame.
        case unavailable(String)
        /// The service ends, and the batch stays queued.
        case givenBack
    }

    private enum Event: Sendable {
        case ended((any Error)?)
        case timedOut
        case stopped
        case timerCancelled
    }

    private let sink: ReplaySink
    private let time: any TimeSource
    private let stop: QueueSignal
    private let graceMilliseconds: Int64

    init(_ sink: @escaping ReplaySink, _ time: any TimeSource, _ stop: QueueSignal, graceMilliseconds: Int64) {
        self.sink = sink
        self.time = time
        self.stop = stop
        self.graceMilliseconds = graceMilliseconds
    }

    /// Runs the sink, and cancels it when it takes too long, or when the service has ended long enough.
    ///
    /// The sink has ended on return.
    func run(_ batch: ReplayBatch, timeout: Int64) async -> Outcome {
        await withTaskGroup(of: Event.self) { group in
            group.addTask {
                do {
                    try await sink(batch)
                    return .ended(nil)
                } catch {
                    return .ended(error)
                }
            }
            group.addTask { await sleep(timeout) ? .timedOut : .timerCancelled }
            group.addTask {
                await stop.wait(for: nil, after: 0)
                return await sleep(graceMilliseconds) ? .stopped : .timerCancelled
            }
            var (isLate, isStopped) = (false, false)
            while let event = await group.next() {
                switch event {
                case .timerCancelled: continue
                case .timedOut:
                    isLate = true
                    group.cancelAll()
                case .stopped:
                    isStopped = true
                    group.cancelAll()
                case .ended(let error):
                    group.cancelAll()
                    // What it throws once it was cancelled for the service's end is about that end.
                    if isStopped, error != nil { return .givenBack }
                    return outcome(error, isLate ? timeout : nil)
                }
            }
            return .givenBack
        }
    }

    private func outcome(_ error: (any Error)?, _ missedTimeout: Int64?) -> Outcome {
        guard let error else { return .delivered }
        if let missedTimeout { return .unavailable("no answer within \(missedTimeout) ms") }
        if Task.isCancelled || stop.isEnded && error is CancellationError { return .givenBack }
        if let unavailable = error as? RegionUnavailable { return .unavailable(unavailable.description) }
        return .refused("\(error)")
    }

    /// Whether the time has passed, and the task was not cancelled.
    private func sleep(_ milliseconds: Int64) async -> Bool {
        (try? await time.sleep(milliseconds: milliseconds)) != nil
    }
}
