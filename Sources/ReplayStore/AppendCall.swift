internal import Bytes
package import RegionFailover
package import ReplayFormat
package import Zstd

/// One append, checked and encoded on its caller's task: what the writer thread needs, and nothing left to refuse but
/// what only it can know.
package struct AppendCall: Sendable {
    /// Consecutive writes of the call whose sequences follow each other.
    struct Run: Sendable {
        var origin: RegionID
        var incarnation: UInt64
        var firstSequence: UInt64
        var firstIndex: Int
        var count: Int

        var lastSequence: UInt64 { firstSequence + UInt64(count - 1) }
    }

    var regions: [RegionID]
    var ifEpoch: UInt64?
    var count: Int
    var rawBytes: Int
    var enqueuedAt: Timestamp
    var runs: [Run] = []
    /// Writes that repeat an earlier one of the same call.
    var repeated: [Int] = []
    /// The frames, unless the call is one write for one region: those of several callers share a frame.
    var frames: [PreparedFrame] = []
    var single: FrameContent.Entry?
    /// Whether the caller waits for room: then want of room is no refusal yet.
    var waits = false
    /// What it is refused with if it needs room; nil where it may have what there is.
    var behind: HoldfastError?

    /// Checks sizes and identities, and builds the frames.
    package init(
        _ writes: [OutstandingWrite],
        to regions: [RegionID],
        ifEpoch: UInt64?,
        enqueuedAt: Timestamp,
        codec: FrameCodec,
        level: Int
    ) throws(HoldfastError) {
        try self.init(checking: writes, to: regions, ifEpoch: ifEpoch, enqueuedAt: enqueuedAt)
        if writes.count == 1, regions.count == 1 {
            single = FrameContent.Entry(write: writes[0], enqueuedAt: enqueuedAt)
        } else {
            let entries = writes.map { FrameContent.Entry(write: $0, enqueuedAt: enqueuedAt) }
            frames = PreparedFrame.split(entries).map { PreparedFrame($0, codec: codec, level: level) }
        }
    }

    /// Checks what a replicated log brings, frame by frame: nothing is compressed again.
    package init(
        _ frames: [LogFrame],
        to regions: [RegionID],
        ifEpoch: UInt64?,
        enqueuedAt: Timestamp,
        codec: FrameCodec
    ) throws(HoldfastError) {
        // Before anything is decompressed: a command of a megabyte could be a bomb.
        guard frames.reduce(0, { $0 + $1.contentLength }) <= 2 * StoreLimits.callBytesMax else {
            throw .tooLarge(
                "A call holds at most \(StoreLimits.callBytesMax) bytes. Split it.",
                index: nil,
                limit: "callBytesMax"
            )
        }
        var prepared: [PreparedFrame] = []
        var writes: [OutstandingWrite] = []
        for frame in frames {
            let entries = try format("A frame of a replicated append") { () throws(FormatError) in
                try frame.entries(codec)
            }
            writes += entries.map(\.write)
            prepared.append(PreparedFrame(frame, of: entries))
        }
        try self.init(checking: writes, to: regions, ifEpoch: ifEpoch, enqueuedAt: enqueuedAt)
        self.frames = prepared
    }

    private init(
        checking writes: [OutstandingWrite],
        to regions: [RegionID],
        ifEpoch: UInt64?,
        enqueuedAt: Timestamp
    ) throws(HoldfastError) {
        self.regions = regions
        self.ifEpoch = ifEpoch
        self.count = writes.count
        self.enqueuedAt = enqueuedAt
        self.rawBytes = try Self.checkSizes(writes)
        guard rawBytes * regions.count <= StoreLimits.fanOutBytesMax else {
            throw .tooLarge(
                "A call brings at most \(StoreLimits.fanOutBytesMax) bytes to all of its regions; this one brings "
                    + "\(rawBytes) to each of \(regions.count). Split it.",
                index: nil,
                limit: "fanOutBytesMax"
            )
        }
        try findRuns(writes)
    }

    /// Refuses what no queue would take, before anything is compressed or sent anywhere.
    package static func check(_ writes: [OutstandingWrite], to regions: [RegionID]) throws(HoldfastError) {
        _ = try Self(checking: writes, to: regions, ifEpoch: nil, enqueuedAt: Timestamp(milliseconds: 0))
    }

    /// The bytes of the writes that are no duplicates.
    func rawBytes(without duplicates: [Int]) -> Int {
        if duplicates.isEmpty { return rawBytes }
        if single != nil { return 0 }
        let sizes = frames.flatMap(\.rawSizes)
        return duplicates.reduce(rawBytes) { $0 - sizes[$1] }
    }

    private static func checkSizes(_ writes: [OutstandingWrite]) throws(HoldfastError) -> Int {
        guard writes.count <= StoreLimits.callEntriesMax else {
            throw .tooLarge(
                "A call holds at most \(StoreLimits.callEntriesMax) writes; this one has \(writes.count). Split it.",
                index: nil,
                limit: "callEntriesMax"
            )
        }
        var rawBytes = 0
        for (index, write) in writes.enumerated() {
            let parts = [
                ("key", write.key.count, OutstandingWrite.keySizeMax, "keySizeMax"),
                ("value", write.value.count, OutstandingWrite.valueSizeMax, "valueSizeMax"),
                ("clock", write.clock.count, OutstandingWrite.clockSizeMax, "clockSizeMax"),
            ]
            for (part, size, limit, name) in parts where size > limit {
                throw .tooLarge(
                    "A \(part) is at most \(limit) bytes; that of write \(index), sequence \(write.sequence) of "
                        + "'\(write.origin)', has \(size). Nothing of the call was queued.",
                    index: index,
                    limit: name
                )
            }
            rawBytes += write.rawBytes
        }
        guard rawBytes <= StoreLimits.callBytesMax else {
            throw .tooLarge(
                "A call holds at most \(StoreLimits.callBytesMax) bytes; this one has \(rawBytes). Split it.",
                index: nil,
                limit: "callBytesMax"
            )
        }
        return rawBytes
    }

    private mutating func findRuns(_ writes: [OutstandingWrite]) throws(HoldfastError) {
        // Only a call whose sequences do not simply rise needs to be searched for repetitions.
        let isRising = zip(writes, writes.dropFirst()).allSatisfy { before, after in
            before.origin == after.origin && before.incarnation == after.incarnation && before.sequence < after.sequence
        }
        var firstIndex: [WriteIdentity: Int] = [:]
        for (index, write) in writes.enumerated() {
            if !isRising {
                if let earlier = firstIndex[write.identity] {
                    guard writes[earlier] == write else { throw Self.conflict(write, at: index, with: earlier) }
                    repeated.append(index)
                    continue
                }
                firstIndex[write.identity] = index
            }
            if let run = runs.last, run.origin == write.origin, run.incarnation == write.incarnation,
                run.firstIndex + run.count == index, run.lastSequence < .max, run.lastSequence + 1 == write.sequence
            {
                runs[runs.count - 1].count += 1
            } else {
                runs.append(
                    Run(
                        origin: write.origin,
                        incarnation: write.incarnation,
                        firstSequence: write.sequence,
                        firstIndex: index,
                        count: 1
                    )
                )
            }
        }
    }

    private static func conflict(_ write: OutstandingWrite, at index: Int, with earlier: Int) -> HoldfastError {
        var error = HoldfastError(
            code: .identityConflict,
            message: "Writes \(earlier) and \(index) of the call differ, but both are sequence \(write.sequence) of "
                + "'\(write.origin)', incarnation \(write.incarnation). Nothing of the call was queued."
        )
        error.index = index
        error.identity = write.identity
        return error
    }
}

