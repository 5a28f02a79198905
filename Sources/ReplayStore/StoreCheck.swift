private import Bytes
package import RegionFailover
internal import ReplayFormat
internal import Zstd

/// Looks for bytes that are not what was written, and for rows that contradict each other.
package enum StoreCheck {
    /// How much is looked at.
    package enum Level: String, Sendable, CaseIterable {
        /// The rows of the regions, the controller and the ledger, and both ends of each queue.
        case quick
        /// Every checksum, position, counter, ledger and chain.
        case full
        /// The same, and every page of the file: that trees are whole and in order, and no page has two uses.
        case deep
    }

    /// How bad it is.
    package enum Severity: String, Sendable {
        /// Something is not what was written.
        case error
        /// Nothing is wrong with the bytes, but somebody should know.
        case warning
    }

    /// One thing that was found.
    package struct Finding: Sendable, Hashable {
        /// A short name for it, fit for a script.
        package var code: String
        package var severity: Severity
        package var region: RegionID?
        /// The first and last position that it touches.
        package var first: UInt64?
        package var last: UInt64?
        /// The sub-database it is in.
        package var table: String
        /// The page of the file that it is about.
        package var page: UInt64?
        package var message: String
        /// What to do.
        package var action: String
    }

    /// What a check came to.
    package struct Report: Sendable, Hashable {
        package var findings: [Finding] = []
        package var regions = 0
        package var blocks = 0
        package var entries: UInt64 = 0

        /// Whether no finding is an error.
        package var isClean: Bool { !findings.contains { $0.severity == .error } }
    }

    /// Checks the store at `path`, as of its last commit.
    ///
    /// Another process may be writing when the level is ``Level/quick``; the others need one moment, so a closed store.
    ///
    /// - Throws: ``HoldfastError`` when there is nothing that can be checked: no store, no permission, a newer format.
    ///   Damage is a finding, not an error.
    package static func run(_ path: String, level: Level) throws(HoldfastError) -> Report {
        do throws(HoldfastError) {
            return try run(try StoreReader.open(path), level)
        } catch {
            guard error.code == .damaged else { throw error }
            var report = unreadable(error)
            if level == .deep { report.findings += try PageFindings.of(path + "/" + DataFile.name) }
            return report
        }
    }

    /// Checks what `reader` has open.
    package static func run(_ reader: StoreReader, _ level: Level) throws(HoldfastError) -> Report {
        var report: Report
        do throws(HoldfastError) {
            report = try reader.look { (view) throws(HoldfastError) in
                var checker = Checker(level: level, codec: reader.codec)
                try checker.check(view)
                return checker.report
            }
        } catch {
            guard error.code == .damaged else { throw error }
            report = unreadable(error)
        }
        if level == .deep {
            let rows = try? reader.look { (view) throws(HoldfastError) in try view.regionRows() }
            let queues = Dictionary((rows ?? []).map { ($0.1.number, $0.0) }) { first, _ in first }
            report.findings += try PageFindings.of(reader.path + "/" + reader.file, queues)
        }
        return report
    }

    private static func unreadable(_ error: HoldfastError) -> Report {
        var report = Report()
        report.findings.append(
            Finding(
                code: "unreadable",
                severity: .error,
                table: "",
                message: error.message,
                action: "Keep a copy of the directory before you change anything."
            )
        )
        return report
    }
}

/// One run of a check.
struct Checker {
    let level: StoreCheck.Level
    let codec: FrameCodec
    var report = StoreCheck.Report()
    /// The entries that the ledger says were dropped and lost, by queue number.
    private var ledger:
        [UInt32: (dropped: UInt64, lost: UInt64, ranges: [(first: UInt64, last: UInt64, row: LostRow)])] = [:]

    /// The identities of the entries that are queued, for the check of what was seen.
    var identities: [RegionID: [RegionID: [SeenRanges.Number]]] = [:]

    init(level: StoreCheck.Level, codec: FrameCodec) {
        self.level = level
        self.codec = codec
    }

    mutating func note(
        _ code: String,
        _ table: Table,
        _ message: String,
        region: RegionID? = nil,
        positions: ClosedRange<UInt64>? = nil,
        severity: StoreCheck.Severity = .error,
        action: String = "Keep a copy of the store. Restore from a replica or a backup, or go on without what is named."
    ) {
        report.findings.append(
            StoreCheck.Finding(
                code: code,
                severity: severity,
                region: region,
                first: positions?.lowerBound,
                last: positions?.upperBound,
                table: table.name,
                message: message.hasSuffix(".") ? message : message + ".",
                action: action
            )
        )
    }

