private import Bytes
internal import Platform
public import RegionFailover
public import ReplayFormat
package import Zstd

/// Entries from the head of one region's queue, in order, to be sent to the region.
public struct ReplayBatch: Sendable {
    /// The region that has not received them.
    public var region: RegionID
    /// The entries: at least one.
    public var entries: [QueueEntry]
    /// How often this iterator has handed these entries out, from 1.
    public var attempt: Int
    /// The first entry's position.
    public var first: UInt64 { entries.first?.position ?? 0 }
    /// The last entry's position.
    public var through: UInt64 { entries.last?.position ?? 0 }

    package let queue: UInt32
    /// Entries that had left the queue without being received when the batch was read.
    package let gone: UInt64
    let store: ReplayStore
    let replayer: UInt64
    package let now: @Sendable () -> Timestamp

    package init(
        region: RegionID,
        attempt: Int,
        head: ReplayStore.Head,
        store: ReplayStore,
        replayer: UInt64,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.region = region
        entries = head.entries
        self.attempt = attempt
        queue = head.queue
        gone = head.gone
        self.store = store
        self.replayer = replayer
        self.now = now
    }

    /// Says that the region has received every entry of the batch.
    ///
    /// They leave the queue.
    ///
    /// On return this is durable: after any crash the next batch begins behind this one. When it throws, all entries
    /// are still queued and will be handed out again; so delivery is at least once, and a receiver that must not apply
    /// a write twice looks at its identity.
    ///
    /// - Throws: ``HoldfastError``, with ``HoldfastError/Code-swift.struct/staleToken`` when the region was removed
    ///   meanwhile, `closed` or `poisoned`.
    /// - Complexity: One transaction: two syncs, shared with every caller of the same moment.
    @discardableResult
    public func acknowledge() async throws(HoldfastError) -> AcknowledgeReceipt {
        try store.checkReplayer(region, replayer)
        let (region, queue, through, now) = (region, queue, through, now)
        let batch = (entries: entries.count, goneBefore: gone)
        return try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.checkQueue(queue, of: region)
            return try transaction.acknowledge(region, through: through, of: batch, now: now())
        }
    }
}

/// The batches of one region's queue, from the first entry that is not acknowledged.
///
/// One batch is in flight: as long as it is not acknowledged, the next one holds the same entries again, with a higher
/// ``ReplayBatch/attempt``. The sequence ends when the queue is empty. One iterator a region may live at a time; a second one, a drain or a direct acknowledgement throws
/// ``HoldfastError/Code-swift.struct/replayerActive`` meanwhile.
public struct ReplayBatches: AsyncSequence, Sendable {
    /// A batch of entries.
    public typealias Element = ReplayBatch

    let store: ReplayStore
    let region: RegionID
    let entriesMax: Int
    let bytesMax: Int
    let now: @Sendable () -> Timestamp

    /// Creates the iterator, which takes the region when it is first asked for a batch.
    public func makeAsyncIterator() -> Iterator { Iterator(batches: self) }

    /// Hands out batches.
    public struct Iterator: AsyncIteratorProtocol {
        let batches: ReplayBatches
        private var replayer: Replayer?
        private var attempt = 0
        private var lastFirst: UInt64 = 0

        init(batches: ReplayBatches) { self.batches = batches }

        /// The entries at the head of the queue; nil when it is empty.
        public mutating func next() async throws(HoldfastError) -> ReplayBatch? {
            let replayer: Replayer
            if let held = self.replayer {
                replayer = held
            } else {
                replayer = try batches.store.takeReplayer(batches.region)
            }
            self.replayer = replayer
            let head = try await batches.store.readHead(
                batches.region,
                entriesMax: batches.entriesMax,
                bytesMax: batches.bytesMax,
                now: batches.now
            )
            guard let first = head.entries.first?.position else { return nil }
            attempt = first == lastFirst ? attempt + 1 : 1
            lastFirst = first
            return ReplayBatch(
                region: batches.region,
                attempt: attempt,
                head: head,
                store: batches.store,
                replayer: replayer.number,
                now: batches.now
            )
        }

        /// The entries at the head of the queue; nil when it is empty.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(HoldfastError) -> ReplayBatch? {
            try await next()
        }
    }
}

/// Holds a region for one replayer, until it goes.
package final class Replayer: Sendable {
    package let number: UInt64
    private let store: ReplayStore
    private let region: RegionID

    init(_ number: UInt64, _ store: ReplayStore, _ region: RegionID) {
        self.number = number
        self.store = store
        self.region = region
    }

    deinit {
        store.replayers.withLock { if $0[region] == number { $0[region] = nil } }
    }
}

