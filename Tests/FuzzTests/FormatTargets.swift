import Bytes
import Foundation
import HoldfastTesting
import RegionFailover
import ReplayFormat
import TestSupport
import Zstd

@testable import ReplayStore

/// What the fixtures hold, as inputs.
struct Seeds {
    /// A stored row.
    struct Row {
        var table: Table
        var key: [UInt8]
        var fields: [UInt8]
    }

    private(set) var rows: [Row] = []
    private(set) var blocks: [[UInt8]] = []
    /// Knows every dictionary.
    let codec = FrameCodec()

    /// The fixtures that the decoders of stores begin with.
    static let stores = ["empty", "queues", "left", "failover", "history"]

    init() throws {
        let directory = try TemporaryDirectory()
        for name in Self.stores {
            let path = directory.appending(name)
            try Fixture(name: name).copy(to: path)
            let reader = try StoreReader.open(path)
            let found = try reader.look { (view) throws(HoldfastError) -> ([Row], [[UInt8]]) in
                var (rows, blocks): ([Row], [[UInt8]]) = ([], [])
                try view.loadDictionaries(into: codec)
                for table in view.tables {
                    try view.scan(table) { (key, value) throws(HoldfastError) in
                        if table.hasRows {
                            rows.append(Row(table: table, key: key, fields: Array(value.array.dropLast(8))))
                        } else {
                            blocks.append(value.array)
                        }
                        return true
                    }
                }
                return (rows, blocks)
            }
            rows += found.0
            blocks += found.1
        }
    }

    /// The rows of one kind of table as inputs: the key's length, the key, the fields.
    func inputs(of isWanted: (Table) -> Bool) -> [[UInt8]] {
        rows.filter { isWanted($0.table) }.map { [UInt8($0.key.count)] + $0.key + $0.fields }
    }
}

/// The decoders of values: blocks, frames and rows.
enum FormatTargets {
    static let all: [FuzzTarget] = [
        frame, block, zstd, row("regions", regionRow), row("seen", seenRow), row("dead", deadRow), row("lost", lostRow),
        row("controller", controllerRow), row("history", historyRow), row("dictionaries", dictionaryRow),
        row("superblock", superblockRow),
    ]

    // MARK: Blocks

    private static let frame = FuzzTarget(
        name: "frame",
        allowance: 1 << 20,
        seeds: {
            let seeds = try Seeds()
            return try seeds.blocks.map { block in
                let header = try BlockHeader(verifying: block.span)
                let frame = block.span.extracting(header.size..<(header.size + header.frameLength))
                guard header.isCompressed else { return frame.array }
                return try seeds.codec.decompress(frame, count: header.contentLength, dictionary: header.dictionary)
            }
        },
        decode: { input in
            guard let entries = try? FrameContent.decode(input.span) else { return false }
            guard (1...FrameContent.entriesMax).contains(entries.count) else {
                throw Broken("\(entries.count) entries")
            }
            let again = FrameContent.encode(entries[...])
            guard try FrameContent.decode(again.span) == entries else { throw Broken("it encodes to something else") }
            var canonical = Canonical()
            for entry in entries { canonical.append(entry) }
            _ = canonical.advance(.zero, over: 0)
            return true
        }
    )

    /// A content of the largest size that there may be, twice: the content, and what it decodes to.
    private static let blockAllowance = 2 * FrameContent.bytesMax + 2 << 20

    private static let codec = Result { try Seeds().codec }

    private static let block = FuzzTarget(
        name: "block",
        allowance: blockAllowance,
        seeds: { try Seeds().blocks.map { Array($0.dropLast(8)) } },
        decode: { input in
            var block = input
            block.append(bigEndian: XXH3.hash64(input.span))
            let verified: VerifiedBlock
            do throws(FormatError) {
                let header = try BlockHeader(verifying: block.span)
                verified = try VerifiedBlock(block.span, store: header.store, queue: header.queue, firstPosition: nil)
            } catch {
                // What a damaged one claims is asked all the same.
                _ = BlockHeader.claimedRawBytes(input.span)
                return false
            }
            let header = verified.header
            let frame = block[header.size..<(header.size + header.frameLength)]
            guard header.block(with: Array(frame)) == block else { throw Broken("it encodes to something else") }
            guard let entries = try? verified.entries(try codec.get()) else { return false }
            guard entries.count == header.entries, entries.last?.position == header.lastPosition else {
                throw Broken("\(entries.count) entries of \(header.entries)")
            }
            return true
        }
    )

    /// Two bytes say how much the frame is asked for.
    private static let zstd = FuzzTarget(
        name: "zstd",
        allowance: 1 << 20,
        seeds: {
            try Seeds().blocks.compactMap { block in
                let header = try BlockHeader(verifying: block.span)
                guard header.isCompressed, header.dictionary == nil, header.contentLength <= 0xFFFF else { return nil }
                let frame = block[header.size..<(header.size + header.frameLength)]
                return [UInt8(header.contentLength >> 8), UInt8(header.contentLength & 255)] + frame
            }
        },
        decode: { input in
            guard input.count >= 2 else { return false }
            let count = Int(input[0]) << 8 | Int(input[1])
            let frame = Array(input.dropFirst(2))
            guard let content = try? FrameCodec().decompress(frame.span, count: count) else { return false }
            guard content.count == count else { throw Broken("\(content.count) bytes, not \(count)") }
            return true
        }
    )

    // MARK: Rows

