import Holdfast

/// A call that changes what a controller says of itself.
enum ControllerCall: Sendable {
    case heartbeat(RegionID)
    case tick
    case demoteAndPromote(RegionID)
    case switchover(RegionID)
    case readmit(RegionID)
    case configure(FailoverConfiguration)
    case pause(RegionID)
    case resume(RegionID)
    case clearResync(RegionID)
    case limit(RegionID, QueueLimits)

    private static let reason = "a crash test"

    /// What it answers when it changes nothing.
    static let refusals: [HoldfastError.Code] = [
        .illegalTransition, .noSecondaryAvailable, .replayPending, .needsResync,
    ]

    /// Makes it.
    func make(on controller: RegionFailoverController) async throws(HoldfastError) -> [FailoverEvent] {
        switch self {
        case .heartbeat(let region): return try await controller.heartbeat(region)
        case .tick: return try await controller.tick()
        case .demoteAndPromote(let region): return try await controller.demoteAndPromote(region).events
        case .switchover(let region): return try await controller.switchover(to: region).events
        case .readmit(let region): return try await controller.readmit(region, force: true)
        case .configure(let wanted): return try await controller.configure(wanted, force: true)
        case .pause(let region): return try await controller.pause(region, reason: Self.reason)
        case .resume(let region): return try await controller.resume(region)
        case .clearResync(let region): return try await controller.clearResync(region)
        case .limit(let region, let limits):
            try await controller.setLimits(limits, for: region)
            return []
        }
    }

    /// What `controller` will say of itself after the call, and its events; nobody else calls meanwhile.
    ///
    /// The machine says so, which is a value: a store that loses a part of what it said is found out.
    func forecast(
        _ controller: RegionFailoverController
    ) async throws(HoldfastError) -> (before: ControllerPromise, after: ControllerPromise, words: [String]) {
        let statistics = try await controller.statistics()
        var settings = ControllerPromise.settings(statistics)
        let pending = [RegionID: QueueSummary](
            uniqueKeysWithValues: statistics.map { queue in
                let summary = QueueSummary(
                    entries: queue.entries,
                    dead: queue.dead,
                    needsResync: queue.needsResync,
                    isPaused: queue.isPaused
                )
                return (queue.region, summary)
            }
        )
        let snapshot = FailoverMachine.Snapshot(
            configuration: controller.configuration,
            epoch: controller.epoch,
            time: controller.now,
            lastTick: nil,
            regions: controller.statuses
        )
        do throws(FailoverError) {
            var machine = try FailoverMachine(restoring: snapshot)
            let before = ControllerPromise(machine, settings)
            do throws(FailoverError) {
                let events = try change(&machine, &settings, pending, controller.now)
                return (before, ControllerPromise(machine, settings), ControllerPromise.words(events))
            } catch {
                return (before, before, [])
            }
        } catch {
            throw HoldfastError(code: .damaged, message: "The controller contradicts itself: \(error)")
        }
    }

    private func change(
        _ machine: inout FailoverMachine,
        _ settings: inout [RegionID: ControllerPromise.Settings],
        _ pending: [RegionID: QueueSummary],
        _ now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        switch self {
        case .heartbeat(let region): return try machine.heartbeat(region, now: now)
        case .tick: return machine.tick(now: now)
        case .demoteAndPromote(let region):
            return try machine.demoteAndPromote(region, pending: pending, now: now).events
        case .switchover(let region): return try machine.switchover(to: region, pending: pending, now: now).events
        case .readmit(let region): return try machine.readmit(region, force: true, pending: pending, now: now)
        case .configure(let wanted):
            let events = try machine.configure(wanted, force: true, pending: pending, now: now)
            var kept: [RegionID: ControllerPromise.Settings] = [:]
            for region in wanted.regions { kept[region] = settings[region] ?? ControllerPromise.Settings() }
            settings = kept
            return events
        case .pause(let region):
            settings[region]?.pause = Self.reason
            return try machine.pauseReplay(region, pending: pending, now: now)
        case .resume(let region):
            settings[region]?.pause = nil
            return try machine.resumeReplay(region, pending: pending, now: now)
        case .clearResync(let region): return try machine.clearResync(region, pending: pending, now: now)
        case .limit(let region, let limits):
            settings[region]?.limits = limits
            return []
        }
    }
}