extension ReplayStore {
    /// Takes the region for one replayer.
    package func takeReplayer(_ region: RegionID) throws(HoldfastError) -> Replayer {
        let number = replayers.withLock { replayers -> UInt64? in
            guard replayers[region] == nil else { return nil }
            let number = UInt64.random(in: 1...(.max))
            replayers[region] = number
            return number
        }
        guard let number else { throw Self.replayerActive(region) }
        return Replayer(number, self, region)
    }

    /// Runs `body` in a transaction while no replayer can take the region.
    package func holding<Value: Sendable>(
        _ region: RegionID,
        _ body: @escaping @Sendable (inout StoreTransaction) throws(HoldfastError) -> Value
    ) async throws(HoldfastError) -> Value {
        let replayer = try takeReplayer(region)
        defer { withExtendedLifetime(replayer) {} }
        return try await transact(body)
    }

    /// Refuses when a replayer has the region that is not `number`.
    package func checkReplayer(_ region: RegionID, _ number: UInt64? = nil) throws(HoldfastError) {
        let active = replayers.withLock { $0[region] }
        guard active == nil || active == number else { throw Self.replayerActive(region) }
    }

    private static func replayerActive(_ region: RegionID) -> HoldfastError {
        HoldfastError(
            code: .replayerActive,
            message: "A replayer has the queue of region '\(region)'. End it first, or acknowledge its batches.",
            region: region
        )
    }

    /// The batches of a region's queue.
    ///
    /// `entriesMax`: The most entries in a batch, at least 1.
    /// `bytesMax`: The most raw bytes in a batch; a larger entry is a batch of its own.
    package func batches(
        for region: RegionID,
        entriesMax: Int,
        bytesMax: Int,
        now: @escaping @Sendable () -> Timestamp
    ) -> ReplayBatches {
        ReplayBatches(store: self, region: region, entriesMax: max(1, entriesMax), bytesMax: bytesMax, now: now)
    }

    /// Entries from the cursor on.
    package struct Head: Sendable {
        package var queue: UInt32
        var gone: UInt64
        package var entries: [QueueEntry] = []
        /// Whether what comes next is damaged, so that the writer has to set it aside before more can be read.
        var isDamaged = false
    }

    package func readHead(
        _ region: RegionID,
        entriesMax: Int,
        bytesMax: Int,
        now: @Sendable () -> Timestamp
    ) async throws(HoldfastError) -> Head {
        let codec = codec
        while true {
            let head = try await read { (view) throws(HoldfastError) in
                try view.head(of: region, entriesMax: entriesMax, bytesMax: bytesMax, codec)
            }
            guard head.entries.isEmpty, head.isDamaged else { return head }
            // In a replica nothing is set aside: the transaction says so, and so does the next command that comes there.
            let time = now()
            let isRepaired = try await transact { (transaction) throws(HoldfastError) in
                let before = transaction.core.changes
                _ = try transaction.headBlock(region, now: time, decoding: true)
                return transaction.core.changes != before
            }
            guard isRepaired else {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "The queue of region '\(region)' cannot be read, and nothing in it could be set aside. Keep a "
                        + "copy of the store, and run 'holdfast check --level full'.",
                    region: region
                )
            }
        }
    }
}

extension StoreView {
    /// Entries from the cursor on, up to the bounds, at least one if there is one.
    package func head(
        of region: RegionID,
        entriesMax: Int,
        bytesMax: Int,
        _ codec: FrameCodec
    ) throws(HoldfastError) -> ReplayStore.Head {
        guard let row = try regionRow(region) else { throw .unknownRegion(region) }
        var head = ReplayStore.Head(queue: row.number, gone: row.gone)
        var next = row.headPosition
        var bytes = 0
        var isFull = false
        try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
            guard let entries = decodeBlock(key, value, row, codec), (entries.first?.position ?? 0) <= next else {
                head.isDamaged = true
                return false
            }
            for entry in entries where entry.position >= next {
                let size = entry.write.rawBytes
                isFull = head.entries.count == entriesMax || !head.entries.isEmpty && bytes + size > bytesMax
                if isFull { return false }
                head.entries.append(entry)
                bytes += size
                next = entry.position + 1
            }
            return true
        }
        // The end of the queue must be where the region's row says.
        if !isFull, next != row.nextPosition { head.isDamaged = true }
        return head
    }

    /// A block's entries; nil when it is damaged.
    private func decodeBlock(
        _ key: [UInt8],
        _ value: Span<UInt8>,
        _ row: RegionRow,
        _ codec: FrameCodec
    ) -> [QueueEntry]? {
        guard let position = try? Key.number(from: key.span) else { return nil }
        let block = try? VerifiedBlock(value, store: superblock.store, queue: row.number, firstPosition: position)
        guard let block, block.header.lastPosition < row.nextPosition else { return nil }
        return try? block.entries(codec)
    }
}