/// A frame that is ready to be stored, wherever it will stand.
struct PreparedFrame: Sendable {
    var bytes: [UInt8]
    var isCompressed: Bool
    /// The number of the dictionary that it was compressed with; nil for none.
    var dictionary: UInt32?
    var contentLength: Int
    /// Each entry's bytes of key, value and clock.
    var rawSizes: [Int]
    var canonical: Canonical
    var enqueuedAt: [Timestamp]

    var count: Int { rawSizes.count }

    /// The most bytes that a block of this frame takes as stored, its key with it.
    var storedBytesMax: Int {
        Self.blockOverhead(count) + bytes.count
    }

    /// The bytes that a block of this frame takes as stored, its key with it.
    func storedBytes(isSkipping: Bool) -> Int {
        storedBytesMax - (dictionary == nil ? BlockHeader.dictionarySize : 0) - (isSkipping ? 0 : Bitmap.size(count))
    }

    /// The most bytes around a frame: key, header, dictionary's number, bitmap and checksum.
    static func blockOverhead(_ entries: Int) -> Int {
        8 + BlockHeader.fixedSize + BlockHeader.dictionarySize + Bitmap.size(entries) + BlockHeader.checksumSize
    }

    /// Frames of more entries find enough that is alike in themselves.
    private static let dictionaryEntriesMax = 64

