internal import Bytes
private import Platform
package import RegionFailover
package import ReplayFormat
private import Zstd

/// Writes a new store from the lines of a dump.
package final class StoreLoader {
    private let builder: StoreBuilder
    private let codec = FrameCodec()
    private let level: Int
    private let store: StoreID
    private var queues: [RegionID: LoadingQueue] = [:]
    /// The last position that the dump goes to, for each region.
    private var ends: [RegionID: UInt64] = [:]
    private var superblockRows: [Superblock.Name: [UInt8]] = [:]
    private var regionRows: [RegionID: RegionRow] = [:]
    /// What the store must have in the end.
    private var carried = CarriedRows()
    private let numbers: Set<UInt32>
    /// Entries that were loaded.
    package private(set) var entries: UInt64 = 0

    private struct LoadingQueue {
        var number: UInt32
        var anchors: [UInt64: Hash128]
        var next: UInt64?
        var first: UInt64?
        var chain = Hash128.zero
        /// Whether the chain had to begin anew, since entries left while the dump ran.
        var isRechained = false
        var group: [FrameContent.Entry] = []
        var groupBytes = 0
        var groupFirst: UInt64 = 0
        var entries: UInt64 = 0
        var rawBytes: UInt64 = 0
        var storedBytes: UInt64 = 0
        var oldest = Timestamp(milliseconds: 0)
        /// The keys of the blocks that were written, and of those that had left the queue before the dump ended.
        var keys: [UInt64] = []
        var staleKeys: [UInt64] = []
        /// Where positions are not there, and what there was before each of them.
        var gaps: [Gap] = []

        struct Gap {
            var start: UInt64
            var end: UInt64
            var oldest: Timestamp
            var entries: UInt64
            var rawBytes: UInt64
            var storedBytes: UInt64
            var keys: Int
        }

        /// Notes that positions are not there before `entry`; everything before it is in blocks.
        mutating func noteGap(before entry: QueueEntry) {
            gaps.append(
                Gap(
                    start: next ?? 1,
                    end: entry.position,
                    oldest: entry.enqueuedAt,
                    entries: entries,
                    rawBytes: rawBytes,
                    storedBytes: storedBytes,
                    keys: keys.count
                )
            )
        }

        /// Leaves only what stands behind `last`, up to which everything left the queue while the dump ran.
        ///
        /// False where an entry stands at `last`, which then has not left.
        mutating func leave(through last: UInt64) -> Bool {
            guard let first, let next, first <= last else { return true }
            guard let gap = gaps.first(where: { $0.end > last }) else {
                staleKeys = keys
                (entries, rawBytes, storedBytes, self.first) = (0, 0, 0, nil)
                return next <= last
            }
            staleKeys = Array(keys[..<gap.keys])
            self.first = gap.end
            oldest = gap.oldest
            entries -= gap.entries
            rawBytes -= gap.rawBytes
            storedBytes -= gap.storedBytes
            return gap.start <= last
        }
    }

    /// Begins a store in the directory at `path`, which must be empty or not there.
    package init(
        _ path: String,
        regions: [DumpHeader.Region],
        store: StoreID = .random(),
        level: Int = 1
    ) throws(HoldfastError) {
        self.store = store
        numbers = Set(regions.map(\.queue))
        builder = try StoreBuilder(path)
        self.level = level
        for region in regions {
            queues[region.region] = LoadingQueue(number: region.queue, anchors: region.anchors)
            ends[region.region] = region.through
            try builder.make(.queue(region.queue))
            try builder.make(.seen(region.queue))
        }
        FaultPoint.reach(.loadBegin)
    }

    private static func malformed(_ message: String) -> HoldfastError {
        HoldfastError(code: .damaged, message: "The dump is not whole or was changed: \(message) Dump again.")
    }

    /// Adds an entry; the entries of a region come in the order of their positions.
    package func add(_ entry: QueueEntry, to region: RegionID) throws(HoldfastError) {
        guard var queue = queues[region] else { throw Self.malformed("its header does not name region '\(region)'.") }
        queues[region] = nil
        guard entry.position > 0, entry.position < .max, entry.position >= queue.next ?? 1 else {
            throw Self.malformed("position \(entry.position) of region '\(region)' is out of order.")
        }
        if queue.next != entry.position {
            try flush(&queue)
            if queue.first != nil { queue.noteGap(before: entry) }
            let anchor = queue.anchors[entry.position]
            if anchor == nil { queue.isRechained = true }
            queue.chain = anchor ?? .zero
        }
        let loading = FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt)
        let size = entry.write.rawBytes + 16
        let isFull = queue.group.count == FrameContent.entriesMax || queue.groupBytes + size > FrameContent.bytesTarget
        if isFull, !queue.group.isEmpty { try flush(&queue) }
        if queue.first == nil {
            queue.first = entry.position
            queue.oldest = entry.enqueuedAt
        }
        if queue.group.isEmpty { queue.groupFirst = entry.position }
        queue.group.append(loading)
        queue.groupBytes += size
        queue.next = entry.position + 1
        queues[region] = queue
        entries += 1
    }

    /// Says that the entries of a region that follow begin at `position`, with this digest of the chain before them.
    func begin(_ region: RegionID, at position: UInt64, chain: Hash128) {
        queues[region]?.anchors[position] = chain
    }

    /// What was added of a region, once all of it was.
    func tail(
        of region: RegionID
    ) throws(HoldfastError) -> (entries: UInt64, rawBytes: UInt64, oldest: Timestamp, chain: Hash128) {
        guard var queue = queues[region] else { throw Self.malformed("it has no region '\(region)'.") }
        try flush(&queue)
        queues[region] = queue
        return (queue.entries, queue.rawBytes, queue.oldest, queue.chain)
    }

    private func flush(_ queue: inout LoadingQueue) throws(HoldfastError) {
        guard !queue.group.isEmpty else { return }
        let frame = PreparedFrame(queue.group[...], codec: codec, level: level)
        let (header, bytes) = frame.block(
            store: store,
            queue: queue.number,
            at: queue.groupFirst,
            chain: &queue.chain
        )
        try builder.putRaw(bytes, key: Key.number(queue.groupFirst), in: .queue(queue.number))
        queue.entries += UInt64(header.entries)
        queue.rawBytes += UInt64(header.rawBytes)
        queue.storedBytes += UInt64(bytes.count + 8)
        queue.keys.append(queue.groupFirst)
        queue.group = []
        queue.groupBytes = 0
        FaultPoint.reach(.loadBlock)
    }

    /// Adds a row by its fields.
    func put(_ fields: [UInt8], key: [UInt8], in table: Table) throws(HoldfastError) {
        try add(table: table, key: key, value: Row.seal(fields, key: key, in: table))
    }

    /// Adds a row as it was stored, once it has been proved.
    package func add(table: Table, key: [UInt8], value: [UInt8]) throws(HoldfastError) {
        guard table.hasRows, (1...511).contains(key.count) else {
            throw Self.malformed("a row of '\(table.name)' cannot be.")
        }
        do throws(FormatError) {
            let fields = try Row.open(value.span, key: key, in: table)
            switch table {
            case .superblock:
                guard let name = Superblock.Name(rawValue: String(decoding: key, as: UTF8.self)) else { return }
                superblockRows[name] = fields
                return
            case .regions:
                let (region, row) = try RegionRow.read(key, value.span)
                regionRows[region] = row
                return
            default: break
            }
        } catch {
            throw Self.malformed("a row of '\(table.name)': \(error.description).")
        }
        if CarriedRows.isCarried(table, numbers) { carried.take(table, key, value.span) }
        try builder.putRaw(value, key: key, in: table)
        FaultPoint.reach(.loadRow)
    }

    /// Makes what was loaded a store, with an identity of its own; on return it is checked and on the disk.
    ///
    /// `leftMeanwhile`: The regions of which entries were acknowledged while the dump ran, and the last of those, as its
    /// trailer says.
    package func finish(
        _ path: String,
        leftMeanwhile: [(region: RegionID, last: UInt64)]
    ) throws(HoldfastError) -> StoreID {
        guard Set(regionRows.keys) == Set(queues.keys) else { throw Self.malformed("rows of regions are missing.") }
        var lasts: [RegionID: UInt64] = [:]
        for left in leftMeanwhile {
            // No digest is over the trailer: what it says is believed as far as the dump itself goes.
            guard let end = ends[left.region], left.last <= end else {
                throw Self.malformed(
                    "its trailer says that position \(left.last) of region '\(left.region)' left the queue, and the dump "
                        + "does not go there."
                )
            }
            lasts[left.region] = max(lasts[left.region] ?? 0, left.last)
        }
        for (region, var queue) in queues {
            try flush(&queue)
            guard var row = regionRows[region] else { continue }
            guard row.number == queue.number else {
                throw Self.malformed("the row of region '\(region)' does not fit.")
            }
            if let last = lasts[region] {
                guard queue.leave(through: last) else {
                    throw Self.malformed("position \(last) of region '\(region)' left the queue, and is there.")
                }
                Self.acknowledge(&row, leaving: queue)
            }
            if queue.isRechained, queue.entries > 0 { row.chain = queue.chain }
            row.storedBytes = queue.storedBytes
            let isWhole =
                row.entries == queue.entries && row.rawBytes == queue.rawBytes
                && (queue.entries == 0 || row.chain == queue.chain)
            for key in queue.staleKeys { try builder.delete(Key.number(key), in: .queue(queue.number)) }
            guard isWhole else { throw Self.malformed("the entries of region '\(region)' are not those of its row.") }
            carried.take(region, row)
            try builder.put(row.encoded(), key: Key.region(region), in: .regions)
        }
        let rows = superblockRows
        var superblock = try format("The superblock of the dump") { () throws(FormatError) in
            try Superblock { (name) throws(FormatError) in rows[name] }
        }
        superblock.store = store
        superblock.backedUp = nil
        try builder.finish(superblock)
        try StoreCompact.prove(path, DataFile.name, superblock, carried)
        FaultPoint.reach(.loadFinish)
        try builder.complete()
        return store
    }

    /// Counts what left the queue while the dump ran; the check that follows proves that the positions agree.
    private static func acknowledge(_ row: inout RegionRow, leaving queue: LoadingQueue) {
        let left = row.entries >= queue.entries ? row.entries - queue.entries : 0
        guard left > 0 else { return }
        row.counters.acknowledged &+= left
        row.acknowledgedSinceEmpty = queue.entries == 0 ? 0 : row.acknowledgedSinceEmpty &+ left
        row.attempts = 0
        row.entries = queue.entries
        row.headPosition = queue.first ?? row.nextPosition
        row.rawBytes = queue.rawBytes
        row.oldestEnqueuedAt = queue.oldest
    }
}
