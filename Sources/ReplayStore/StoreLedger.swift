package import RegionFailover
package import ReplayFormat

/// A row of the ledger of what was lost, or why it cannot be read.
package struct LedgerItem: Sendable {
    /// The row's key, as it is stored.
    package var key: [UInt8]
    /// The row and the range that it is about.
    package var row: Result<(place: LostKey, row: LostRow), FormatError>
}

extension StoreReader {
    /// Calls `body` with each row of the ledger, in the order of region, queue and position, until it returns false.
    ///
    /// The rows are read in short looks: none is held while `body` runs. Rows that come or go meanwhile may be missing.
    ///
    /// `region`: Nil for those of every region, also of regions that are gone.
    package func ledger(
        of region: RegionID? = nil,
        _ body: (LedgerItem) throws -> Bool
    ) throws {
        let prefix = region.map { Key.region($0) + [0] } ?? []
        var next = prefix
        while true {
            let items = try ledgerItems(from: next, prefix)
            for item in items { guard try body(item) else { return } }
            guard let last = items.last else { return }
            // The key that comes right behind it.
            next = last.key + [0]
        }
    }

    private func ledgerItems(from start: [UInt8], _ prefix: [UInt8]) throws(HoldfastError) -> [LedgerItem] {
        try look { (view) throws(HoldfastError) in
            var items: [LedgerItem] = []
            var bytes = 0
            try view.scan(.lost, from: start) { (key, value) throws(HoldfastError) in
                guard key.starts(with: prefix) else { return false }
                do throws(FormatError) {
                    let (place, row) = try LostRow.read(key, value)
                    items.append(LedgerItem(key: key, row: .success((place, row))))
                } catch {
                    items.append(LedgerItem(key: key, row: .failure(error)))
                }
                bytes += value.count
                return bytes < view.lookBytes
            }
            return items
        }
    }
}
