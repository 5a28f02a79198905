internal import Logging

#if ServiceLifecycleSupport
public import ServiceLifecycle
#endif  // ServiceLifecycleSupport

extension RegionFailoverController {
    /// Looks for silent regions until the task is cancelled, then closes the controller.
    ///
    /// It ticks four times within `suspectAfterMilliseconds`. Before each tick it counts as a heartbeat of the local
    /// region, for which this process speaks. Where the configuration names no `detectorPauseAfterMilliseconds`, it is
    /// set to `suspectAfterMilliseconds`: after the machine has slept, each region gets a fresh grace.
    ///
    /// A tick that fails, such as on a full disk, does not end it: it is logged, ``health()`` tells it, and the next one tries
    /// again.
    ///
    /// On return the store is closed and synced. Under swift-service-lifecycle a graceful shutdown ends it too.
    ///
    /// - Throws: ``HoldfastError`` with `closed`, `poisoned` or `forkedChild` when the store has ended.
    public func run() async throws {
        var failure: HoldfastError?
        #if ServiceLifecycleSupport
        failure = await cancelWhenGracefulShutdown { await self.tickUntilCancelled() }
        #else
        failure = await tickUntilCancelled()
        #endif  // ServiceLifecycleSupport
        await close()
        if let failure { throw failure }
    }

    private func tickUntilCancelled() async -> HoldfastError? {
        var concerns: [[String]] = []
        var failed: HoldfastError?
        while true {
            let health = await health()
            // One line for each change of what somebody should look at, and none while all is as it was.
            let now = [health.concerns] + health.regions.map(\.concerns)
            if now != concerns, !(concerns.isEmpty && health.isGood) {
                store.options.logger.log(level: health.isGood ? .notice : .warning, "Health: \(health)")
            }
            concerns = now
            do throws(HoldfastError) {
                try await pauseDetectorByDefault()
                try await heartbeat(configuration.local)
                try await tick()
                failed = nil
            } catch {
                if error.code == .closed || error.code == .poisoned || error.code == .forkedChild { return error }
                // A full disk, or what another call of the same transaction met, is no reason to stop watching.
                tickFailure = error
                if error.code != failed?.code || error.field != failed?.field {
                    store.options.logger.error(
                        "A tick failed; no region is suspected until one succeeds",
                        metadata: ["holdfast.error": "\(error)"]
                    )
                }
                failed = error
            }
            let interval = max(1, configuration.suspectAfterMilliseconds / 4)
            // Cancellation is the only error, and what the loop ends by.
            try? await Task.sleep(for: .milliseconds(interval))
            if Task.isCancelled { return nil }
        }
    }
}

#if ServiceLifecycleSupport
extension RegionFailoverController: Service {}
#endif  // ServiceLifecycleSupport
