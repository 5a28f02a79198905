private import Bytes
internal import RegionFailover
internal import ReplayFormat
internal import Zstd

extension StoreView {
    /// The dictionaries of which at least one copy can be read, by number.
    func dictionaries() throws(HoldfastError) -> [UInt32: [UInt8]] {
        var found: [UInt32: [UInt8]] = [:]
        try scan(.dictionaries) { (key, value) throws(HoldfastError) in
            // A copy that was changed is the check's to name; the blocks need only one.
            if let (number, _, bytes) = try? DictionaryRow.read(key, value) { found[number] = found[number] ?? bytes }
            return true
        }
        return found
    }

    /// The greatest number that a key of the table names; 0 when there is none.
    func lastDictionary() throws(HoldfastError) -> UInt32 {
        var last: UInt32 = 0
        try scan(.dictionaries) { (key, _) throws(HoldfastError) in
            last = max(last, key.prefix(4).reduce(0) { $0 << 8 | UInt32($1) })
            return true
        }
        return last
    }

    /// Hands the dictionaries to what decompresses blocks.
    func loadDictionaries(into codec: FrameCodec) throws(HoldfastError) {
        for (number, bytes) in try dictionaries() { codec.add(dictionary: bytes, number: number) }
    }
}

/// Trains a dictionary on what is queued.
enum DictionaryTraining {
    /// A larger one gained nothing in the measurements.
    ///
    /// With its checksum it fits one page of 4 KiB: LMDB keeps 16 bytes of it for itself.
    private static let bytesMax = (4 << 10) - 16 - Row.checksumSize
    /// So many samples are enough, and fewer than the least train nothing that helps.
    private static let samplesWanted = 500
    private static let samplesMin = 100
    /// The most entries in a sample: of 1, 4 and 16, the last made the shortest blocks, also those of one entry.
    private static let sampleEntriesMax = 16
    /// A larger entry is a block of its own, and is no sample.
    private static let entryBytesMax = FrameContent.bytesTarget
    /// The samples together.
    private static let samplesBytesMax = 16 << 20

    /// A new dictionary; nil when what is queued is too little for one.
    static func train(_ view: borrowing StoreView, _ codec: FrameCodec) throws(HoldfastError) -> [UInt8]? {
        let rows = try view.regionRows().map(\.1)
        let entries = rows.reduce(into: UInt64(0)) { $0 &+= $1.entries }
        let sampleEntries = min(sampleEntriesMax, max(1, Int(clamping: entries) / samplesMin))
        // Samples from every part of every queue, in step.
        var step = max(1, Int(clamping: entries) / sampleEntries / samplesWanted)
        var samples: [[UInt8]] = []
        var bytes = 0
        var parts = 0
        for row in rows {
            var part: [FrameContent.Entry] = []
            let store = view.superblock.store
            try view.scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
                let held = try StoreRewrite.proved(.queue(row.number)) { () throws(FormatError) in
                    let position = try Key.number(from: key.span)
                    let block = try VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
                    return try block.entries(codec)
                }
                for entry in held
                where entry.position >= row.headPosition && entry.write.rawBytes <= entryBytesMax {
                    part.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
                    guard part.count == sampleEntries else { continue }
                    parts += 1
                    if parts % step == 0 {
                        samples.append(FrameContent.encode(part[...]))
                        bytes += samples.last?.count ?? 0
                    }
                    part = []
                    guard bytes > samplesBytesMax else { continue }
                    // Every second one is from every part still.
                    samples = samples.indices.filter { $0 % 2 == 1 }.map { samples[$0] }
                    bytes = samples.reduce(0) { $0 + $1.count }
                    step *= 2
                }
                return true
            }
        }
        guard samples.count >= samplesMin else { return nil }
        return FrameCodec.train(samples, capacity: bytesMax)
    }
}

extension Checker {
    /// Proves each copy of each dictionary, and that none is missing.
    mutating func checkDictionaries(_ view: borrowing StoreView) throws(HoldfastError) {
        var copies: [UInt32: Int] = [:]
        var damaged: [String] = []
        let codec = codec
        try view.scan(.dictionaries) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                let (number, _, _) = try DictionaryRow.read(key, value)
                guard codec.knows(dictionary: number) else { throw FormatError("zstd does not take it") }
                copies[number, default: 0] += 1
            } catch {
                damaged.append(error.description)
            }
            return true
        }
        for reason in damaged { note("row", .dictionaries, "A copy of a dictionary: \(reason)") }
        for (number, count) in copies.sorted(by: { $0.key < $1.key }) where count < Int(DictionaryRow.copies) {
            note(
                "dictionary",
                .dictionaries,
                "Of dictionary \(number) a copy is missing or damaged; the other one is whole, and is used.",
                severity: .warning,
                action: "Run 'holdfast compact', which writes both anew."
            )
        }
    }
}
