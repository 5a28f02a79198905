internal import Bytes
internal import RegionFailover
internal import ReplayFormat

/// Identities as ranges of sequences, in order for each origin and incarnation.
struct IdentitySet {
    private struct Life: Hashable {
        var origin: RegionID
        var incarnation: UInt64
    }
    private var ranges: [Life: [ClosedRange<UInt64>]] = [:]

    /// Takes ranges in any order; none overlaps another.
    init(_ all: some Sequence<IdentityRange>) {
        for range in all {
            ranges[Life(origin: range.origin, incarnation: range.incarnation), default: []]
                .append(range.first...range.last)
        }
        for life in ranges.keys { ranges[life]?.sort { $0.lowerBound < $1.lowerBound } }
    }

    /// Those that share a sequence with `range`, in order.
    func overlapping(_ range: IdentityRange) -> ArraySlice<ClosedRange<UInt64>> {
        guard let known = ranges[Life(origin: range.origin, incarnation: range.incarnation)] else { return [] }
        var (low, high) = (0, known.count)
        while low < high {
            let middle = (low + high) / 2
            if known[middle].upperBound < range.first { low = middle + 1 } else { high = middle }
        }
        return known[low...].prefix { $0.lowerBound <= range.last }
    }
}

/// What a queue holds and has had, without the values: what two stores are compared by.
///
/// It takes 24 bytes an entry, and more where sequences or positions do not follow each other.
struct QueueOutline {
    /// Queued entries whose sequences and positions follow each other.
    struct Run: Sequence {
        var range: IdentityRange
        var position: UInt64

        func position(of sequence: UInt64) -> UInt64 { position + (sequence - range.first) }

        func makeIterator() -> AnyIterator<(WriteIdentity, UInt64)> {
            var next: UInt64? = range.first
            return AnyIterator {
                guard let sequence = next else { return nil }
                next = sequence < range.last ? sequence + 1 : nil
                let identity = WriteIdentity(
                    origin: range.origin,
                    incarnation: range.incarnation,
                    sequence: sequence
                )
                return (identity, position(of: sequence))
            }
        }
    }

    let head: UInt64
    let next: UInt64
    private(set) var runs: [Run] = []
    private(set) var seen: [IdentityRange] = []
    private(set) var queued = IdentitySet([])
    private var seenSet = IdentitySet([])
    private var floors: [RegionID: SeenRanges.Number] = [:]
    /// Entries that follow each other without a gap.
    private struct Stretch {
        /// The position of its first entry.
        var first: UInt64
        /// Where its numbers begin in `chains` and in `hashes`: there is one chain more than there are entries.
        var chain: Int
        var hash: Int
    }
    private var stretches: [Stretch] = []
    /// For each stretch the chain's digest before it, and after each of its entries.
    private var chains: [Hash128] = []
    /// The hash of each write, without when it was queued.
    private var hashes: [UInt64] = []
    /// The chain's digest after the last entry that was ever queued.
    private let end: Hash128

    init(_ row: RegionRow) {
        head = row.headPosition
        next = row.nextPosition
        end = row.chain
    }

    /// Where the chain's digest is known: before which positions, in order, with no two ranges beside each other.
    var known: [ClosedRange<UInt64>] {
        stretches.indices.map { index in
            let count =
                (index + 1 < stretches.count ? stretches[index + 1].chain : chains.count) - stretches[index].chain
            return stretches[index].first...(stretches[index].first + UInt64(count - 1))
        }
    }

    /// The position behind the last entry; nil before the first.
    private var place: UInt64? {
        stretches.last.map { $0.first + UInt64(chains.count - $0.chain - 1) }
    }

