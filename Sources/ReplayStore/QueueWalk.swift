private import Bytes
internal import RegionFailover
internal import ReplayFormat
internal import Zstd

/// A walk over the blocks of one queue that recomputes what its row says.
struct QueueWalk {
    struct Finding {
        var code: String
        var message: String
        var positions: ClosedRange<UInt64>?
    }

    let region: RegionID
    let row: RegionRow
    private let ranges: [(first: UInt64, last: UInt64, row: LostRow)]
    private(set) var findings: [Finding] = []
    /// The identities of the entries that are queued, by origin.
    private(set) var identities: [RegionID: [SeenRanges.Number]] = [:]

    /// The position that must come next; nil before the first block.
    private var next: UInt64?
    /// The chain so far; nil where it cannot be known.
    private var chain: Hash128?
    private var entries: UInt64 = 0
    private var rawBytes: UInt64 = 0
    private var storedBytes: UInt64 = 0
    private var isDamaged = false
    /// A damaged block whose end is not known yet: its finding, and where it begins.
    private var damaged: (finding: Int, position: UInt64)?

    /// Names the positions of the damaged block before `end`; false when it does not explain what is missing from `start`.
    private mutating func closeDamaged(from start: UInt64, before end: UInt64) -> Bool {
        guard let (finding, position) = damaged else { return false }
        damaged = nil
        chain = nil
        findings[finding].positions = position...max(position, end - 1)
        return start >= position
    }

    init(region: RegionID, row: RegionRow, ranges: [(first: UInt64, last: UInt64, row: LostRow)]) {
        self.region = region
        self.row = row
        self.ranges = ranges.filter { $0.row.reason == .damaged || $0.row.reason == .missing }
    }

    private mutating func note(_ code: String, _ message: String, _ first: UInt64? = nil, _ last: UInt64? = nil) {
        let positions = first.map { $0...max($0, last ?? $0) }
        findings.append(Finding(code: code, message: message, positions: positions))
    }

    /// Takes the next block.
    mutating func take(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        store: StoreID,
        decodes: Bool,
        codec: FrameCodec
    ) {
        storedBytes += UInt64(value.count + 8)
        guard let position = try? Key.number(from: key.span) else {
            isDamaged = true
            return note("block", "A key of the queue of region '\(region)' is no position.")
        }
        let block: VerifiedBlock
        do throws(FormatError) {
            block = try VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
        } catch {
            isDamaged = true
            // Where the damaged block ends is told by the next one, or by the end.
            damaged = (findings.count, position)
            if next == nil { next = position }
            return note("block", "The block at position \(position): \(error.description).", position)
        }
        checkPlace(block.header, decodes: decodes)
        next = block.header.lastPosition + 1
        guard decodes else {
            // The blocks between are not looked at, so the chain is not either.
            chain = nil
            return
        }
        do throws(FormatError) {
            try count(block, codec)
        } catch {
            isDamaged = true
            chain = nil
            note(
                "block",
                "The block at position \(position): \(error.description)",
                position,
                block.header.lastPosition
            )
        }
    }

    /// Whether every position from `first` to `last` is in the ledger of what was lost.
    private func areNoted(_ first: UInt64, _ last: UInt64) -> Bool {
        var position = first
        for range in ranges where range.first <= position && range.last >= position {
            if range.last >= last { return true }
            position = range.last + 1
        }
        return false
    }

    private mutating func checkPlace(_ header: BlockHeader, decodes: Bool) {
        let position = header.firstPosition
        if let next {
            if position > next, decodes, !closeDamaged(from: next, before: position) {
                chain = ranges.last { $0.last == position - 1 }?.row.anchor
                if chain == .zero { chain = nil }
                if !areNoted(next, position - 1) {
                    chain = nil
                    isDamaged = true
                    note("missing", "Positions \(next) to \(position - 1) are missing.", next, position - 1)
                }
            } else if position < next {
                isDamaged = true
                note("order", "The block at \(position) overlaps the one before it.", position, next - 1)
            }
        } else if position > row.headPosition {
            if !areNoted(row.headPosition, position - 1) {
                isDamaged = true
                note(
                    "missing",
                    "Positions \(row.headPosition) to \(position - 1) are missing.",
                    row.headPosition,
                    position - 1
                )
            }
        }
        if let chain, chain != header.chainBefore {
            note("chain", "The digest chain breaks before position \(position).", position, header.lastPosition)
        }
        chain = header.chainBefore
        if header.lastPosition < row.headPosition {
            note(
                "extra",
                "The block at \(position) was acknowledged, and is still there.",
                position,
                header.lastPosition
            )
        }
        if header.lastPosition >= row.nextPosition {
            note("extra", "The block at \(position) is beyond the end.", position, header.lastPosition)
        }
    }

    private mutating func count(_ block: VerifiedBlock, _ codec: FrameCodec) throws(FormatError) {
        var canonical = Canonical()
        var raw: UInt64 = 0
        let kept = try block.entries(codec)
        for (index, entry) in kept.enumerated() {
            canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
            if let before = chain { chain = canonical.advance(before, over: index) }
            raw += UInt64(entry.write.rawBytes)
            guard entry.position >= row.headPosition else { continue }
            if entries == 0, entry.enqueuedAt != row.oldestEnqueuedAt {
                note("counters", "The oldest entry of region '\(region)' is not as old as its row says.")
            }
            entries += 1
            rawBytes += UInt64(entry.write.rawBytes)
            let number = SeenRanges.Number(incarnation: entry.write.incarnation, sequence: entry.write.sequence)
            identities[entry.write.origin, default: []].append(number)
        }
        if raw != UInt64(block.header.rawBytes) || kept.first?.enqueuedAt != block.header.firstEnqueuedAt {
            note("block", "The header at position \(block.header.firstPosition) does not fit its entries.")
        }
    }

    /// How many positions from the cursor on are in the ledger of what was lost: a recovered queue has gaps.
    private var lostBehindHead: UInt64 {
        ranges.reduce(into: 0) { sum, range in
            let first = max(range.first, row.headPosition)
            if range.last >= first, range.last < row.nextPosition { sum &+= range.last - first &+ 1 }
        }
    }

    /// Compares what was found with the region's row.
    mutating func end(isFull: Bool, blocks: Int) {
        let end = next ?? row.headPosition
        if damaged != nil, closeDamaged(from: end, before: row.nextPosition) || !isFull { return }
        if end < row.nextPosition, !areNoted(end, row.nextPosition - 1), isFull || blocks > 0 || row.entries > 0 {
            isDamaged = true
            note("missing", "Positions \(end) to \(row.nextPosition - 1) are missing.", end, row.nextPosition - 1)
        }
        if blocks == 0, row.entries > 0, !isDamaged {
            note("counters", "\(row.entries) entries are counted, none is there.")
        }
        if row.entries &+ lostBehindHead != row.nextPosition - row.headPosition {
            note(
                "counters",
                "Region '\(region)' has \(row.entries) entries between \(row.headPosition) and \(row.nextPosition)."
            )
        }
        // Damage is named already; the sums it changes are not a second finding.
        guard isFull, !isDamaged else { return }
        if let chain, chain != row.chain, end == row.nextPosition {
            note("chain", "The digest chain does not end in what the region's row says.")
        }
        if (entries, rawBytes, storedBytes) != (row.entries, row.rawBytes, row.storedBytes) {
            note(
                "counters",
                "\(entries) entries of \(rawBytes) bytes, stored in \(storedBytes), are there; the row of region "
                    + "'\(region)' says \(row.entries), \(row.rawBytes) and \(row.storedBytes)."
            )
        }
    }
}
