private import Platform
package import RegionFailover
import ReplayFormat
internal import Zstd

/// Dead letters that a selection names, in the order of their positions: as many as a transaction settles.
struct ChosenLetters {
    /// One transaction settles at most so many dead letters.
    private static let countMax = 16_384
    /// One transaction settles at most so many bytes of dead letters, and one letter more.
    private static let bytesMax = 64 << 20

    private let region: RegionID
    private let table: Table
    private let selection: DeadLetterSelection
    private let end: UInt64
    private var bytes = 0
    private(set) var rows: [(position: UInt64, row: DeadRow)] = []
    /// Whether none is left behind them.
    private(set) var isLast = true

    /// `end`: The position from which on none is meant.
    init(_ region: RegionID, _ table: Table, _ selection: DeadLetterSelection, below end: UInt64) {
        (self.region, self.table) = (region, table)
        (self.selection, self.end) = (selection, end)
    }

    /// Takes the next pair; false when no more is wanted.
    mutating func take(_ key: [UInt8], _ value: Span<UInt8>) throws(HoldfastError) -> Bool {
        let (position, row) = try format("A dead letter of region '\(region)'") { () throws(FormatError) in
            try DeadRow.read(key, value, in: table)
        }
        guard position < end else { return false }
        guard selection.matches(position, row.entry.write) else { return true }
        isLast = rows.count < Self.countMax && bytes < Self.bytesMax
        if isLast { rows.append((position, row)) }
        bytes += row.entry.write.rawBytes
        return isLast
    }
}

/// Dead letters on their way back, encoded before the transaction that queues them.
struct DeadLetterRetry: Sendable {
    let queue: UInt32
    let positions: [UInt64]
    let frames: [PreparedFrame]
    let now: Timestamp
    let isLast: Bool

    init(
        _ chosen: ChosenLetters,
        _ queue: UInt32,
        _ codec: FrameCodec,
        level: Int,
        now: Timestamp
    ) {
        self.queue = queue
        self.now = now
        positions = chosen.rows.map(\.position)
        isLast = chosen.isLast
        let entries = chosen.rows.map { FrameContent.Entry(write: $0.row.entry.write, enqueuedAt: now) }
        frames = PreparedFrame.split(entries).map { PreparedFrame($0, codec: codec, level: level) }
    }

    /// What their blocks take as stored.
    var bytes: UInt64 { frames.reduce(0) { $0 + UInt64($1.storedBytes(isSkipping: false)) } }
    /// Their raw bytes.
    var rawBytes: UInt64 { frames.reduce(0) { $0 + UInt64($1.rawSizes.reduce(0, +)) } }
}

extension ReplayStore {
    /// A region's dead letters from a position on, in order, at most `limit` of them.
    package func deadLetters(
        of region: RegionID,
        from position: UInt64,
        limit: Int
    ) async throws(HoldfastError) -> [DeadLetter] {
        try await read { (view) throws(HoldfastError) in
            var letters: [DeadLetter] = []
            try view.deadLetters(of: region, from: position) { (letter) throws(HoldfastError) in
                guard letters.count < limit else { return false }
                letters.append(letter)
                return true
            }
            return letters
        }
    }

    /// Puts dead letters from below the position `end` back at the end of their queue, as many as a transaction settles.
    ///
    /// They get new positions, and are not compared with what the queue has had.
    package func retryDead(
        _ region: RegionID,
        _ selection: DeadLetterSelection,
        below end: UInt64,
        now: Timestamp
    ) async throws(HoldfastError) -> StoreTransaction.Settled {
        var before: (queue: UInt32, positions: [UInt64])?
        while true {
            let (queue, chosen) = try await read { (view) throws(HoldfastError) in
                guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
                let table = Table.dead(row.number)
                var chosen = ChosenLetters(region, table, selection, below: end)
                try view.scan(table) { (key, value) throws(HoldfastError) in try chosen.take(key, value) }
                return (row.number, chosen)
            }
            guard !chosen.rows.isEmpty else { return StoreTransaction.Settled(count: 0, isLast: true) }
            let retry = DeadLetterRetry(chosen, queue, codec, level: options.compressionLevel, now: now)
            // What is there for who reads all of them, and not for who looks for one, is in a tree that is out of order.
            if let before, before == (queue, retry.positions) { throw HoldfastError.unordered(.dead(queue)) }
            before = (queue, retry.positions)
            let settled = try await transact(adding: retry.frames.map(\.storedBytesMax)) {
                (transaction) throws(HoldfastError) in
                try transaction.retryDead(region, retry)
            }
            // Somebody else settled some of them meanwhile: what is left is looked at again.
            if let settled { return settled }
        }
    }
}

