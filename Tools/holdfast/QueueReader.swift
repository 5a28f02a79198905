import Bytes
import Holdfast
import ReplayFormat
import ReplayStore

/// The blocks of one queue, read in short looks: no look is held open while its entries are printed.
struct QueueReader {
    /// A block, or why it cannot be read.
    enum Block {
        case entries([QueueEntry])
        case damaged(position: UInt64, reason: String)
    }

    private let reader: StoreReader
    private let queue: UInt32
    private let store: StoreID
    /// The first position that is queued, as of when the reading began.
    let head: UInt64
    /// The position after the last.
    let end: UInt64

    /// How many keys a look backwards begins with.
    private static let keysInLook: UInt64 = 4096

    init(_ reader: StoreReader, _ row: RegionRow, store: StoreID) {
        self.reader = reader
        self.store = store
        queue = row.number
        head = row.headPosition
        end = row.nextPosition
    }

    /// Calls `body` with each block that can hold a position of `range`, in order, until it returns false.
    func forward(_ range: ClosedRange<UInt64>, _ body: (Block) throws -> Bool) throws {
        var next = Self.earliestKey(of: range.lowerBound)
        while next <= range.upperBound {
            let found = try look(from: next, through: range.upperBound)
            guard let last = found.last else { return }
            for (position, bytes) in found {
                guard try body(read(position, bytes)) else { return }
            }
            guard last.position < UInt64.max else { return }
            next = last.position + 1
        }
    }

    /// The same from the last block to the first.
    func backward(_ range: ClosedRange<UInt64>, _ body: (Block) throws -> Bool) throws {
        let lowest = Self.earliestKey(of: range.lowerBound)
        var (end, width) = (range.upperBound, Self.keysInLook)
        while true {
            let start = end - lowest >= width ? end - width + 1 : lowest
            let positions = try keys(from: start, through: end)
            for position in positions.reversed() {
                // A block that left the queue meanwhile is passed over.
                guard let block = try look(from: position, through: position).first else { continue }
                guard try body(read(block.position, block.bytes)) else { return }
            }
            guard start > lowest else { return }
            end = start - 1
            // Where a range was lost, nothing is there for a long way.
            if positions.isEmpty { width = width.multipliedReportingOverflow(by: 2).overflow ? width : width * 2 }
        }
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
