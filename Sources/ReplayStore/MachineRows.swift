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
        func put(_ fields: [UInt8], _ name: ControllerRows.Name) throws(HoldfastError) {
            try transaction.put(fields, key: Key.controller(name.rawValue), in: .controller)
        }
        if snapshot.time != stored?.time || snapshot.lastTick != stored?.lastTick {
            try put(ControllerRows.time(snapshot.time, lastTick: snapshot.lastTick), .time)
        }
        if snapshot.epoch != stored?.epoch { try put(ControllerRows.number(snapshot.epoch), .epoch) }
        transaction.core.epoch = snapshot.epoch
        if snapshot.configuration != stored?.configuration {
            try put(ControllerRows.configuration(snapshot.configuration), .configuration)
        }
        if snapshot.regions == stored?.regions { return }
        var before: [RegionID: RegionSnapshot] = [:]
        for region in stored?.regions ?? [] { before[region.region] = region }
        for region in snapshot.regions where before.removeValue(forKey: region.region) != region {
            let fields = ControllerRows.region(region.role, region.state, lastSeen: region.lastSeen)
            try transaction.put(fields, key: Key.controllerRegion(region.region), in: .controller)
        }
        FaultPoint.reach(.controllerRow)
        for region in before.keys.sorted() {
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
                        "The controller's row '\(what)' is missing. Keep a copy of the store and run 'holdfast check "
                        + "--level full'."
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

    /// The fields of every row of a snapshot, by key.
    static func rows(_ snapshot: FailoverMachine.Snapshot) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [
            Key.controller(ControllerRows.Name.time.rawValue): ControllerRows.time(
                snapshot.time,
                lastTick: snapshot.lastTick
            ),
            Key.controller(ControllerRows.Name.epoch.rawValue): ControllerRows.number(snapshot.epoch),
            Key.controller(ControllerRows.Name.configuration.rawValue): ControllerRows.configuration(
                snapshot.configuration
            ),
        ]
        for region in snapshot.regions {
            rows[Key.controllerRegion(region.region)] = ControllerRows.region(
                region.role,
                region.state,
                lastSeen: region.lastSeen
            )
        }
        return rows
    }
}
