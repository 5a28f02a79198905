private import Bytes
private import Platform
package import RegionFailover
package import ReplayFormat
internal import Zstd

/// How a store is written anew.
package struct Rewriting: Sendable {
    /// What the superblock says of the copy.
    package enum Purpose: Sendable, Hashable {
        /// What it says of the source.
        case same
        /// A backup, made at that time.
        case backup(Timestamp)
        /// A store, with an identity of its own.
        case store(StoreID)
    }

    package var purpose = Purpose.same
    /// Whether small neighbouring blocks become one.
    package var mergesBlocks = false
    /// The zstd level for every block; nil leaves blocks alone that are not merged.
    package var level: Int?
    /// Whether a dictionary is trained on what is queued, and every block written anew with it.
    package var trainsDictionary = false

    package init(_ purpose: Purpose = .same) { self.purpose = purpose }

    /// The level for blocks that are merged where nobody says which: nobody waits for it as for an append.
    static let mergeLevel = 3
}

/// A whole store on its way to a new file.
struct StoreRewrite {
    /// What is counted on the way.
    struct Counts {
        var entries: UInt64 = 0
        var blocksBefore = 0
        var blocksAfter = 0
        var storedBefore: UInt64 = 0
        var storedAfter: UInt64 = 0
        /// The dictionary that was trained, and its bytes.
        var trained: (number: UInt32, bytes: Int)?
    }

    let rewriting: Rewriting
    let codec: FrameCodec
    private(set) var counts = Counts()
    private var usedDictionaries: Set<UInt32> = []

    init(_ rewriting: Rewriting, codec: FrameCodec) {
        self.rewriting = rewriting
        self.codec = codec
    }

    /// The superblock of the copy.
    func superblock(of view: borrowing StoreView) -> Superblock {
        var superblock = view.superblock
        switch rewriting.purpose {
        case .same: break
        case .backup(let time): superblock.backedUp = time
        case .store(let identity):
            superblock.store = identity
            superblock.backedUp = nil
        }
        return superblock
    }

    /// Copies every pair but the superblock's, and proves it on the way.
    mutating func copy(
        _ view: borrowing StoreView,
        to builder: StoreBuilder,
        _ progress: (Int64, Int64) -> Void
    ) throws(HoldfastError) {
        var total: Int64 = 0
        for table in view.tables { total += Int64(try view.count(table)) }
        var done: Int64 = 0
        func count() {
            done += 1
            if done % 256 == 0 { progress(done, total) }
        }
        let rows = try view.regionRows()
        let known = Set(rows.map(\.1.number))
        var dictionaries = try view.dictionaries()
        if rewriting.trainsDictionary, let trained = try DictionaryTraining.train(view, codec) {
            // Above every number that a row has, also where the row cannot be read.
            let (number, isNone) = try view.lastDictionary().addingReportingOverflow(1)
            guard !isNone else {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "A key of 'dictionaries' names the last number that there is, so there is none for a new one. "
                        + "Compact without --train-dictionary first, which leaves that row out."
                )
            }
            if codec.add(dictionary: trained, number: number) {
                dictionaries[number] = trained
                counts.trained = (number, trained.count)
                FaultPoint.reach(.dictionaryTrain)
            }
        }
        for (region, row) in rows { try copyQueue(view, to: builder, region, row, count) }
        for table in view.tables {
            switch table {
            case .superblock, .regions, .queue, .dictionaries: continue
            case .seen(let number), .dead(let number):
                // What a removed region left behind is an empty table.
                guard known.contains(number) else { continue }
                try builder.make(table)
            default: break
            }
            try view.scan(table) { (key, value) throws(HoldfastError) in
                try Self.prove(key, value, table)
                try builder.putRaw(value.array, key: key, in: table)
                count()
                return true
            }
        }
        // Those that a block names, and the one that the next blocks are written with.
        for (number, bytes) in dictionaries.sorted(by: { $0.key < $1.key })
        where usedDictionaries.contains(number) || number == dictionaries.keys.max() {
            for copy in 0..<DictionaryRow.copies {
                try builder.put(bytes, key: DictionaryRow.key(number, copy: copy), in: .dictionaries)
                FaultPoint.reach(.dictionaryPut)
            }
        }
        progress(total, total)
    }

    /// Copies one queue, and the region's row, which counts the bytes of its blocks.
    private mutating func copyQueue(
        _ view: borrowing StoreView,
        to builder: StoreBuilder,
        _ region: RegionID,
        _ row: RegionRow,
        _ count: () -> Void
    ) throws(HoldfastError) {
        let table = Table.queue(row.number)
        try builder.make(table)
        var queue = QueueRewrite(row, rewriting, superblock(of: view).store, codec)
        let source = view.superblock.store
        try view.scan(table) { (key, value) throws(HoldfastError) in
            let block = try Self.proved(table) { () throws(FormatError) in
                let position = try Key.number(from: key.span)
                return try VerifiedBlock(value, store: source, queue: row.number, firstPosition: position)
            }
            try queue.take(block, builder)
            count()
            return true
        }
        try queue.end(builder)
        usedDictionaries.formUnion(queue.usedDictionaries)
        counts.entries &+= row.entries
        counts.blocksBefore += queue.blocksBefore
        counts.blocksAfter += queue.blocksAfter
        counts.storedBefore &+= row.storedBytes
        counts.storedAfter &+= queue.storedBytes
        var written = row
        written.storedBytes = queue.storedBytes
        try builder.put(written.encoded(), key: Key.region(region), in: .regions)
    }

    private static func prove(_ key: [UInt8], _ value: Span<UInt8>, _ table: Table) throws(HoldfastError) {
        do throws(FormatError) {
            _ = try Row.open(value, key: key, in: table)
        } catch {
            throw damaged(table, error)
        }
    }

    static func proved<Value>(_ table: Table, _ body: () throws(FormatError) -> Value) throws(HoldfastError) -> Value {
        do throws(FormatError) {
            return try body()
        } catch {
            throw damaged(table, error)
        }
    }

    private static func damaged(_ table: Table, _ error: FormatError) -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message: "A pair of '\(table.name)' is damaged, so the store is not copied: \(error.description). Run "
                + "'holdfast check --level full'."
        )
    }
}

