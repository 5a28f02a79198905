internal import LMDB
private import Platform
package import RegionFailover
package import ReplayFormat

/// The write transaction, on the writer thread: what every change of the store is made of.
///
/// A method that refuses its caller has changed nothing. One that fails because LMDB failed says so in `core.failure`,
/// and the whole transaction is aborted.
package struct StoreTransaction: ~Copyable {
    var lmdb: Transaction
    package let core: StoreCore

    init(_ core: StoreCore) throws(HoldfastError) {
        self.core = core
        core.beginTransaction()
        lmdb = try engine { () throws(LMDBError) in try core.environment.beginWrite() }
        FaultPoint.reach(.begin)
    }

    /// Its number: one more than that of the last one that committed.
    var number: UInt64 { lmdb.number }

    /// Notes that LMDB failed, so that the transaction is aborted.
    func failed(_ error: LMDBError) -> HoldfastError {
        let mapped = HoldfastError(error)
        core.failure = core.failure ?? mapped
        return mapped
    }

    /// The database of a table, made when it is not there.
    func database(_ table: Table) throws(HoldfastError) -> Database {
        if let database = core.databases[table] { return database }
        do throws(LMDBError) {
            guard let database = try lmdb.database(table.name, create: true) else {
                preconditionFailure("mdb_dbi_open with MDB_CREATE gave no database")
            }
            core.databases[table] = database
            return database
        } catch {
            throw failed(error)
        }
    }

    /// Stores a row: its fields and their checksum.
    package mutating func put(_ fields: [UInt8], key: [UInt8], in table: Table) throws(HoldfastError) {
        try putRaw(Row.seal(fields, key: key, in: table), key: key, in: table)
    }

    /// Stores a value as it is.
    mutating func putRaw(_ value: [UInt8], key: [UInt8], in table: Table, append: Bool = false) throws(HoldfastError) {
        let database = try database(table)
        core.changes += 1
        do throws(LMDBError) {
            do throws(LMDBError) {
                try lmdb.put(key, value.span, in: database, append: append)
            } catch {
                // The last key is damaged: this one goes where it belongs, and reading finds the other.
                guard append, error.isKeyExists, try lmdb.value(of: key, in: database) == nil else { throw error }
                try lmdb.put(key, value.span, in: database)
            }
        } catch {
            throw failed(error)
        }
        FaultPoint.reach(.put)
    }

    /// Removes a pair.
    package mutating func delete(_ key: [UInt8], in table: Table) throws(HoldfastError) {
        let database = try database(table)
        core.changes += 1
        do throws(LMDBError) {
            try lmdb.delete(key, in: database)
        } catch {
            throw failed(error)
        }
        FaultPoint.reach(.delete)
    }

    /// The fields of a row, checked; nil when there is none.
    package func row(_ key: [UInt8], in table: Table) throws(HoldfastError) -> [UInt8]? {
        guard let database = core.databases[table] else { return nil }
        let value: [UInt8]?
        do throws(LMDBError) {
            value = try lmdb.value(of: key, in: database)
        } catch {
            throw failed(error)
        }
        guard let value else {
            try table.proveAbsence(of: key, beside: try lmdb.neighbours(of: key, in: database))
            return nil
        }
        return try format("A row of '\(table.name)'") { () throws(FormatError) in
            try Row.open(value.span, key: key, in: table)
        }
    }

    /// Calls `body` with each pair from `start` on, until it returns false.
    package func scan(
        _ table: Table,
        from start: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        guard let database = core.databases[table] else { return }
        do throws(HoldfastError) {
            try lmdb.scan(database, of: table, from: start, body)
        } catch {
            // After an error of its own LMDB commits nothing any more.
            if error.systemCall != nil { core.failure = core.failure ?? error }
            throw error
        }
    }

    /// Removes a block that was just read.
    ///
    /// Where LMDB does not find it again its tree is out of order, and the whole transaction goes: nothing is touched.
    mutating func deleteBlock(_ position: UInt64, of queue: UInt32) throws(HoldfastError) {
        let database = try database(.queue(queue))
        core.changes += 1
        let isDeleted: Bool
        do throws(LMDBError) {
            isDeleted = try lmdb.delete(Key.number(position), in: database)
        } catch {
            var error = failed(error)
            if error.code == .damaged {
                error.message =
                    "The block at position \(position) of 'queue/\(queue)' cannot be removed. " + error.message
                core.failure = error
            }
            throw error
        }
        FaultPoint.reach(.blockDelete)
        guard !isDeleted else { return }
        let error = HoldfastError(
            code: .damaged,
            message:
                "The keys of 'queue/\(queue)' are out of order at \(position). Nothing was changed. Keep a copy of the "
                + "store, and run 'holdfast check --level full'."
        )
        core.failure = core.failure ?? error
        throw error
    }

    /// The fields of every row of the table `controller`, by key, checked.
    package func machineRows() throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        guard let database = core.databases[.controller] else { return [:] }
        return try lmdb.rows(of: .controller, database, where: Key.isMachine)
    }

    // MARK: Regions

    /// The regions of the store, in byte order.
    package var regions: [RegionID] { core.rows.keys.sorted() }

    /// A region's row, with the changes of this transaction.
    package func regionRow(_ region: RegionID) throws(HoldfastError) -> RegionRow {
        guard let row = core.rows[region] else { throw .unknownRegion(region) }
        return row
    }

    /// Replaces a region's row; it is written once, when the transaction ends.
    package mutating func setRegionRow(_ region: RegionID, _ row: RegionRow) {
        core.rows[region] = row
        core.changedRows.insert(region)
        core.changedQueues.insert(region)
        core.changes += 1
    }

    /// What the failover machine needs to know of each queue, at `now`.
    package mutating func summaries(now: Timestamp) throws(HoldfastError) -> [RegionID: QueueSummary] {
        try storeAllSingles()
        return core.rows.mapValues { row in
            QueueSummary(
                entries: row.entries,
                bytes: row.rawBytes,
                oldestMilliseconds: row.entries > 0 ? max(0, now.milliseconds(since: row.oldestEnqueuedAt)) : 0,
                dead: row.counters.dead,
                needsResync: row.needsResync,
                isPaused: row.isPaused
            )
        }
    }

    /// Adds a queue for a region that has none.
    ///
    /// Refuses shares that are more than everything together.
    package mutating func addRegion(_ region: RegionID, limits: QueueLimits) throws(HoldfastError) {
        precondition(core.rows[region] == nil, "region '\(region)' has a queue already")
        try QueueLimits.checkShares(core.rows.mapValues(\.limits).merging([region: limits]) { $1 })
        let number = core.superblock.nextQueue
        guard number < .max else { throw HoldfastError(code: .full, message: "Every queue number has been used.") }
        core.superblock.nextQueue = number + 1
        core.superblockChanged = true
        var row = RegionRow(number: number)
        row.limits = limits
        setRegionRow(region, row)
        _ = try database(.queue(number))
        _ = try database(.seen(number))
        FaultPoint.reach(.regionAdd)
    }

    /// Removes a region's queue; entries that it still holds, and its dead letters, go to the `lost` ledger.
    package mutating func removeRegion(_ region: RegionID, now: Timestamp) throws(HoldfastError) {
        try storeSingles(region)
        let row = try regionRow(region)
        if row.entries > 0 {
            let lost = LostRow(
                reason: .removed,
                at: now,
                entries: row.entries,
                rawBytes: row.rawBytes,
                anchor: row.chain
            )
            let key = Key.lost(region, queue: row.number, first: row.headPosition, last: row.nextPosition - 1)
            try put(lost.encoded(), key: key, in: .lost)
        }
        // What cannot be read is gone as well.
        var dead = LostRanges()
        let table = Table.dead(row.number)
        try scan(table) { (key, value) throws(HoldfastError) in
            let letter = try? DeadRow.read(key, value, in: table)
            guard let position = letter?.position ?? (try? Key.number(from: key.span)) else { return true }
            dead.add(position, letter?.row.entry.write.rawBytes ?? 0)
            return true
        }
        try put(dead, reason: .removed, of: region, row.number, now: now)
        for table in [Table.queue(row.number), .seen(row.number), .dead(row.number)] {
            try empty(table)
        }
        try delete(Key.region(region), in: .regions)
        try delete(Key.replaySettings(region), in: .controller)
        core.changedQueues.insert(region)
        core.rows[region] = nil
        core.changedRows.remove(region)
        core.seen[region] = nil
        FaultPoint.reach(.regionRemove)
    }

    // MARK: History

    /// Adds events to the history, which forgets the oldest beyond its capacity.
    package mutating func record(_ events: [FailoverEvent]) throws(HoldfastError) {
        guard !events.isEmpty else { return }
        core.changes += 1
        core.eventsChanged = true
        for event in events {
            let key = Key.number(core.nextEvent)
            core.nextEvent &+= 1
            guard core.historyCapacity > 0 else { continue }
            try put(EventRow.encoded(event), key: key, in: .history)
            FaultPoint.reach(.event)
            core.historyCount += 1
        }
        try trimHistory()
    }

    /// Forgets the oldest events beyond the capacity.
    package mutating func trimHistory() throws(HoldfastError) {
        while core.historyCount > UInt64(max(0, core.historyCapacity)) {
            try delete(Key.number(core.nextEvent &- core.historyCount), in: .history)
            core.historyCount -= 1
        }
    }

    /// How many changes the transaction holds.
    package var changeCount: Int { core.changes }

    /// Whether it will be aborted.
    package var hasFailed: Bool { core.failure != nil }

    /// Makes the transaction one that commits, for the sake of what takes part in it.
    package mutating func touch() { core.changes += 1 }

    // MARK: End

    /// Writes the rows that changed; what is left is the commit.
    mutating func finish() throws(HoldfastError) {
        try storeAllSingles()
        for region in core.changedRows.sorted() {
            guard let row = core.rows[region] else { continue }
            try put(row.encoded(), key: Key.region(region), in: .regions)
        }
        FaultPoint.reach(.regionRows)
        try storeSeen()
        FaultPoint.reach(.seenRows)
        if core.superblockChanged {
            for (name, fields) in core.superblock.encoded() {
                try put(fields, key: Key.text(name.rawValue), in: .superblock)
            }
            FaultPoint.reach(.superblock)
        }
        if core.eventsChanged {
            let key = Key.controller(ControllerRows.Name.events.rawValue)
            try put(ControllerRows.number(core.nextEvent), key: key, in: .controller)
        }
    }

    /// Commits; on return everything is on the disk.
    ///
    /// Gives the transaction's number.
    consuming func commit() throws(LMDBError) -> UInt64 {
        let number = lmdb.number
        FaultPoint.reach(.commitBefore)
        try lmdb.commit()
        FaultPoint.reach(.commitAfter)
        return number
    }
}
