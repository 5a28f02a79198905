import Bytes
import HoldfastTesting
import RegionFailover
import ReplayFormat
import Testing

@Suite("The format") struct FormatTests {
    private static func entries(_ random: inout SplitMix64) -> [FrameContent.Entry] {
        let count = [1, 2, 17, 256].randomElement(using: &random) ?? 1
        let start = [1, UInt64.max - 255, .random(in: 0...(.max), using: &random)].randomElement(using: &random) ?? 1
        let isWild = Bool.random(using: &random)
        return (0..<UInt64(count)).map { offset in
            let write = OutstandingWrite(
                origin: Bool.random(using: &random) ? "us" : "eu-west-1",
                incarnation: isWild ? .random(in: 0...(.max), using: &random) : 3,
                sequence: isWild ? .random(in: 0...(.max), using: &random) : start &+ offset,
                key: (0..<Int.random(in: 0..<30, using: &random)).map { _ in .random(in: 0...255, using: &random) },
                value: [UInt8](repeating: 7, count: Int.random(in: 0..<200, using: &random)),
                kind: Bool.random(using: &random) ? .put : .delete,
                timestamp: isWild ? Timestamp(milliseconds: .random(in: .min ... .max, using: &random)) : nil,
                clock: isWild ? [1, 2, 3] : []
            )
            let time = isWild ? Int64.random(in: .min ... .max, using: &random) : 1_700_000_000_000
            return FrameContent.Entry(write: write, enqueuedAt: Timestamp(milliseconds: time))
        }
    }

    @Test("A frame gives back what was put into it", arguments: 0..<64 as Range<UInt64>)
    func frameRoundTrip(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let entries = Self.entries(&random)
        let content = FrameContent.encode(entries[...])
        #expect(try FrameContent.decode(content.span) == entries)
    }

    @Test("A dead letter keeps as much of its reason as fits, in whole characters", arguments: 0..<4)
    func reason(offset: Int) throws {
        let reason = String(repeating: "a", count: offset) + String(repeating: "\u{1F6F0}", count: 300)
        let write = OutstandingWrite(origin: "us", incarnation: 0, sequence: 1, key: [1], value: [2])
        let entry = FrameContent.Entry(write: write, enqueuedAt: Timestamp(milliseconds: 1))
        let parkedAt = Timestamp(milliseconds: 2)
        let row = DeadRow(cause: .attempts, attempts: 1, parkedAt: parkedAt, reason: reason, entry: entry)
        let kept = try DeadRow(decoding: row.encoded().span).reason
        #expect(reason.hasPrefix(kept))
        #expect((DeadRow.reasonMax - 3...DeadRow.reasonMax).contains(kept.utf8.count))
        let short = DeadRow(cause: .key, attempts: 0, parkedAt: parkedAt, reason: "no \u{e9}", entry: entry)
        #expect(try DeadRow(decoding: short.encoded().span) == short)
    }

    @Test("Damaged content throws or decodes, and never traps", arguments: 0..<64 as Range<UInt64>)
    func damagedContent(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let content = FrameContent.encode(Self.entries(&random)[...])
        var refused = 0
        for _ in 0..<200 {
            var damaged = content
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: 0..<damaged.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { damaged.removeLast(Int.random(in: 0..<damaged.count, using: &random)) }
            guard let decoded = try? FrameContent.decode(damaged.span) else {
                refused += 1
                continue
            }
            #expect((1...FrameContent.entriesMax).contains(decoded.count))
        }
        #expect(refused > 0)
    }

    private static func header(_ frame: [UInt8], skipped: [Bool]?) -> BlockHeader {
        BlockHeader(
            isCompressed: false,
            skipped: skipped,
            frameEntries: 17,
            store: StoreID(high: 0x0102_0304_0506_0708, low: 9),
            queue: 5,
            firstPosition: 1000,
            chainBefore: Hash128(high: 11, low: 12),
            firstEnqueuedAt: Timestamp(milliseconds: -13),
            rawBytes: 14,
            contentLength: frame.count,
            frameLength: frame.count
        )
    }

    private static let skips: [[Bool]?] = [nil, (0..<17).map { $0 % 3 == 0 }]