extension StoreTransaction.Settled {
    /// Takes steps until the last one, and counts what they settled; an error says how many that were before it.
    package static func all(
        _ step: () async throws(HoldfastError) -> Self
    ) async throws(HoldfastError) -> UInt64 {
        var settled: UInt64 = 0
        while true {
            do throws(HoldfastError) {
                let part = try await step()
                settled += part.count
                if part.isLast { return settled }
            } catch {
                var error = error
                if settled > 0 { error.message += " The \(settled) dead letters before these are done." }
                error.count = settled
                throw error
            }
        }
    }
}

extension StoreTransaction {
    /// Puts dead letters from below the position `end` back at the end of their queue, as many as a transaction settles.
    ///
    /// For a command of a replicated log: the frames are stored raw, since compressing the same entries does not give the same
    /// bytes everywhere.
    package mutating func retryDead(
        _ region: RegionID,
        _ selection: DeadLetterSelection,
        below end: UInt64,
        now: Timestamp
    ) throws(HoldfastError) -> Settled {
        let table = Table.dead(try regionRow(region).number)
        var chosen = ChosenLetters(region, table, selection, below: end)
        try scan(table) { (key, value) throws(HoldfastError) in try chosen.take(key, value) }
        guard !chosen.rows.isEmpty else { return Settled(count: 0, isLast: true) }
        let retry = DeadLetterRetry(chosen, try regionRow(region).number, core.codec, level: 0, now: now)
        // They were read just now: where one is not found by its key, the tree is out of order.
        guard let settled = try retryDead(region, retry) else { throw HoldfastError.unordered(table) }
        return settled
    }

    /// Queues dead letters again; nil, and nothing changes, when they are not all there any more.
    fileprivate mutating func retryDead(
        _ region: RegionID,
        _ retry: DeadLetterRetry
    ) throws(HoldfastError) -> Settled? {
        try storeSingles(region)
        let before = try regionRow(region)
        guard before.number == retry.queue else { return nil }
        let table = Table.dead(retry.queue)
        for position in retry.positions { guard try row(Key.number(position), in: table) != nil else { return nil } }
        let count = UInt64(retry.positions.count)
        try checkRoom(for: retry, count, in: region)
        for frame in retry.frames { try store(frame, skipping: nil, in: region) }
        for position in retry.positions { try delete(Key.number(position), in: table) }
        var row = try regionRow(region)
        row.counters.accepted = before.counters.accepted
        row.counters.retried &+= count
        row.counters.dead = row.counters.dead >= count ? row.counters.dead - count : 0
        setRegionRow(region, row)
        core.tally.regions[region, default: .init()].retried += count
        FaultPoint.reach(.retry)
        return Settled(count: count, isLast: retry.isLast)
    }

    /// Refuses where something would have to leave for the letters.
    private mutating func checkRoom(
        for retry: DeadLetterRetry,
        _ count: UInt64,
        in region: RegionID
    ) throws(HoldfastError) {
        let bytes = core.isReplicated ? retry.rawBytes : retry.bytes
        let own = try excess(of: region, adding: count, bytes: bytes, now: retry.now)
        let all = try totalExcess([(region, bytes, count)])[region]
        guard let limit = own.limit ?? all?.limit.map({ "total.\($0)" }) else { return }
        throw .full(
            region,
            limit: limit,
            "The queue of region '\(region)' has no room for \(count) dead letters, and its oldest entries are not dropped "
                + "for them: replay and acknowledge, or raise the limit on \(limit)."
        )
    }
}