    private static func row(
        _ name: String,
        _ decode: @escaping @Sendable (_ key: [UInt8], _ fields: [UInt8]) throws -> Void
    ) -> FuzzTarget {
        FuzzTarget(
            name: name,
            allowance: 1 << 20,
            seeds: {
                try Seeds().inputs { $0.name.split(separator: "/")[0] == name }
            },
            decode: { input in
                guard let length = input.first.map(Int.init), length < input.count else { return false }
                do {
                    try decode(Array(input[1..<(length + 1)]), Array(input[(length + 1)...]))
                    return true
                } catch is FormatError {
                    return false
                }
            }
        )
    }

    @Sendable static func same<Value: Equatable>(_ first: Value, _ second: Value) throws {
        guard first == second else { throw Broken("it encodes to something else") }
    }

    /// Whether a text is what its bytes said: bytes that are no UTF-8 become another character.
    private static func isText(_ text: String) -> Bool { !text.unicodeScalars.contains("\u{FFFD}") }

    @Sendable private static func regionRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let (region, row) = try RegionRow.read(key, Row.seal(fields, key: key, in: .regions).span)
        try same(Key.region(region), key)
        if isText(row.pauseReason) { try same(try RegionRow(decoding: row.encoded().span), row) }
        _ = row.isBalanced
    }

    @Sendable private static func seenRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let value = Row.seal(fields, key: key, in: .seen(1))
        if let range = try SeenRow.range(key, value.span, in: .seen(1)) {
            try same(Key.seenRange(range.origin, incarnation: range.incarnation, first: range.first), key)
            try same(SeenRow.last(range.last), fields)
        } else if case .floor(let origin) = try SeenKey(decoding: key.span) {
            let (incarnation, sequence) = try SeenRow.floor(decoding: fields.span)
            try same(Key.seenFloor(origin), key)
            try same(SeenRow.floor(incarnation, sequence), fields)
        }
    }

    @Sendable private static func deadRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let (position, row) = try DeadRow.read(key, Row.seal(fields, key: key, in: .dead(1)).span, in: .dead(1))
        try same(Key.number(position), key)
        if isText(row.reason) { try same(try DeadRow(decoding: row.encoded().span), row) }
    }

    @Sendable private static func lostRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let (place, row) = try LostRow.read(key, Row.seal(fields, key: key, in: .lost).span)
        try same(Key.lost(place.region, queue: place.queue, first: place.first, last: place.last), key)
        try same(row.encoded(), fields)
    }

    @Sendable private static func historyRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let (number, event) = try EventRow.read(key, Row.seal(fields, key: key, in: .history).span)
        try same(Key.number(number), key)
        try same(try EventRow.decode(EventRow.encoded(event).span), event)
    }

    @Sendable private static func dictionaryRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let (number, copy, bytes) = try DictionaryRow.read(key, Row.seal(fields, key: key, in: .dictionaries).span)
        try same(DictionaryRow.key(number, copy: copy), key)
        try same(bytes, fields)
        let codec = FrameCodec()
        guard codec.add(dictionary: bytes, number: number) else { return }
        let content = Array("value 1 value 1 value 1 value 1 ".utf8)
        guard let frame = codec.compress(content.span, level: 1, dictionary: number) else { return }
        try same(try codec.decompress(frame.span, count: content.count, dictionary: number), content)
    }

    @Sendable private static func controllerRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let value = Row.seal(fields, key: key, in: .controller)
        try same(try Row.open(value.span, key: key, in: .controller), fields)
        _ = ControllerRows.timeless(key, fields)
        switch String(decoding: key, as: UTF8.self) {
        case "mepoch", "mevents":
            try same(ControllerRows.number(try ControllerRows.number(decoding: fields.span)), fields)
        case "mtime":
            let (time, tick) = try ControllerRows.time(decoding: fields.span)
            let again = try ControllerRows.time(decoding: ControllerRows.time(time, lastTick: tick).span)
            try same([again.0, again.lastTick], [time, tick])
        case "mconfiguration":
            let configuration = try ControllerRows.configuration(decoding: fields.span)
            let again = ControllerRows.configuration(configuration)
            try same(try ControllerRows.configuration(decoding: again.span), configuration)
            _ = try? configuration.validate()
        case "mlimits":
            let limits = try TotalLimits(decoding: fields.span)
            try same(try TotalLimits(decoding: limits.encoded().span), limits)
        default:
            if Key.replaySettingsRegion(key) != nil {
                let settings = try ReplaySettings(decoding: fields.span)
                try same(try ReplaySettings(decoding: settings.encoded().span), settings)
            } else {
                let (role, state, seen) = try ControllerRows.region(decoding: fields.span)
                try same(ControllerRows.region(role, state, lastSeen: seen), fields)
            }
        }
    }

    /// A superblock in which one row is another one.
    @Sendable private static func superblockRow(_ key: [UInt8], _ fields: [UInt8]) throws {
        let whole = Superblock(store: StoreID(high: 1, low: 2), created: Timestamp(milliseconds: 3))
        var rows = Dictionary(whole.encoded().map { ($0.0.rawValue, $0.1) }) { first, _ in first }
        rows[String(decoding: key, as: UTF8.self)] = fields
        let read = try Superblock { (name) throws(FormatError) in rows[name.rawValue] }
        let again = Dictionary(read.encoded().map { ($0.0.rawValue, $0.1) }) { first, _ in first }
        for (name, fields) in again where name != "incomplete" {
            guard read.version == Superblock.currentVersion else { return }
            try same(rows[name], fields)
        }
    }
}
