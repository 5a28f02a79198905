internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// The failover machine beside its rows in the store.
///
/// `working` carries the changes of the transaction that runs; `committed` is what is on the disk, and what readers of
/// roles and states are told. A heartbeat that changes nobody's state goes into both, without a transaction.
final class ControllerState: Sendable {
    private struct Machines: Sendable {
        var working: FailoverMachine
        var committed: FailoverMachine
        /// What the rows say.
        var stored: FailoverMachine.Snapshot
        /// What they will say once the transaction that runs is durable.
        var storing: FailoverMachine.Snapshot?
    }

    private let machines: Lock<Machines>
    let clock: ControllerClock

    init(_ machine: FailoverMachine, stored: FailoverMachine.Snapshot, clock: ControllerClock) {
        machines = Lock(Machines(working: machine, committed: machine, stored: stored))
        self.clock = clock
    }

    /// The machine as of the last commit, and heartbeats since.
    var committed: FailoverMachine { machines.withLock { $0.committed } }

    /// How long ago the silence of the regions was last stored, in milliseconds.
    func millisecondsSinceStored(now: Timestamp) -> Int64 {
        machines.withLock { now.milliseconds(since: $0.stored.time) }
    }

    /// Takes a heartbeat that changes no state; false when it would change one, and a transaction is needed.
    func noteHeartbeat(_ region: RegionID) throws(FailoverError) -> Bool {
        let now = clock.now
        let result = machines.withLock { machines -> Result<Bool, FailoverError> in
            do throws(FailoverError) {
                let status = try machines.working.status(of: region)
                let changes =
                    status.state == .suspect || status.state == .failed
                    || status.state == .recovering && status.role != .demotedPrimary
                guard !changes, try machines.committed.status(of: region).state == status.state else {
                    return .success(false)
                }
                _ = try machines.working.heartbeat(region, now: now)
                _ = try machines.committed.heartbeat(region, now: now)
                return .success(true)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Lets the silence grow in the copy that is on the disk, when a tick has changed no state.
    func noteTick() -> Bool {
        let now = clock.now
        return machines.withLock { machines in
            guard machines.working == machines.committed else { return false }
            let primary = try? machines.working.status(of: machines.working.actingPrimary)
            // A suspect primary is to be replaced as soon as somebody can take over.
            if machines.working.configuration.automaticFailover, primary?.state == .suspect { return false }
            var next = machines.working
            guard next.tick(now: now).isEmpty else { return false }
            machines.working = next
            machines.committed = next
            return true
        }
    }

    /// Runs a command on the working machine; an error changes nothing.
    func command<Value: Sendable>(
        _ body: (inout FailoverMachine) throws(FailoverError) -> Value
    ) throws(HoldfastError) -> Value {
        let result = machines.withLock { machines -> Result<Value, FailoverError> in
            do throws(FailoverError) {
                return .success(try body(&machines.working))
            } catch {
                return .failure(error)
            }
        }
        switch result {
        case .success(let value): return value
        case .failure(let error): throw HoldfastError(error)
        }
    }

    /// Refuses a caller that acts on another epoch than the present one; for use inside a transaction.
    func checkEpoch(_ expected: UInt64?) throws(HoldfastError) {
        try command { (machine) throws(FailoverError) in try machine.checkEpoch(expected) }
    }

    /// What takes part in every transaction of the store.
    var hooks: StoreHooks {
        var hooks = StoreHooks()
        hooks.willCommit = { (transaction) throws(HoldfastError) in try self.willCommit(&transaction) }
        hooks.didEnd = { committed in self.didEnd(committed: committed) }
        hooks.didReload = { core in core.historyCapacity = self.committed.configuration.historyCapacity }
        return hooks
    }

    // MARK: Rows

    /// Adds the rows that changed to a transaction that is about to commit.
    ///
    /// The time is among them with every commit, so that the silence of the regions survives a crash.
    func willCommit(_ transaction: inout StoreTransaction) throws(HoldfastError) {
        let (snapshot, stored) = machines.withLock { machines in
            machines.working.advance(to: clock.now)
            machines.storing = machines.working.snapshot
            return (machines.working.snapshot, machines.stored)
        }
        try MachineRows.store(snapshot, over: stored, &transaction)
    }

    func didEnd(committed: Bool) {
        machines.withLock { machines in
            if committed {
                machines.committed = machines.working
                if let storing = machines.storing { machines.stored = storing }
            } else {
                machines.working = machines.committed
            }
            machines.storing = nil
        }
    }
}