    @Test("A block gives back its header, and any flipped bit is noticed", arguments: skips)
    func blockBits(skipped: [Bool]?) throws {
        let frame = [UInt8](repeating: 9, count: 50)
        let header = Self.header(frame, skipped: skipped)
        let block = header.block(with: frame)
        func read(_ bytes: [UInt8], queue: UInt32 = 5, position: UInt64 = 1000) throws -> BlockHeader {
            try BlockHeader(verifying: bytes.span, store: header.store, queue: queue, firstPosition: position)
        }
        #expect(try read(block) == header)
        #expect(header.lastPosition == 1000 + (skipped == nil ? 16 : 10))
        for bit in 0..<(block.count * 8) {
            var damaged = block
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: FormatError.self, "bit \(bit)") { try read(damaged) }
        }
        #expect(throws: FormatError.self) {
            let other = StoreID(high: header.store.high, low: header.store.low + 1)
            return try BlockHeader(verifying: block.span, store: other, queue: 5, firstPosition: 1000)
        }
        #expect(throws: FormatError.self) { try read(block, queue: 6) }
        #expect(throws: FormatError.self) { try read(block, position: 1001) }
        for length in 0..<block.count {
            #expect(throws: FormatError.self, "length \(length)") { try read(Array(block.prefix(length))) }
        }
    }

    @Test("A block that needs a dictionary is the one that the article shows, and any flipped bit is noticed")
    func dictionaryBlock() throws {
        var header = BlockHeader(
            isCompressed: true,
            dictionary: 1,
            skipped: nil,
            frameEntries: 1,
            store: StoreID(high: 0x6F0E_8D2C_1B7A_4C2E, low: 0x9D35_08B1_C5A7_F913),
            queue: 1,
            firstPosition: 1,
            chainBefore: .zero,
            firstEnqueuedAt: Timestamp(milliseconds: 1_700_000_000_250),
            rawBytes: 4,
            contentLength: 42,
            frameLength: 24
        )
        let frame = [UInt8](repeating: 9, count: 24)
        let block = header.block(with: frame)
        let article: [UInt8] = [
            0x01, 0x05, 0x00, 0x01, 0x6F, 0x0E, 0x8D, 0x2C, 0x1B, 0x7A, 0x4C, 0x2E, 0x9D, 0x35, 0x08, 0xB1,
            0xC5, 0xA7, 0xF9, 0x13, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0xFA, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x2A,
            0x00, 0x00, 0x00, 0x18, 0x00, 0x00, 0x00, 0x01,
        ]
        #expect(Array(block.prefix(72)) == article)
        #expect(header.size == 72)
        func read(_ bytes: [UInt8]) throws -> BlockHeader {
            try BlockHeader(verifying: bytes.span, store: header.store, queue: 1, firstPosition: 1)
        }
        #expect(try read(block) == header)
        for bit in 0..<(block.count * 8) {
            var damaged = block
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: FormatError.self, "bit \(bit)") { try read(damaged) }
        }
        // A dictionary without a zstd frame, and none of number 0.
        (header.isCompressed, header.contentLength) = (false, 24)
        #expect(throws: FormatError.self) { try read(header.block(with: frame)) }
        (header.isCompressed, header.dictionary) = (true, 0)
        #expect(throws: FormatError.self) { try read(header.block(with: frame)) }
    }

    @Test("A row is proved by its table, its key and every bit of its fields") func rowBits() throws {
        let key = Key.text("key")
        let value = Row.seal([1, 2, 3], key: key, in: .history)
        #expect(try Row.open(value.span, key: key, in: .history) == [1, 2, 3])
        for bit in 0..<(value.count * 8) {
            var damaged = value
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: FormatError.self) { try Row.open(damaged.span, key: key, in: .history) }
        }
        #expect(throws: FormatError.self) { try Row.open(value.span, key: Key.text("kez"), in: .history) }
        #expect(throws: FormatError.self) { try Row.open(value.span, key: key, in: .lost) }
    }

    /// A row whose neighbouring fields differ, so that one read in place of another is noticed.
    ///
    /// `on`: Which of the optional fields and the flags are set.
    private static func row(on: Int) -> RegionRow {
        var row = RegionRow(number: 7)
        row.nextPosition = 100
        row.headPosition = 60
        row.entries = 40
        row.rawBytes = 4000
        row.storedBytes = 999
        row.oldestEnqueuedAt = Timestamp(milliseconds: -5)
        row.chain = Hash128(high: 1, low: 2)
        row.counters.accepted = 101
        row.counters.acknowledged = 50
        row.counters.drained = 5
        row.counters.dropped = 3
        row.counters.dead = 1
        row.counters.lost = 2
        row.counters.retried = 6
        row.acknowledgedSinceEmpty = 12
        row.attempts = 8
        row.needsResync = on & 1 != 0
        row.isPaused = on & 2 != 0
        row.pausedUntil = on & 4 != 0 ? Timestamp(milliseconds: 77) : nil
        row.pauseReason = "zażółć"
        row.limits = QueueLimits(
            entriesMax: on & 8 != 0 ? 0 : nil,
            bytesMax: on & 16 != 0 ? 4096 : nil,
            ageMaxMilliseconds: on & 32 != 0 ? 6 : nil,
            overflow: on & 1 != 0 ? .dropOldest : .reject,
            sharePercent: on & 64 != 0 ? 7 : nil
        )
        return row
    }

    @Test("A region's row gives back every field", arguments: 0..<128) func regionRow(on: Int) throws {
        let row = Self.row(on: on)
        let bytes = row.encoded()
        #expect(try RegionRow(decoding: bytes.span) == row)
        #expect(row.isBalanced)
        for length in 0..<bytes.count {
            let prefix = Array(bytes.prefix(length))
            #expect(throws: FormatError.self) { try RegionRow(decoding: prefix.span) }
        }
    }

    @Test("Every event gives itself back") func events() throws {
        let pending = QueueSummary(
            entries: 1,
            bytes: 2,
            oldestMilliseconds: 3,
            dead: 4,
            needsResync: true,
            isPaused: false
        )
        var paused = pending
        (paused.needsResync, paused.isPaused) = (false, true)
        let kinds: [FailoverEvent.Kind] = [
            .suspect, .failed, .recovering, .healthy, .demoted(epoch: 9),
            .promoted(replaced: "us", epoch: 8, pending: pending), .replayed(entries: 7), .readmitted(forced: true),
            .readmitted(forced: false), .switchedOver(replaced: "us", epoch: 6, pending: paused),
            .configured(added: ["a", "b"], removed: ["c"]), .paused, .resumed, .resyncNeeded, .resyncCleared,
            .detectorPaused,
        ]
        for kind in kinds {
            for region in ["eu", nil] as [RegionID?] {
                let event = FailoverEvent(kind: kind, at: Timestamp(milliseconds: -1), region: region)
                let bytes = EventRow.encoded(event)
                #expect(try EventRow.decode(bytes.span) == event)
            }
        }
    }

    @Test("A key of the ledger or of what was seen is read back, and nothing shorter is") func keys() throws {
        let lost = Key.lost("eu-west-1", queue: 3, first: 10, last: 20)
        let place = try LostKey(decoding: lost.span)
        #expect(place.region == "eu-west-1")
        #expect([UInt64(place.queue), place.first, place.last] == [3, 10, 20])
        let range = Key.seenRange("eu", incarnation: 1, first: 2)
        #expect(try SeenKey(decoding: range.span) == .range(origin: "eu", incarnation: 1, first: 2))
        let floor = Key.seenFloor("eu")
        #expect(try SeenKey(decoding: floor.span) == .floor(origin: "eu"))
        for length in 0..<lost.count {
            let prefix = Array(lost.prefix(length))
            #expect(throws: FormatError.self) { try LostKey(decoding: prefix.span) }
        }
        for length in 0..<range.count {
            let prefix = Array(range.prefix(length))
            #expect(throws: FormatError.self) { try SeenKey(decoding: prefix.span) }
        }
    }

    @Test("A store's identity is printed as a UUID of version 4") func uuid() {
        #expect(StoreID(high: 0x4001, low: 0x8000_0000_0000_000F).description == "00000000-0000-4001-8000-00000000000f")
        let id = StoreID.random().description
        #expect(id.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil)
    }
}
