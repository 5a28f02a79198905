import Holdfast
import Lines
import ReplayFormat
import ReplayStore

extension StoreView {
    /// The failover machine's stored state.
    func machine() throws(HoldfastError) -> FailoverMachine.Snapshot {
        guard try !hasNoDeployment() else {
            throw HoldfastError(
                code: .notConfigured,
                message: "The replica's log has no deployment yet: nothing has been configured through it."
            )
        }
        let regions = try regionRows().map(\.0)
        return try MachineRows.load(regions, rows: try machineRows())
    }
}

extension FailoverMachine.Snapshot {
    /// The one region that takes local writes; nil where the rows contradict themselves.
    var actingPrimary: RegionID? { regions.first { $0.role.isActingPrimary }?.region }

    /// How long a region has been silent as of the last commit.
    ///
    /// Neither downtime nor a reader's clock adds to it.
    func silenceMilliseconds(_ status: RegionStatus) -> Int64 { max(0, time.milliseconds(since: status.lastSeen)) }
}

extension FailoverConfiguration {
    /// The configuration in the names of the scenario language.
    var json: JSON {
        .object([
            ("local", .string(local.rawValue)), ("regions", .array(regions.map { .string($0.rawValue) })),
            ("tiers", .array(tiers.map { tier in .array(tier.map { .string($0.rawValue) }) })),
            ("suspectAfterMs", .integer(suspectAfterMilliseconds)),
            ("historyCapacity", .integer(Int64(historyCapacity))),
            ("detectorPauseAfterMs", detectorPauseAfterMilliseconds.map { .integer($0) } ?? .null),
            ("automaticFailover", .bool(automaticFailover)),
        ])
    }
}
