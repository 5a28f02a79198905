package import Bytes
package import RegionFailover

/// The store's own identity: a random UUID, 16 bytes.
public struct StoreID: Sendable, Hashable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A new random identity (UUID version 4).
    package static func random() -> Self {
        var generator = SystemRandomNumberGenerator()
        return Self(
            high: generator.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000,
            low: generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        )
    }

    /// Reads the usual form, as ``description`` writes it; nil when it is none.
    package init?(uuid: String) {
        let digits = uuid.filter { $0 != "-" }
        guard digits.utf8.count == 32, let high = UInt64(digits.prefix(16), radix: 16),
            let low = UInt64(digits.dropFirst(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
        guard description == uuid else { return nil }
    }

    /// The usual form, such as `6f0e8d2c-1b7a-4c2e-9d35-08b1c5a7f913`.
    public var description: String {
        let digits = Array(hexadecimal(high) + hexadecimal(low))
        let ends = [8, 12, 16, 20, 32]
        var parts: [String] = []
        for (index, end) in ends.enumerated() { parts.append(String(digits[(index == 0 ? 0 : ends[index - 1])..<end])) }
        return parts.joined(separator: "-")
    }
}

/// Sixteen lower-case hexadecimal digits.
package func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// What stands before a block's frame.
package struct BlockHeader: Sendable, Hashable {
    /// Whether the frame is a zstd frame; otherwise it is the content itself.
    package var isCompressed: Bool
    /// The number of the dictionary that the frame was compressed with; nil for none.
    package var dictionary: UInt32?
    /// Which entries of the frame are not in this queue, having been there before; nil when all are.
    package var skipped: [Bool]?
    /// How many entries the frame holds, skipped ones too.
    package var frameEntries: Int
    package var store: StoreID
    package var queue: UInt32
    package var firstPosition: UInt64
    /// The chain's digest before the block's first entry.
    package var chainBefore: Hash128
    /// When the first entry that is not skipped was appended.
    package var firstEnqueuedAt: Timestamp
    /// Bytes of key, value and clock over the entries that are not skipped.
    package var rawBytes: UInt32
    /// Bytes of the content before compression.
    package var contentLength: Int
    package var frameLength: Int

    /// Entries that are in the queue.
    package var entries: Int { frameEntries - (skipped?.count(where: \.self) ?? 0) }
    /// The position of the last one.
    package var lastPosition: UInt64 { firstPosition &+ UInt64(entries) &- 1 }

    /// The bytes before the frame.
    package var size: Int {
        Self.fixedSize + (dictionary == nil ? 0 : Self.dictionarySize)
            + (skipped == nil ? 0 : Bitmap.size(frameEntries))
    }

    package static let fixedSize = 68
    /// What the number of a dictionary takes.
    package static let dictionarySize = 4
    package static let checksumSize = 8
    package static let format: UInt8 = 1

    package init(
        isCompressed: Bool,
        dictionary: UInt32? = nil,
        skipped: [Bool]?,
        frameEntries: Int,
        store: StoreID,
        queue: UInt32,
        firstPosition: UInt64,
        chainBefore: Hash128,
        firstEnqueuedAt: Timestamp,
        rawBytes: UInt32,
        contentLength: Int,
        frameLength: Int
    ) {
        self.isCompressed = isCompressed
        self.dictionary = dictionary
        self.skipped = skipped
        self.frameEntries = frameEntries
        self.store = store
        self.queue = queue
        self.firstPosition = firstPosition
        self.chainBefore = chainBefore
        self.firstEnqueuedAt = firstEnqueuedAt
        self.rawBytes = rawBytes
        self.contentLength = contentLength
        self.frameLength = frameLength
    }
}

extension BlockHeader {
    /// The whole block: header, `frame`, checksum.
    package func block(with frame: [UInt8]) -> [UInt8] {
        precondition(frame.count == frameLength, "the header says \(frameLength) bytes, the frame has \(frame.count)")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size + frame.count + Self.checksumSize)
        bytes.append(Self.format)
        bytes.append((isCompressed ? 1 : 0) | (skipped == nil ? 0 : 2) | (dictionary == nil ? 0 : 4))
        bytes.append(bigEndian: UInt16(frameEntries))
        bytes.append(bigEndian: store.high)
        bytes.append(bigEndian: store.low)
        bytes.append(bigEndian: queue)
        bytes.append(bigEndian: firstPosition)
        bytes.append(bigEndian: chainBefore.high)
        bytes.append(bigEndian: chainBefore.low)
        bytes.append(bigEndian: firstEnqueuedAt.milliseconds)
        bytes.append(bigEndian: rawBytes)
        bytes.append(bigEndian: UInt32(contentLength))
        bytes.append(bigEndian: UInt32(frameLength))
        if let dictionary { bytes.append(bigEndian: dictionary) }
        if let skipped { bytes.append(contentsOf: Bitmap.pack(skipped)) }
        bytes.append(contentsOf: frame)
        bytes.append(bigEndian: XXH3.hash64(bytes.span))
        return bytes
    }

    /// Reads the header of `block` and proves the whole block: its checksum, and that it stands where it belongs.
    ///
    /// `firstPosition`: The position that the block's key says; nil to take the header's word for it.
    /// Throws: ``FormatError`` when a bit is wrong, or the block is another store's, queue's or position's.
    package init(
        verifying block: Span<UInt8>,
        store: StoreID,
        queue: UInt32,
        firstPosition: UInt64?
    ) throws(FormatError) {
        try self.init(verifying: block)
        guard self.store == store, self.queue == queue, self.firstPosition == firstPosition ?? self.firstPosition else {
            throw FormatError(
                "the block belongs to store \(self.store), queue \(self.queue), position \(self.firstPosition)"
            )
        }
    }

    /// Verifies a block's checksum and reads its header, wherever it is from.
    package init(verifying block: Span<UInt8>) throws(FormatError) {
        guard block.count >= Self.fixedSize + Self.checksumSize else {
            throw FormatError("a block of \(block.count) bytes is too short")
        }
        let body = block.extracting(..<(block.count - Self.checksumSize))
        guard XXH3.hash64(body) == block.bigEndian(at: body.count) else {
            throw FormatError("the block's checksum is wrong")
        }
        try self.init(unverified: body)
    }

    /// What a block whose checksum is wrong says of its entries' bytes; 0 where that cannot be.
    package static func claimedRawBytes(_ block: Span<UInt8>) -> UInt64 {
        guard block.count >= Self.fixedSize + Self.checksumSize else { return 0 }
        let header = try? Self(unverified: block.extracting(..<(block.count - Self.checksumSize)))
        return header.map { UInt64($0.rawBytes) } ?? 0
    }

    /// Whether a block that is not verified says that it stands in `queue`, at the position that `key` is.
    package static func claims(_ block: Span<UInt8>, queue: UInt32, key: [UInt8]) -> Bool {
        guard block.count >= Self.fixedSize + Self.checksumSize,
            let header = try? Self(unverified: block.extracting(..<(block.count - Self.checksumSize)))
        else { return false }
        return header.queue == queue && Key.number(header.firstPosition) == key
    }

    private init(unverified body: Span<UInt8>) throws(FormatError) {
        var reader = ByteReader(body)
        let format = try reader.byte("block format")
        guard format == Self.format else { throw FormatError("block format \(format) is unknown") }
        let flags = try reader.byte("block flags")
        guard flags & ~7 == 0, flags & 5 != 4 else { throw FormatError("block flags \(flags) are unknown") }
        isCompressed = flags & 1 != 0
        frameEntries = Int(try reader.number(UInt16.self, "entries"))
        store = StoreID(high: try reader.number(UInt64.self, "store"), low: try reader.number(UInt64.self, "store"))
        queue = try reader.number(UInt32.self, "queue")
        firstPosition = try reader.number(UInt64.self, "first position")
        chainBefore = try reader.hash("chain")
        firstEnqueuedAt = Timestamp(milliseconds: try reader.signed("enqueued-at"))
        rawBytes = try reader.number(UInt32.self, "raw bytes")
        contentLength = Int(try reader.number(UInt32.self, "content length"))
        frameLength = Int(try reader.number(UInt32.self, "frame length"))
        (dictionary, skipped) = (nil, nil)
        guard (1...FrameContent.entriesMax).contains(frameEntries) else {
            throw FormatError("a block of \(frameEntries) entries")
        }
        dictionary = flags & 4 == 0 ? nil : try reader.number(UInt32.self, "dictionary")
        guard dictionary != 0 else { throw FormatError("a block of dictionary 0") }
        if flags & 2 != 0 {
            skipped = try Bitmap.unpack(try reader.array(Bitmap.size(frameEntries), "skipped"), count: frameEntries)
        }
        guard entries > 0, firstPosition > 0, firstPosition <= UInt64.max - UInt64(frameEntries) else {
            throw FormatError("a block of \(entries) entries at position \(firstPosition)")
        }
        guard frameLength == reader.remaining else { throw FormatError("the frame length is wrong") }
        guard (1...FrameContent.bytesMax).contains(contentLength), isCompressed || contentLength == frameLength else {
            throw FormatError("the content length \(contentLength) is wrong")
        }
    }
}

