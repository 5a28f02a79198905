private import Bytes
private import Pages
internal import RegionFailover
private import ReplayFormat
private import Zstd

extension Recovery {
    /// Writes the queue of a region, from every block of it that was found, and says what became of it.
    func writeQueue(
        _ region: RegionID,
        _ number: UInt32,
        _ loader: StoreLoader
    ) throws(HoldfastError) -> StoreRecover.Region {
        let known = rows.regions[region].flatMap { $0.number == number ? $0 : nil }
        var result = StoreRecover.Region(region: region, isAcknowledgedUnknown: known == nil || !isTrusted)
        result.isNameUnknown = unnamed.contains { $0.region == region && $0.number == number }
        var row = known ?? RegionRow(number: number)
        var seen = rows.seen[number] ?? SalvagedSeen()
        let places = (rows.blocks[number] ?? []).sorted { $0.header.firstPosition < $1.header.firstPosition }
        var next = known?.headPosition ?? places.first?.header.firstPosition ?? 1
        // Of a trusted row's queue nothing stands beyond its end.
        let end = isTrusted ? known?.nextPosition ?? .max : .max
        var first: UInt64?
        var chain: Hash128?
        var gaps: [(range: ClosedRange<UInt64>, anchor: Hash128)] = []
        var index = 0
        while index < places.count {
            let position = places[index].header.firstPosition
            var group: [SalvagedRows.BlockPlace] = []
            while index < places.count, places[index].header.firstPosition == position {
                group.append(places[index])
                index += 1
            }
            // Of several states of one block, the one that continues the chain.
            group.sort { ($0.header.chainBefore == chain ? 0 : 1) < ($1.header.chainBefore == chain ? 0 : 1) }
            for place in group where place.header.lastPosition >= next && place.header.lastPosition < end {
                guard position <= next || place.header.lastPosition < .max - 1,
                    let entries = try self.entries(of: place)
                else { continue }
                var canonical = Canonical()
                var digest = place.header.chainBefore
                let from = max(next, position)
                if from > next {
                    gaps.append((next...(from - 1), digest))
                    chain = nil
                }
                for (offset, entry) in entries.enumerated() {
                    canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
                    if entry.position == from, chain == nil || first == nil {
                        loader.begin(region, at: from, chain: digest)
                        if let gap = gaps.last, gap.range.upperBound == from - 1 {
                            gaps[gaps.count - 1].anchor = digest
                        }
                    }
                    digest = canonical.advance(digest, over: offset)
                    guard entry.position >= from else { continue }
                    try loader.add(entry, to: region)
                    seen.add(entry.write)
                    first = first ?? entry.position
                }
                chain = digest
                next = place.header.lastPosition + 1
                break
            }
        }
        let tail = try loader.tail(of: region)
        if let known, next > known.nextPosition { result.isAcknowledgedUnknown = true }
        if next < row.nextPosition {
            gaps.append((next...(row.nextPosition - 1), tail.entries > 0 ? tail.chain : row.chain))
            next = row.nextPosition
        }
        row.nextPosition = next
        result.recovered = tail.entries
        result.lost = gaps.map(\.range)
        // A gap at the head has left the queue; the others are passed when the head comes to them.
        row.headPosition = first ?? next
        (row.entries, row.rawBytes) = (tail.entries, tail.rawBytes)
        row.oldestEnqueuedAt = tail.entries > 0 ? tail.oldest : row.oldestEnqueuedAt
        if tail.entries > 0 { row.chain = tail.chain }
        // They are of the entry at the cursor.
        if !isTrusted || row.headPosition != known?.headPosition { row.attempts = 0 }
        for letter in rows.dead[number] ?? [:] {
            try loader.add(table: .dead(number), key: Key.number(letter.key), value: letter.value)
            result.dead += 1
        }
        try balance(&row, region, gaps, known != nil, &result, loader)
        if let identities = seen.count, identities < row.counters.accepted {
            result.forgotten = row.counters.accepted - identities
        }
        for (key, fields) in seen.rows() { try loader.put(fields, key: key, in: .seen(number)) }
        try loader.put(row.encoded(), key: Key.region(region), in: .regions)
        return result
    }

