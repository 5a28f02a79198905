import Holdfast
import Platform
import UnixSignals

/// A replay under way: the service that sends, and whoever watches when it is to end.
final class ReplayRun: Sendable {
    /// Why the replay ends.
    enum End: Sendable {
        case empty
        case paused(String)
        case signalled, cancelled
        /// Nobody reads standard output any more.
        case outputClosed
        /// No entry has left the queue for so many milliseconds; the store's error is the reason, where it has one.
        case gaveUp(Int64, HoldfastError?)
        /// The store cannot do its part, and waiting does not mend it.
        case storeFailed(HoldfastError)
    }

    private enum Event: Sendable {
        /// The service has ended.
        case ended
        /// It should.
        case stop(End)
        case nothing
    }

    private let controller: RegionFailoverController
    private let receiver: ReplayReceiver
    private let region: RegionID
    private let store: String
    private let once: Bool
    private let giveUpAfterMilliseconds: UInt64?
    private let service: ReplayService

    /// How often the queue is looked at, in milliseconds.
    private static let lookEveryMilliseconds: UInt64 = 250
    /// With `--once` the store is asked again for so long.
    private static let storeTroubleNanoseconds: UInt64 = 1_000_000_000
    /// Signals that come so soon after the first are the same one: `timeout` and terminals send to a whole group too.
    private static let sameSignalNanoseconds: UInt64 = 200_000_000

    init(
        _ controller: RegionFailoverController,
        _ receiver: ReplayReceiver,
        _ region: RegionID,
        store: String,
        once: Bool,
        giveUpAfterMilliseconds: UInt64?
    ) {
        self.controller = controller
        self.receiver = receiver
        self.region = region
        self.store = store
        self.once = once
        self.giveUpAfterMilliseconds = giveUpAfterMilliseconds
        // The time-out of the settings ends a send that takes too long, and nothing else does after a first signal.
        service = ReplayService(
            controller,
            sinks: [region: { batch in try await receiver.receive(batch) }],
            graceMilliseconds: Int64(UInt32.max)
        )
    }

    /// Entries that were sent more than once.
    var redelivered: UInt64 { service.status(of: region)?.redeliveries ?? 0 }

    /// Runs the service until there is a reason to stop.
    func send(_ signals: UnixSignalsSequence) async throws -> End {
        try await withThrowingTaskGroup(of: Event.self) { group in
            // A send that is cancelled from here on did not take too long.
            defer { receiver.noteEnd() }
            group.addTask { [service] in
                try await service.run()
                return .ended
            }
            group.addTask { try await self.watch() }
            group.addTask { await self.obey(signals) }
            var end: End?
            while let event = try await group.next() {
                switch event {
                case .nothing: continue
                case .ended:
                    group.cancelAll()
                    return end ?? .signalled
                case .stop(.cancelled):
                    end = .cancelled
                    receiver.noteEnd()
                    group.cancelAll()
                case .stop(let reason):
                    end = end ?? reason
                    service.shutDown()
                }
            }
            return end ?? .signalled
        }
    }

    /// Lets the service end at a first signal, and returns at a second one.
    private func obey(_ signals: UnixSignalsSequence) async -> Event {
        var first: UInt64?
        for await _ in signals {
            let now = System.monotonicNanoseconds
            guard let before = first else {
                first = now
                service.shutDown()
                continue
            }
            if now - before >= Self.sameSignalNanoseconds { return .stop(.cancelled) }
        }
        return .nothing
    }

    /// Returns when the queue is empty, the replay is paused, nobody reads what comes out, or nothing moves for too long.
    private func watch() async throws -> Event {
        var told: Pause?
        var trouble: Trouble?
        var head: UInt64?
        var since = System.monotonicNanoseconds
        while !Task.isCancelled {
            let queue = try await controller.statistics(of: region)
            if receiver.isOutputClosed { return .stop(.outputClosed) }
            if once, queue.entries == 0 { return .stop(.empty) }
            if let error = lasting(&trouble) { return .stop(.storeFailed(error)) }
            let pause = Pause(queue, now: controller.now)
            if once, let pause { return .stop(.paused(pause.reason)) }
            if let pause, pause != told { receiver.tell(pause, region, store) }
            told = pause
            let now = System.monotonicNanoseconds
            if queue.entries == 0 || pause != nil || queue.headPosition != head {
                (head, since) = (queue.headPosition, now)
            }
            let stalled = (now - since) / 1_000_000
            if let most = giveUpAfterMilliseconds, stalled >= most {
                return .stop(.gaveUp(Int64(clamping: most), trouble?.error))
            }
            let wait = min(Self.lookEveryMilliseconds, giveUpAfterMilliseconds.map { $0 - stalled } ?? .max)
            guard queue.entries > 0, pause == nil else {
                // Ends early when it is cancelled, and the loop with it.
                try? await Task.sleep(for: .milliseconds(wait))
                continue
            }
            let point = try await controller.syncPoint(for: region)
            do throws(HoldfastError) {
                try await controller.wait(for: point, atMost: Int64(wait))
            } catch {
                guard error.code == .replayPending || error.code == .cancelled else { throw error }
            }
        }
        return .nothing
    }

    /// An error of the store, and since when there has been one.
    private struct Trouble {
        var error: HoldfastError
        var since: UInt64
    }

    /// Tells an error of the store that is there now, and gives it when waiting does not help.
    private func lasting(_ trouble: inout Trouble?) -> HoldfastError? {
        guard let status = service.status(of: region), let error = status.storeError else {
            trouble = nil
            return nil
        }
        let now = System.monotonicNanoseconds
        let since = trouble?.since ?? now
        let isLasting = now - since >= Self.storeTroubleNanoseconds && status.storeFailures > 1
        // Nothing mends damage while the store is open.
        if error.code == .damaged || once && isLasting { return error }
        if error != trouble?.error { receiver.tell(error, region, store) }
        trouble = Trouble(error: error, since: since)
        return nil
    }

    /// A pause that holds now.
    struct Pause: Sendable, Equatable {
        var reason: String
        var until: Timestamp?

        /// nil where there is none, or it is over and the service is about to end it.
        init?(_ queue: QueueStatistics, now: Timestamp) {
            guard queue.isPaused, queue.pausedUntil.map({ $0 > now }) ?? true else { return nil }
            reason = queue.pauseReason
            until = queue.pausedUntil
        }
    }
}
