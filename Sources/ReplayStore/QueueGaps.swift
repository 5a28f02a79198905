internal import Bytes
package import RegionFailover
package import ReplayFormat

/// Which positions of a queue are not there, and whether that is known.
///
/// Blocks leave a queue only when its head passes them. So what is not there at or behind the head, and is not in the
/// ledger of what was lost either, is damage.
package struct QueueGaps: Sendable {
    /// The queue's row, as of the look; nil where the region, or this queue of it, is there no more.
    package let row: RegionRow?
    /// What the ledger says of it, in the order of the positions: only what was damaged or missing leaves a gap.
    private let noted: [ClosedRange<UInt64>]

    init(row: RegionRow?, noted: [ClosedRange<UInt64>]) {
        self.row = row
        self.noted = noted
    }

    /// The positions of `range` that nothing explains.
    package func missing(in range: ClosedRange<UInt64>) -> [ClosedRange<UInt64>] {
        guard let row, range.upperBound >= row.headPosition else { return [] }
        return Self.without(noted, max(range.lowerBound, row.headPosition)...range.upperBound)
    }

    /// The positions of `range` that have left the queue at its head.
    package func left(in range: ClosedRange<UInt64>) -> [ClosedRange<UInt64>] {
        guard let row else { return [range] }
        guard range.lowerBound < row.headPosition else { return [] }
        return Self.without(noted, range.lowerBound...min(range.upperBound, row.headPosition - 1))
    }

    private static func without(
        _ noted: [ClosedRange<UInt64>],
        _ range: ClosedRange<UInt64>
    ) -> [ClosedRange<UInt64>] {
        var parts: [ClosedRange<UInt64>] = []
        var next = range.lowerBound
        for known in noted where known.upperBound >= next {
            guard known.lowerBound <= range.upperBound else { break }
            if known.lowerBound > next { parts.append(next...(known.lowerBound - 1)) }
            guard known.upperBound < range.upperBound else { return parts }
            next = known.upperBound + 1
        }
        return parts + [next...range.upperBound]
    }
}

extension StoreView {
    /// What is known of the positions that are not there in the queue `number` of a region.
    package func gaps(of region: RegionID, queue number: UInt32) throws(HoldfastError) -> QueueGaps {
        guard let row = try regionRow(region), row.number == number else { return QueueGaps(row: nil, noted: []) }
        return QueueGaps(row: row, noted: try notedGaps(of: region, queue: number).map(\.range))
    }

    /// The ranges of a queue that the ledger says were damaged or missing, with the digest of the chain behind each.
    ///
    /// A row that cannot be read explains nothing.
    func notedGaps(
        of region: RegionID,
        queue number: UInt32
    ) throws(HoldfastError) -> [(range: ClosedRange<UInt64>, anchor: Hash128)] {
        let prefix = Key.lostPrefix(region, queue: number)
        var noted: [(ClosedRange<UInt64>, Hash128)] = []
        try scan(.lost, from: prefix) { (key, value) throws(HoldfastError) in
            guard key.starts(with: prefix) else { return false }
            guard let (place, lost) = try? LostRow.read(key, value) else { return true }
            if lost.reason == .damaged || lost.reason == .missing {
                noted.append((place.first...place.last, lost.anchor))
            }
            return true
        }
        return noted
    }

    /// The first block at or beyond the next position of a queue's row, which is older than its queue then.
    package func blockBeyond(_ row: RegionRow) throws(HoldfastError) -> UInt64? {
        var beyond: UInt64?
        try scanKeys(.queue(row.number), from: Key.number(row.nextPosition)) { (key) throws(HoldfastError) in
            beyond = try format("A key of 'queue/\(row.number)'") { () throws(FormatError) in
                try Key.number(from: key.span)
            }
            return false
        }
        return beyond
    }
}
