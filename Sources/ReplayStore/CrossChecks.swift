package import RegionFailover
package import ReplayFormat

// LMDB's own bytes have no checksum: how many rows a page has, and where the branches lead. What they hide leaves no trace in
// the rows that are left. But rows that have a checksum say of others how many there should be.

extension StoreView {
    /// Refuses rows of regions that are not those of the controller's configuration.
    ///
    /// Both are changed in one transaction. Where the configuration itself cannot be read, that is told elsewhere.
    func proveRegions(_ regions: [RegionID]) throws(HoldfastError) {
        guard let wanted = configuredRegions else { return }
        let (named, found) = (Set(wanted), Set(regions))
        if let missing = wanted.first(where: { !found.contains($0) }) { throw Self.missing(missing) }
        guard let extra = regions.first(where: { !named.contains($0) }) else { return }
        throw Self.contradiction(
            "Region '\(extra)' has a row, and the controller's configuration does not name it",
            extra
        )
    }

    /// Refuses to say that a region is not there which the controller's configuration names.
    func proveUnknown(_ region: RegionID) throws(HoldfastError) {
        if configuredRegions?.contains(region) == true { throw Self.missing(region) }
    }

    /// Refuses dead letters that are not as many as the region's row counts.
    ///
    /// Where it is not known which tables there are, nothing is proved.
    package func proveDeadLetters(_ region: RegionID, _ row: RegionRow) throws(HoldfastError) {
        guard knowsTables else { return }
        let count = try count(.dead(row.number))
        guard UInt64(count) != row.counters.dead else { return }
        throw Self.contradiction(
            "Region '\(region)' has \(count) dead letters, and its row says that it has \(row.counters.dead)",
            region
        )
    }

    /// Refuses a history that has a gap, or does not go on to the last event that the controller's rows know of.
    ///
    /// It may be empty: a capacity of none, or a recovery, has left nothing of it.
    func proveHistory() throws(HoldfastError) {
        let key = Key.controller(ControllerRows.Name.events.rawValue)
        guard let fields = try controllerRow(key) else { return }
        let next = try format("The event number") { () throws(FormatError) in
            try ControllerRows.number(decoding: fields.span)
        }
        var last: UInt64?
        try scanKeys(.history) { (key) throws(HoldfastError) in
            let number = try format("A key of 'history'") { () throws(FormatError) in try Key.number(from: key.span) }
            if let last, number != last &+ 1 {
                throw Self.contradiction("Of the history the events \(last &+ 1) to \(number &- 1) are not there")
            }
            last = number
            return true
        }
        guard let last, last &+ 1 != next else { return }
        throw Self.contradiction(
            last &+ 1 < next
                ? "The controller's rows say that the last event is \(next &- 1), and the history ends with \(last)"
                : "The controller's rows say that the next event is \(next), and the history goes on to \(last)"
        )
    }

    /// The regions that the controller's configuration names; nil where it cannot be read.
    private var configuredRegions: [RegionID]? {
        let key = Key.controller(ControllerRows.Name.configuration.rawValue)
        guard let fields = try? controllerRow(key) else { return nil }
        return try? ControllerRows.configuration(decoding: fields.span).regions
    }

    private static func missing(_ region: RegionID) -> HoldfastError {
        contradiction("The controller's configuration names region '\(region)', and no row of it is there", region)
    }

    private static func contradiction(_ what: String, _ region: RegionID? = nil) -> HoldfastError {
        var error = HoldfastError(
            code: .damaged,
            message:
                "\(what): a page hides rows, or is of an earlier commit. Nothing was touched. Keep a copy of the directory; "
                + "'holdfast recover STORE --to NEW' makes a new store of what its pages hold."
        )
        error.region = region
        return error
    }
}

extension Checker {
    /// Notes where rows contradict what others count; at the levels above the quick one the rows themselves are counted.
    mutating func checkAgreement(
        _ view: borrowing StoreView,
        _ rows: [(RegionID, RegionRow)]
    ) throws(HoldfastError) {
        do throws(HoldfastError) {
            try view.proveRegions(rows.map(\.0))
        } catch {
            try note(error, "regions", .regions)
        }
        guard level == .quick else { return }
        do throws(HoldfastError) { try view.proveHistory() } catch { try note(error, "history", .history) }
        for (region, row) in rows {
            do throws(HoldfastError) {
                try view.proveDeadLetters(region, row)
                // The keys alone: at their end they are as many as the table says.
                try view.scanKeys(.dead(row.number)) { _ in true }
            } catch {
                try note(error, "dead", .dead(row.number), region)
            }
        }
    }

    private mutating func note(
        _ error: HoldfastError,
        _ code: String,
        _ table: Table,
        _ region: RegionID? = nil
    ) throws(HoldfastError) {
        guard error.code == .damaged else { throw error }
        note(code, table, error.message, region: error.region ?? region)
    }
}
