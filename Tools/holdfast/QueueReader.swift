import Bytes
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// The blocks of one queue, read in short looks: no look is held open while its entries are printed.
struct QueueReader {
    /// A block, or why it cannot be read.
    enum Block {
        case entries([QueueEntry])
        case damaged(position: UInt64, reason: String)
        /// No block has these positions: ``gaps()`` tells why.
        case gap(ClosedRange<UInt64>)
    }

    private let reader: StoreReader
    private let region: RegionID
    private let queue: UInt32
    private let store: StoreID
    /// The first position that is queued, as of when the reading began.
    let head: UInt64
    /// The position after the last.
    let end: UInt64
    /// The first block at or beyond ``end``, where the region's row is older than its queue.
    let beyond: UInt64?

    /// How many keys a look backwards begins with.
    private static let keysInLook: UInt64 = 4096

    /// `beyond`: What was seen at or beyond the end of the queue when its row was read.
    init(_ reader: StoreReader, _ region: RegionID, _ row: RegionRow, store: StoreID, beyond: UInt64?) {
        self.reader = reader
        self.region = region
        self.store = store
        self.beyond = beyond
        queue = row.number
        head = row.headPosition
        end = row.nextPosition
    }

    /// Why positions are not there, as of now: what left meanwhile is at the head.
    func gaps() throws(HoldfastError) -> QueueGaps {
        try reader.look { (view) throws(HoldfastError) in try view.gaps(of: region, queue: queue) }
    }

    /// That blocks stand beyond the end of the queue; nil where none does.
    func failureBeyond(_ store: String) -> Failure? { beyond.map { .beyond(region, end: end, block: $0, store) } }

    /// Calls `body` with each block that can hold a position of `range`, and each gap in it, in order, until it returns
    /// false.
    func forward(_ range: ClosedRange<UInt64>, _ body: (Block) throws -> Bool) throws {
        var key = Self.earliestKey(of: range.lowerBound)
        // The position that comes next; nil behind a damaged block, whose end nothing tells.
        var next: UInt64? = range.lowerBound
        while key <= range.upperBound {
            let found = try look(from: key, through: range.upperBound)
            guard let last = found.last else { break }
            for (position, bytes) in found {
                if let next, position > next, try !body(.gap(next...(position - 1))) { return }
                let block = read(position, bytes)
                if case .entries(let entries) = block {
                    next = max(next ?? position, entries.last.map { $0.position + 1 } ?? position)
                } else {
                    next = nil
                }
                guard try body(block) else { return }
            }
            guard last.position < UInt64.max else { return }
            key = last.position + 1
        }
        if let next, next <= range.upperBound { _ = try body(.gap(next...range.upperBound)) }
    }

    /// The same from the last block to the first.
    func backward(_ range: ClosedRange<UInt64>, _ body: (Block) throws -> Bool) throws {
        let lowest = Self.earliestKey(of: range.lowerBound)
        var (end, width) = (range.upperBound, Self.keysInLook)
        // The positions from here on have been told.
        var told = range.upperBound + 1
        while true {
            let start = end - lowest >= width ? end - width + 1 : lowest
            let positions = try keys(from: start, through: end)
            for position in positions.reversed() {
                // A block that left the queue meanwhile is passed over.
                guard let found = try look(from: position, through: position).first else { continue }
                let block = read(found.position, found.bytes)
                if case .entries(let entries) = block {
                    let behind = max(range.lowerBound, (entries.last?.position ?? position) + 1)
                    if behind < told, try !body(.gap(behind...(told - 1))) { return }
                }
                // Nothing tells where a damaged block ends.
                told = min(told, max(range.lowerBound, position))
                guard try body(block) else { return }
            }
            guard start > lowest else { break }
            end = start - 1
            // Where a range was lost, nothing is there for a long way.
            if positions.isEmpty { width = width.multipliedReportingOverflow(by: 2).overflow ? width : width * 2 }
        }
        if told > range.lowerBound { _ = try body(.gap(range.lowerBound...(told - 1))) }
    }

    /// The first key under which the block can be that holds `position`: a block has a bounded number of entries.
    private static func earliestKey(of position: UInt64) -> UInt64 {
        let before = UInt64(FrameContent.entriesMax - 1)
        return position > before ? position - before : 0
    }

    private func look(
        from start: UInt64,
        through end: UInt64
    ) throws(HoldfastError) -> [(position: UInt64, bytes: [UInt8])] {
        try reader.look { (view) throws(HoldfastError) in
            var found: [(position: UInt64, bytes: [UInt8])] = []
            var bytes = 0
            try view.scan(.queue(queue), from: Key.number(start)) { (key, value) throws(HoldfastError) in
                let position = try Self.position(key)
                guard position <= end else { return false }
                found.append((position, value.array))
                bytes += value.count
                return bytes < view.lookBytes
            }
            return found
        }
    }

    private func keys(from start: UInt64, through end: UInt64) throws(HoldfastError) -> [UInt64] {
        try reader.look { (view) throws(HoldfastError) in
            var found: [UInt64] = []
            try view.scanKeys(.queue(queue), from: Key.number(start)) { (key) throws(HoldfastError) in
                let position = try Self.position(key)
                guard position <= end else { return false }
                found.append(position)
                return true
            }
            return found
        }
    }

    private static func position(_ key: [UInt8]) throws(HoldfastError) -> UInt64 {
        do throws(FormatError) {
            return try Key.number(from: key.span)
        } catch {
            throw HoldfastError(error, in: "A key of a queue")
        }
    }

    private func read(_ position: UInt64, _ bytes: [UInt8]) -> Block {
        do throws(FormatError) {
            let block = try VerifiedBlock(bytes.span, store: store, queue: queue, firstPosition: position)
            return .entries(try block.entries(reader.codec))
        } catch {
            return .damaged(position: position, reason: error.description)
        }
    }
}

extension Failure {
    /// Entries that are not there, though nobody has taken them out and no ledger names them.
    static func missing(_ region: RegionID, _ ranges: [ClosedRange<UInt64>], _ store: String, _ end: String) -> Failure
    {
        Failure(
            .damaged,
            code: "damaged",
            "Region \(region): positions \(positionsText(ranges)) are missing.\(end)",
            next: "holdfast check \(shellQuoted(store)) --level full",
            [("region", .string(region.rawValue)), ("missing", .array(ranges.map { $0.json(region) }))]
        )
    }

    /// Blocks where a region's row says that nothing is queued yet.
    static func beyond(_ region: RegionID, end: UInt64, block: UInt64, _ store: String) -> Failure {
        Failure(
            .damaged,
            code: "damaged",
            "Region \(region): a block stands at position \(block), and its row says that the queue ends before "
                + "\(end). The row is older than the queue: what it says, and what is listed up to there, is not all.",
            next: "holdfast check \(shellQuoted(store)) --level full",
            [("region", .string(region.rawValue)), ("nextPosition", .unsigned(end)), ("block", .unsigned(block))]
        )
    }
}

/// Some ranges of positions in words: the first ones, and how many more there are.
func positionsText(_ ranges: [ClosedRange<UInt64>]) -> String {
    let named = ranges.prefix(5).map { "\($0.lowerBound) to \($0.upperBound)" }.joined(separator: ", ")
    return ranges.count > 5 ? "\(named) and \(ranges.count - 5) more ranges" : named
}

extension ClosedRange<UInt64> {
    /// A range of positions of a region.
    func json(_ region: RegionID) -> JSON {
        .object([
            ("region", .string(region.rawValue)), ("first", .unsigned(lowerBound)), ("last", .unsigned(upperBound)),
        ])
    }
}
