package import Bytes
package import RegionFailover
package import ReplayFormat
private import Zstd

/// What a dump says before its entries, as of one commit.
package struct DumpHeader: Sendable {
    /// One queue.
    package struct Region: Sendable {
        package var region: RegionID
        package var queue: UInt32
        /// The first position that is queued, and the last one that the dump goes to.
        package var head: UInt64
        package var through: UInt64
        /// The chain's digest before the first entry, and before each entry that follows a range that was lost.
        package var anchors: [UInt64: Hash128]
        /// The first block behind `through`, where the region's row is older than its queue.
        package var beyond: UInt64?

        package init(
            region: RegionID,
            queue: UInt32,
            head: UInt64,
            through: UInt64,
            anchors: [UInt64: Hash128],
            beyond: UInt64? = nil
        ) {
            self.region = region
            self.queue = queue
            self.head = head
            self.through = through
            self.anchors = anchors
            self.beyond = beyond
        }
    }

    package var store: StoreID
    package var created: Timestamp
    package var regions: [Region]
    /// Every row that is neither a block nor derived from one: the table's name, the key, and the stored value.
    package var rows: [(table: Table, key: [UInt8], value: [UInt8])]
    package var regionRows: [RegionID: RegionRow]
}

extension StoreReader {
    /// Reads what a dump begins and ends with; the entries are read block by block after it.
    ///
    /// `withRows`: Whether the rows of the other tables are wanted; each is proved then.
    package func dumpHeader(withRows: Bool = true) throws(HoldfastError) -> DumpHeader {
        try look { (view) throws(HoldfastError) in
            var header = DumpHeader(
                store: view.superblock.store,
                created: view.superblock.created,
                regions: [],
                rows: [],
                regionRows: [:]
            )
            for table in view.tables where withRows && table.hasRows {
                try view.scan(table) { (key, value) throws(HoldfastError) in
                    _ = try format("A row of '\(table.name)'") { () throws(FormatError) in
                        try Row.open(value, key: key, in: table)
                    }
                    header.rows.append((table, key, value.array))
                    return true
                }
            }
            if withRows { try view.proveHistory() }
            for (region, row) in try view.regionRows() {
                if withRows { try view.proveDeadLetters(region, row) }
                header.regionRows[region] = row
                header.regions.append(
                    DumpHeader.Region(
                        region: region,
                        queue: row.number,
                        head: row.headPosition,
                        through: row.nextPosition - 1,
                        anchors: try view.anchors(region, row, codec),
                        beyond: try view.blockBeyond(row)
                    )
                )
            }
            return header
        }
    }
}

extension StoreView {
    /// The chain's digest before the head, and before each block that follows a range that was lost.
    fileprivate func anchors(
        _ region: RegionID,
        _ row: RegionRow,
        _ codec: FrameCodec
    ) throws(HoldfastError) -> [UInt64: Hash128] {
        var anchors: [UInt64: Hash128] = [:]
        let noted = try notedGaps(of: region, queue: row.number)
        let gaps = QueueGaps(row: row, noted: noted.map(\.range))
        if let first = try firstAnchor(row, from: [], codec) {
            // Blocks that are missing at the head are no beginning, unless the ledger names them.
            let isBeginning = first.position <= row.headPosition
            if isBeginning || gaps.missing(in: row.headPosition...(first.position - 1)).isEmpty {
                anchors[first.position] = first.chain
            }
        }
        for (range, anchor) in noted {
            let behind = range.upperBound &+ 1
            guard anchors[behind] == nil else { continue }
            if anchor != .zero {
                anchors[behind] = anchor
            } else if behind > row.headPosition,
                let next = try firstAnchor(row, from: Key.number(behind), codec), next.position == behind
            {
                anchors[behind] = next.chain
            }
        }
        return anchors
    }

    /// The first queued position in the first block from a key on, and the chain's digest before it; nil where there is no
    /// such block, or it is damaged.
    private func firstAnchor(
        _ row: RegionRow,
        from key: [UInt8],
        _ codec: FrameCodec
    ) throws(HoldfastError) -> (position: UInt64, chain: Hash128)? {
        var found: (UInt64, Hash128)?
        let store = superblock.store
        try scan(.queue(row.number), from: key) { (key, value) throws(HoldfastError) in
            let position = try format("A key of 'queue/\(row.number)'") { () throws(FormatError) in
                try Key.number(from: key.span)
            }
            let block = try? VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
            guard let block, let entries = try? block.entries(codec) else { return false }
            var canonical = Canonical()
            var digest = block.header.chainBefore
            for (index, entry) in entries.enumerated() where entry.position < row.headPosition {
                canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
                digest = canonical.advance(digest, over: index)
            }
            found = (max(row.headPosition, position), digest)
            return false
        }
        return found
    }
}
