internal import RegionFailover
internal import ReplayFormat

// A page whose last write never reached the disk has the bytes of an earlier commit, with checksums that are right. What
// tells is another table that went on: rows and queues, and rows and events, are written in the same transaction.

extension StoreView {
    /// Refuses a store whose rows are older than what its queues or its history hold, or that count others which are not there.
    ///
    /// Such a row would let the next change remove or overwrite blocks that it does not know of, or give out an epoch twice.
    ///
    /// - Throws: `damaged`.
    func proveRowsAreNewest() throws(HoldfastError) {
        for (region, row) in try regionRows() {
            try proveDeadLetters(region, row)
            guard let beyond = try provedEnd(beyond: row) else { continue }
            var error = HoldfastError(
                code: .damaged,
                message:
                    "Region '\(region)': its row says that the next position is \(row.nextPosition), and its queue goes on "
                    + "to \(beyond): a page is of an earlier commit, since its last write never reached the disk. Nothing "
                    + "was touched. Keep a copy of the directory; 'holdfast recover STORE --to NEW' keeps those entries."
            )
            error.region = region
            throw error
        }
        let next = try historyState().next
        var beyond: UInt64?
        try scan(.history, from: Key.number(next)) { (key, value) throws(HoldfastError) in
            beyond = (try? EventRow.read(key, value))?.0
            return beyond == nil
        }
        if let beyond {
            throw HoldfastError(
                code: .damaged,
                message:
                    "The controller's rows say that the next event is \(next), and the history goes on to \(beyond): a page "
                    + "is of an earlier commit, since its last write never reached the disk, and the epoch may be an old "
                    + "one. Nothing was touched. Keep a copy of the directory, and run 'holdfast recover STORE --to NEW'."
            )
        }
        try proveHistory()
    }

    /// The last position of a block that is proved and begins at or beyond the end that the row of its queue tells.
    private func provedEnd(beyond row: RegionRow) throws(HoldfastError) -> UInt64? {
        var beyond: UInt64?
        try scan(.queue(row.number), from: Key.number(row.nextPosition)) { (key, value) throws(HoldfastError) in
            // A key that a flipped bit made too large is no such block.
            if let header = try? BlockHeader(verifying: value), header.queue == row.number,
                header.store == superblock.store, header.firstPosition >= row.nextPosition,
                key == Key.number(header.firstPosition)
            {
                beyond = header.lastPosition
            }
            return true
        }
        return beyond
    }
}

extension SalvagedRows {
    /// Whether a row is older than what its queue or the history holds: then others on its page are as old.
    var areRowsStale: Bool {
        let isQueueBeyond = regions.values.contains { row in
            (blocks[row.number] ?? []).contains { $0.header.firstPosition >= row.nextPosition }
        }
        return isQueueBeyond || history.keys.contains { $0 >= nextEvent }
    }

    /// The number of the next event, as the controller's rows tell it.
    var nextEvent: UInt64 {
        let fields = controller[Key.controller(ControllerRows.Name.events.rawValue)]
        let number = fields.flatMap { fields in try? ControllerRows.number(decoding: fields.span) }
        // Without the row nothing is known to be older than it.
        return number ?? .max
    }
}