    private func stretch(of position: UInt64) -> Stretch {
        var (low, high) = (0, stretches.count)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].first <= position { low = middle + 1 } else { high = middle }
        }
        precondition(low > 0, "position \(position) is before all that are there")
        return stretches[low - 1]
    }

    /// The chain's digest before `position`, which is in one of ``known``.
    func chain(before position: UInt64) -> Hash128 {
        let stretch = stretch(of: position)
        return chains[stretch.chain + Int(position - stretch.first)]
    }

    /// The hash of the write at `position`, which is queued.
    func hash(at position: UInt64) -> UInt64 {
        let stretch = stretch(of: position)
        return hashes[stretch.hash + Int(position - stretch.first)]
    }

    /// Begins a stretch at `position`.
    private mutating func begin(at position: UInt64, chain: Hash128) {
        stretches.append(Stretch(first: position, chain: chains.count, hash: hashes.count))
        chains.append(chain)
    }

    /// What became of writes that are not queued here, part for part.
    func fate(of range: IdentityRange) -> [(IdentityRange, StoreDiff.Other)] {
        var parts: [(IdentityRange, StoreDiff.Other)] = seenSet.overlapping(range).map { seen in
            (range.with(max(seen.lowerBound, range.first), min(seen.upperBound, range.last)), .left)
        }
        let floor = floors[range.origin]
        for part in range.without(seenSet) {
            guard let floor, floor.incarnation >= part.incarnation else {
                parts.append((part, .never))
                continue
            }
            let last = floor.incarnation > part.incarnation ? part.last : floor.sequence
            if last >= part.first { parts.append((part.with(part.first, min(last, part.last)), .forgotten)) }
            if last < part.last { parts.append((part.with(max(part.first, last + 1), part.last), .never)) }
        }
        return parts.sorted { $0.0.first < $1.0.first }
    }

    fileprivate mutating func take(_ entries: [QueueEntry], chainBefore: Hash128) {
        var canonical = Canonical()
        var timeless = Canonical()
        var chain = chainBefore
        for (index, entry) in entries.enumerated() {
            canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
            timeless.append(FrameContent.Entry(write: entry.write, enqueuedAt: Timestamp(milliseconds: 0)))
            let before = chain
            chain = canonical.advance(chain, over: index)
            guard entry.position >= head else { continue }
            if place != entry.position { begin(at: entry.position, chain: before) }
            chains.append(chain)
            hashes.append(timeless.hash(of: index))
            let write = entry.write
            if let last = runs.last, last.range.origin == write.origin, last.range.incarnation == write.incarnation,
                last.range.last < .max, last.range.last + 1 == write.sequence,
                last.position(of: last.range.last) + 1 == entry.position
            {
                runs[runs.count - 1].range.last = write.sequence
            } else {
                let range = IdentityRange(
                    origin: write.origin,
                    incarnation: write.incarnation,
                    first: write.sequence,
                    last: write.sequence
                )
                runs.append(Run(range: range, position: entry.position))
            }
        }
    }

    fileprivate mutating func take(_ range: SeenRow.Range) {
        seen.append(
            IdentityRange(
                origin: range.origin,
                incarnation: range.incarnation,
                first: range.first,
                last: range.last
            )
        )
    }

    fileprivate mutating func take(_ floor: SeenRanges.Number, of origin: RegionID) { floors[origin] = floor }

    fileprivate mutating func close() {
        // Behind the last entry nothing need be queued: the queue is empty, or what was there is lost.
        if place != next { begin(at: next, chain: end) }
        queued = IdentitySet(runs.lazy.map(\.range))
        seenSet = IdentitySet(seen)
    }
}

extension StoreReader {
    /// The regions of the deployment.
    func regionNames() throws(HoldfastError) -> [RegionID] {
        try look { (view) throws(HoldfastError) in try view.regionRows().map(\.0) }
    }

    /// What a region's queue holds and has had; nil when the region is not there.
    func outline(of region: RegionID) throws(HoldfastError) -> QueueOutline? {
        let codec = codec
        return try look { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { return nil }
            var outline = QueueOutline(row)
            let store = view.superblock.store
            try view.scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
                let (header, entries) = try format("Region '\(region)', a block") { () throws(FormatError) in
                    let position = try Key.number(from: key.span)
                    let block = try VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
                    return (block.header, try block.entries(codec))
                }
                outline.take(entries, chainBefore: header.chainBefore)
                return true
            }
            let table = Table.seen(row.number)
            try view.scan(table) { (key, value) throws(HoldfastError) in
                try format("A row of '\(table.name)'") { () throws(FormatError) in
                    if let range = try SeenRow.range(key, value, in: table) {
                        outline.take(range)
                    } else if case .floor(let origin) = try SeenKey(decoding: key.span) {
                        let fields = try Row.open(value, key: key, in: table)
                        let (incarnation, sequence) = try SeenRow.floor(decoding: fields.span)
                        outline.take(SeenRanges.Number(incarnation: incarnation, sequence: sequence), of: origin)
                    }
                }
                return true
            }
            outline.close()
            return outline
        }
    }
}