    /// Encodes and compresses `entries`, with the store's newest dictionary where they are few.
    ///
    /// `isThorough`: Whether both ways are tried, and the shorter frame is taken.
    init(_ entries: ArraySlice<FrameContent.Entry>, codec: FrameCodec, level: Int, isThorough: Bool = false) {
        let content = FrameContent.encode(entries)
        contentLength = content.count
        let isFew = entries.count <= Self.dictionaryEntriesMax
        let number = level > 0 && (isFew || isThorough) ? codec.newestDictionary : nil
        let trained = number.flatMap { codec.compress(content.span, level: level, dictionary: $0) }
        let plain = level > 0 && (number == nil || isThorough) ? codec.compress(content.span, level: level) : nil
        let isTrained = trained.map { $0.count + BlockHeader.dictionarySize < plain?.count ?? content.count } ?? false
        let frame = isTrained ? trained : plain
        dictionary = isTrained ? number : nil
        isCompressed = frame != nil
        bytes = frame ?? content
        rawSizes = entries.map(\.write.rawBytes)
        enqueuedAt = entries.map(\.enqueuedAt)
        canonical = Canonical()
        for entry in entries { canonical.append(entry) }
    }

    /// Takes a frame that was built elsewhere, of `entries`.
    init(_ frame: LogFrame, of entries: [FrameContent.Entry]) {
        bytes = frame.bytes
        isCompressed = frame.isCompressed
        contentLength = frame.contentLength
        rawSizes = entries.map(\.write.rawBytes)
        enqueuedAt = entries.map(\.enqueuedAt)
        canonical = Canonical()
        for entry in entries { canonical.append(entry) }
    }

    /// The block that holds the frame at a place in a queue.
    ///
    /// `chain`: The digest before the block's first entry; on return the one after its last.
    /// `skipped`: Which entries the queue has had; not all of them.
    func block(
        store: StoreID,
        queue: UInt32,
        at position: UInt64,
        chain: inout Hash128,
        skipping skipped: [Bool]? = nil
    ) -> (header: BlockHeader, bytes: [UInt8]) {
        var canonical = canonical
        let chainBefore = chain
        var firstKept: Int?
        var rawBytes = 0
        for index in 0..<count where skipped?[index] != true {
            chain = canonical.advance(chain, over: index)
            firstKept = firstKept ?? index
            rawBytes += rawSizes[index]
        }
        guard let firstKept else { preconditionFailure("a frame of which every entry is skipped is not stored") }
        let header = BlockHeader(
            isCompressed: isCompressed,
            dictionary: dictionary,
            skipped: skipped,
            frameEntries: count,
            store: store,
            queue: queue,
            firstPosition: position,
            chainBefore: chainBefore,
            firstEnqueuedAt: enqueuedAt[firstKept],
            rawBytes: UInt32(rawBytes),
            contentLength: contentLength,
            frameLength: bytes.count
        )
        return (header, header.block(with: bytes))
    }

    /// What an entry takes in a frame at most, before compression.
    static func contentBytesMax(_ entry: FrameContent.Entry) -> Int { entry.write.rawBytes + 150 }

    /// Cuts a call into frames of at most 256 entries and 64 KiB; a larger entry has a frame of its own.
    static func split(_ entries: [FrameContent.Entry]) -> [ArraySlice<FrameContent.Entry>] {
        var frames: [ArraySlice<FrameContent.Entry>] = []
        var start = 0
        var bytes = 0
        for (index, entry) in entries.enumerated() {
            let size = entry.write.rawBytes + 16
            if index > start, index - start == FrameContent.entriesMax || bytes + size > FrameContent.bytesTarget {
                frames.append(entries[start..<index])
                start = index
                bytes = 0
            }
            bytes += size
        }
        if start < entries.count { frames.append(entries[start...]) }
        return frames
    }
}