    mutating func check(_ view: borrowing StoreView) throws(HoldfastError) {
        let rows = try regionRows(view)
        report.regions = rows.count
        try checkLedger(view)
        try checkController(view, rows.map(\.0))
        try checkHistory(view)
        try checkAgreement(view, rows)
        for (region, row) in rows {
            checkCounters(region, row)
            try checkQueue(view, region, row)
            if level != .quick {
                try checkSeen(view, region, row)
                try checkDead(view, region, row)
            }
        }
        if level != .quick {
            try checkDictionaries(view)
            try checkRows(of: [.raft], view)
            try checkNothingExtra(view, rows.map(\.1.number))
        }
    }

    private mutating func regionRows(_ view: borrowing StoreView) throws(HoldfastError) -> [(RegionID, RegionRow)] {
        var rows: [(RegionID, RegionRow)] = []
        try view.scan(.regions) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                rows.append(try RegionRow.read(key, value))
            } catch {
                let region = RegionID(utf8: key)
                note(
                    "row",
                    .regions,
                    "The row of region '\(region?.rawValue ?? "?")': \(error.description)",
                    region: region
                )
            }
            return true
        }
        return rows
    }

    private mutating func checkLedger(_ view: borrowing StoreView) throws(HoldfastError) {
        try view.scan(.lost) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                let (place, read) = try LostRow.read(key, value)
                // As large as it was in the queue, and nothing that is looked at.
                var row = read
                row.block = []
                switch row.reason {
                case .dropped, .expired, .discarded: ledger[place.queue, default: (0, 0, [])].dropped &+= row.entries
                case .damaged, .missing: ledger[place.queue, default: (0, 0, [])].lost &+= row.entries
                case .removed: break
                }
                ledger[place.queue, default: (0, 0, [])].ranges.append((place.first, place.last, row))
            } catch {
                note("row", .lost, "A row of the ledger: \(error.description)")
            }
            return true
        }
    }

    private mutating func checkController(_ view: borrowing StoreView, _ regions: [RegionID]) throws(HoldfastError) {
        try view.scan(.controller) { (key, value) throws(HoldfastError) in
            guard let region = Key.replaySettingsRegion(key) else { return true }
            do throws(FormatError) {
                let fields = try Row.open(value, key: key, in: .controller)
                _ = try ReplaySettings(decoding: fields.span)
            } catch {
                note(
                    "settings",
                    .controller,
                    "How the queue of region '\(region)' is replayed: \(error.description). Its replay waits.",
                    region: region,
                    action: "Set it again: 'holdfast region replay' with at least one setting for this region."
                )
            }
            return true
        }
        if try view.hasNoDeployment() { return }
        do throws(HoldfastError) {
            let snapshot = try MachineRows.load(regions, rows: try view.machineRows())
            do throws(FailoverError) {
                _ = try FailoverMachine(restoring: snapshot)
            } catch {
                note("controller", .controller, error.message)
            }
        } catch {
            guard error.code == .damaged else { throw error }
            note("controller", .controller, error.message)
        }
    }

    private mutating func checkHistory(_ view: borrowing StoreView) throws(HoldfastError) {
        guard level != .quick else { return }
        var next: UInt64?
        var isWhole = true
        try view.scan(.history) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                let (number, _) = try EventRow.read(key, value)
                if let next, next != number {
                    note("history", .history, "Events \(next) to \(number - 1) are missing.")
                }
                next = number &+ 1
            } catch {
                isWhole = false
                note("row", .history, "An event: \(error.description)")
            }
            return true
        }
        guard isWhole, let next, let state = try? view.historyState() else { return }
        if next != state.next {
            note("history", .history, "The last event is \(next &- 1), and should be \(state.next &- 1).")
        }
    }

    private mutating func checkCounters(_ region: RegionID, _ row: RegionRow) {
        if !row.isBalanced {
            note(
                "ledger",
                .regions,
                "The ledger of region '\(region)' does not balance: accepted \(row.counters.accepted), queued "
                    + "\(row.entries), acknowledged \(row.counters.acknowledged), drained \(row.counters.drained), dropped "
                    + "\(row.counters.dropped), dead \(row.counters.dead), lost \(row.counters.lost).",
                region: region
            )
        }
        let noted = ledger[row.number] ?? (0, 0, [])
        if noted.dropped != row.counters.dropped || noted.lost != row.counters.lost {
            note(
                "ledger",
                .lost,
                "The ledger names \(noted.dropped) dropped and \(noted.lost) lost entries of region '\(region)'; its row "
                    + "says \(row.counters.dropped) and \(row.counters.lost).",
                region: region
            )
        }
        if row.nextPosition &- 1 != row.counters.accepted &+ row.counters.retried {
            note(
                "positions",
                .regions,
                "Region '\(region)' has given out \(row.nextPosition &- 1) positions to \(row.counters.accepted) entries "
                    + "and \(row.counters.retried) dead letters.",
                region: region
            )
        }
        guard row.needsResync else { return }
        for range in noted.ranges where range.row.reason != .removed {
            note(
                "lost",
                .lost,
                "\(range.row.entries) entries of region '\(region)' left without being received: \(range.row.reason.name).",
                region: region,
                positions: range.first...range.last,
                severity: .warning,
                action:
                    "Copy the data to the region by other means, then run 'holdfast region clear-resync STORE \(region)'."
            )
        }
    }

    // MARK: Queues

    private mutating func checkQueue(
        _ view: borrowing StoreView,
        _ region: RegionID,
        _ row: RegionRow
    ) throws(HoldfastError) {
        let table = Table.queue(row.number)
        guard view.has(table) else {
            return note("table", table, "The queue of region '\(region)' has no table.", region: region)
        }
        var walk = QueueWalk(region: region, row: row, ranges: ledger[row.number]?.ranges ?? [])
        let count = try view.count(table)
        var index = 0
        let isFull = level != .quick
        let codec = codec
        let store = view.superblock.store
        try view.scan(table) { (key, value) throws(HoldfastError) in
            index += 1
            // Both ends tell a quick look whether anything is missing there.
            if isFull || index == 1 || index == count {
                walk.take(key, value, store: store, decodes: isFull, codec: codec)
            }
            return true
        }
        walk.end(isFull: isFull, blocks: count)
        report.blocks += count
        report.entries &+= row.entries
        for finding in walk.findings {
            note(finding.code, table, finding.message, region: region, positions: finding.positions)
        }
        identities[region] = walk.identities
    }

    private mutating func checkDead(
        _ view: borrowing StoreView,
        _ region: RegionID,
        _ row: RegionRow
    ) throws(HoldfastError) {
        let table = Table.dead(row.number)
        var dead = 0
        try view.scan(table) { (key, value) throws(HoldfastError) in
            dead += 1
            do throws(FormatError) {
                let (position, _) = try DeadRow.read(key, value, in: table)
                if position >= row.headPosition {
                    note("dead", table, "The dead letter at \(position) is queued as well.", region: region)
                }
            } catch {
                note("row", table, "A dead letter of region '\(region)': \(error.description)", region: region)
            }
            return true
        }
        if UInt64(dead) != row.counters.dead {
            note(
                "dead",
                .dead(row.number),
                "\(dead) dead letters are there, \(row.counters.dead) counted.",
                region: region
            )
        }
    }

    /// Proves the checksums of tables whose rows this version does not use.
    private mutating func checkRows(of tables: [Table], _ view: borrowing StoreView) throws(HoldfastError) {
        for table in tables {
            try view.scan(table) { (key, value) throws(HoldfastError) in
                do throws(FormatError) {
                    _ = try Row.open(value, key: key, in: table)
                } catch {
                    note("row", table, "A row of '\(table.name)': \(error.description)")
                }
                return true
            }
        }
    }

    /// A queue that no region has holds nothing.
    private mutating func checkNothingExtra(_ view: borrowing StoreView, _ numbers: [UInt32]) throws(HoldfastError) {
        let known = Set(numbers)
        for table in view.tables {
            switch table {
            case .queue(let number), .seen(let number), .dead(let number):
                let count = try view.count(table)
                if !known.contains(number), count > 0 {
                    note("extra", table, "The table '\(table.name)' belongs to no region, and holds \(count) pairs.")
                }
            default: break
            }
        }
    }
}
