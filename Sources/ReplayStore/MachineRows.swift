private import Platform
package import RegionFailover
private import ReplayFormat

/// The failover machine's snapshot, as rows of the table `controller`.
package enum MachineRows {
    /// Writes the rows in which `snapshot` differs from `stored`; all of them when that is nil.
    package static func store(
        _ snapshot: FailoverMachine.Snapshot,
        over stored: FailoverMachine.Snapshot?,
        _ transaction: inout StoreTransaction
    ) throws(HoldfastError) {
        transaction.core.epoch = snapshot.epoch
        for (key, fields) in rows(snapshot, over: stored) { try transaction.put(fields, key: key, in: .controller) }
        guard snapshot.regions != stored?.regions else { return }
        FaultPoint.reach(.controllerRow)
        let left = Set(snapshot.regions.map(\.region))
        for region in stored?.regions.map(\.region) ?? [] where !left.contains(region) {
            try transaction.delete(Key.controllerRegion(region), in: .controller)
        }
    }

    /// Reads the snapshot that ``store(_:over:_:)`` wrote, for the regions that the store has.
    package static func load(
        _ regions: [RegionID],
        rows: [[UInt8]: [UInt8]]
    ) throws(HoldfastError) -> FailoverMachine.Snapshot {
        func fields(_ key: [UInt8], _ what: String) throws(HoldfastError) -> [UInt8] {
            guard let fields = rows[key] else {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "The controller's row '\(what)' is missing. Keep a copy of the store and run "
                        + "'holdfast check --level full'."
                )
            }
            return fields
        }
        func value(_ name: ControllerRows.Name) throws(HoldfastError) -> [UInt8] {
            try fields(Key.controller(name.rawValue), name.rawValue)
        }
        let (configuration, epoch, time) = (try value(.configuration), try value(.epoch), try value(.time))
        var statuses: [RegionSnapshot] = []
        for region in regions {
            let row = try fields(Key.controllerRegion(region), region.rawValue)
            let status = try format("The controller's row of region '\(region)'") { () throws(FormatError) in
                try ControllerRows.region(decoding: row.span)
            }
            statuses.append(
                RegionSnapshot(region: region, role: status.role, state: status.state, lastSeen: status.lastSeen)
            )
        }
        let decoded = try format("The controller's rows") { () throws(FormatError) in
            let (now, lastTick) = try ControllerRows.time(decoding: time.span)
            return FailoverMachine.Snapshot(
                configuration: try ControllerRows.configuration(decoding: configuration.span),
                epoch: try ControllerRows.number(decoding: epoch.span),
                time: now,
                lastTick: lastTick,
                regions: []
            )
        }
        var snapshot = decoded
        snapshot.regions = statuses
        return snapshot
    }

    /// The fields of the rows in which `snapshot` differs from `stored`, with their keys; of all of them when that is nil.
    static func rows(
        _ snapshot: FailoverMachine.Snapshot,
        over stored: FailoverMachine.Snapshot? = nil
    ) -> [(key: [UInt8], fields: [UInt8])] {
        var rows: [(key: [UInt8], fields: [UInt8])] = []
        func add(_ name: ControllerRows.Name, _ fields: [UInt8]) {
            rows.append((Key.controller(name.rawValue), fields))
        }
        if snapshot.time != stored?.time || snapshot.lastTick != stored?.lastTick {
            add(.time, ControllerRows.time(snapshot.time, lastTick: snapshot.lastTick))
        }
        if snapshot.epoch != stored?.epoch { add(.epoch, ControllerRows.number(snapshot.epoch)) }
        if snapshot.configuration != stored?.configuration {
            add(.configuration, ControllerRows.configuration(snapshot.configuration))
        }
        guard snapshot.regions != stored?.regions else { return rows }
        let before = Set(stored?.regions ?? [])
        for region in snapshot.regions where !before.contains(region) {
            let fields = ControllerRows.region(region.role, region.state, lastSeen: region.lastSeen)
            rows.append((Key.controllerRegion(region.region), fields))
        }
        return rows
    }
}