/// One queue on its way: whole blocks are put together as long as they fit, none is cut.
///
/// So two neighbours never fit into one block afterwards, and a block that is full already is copied byte for byte.
private struct QueueRewrite {
    private let row: RegionRow
    private let rewriting: Rewriting
    private let store: StoreID
    private let codec: FrameCodec
    /// Blocks that become one.
    private var group: [VerifiedBlock] = []
    private var groupEntries = 0
    private var groupBytes = 0
    private(set) var blocksBefore = 0
    private(set) var blocksAfter = 0
    private(set) var storedBytes: UInt64 = 0
    /// The dictionaries that the blocks name which were written.
    private(set) var usedDictionaries: Set<UInt32> = []

    init(_ row: RegionRow, _ rewriting: Rewriting, _ store: StoreID, _ codec: FrameCodec) {
        self.row = row
        self.rewriting = rewriting
        self.store = store
        self.codec = codec
    }

    /// Takes the next block.
    mutating func take(_ block: VerifiedBlock, _ builder: StoreBuilder) throws(HoldfastError) {
        blocksBefore += 1
        let header = block.header
        let bytes = Int(header.rawBytes) + 16 * header.entries
        let follows = group.last.map { $0.header.lastPosition + 1 == header.firstPosition } ?? true
        let fits =
            groupEntries + header.entries <= FrameContent.entriesMax && groupBytes + bytes <= FrameContent.bytesTarget
        if !group.isEmpty, !rewriting.mergesBlocks || !follows || !fits { try flush(builder) }
        group.append(block)
        groupEntries += header.entries
        groupBytes += bytes
    }

    /// Writes what is left.
    mutating func end(_ builder: StoreBuilder) throws(HoldfastError) {
        if !group.isEmpty { try flush(builder) }
    }

    private mutating func flush(_ builder: StoreBuilder) throws(HoldfastError) {
        let isWhole = group.count == 1 && rewriting.level == nil && !rewriting.trainsDictionary
        let (header, bytes) = try isWhole ? (group[0].header, group[0].bytes(in: store)) : merged()
        if let dictionary = header.dictionary { usedDictionaries.insert(dictionary) }
        try builder.putRaw(bytes, key: Key.number(header.firstPosition), in: .queue(row.number))
        storedBytes &+= UInt64(bytes.count + 8)
        blocksAfter += 1
        group = []
        (groupEntries, groupBytes) = (0, 0)
    }

    /// One block of the entries of the group that are queued: those that were skipped or have left are not in it.
    private func merged() throws(HoldfastError) -> (header: BlockHeader, bytes: [UInt8]) {
        var chain = group[0].header.chainBefore
        var before = chain
        var entries: [FrameContent.Entry] = []
        for block in group {
            guard block.header.chainBefore == chain else {
                throw HoldfastError(
                    code: .damaged,
                    message: "The digest chain of queue \(row.number) breaks before position "
                        + "\(block.header.firstPosition), so the store is not copied. Run 'holdfast check --level full'."
                )
            }
            let queued = try StoreRewrite.proved(.queue(row.number)) { () throws(FormatError) in
                try block.entries(codec)
            }
            var canonical = Canonical()
            for (index, entry) in queued.enumerated() {
                let content = FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt)
                canonical.append(content)
                chain = canonical.advance(chain, over: index)
                if entry.position < row.headPosition { before = chain } else { entries.append(content) }
            }
        }
        guard !entries.isEmpty else {
            throw HoldfastError(
                code: .damaged,
                message: "Queue \(row.number) has a block of which every entry has left, so the store is not copied. "
                    + "Run 'holdfast check --level full'."
            )
        }
        let level = rewriting.level ?? Rewriting.mergeLevel
        let frame = PreparedFrame(entries[...], codec: codec, level: level, isThorough: true)
        let position = max(row.headPosition, group[0].header.firstPosition)
        return frame.block(store: store, queue: row.number, at: position, chain: &before)
    }
}

extension VerifiedBlock {
    /// The block's bytes as a block of `store`.
    fileprivate func bytes(in store: StoreID) -> [UInt8] {
        guard store != header.store else { return bytes }
        var header = header
        header.store = store
        return header.block(with: Array(bytes[header.size..<(header.size + header.frameLength)]))
    }
}