    /// Makes the sums add up again: what no row accounts for goes to the ledger of what was lost.
    private func balance(
        _ row: inout RegionRow,
        _ region: RegionID,
        _ gaps: [(range: ClosedRange<UInt64>, anchor: Hash128)],
        _ isRowKnown: Bool,
        _ result: inout StoreRecover.Region,
        _ loader: StoreLoader
    ) throws(HoldfastError) {
        var ledger: [[UInt8]: LostRow] = [:]
        for (key, found) in rows.lost where found.place.region == region && found.place.queue == row.number {
            ledger[key] = found.row
        }
        for (range, anchor) in gaps {
            let key = Key.lost(region, queue: row.number, first: range.lowerBound, last: range.upperBound)
            ledger[key] = LostRow(
                reason: .missing,
                at: now,
                entries: range.upperBound - range.lowerBound + 1,
                rawBytes: 0,
                anchor: anchor
            )
        }
        func sum(_ reasons: [LostRow.Reason]) -> UInt64 {
            ledger.values.reduce(0) { reasons.contains($1.reason) ? $0 &+ $1.entries : $0 }
        }
        row.counters.dropped = sum([.dropped, .expired, .discarded])
        row.counters.lost = sum([.damaged, .missing])
        row.counters.dead = result.dead
        row.counters.retried = min(row.counters.retried, row.nextPosition - 1)
        row.counters.accepted = row.nextPosition - 1 - row.counters.retried
        let counters = row.counters
        let told = [counters.acknowledged, counters.drained, counters.dropped, counters.dead, counters.lost]
        let accounted = told.reduce(row.entries, &+)
        if accounted > counters.accepted {
            // Older states came back: what they held was counted as acknowledged.
            let surplus = accounted - counters.accepted
            let fromAcknowledged = min(surplus, counters.acknowledged)
            row.counters.acknowledged -= fromAcknowledged
            row.counters.accepted += surplus - fromAcknowledged
            result.isAcknowledgedUnknown = true
        } else if accounted < counters.accepted {
            let missing = counters.accepted - accounted
            if isRowKnown {
                let last = max(1, row.headPosition - 1)
                let key = Key.lost(region, queue: row.number, first: 1, last: last)
                var lost = ledger[key] ?? LostRow(reason: .missing, at: now, entries: 0, rawBytes: 0, anchor: .zero)
                lost.entries &+= missing
                ledger[key] = lost
                row.counters.lost &+= missing
                result.unaccounted = missing
            } else {
                // Nothing tells what became of what stood before: it left the queue.
                row.counters.acknowledged &+= missing
            }
        }
        let isIncomplete = !gaps.isEmpty || result.unaccounted > 0 || result.isAcknowledgedUnknown
        row.needsResync = row.needsResync || isIncomplete
        for (key, lost) in ledger { try loader.put(lost.encoded(), key: key, in: .lost) }
    }

    /// The entries of a block, read again; nil where it cannot be decoded.
    private func entries(of place: SalvagedRows.BlockPlace) throws(HoldfastError) -> [QueueEntry]? {
        let key = Key.number(place.header.firstPosition)
        let pairs = try pages { () throws(PageError) in
            try file.pairs(ofLeaf: place.page, of: key, valueMax: Self.valueBytesMax)
        }
        for pair in pairs {
            let header = place.header
            let block = try? VerifiedBlock(
                pair.value.span,
                store: header.store,
                queue: header.queue,
                firstPosition: header.firstPosition
            )
            if let block, block.header == header, let entries = try? block.entries(codec) { return entries }
        }
        return nil
    }
}