extension ByteReader {
    package mutating func hash(_ field: StaticString) throws(FormatError) -> Hash128 {
        Hash128(high: try number(UInt64.self, field), low: try number(UInt64.self, field))
    }
}

/// The digest over every entry that a queue ever took: d(n) = XXH3-128(d(n-1), canonical bytes of entry n).
package enum Chain {
    /// The bytes kept free before each entry in a ``Canonical`` buffer, for the digest before it.
    static let gap = 16

    /// The digest after an entry whose canonical bytes, with the gap before them, are `gapped`.
    static func advance(_ digest: Hash128, _ gapped: inout [UInt8], _ range: Range<Int>) -> Hash128 {
        gapped.store(bigEndian: digest.high, at: range.lowerBound)
        gapped.store(bigEndian: digest.low, at: range.lowerBound + 8)
        return XXH3.hash128(gapped.span.extracting(range))
    }
}

/// Entries in the one form that the chain hashes, ready for it.
package struct Canonical: Sendable {
    private var bytes: [UInt8] = []
    private var ends: [Int] = []

    package init() {}

    /// Adds an entry.
    package mutating func append(_ entry: FrameContent.Entry) {
        let write = entry.write
        bytes.append(contentsOf: repeatElement(0, count: Chain.gap))
        bytes.append(region: write.origin)
        bytes.append(bigEndian: write.incarnation)
        bytes.append(bigEndian: write.sequence)
        bytes.append(bigEndian: entry.enqueuedAt.milliseconds)
        bytes.append(write.kind.rawValue)
        bytes.append(write.timestamp == nil ? 0 : 1)
        bytes.append(bigEndian: write.timestamp?.milliseconds ?? 0)
        for part in [write.clock, write.key, write.value] {
            bytes.append(bigEndian: UInt32(part.count))
            bytes.append(contentsOf: part)
        }
        ends.append(bytes.count)
    }

    /// The hash of the `index`-th entry alone.
    package func hash(of index: Int) -> UInt64 {
        let start = (index == 0 ? 0 : ends[index - 1]) + Chain.gap
        return XXH3.hash64(bytes.span.extracting(start..<ends[index]))
    }

    /// The digest after the `index`-th entry, where `digest` is the one before it.
    package mutating func advance(_ digest: Hash128, over index: Int) -> Hash128 {
        let start = index == 0 ? 0 : ends[index - 1]
        return Chain.advance(digest, &bytes, start..<ends[index])
    }
}
