private import Bytes
package import RegionFailover

/// What a block holds, before it is compressed: up to 256 entries, column by column, without their positions.
///
/// Being free of positions, it can be built before anybody knows where it will stand, and stored in several queues.
/// The bytes are described in the article "On-disk format".
package enum FrameContent {
    /// The most entries in one frame.
    package static let entriesMax = 256
    /// The most bytes of content that a writer puts in one frame, unless one entry alone has more.
    package static let bytesTarget = 64 << 10
    /// The most bytes of content that a reader accepts: one entry of every size limit, and what describes it.
    package static let bytesMax = OutstandingWrite.valueSizeMax + (256 << 10)

    /// One entry as it stands in a frame.
    package struct Entry: Sendable, Hashable {
        package var write: OutstandingWrite
        package var enqueuedAt: Timestamp

        package init(write: OutstandingWrite, enqueuedAt: Timestamp) {
            self.write = write
            self.enqueuedAt = enqueuedAt
        }
    }

    /// The content that holds `entries`, from 1 to ``entriesMax`` of them.
    package static func encode(_ entries: ArraySlice<Entry>) -> [UInt8] {
        precondition(!entries.isEmpty && entries.count <= entriesMax, "a frame holds 1 to 256 entries")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(entries.reduce(64) { $0 + $1.write.rawBytes + 16 })
        bytes.append(varint: UInt64(entries.count))
        encodeOrigins(entries, into: &bytes)
        encodeColumn(entries.lazy.map { $0.write.incarnation }, into: &bytes)
        encodeColumn(entries.lazy.map { $0.write.sequence }, into: &bytes)
        encodeColumn(entries.lazy.map { UInt64(bitPattern: $0.enqueuedAt.milliseconds) }, into: &bytes)
        encodeFlags(entries.map { $0.write.kind == .delete }, into: &bytes)
        encodeFlags(entries.map { $0.write.timestamp != nil }, into: &bytes)
        encodeColumn(
            entries.compactMap { $0.write.timestamp.map { UInt64(bitPattern: $0.milliseconds) } },
            into: &bytes
        )
        encodeBytes(entries.lazy.map(\.write.clock), into: &bytes)
        encodeBytes(entries.lazy.map(\.write.key), into: &bytes)
        encodeBytes(entries.lazy.map(\.write.value), into: &bytes)
        return bytes
    }

    private static func encodeOrigins(_ entries: ArraySlice<Entry>, into bytes: inout [UInt8]) {
        var origins: [RegionID] = []
        var indices: [UInt8] = []
        indices.reserveCapacity(entries.count)
        for entry in entries {
            if let last = indices.last, origins[Int(last)] == entry.write.origin {
                indices.append(last)
            } else if let index = origins.firstIndex(of: entry.write.origin) {
                indices.append(UInt8(index))
            } else {
                indices.append(UInt8(origins.count))
                origins.append(entry.write.origin)
            }
        }
        bytes.append(varint: UInt64(origins.count))
        for origin in origins { bytes.append(region: origin) }
        if origins.count > 1 { bytes.append(contentsOf: indices) }
    }

    /// A column of numbers: mode 0 all the same, 1 the same step between neighbours, 2 a step each.
    private static func encodeColumn(_ values: some RandomAccessCollection<UInt64>, into bytes: inout [UInt8]) {
        guard let first = values.first else { return }
        var step: Int64?
        var isEven = true
        var previous = first
        for value in values.dropFirst() {
            let difference = Int64(bitPattern: value &- previous)
            if let step, step != difference { isEven = false }
            step = step ?? difference
            previous = value
        }
        if isEven, (step ?? 0) == 0 {
            bytes.append(0)
            bytes.append(varint: first)
        } else if isEven, let step {
            bytes.append(1)
            bytes.append(varint: first)
            bytes.append(varint: zigzag(step))
        } else {
            bytes.append(2)
            bytes.append(varint: first)
            previous = first
            for value in values.dropFirst() {
                bytes.append(varint: zigzag(Int64(bitPattern: value &- previous)))
                previous = value
            }
        }
    }

    /// A column of yes and no: mode 0 none, 1 all, 2 a bit each, low bits first.
    private static func encodeFlags(_ flags: [Bool], into bytes: inout [UInt8]) {
        if flags.contains(true) {
            if flags.contains(false) {
                bytes.append(2)
                bytes.append(contentsOf: Bitmap.pack(flags))
            } else {
                bytes.append(1)
            }
        } else {
            bytes.append(0)
        }
    }

    private static func encodeBytes(_ values: some RandomAccessCollection<[UInt8]>, into bytes: inout [UInt8]) {
        encodeColumn(values.lazy.map { UInt64($0.count) }, into: &bytes)
        for value in values { bytes.append(contentsOf: value) }
    }

    /// The entries in `content`, which says itself how many there are.
    package static func decode(_ content: Span<UInt8>) throws(FormatError) -> [Entry] {
        var reader = ByteReader(content)
        let count = try reader.length("entry count", limit: entriesMax)
        guard count > 0 else { throw FormatError("a frame without entries") }
        let origins = try decodeOrigins(count, &reader)
        let incarnations = try decodeColumn(count, &reader, "incarnations")
        let sequences = try decodeColumn(count, &reader, "sequences")
        let enqueued = try decodeColumn(count, &reader, "enqueued-at times")
        let deletes = try decodeFlags(count, &reader, "kinds")
        let stamped = try decodeFlags(count, &reader, "timestamp flags")
        let stamps = try decodeColumn(stamped.count(where: \.self), &reader, "timestamps")
        let clocks = try decodeBytes(count, &reader, "clocks")
        let keys = try decodeBytes(count, &reader, "keys")
        let values = try decodeBytes(count, &reader, "values")
        try reader.end("a frame")
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        var nextStamp = 0
        for index in 0..<count {
            var timestamp: Timestamp?
            if stamped[index] {
                timestamp = Timestamp(milliseconds: Int64(bitPattern: stamps[nextStamp]))
                nextStamp += 1
            }
            let write = OutstandingWrite(
                origin: origins[index],
                incarnation: incarnations[index],
                sequence: sequences[index],
                key: keys[index],
                value: values[index],
                kind: deletes[index] ? .delete : .put,
                timestamp: timestamp,
                clock: clocks[index]
            )
            let time = Timestamp(milliseconds: Int64(bitPattern: enqueued[index]))
            entries.append(Entry(write: write, enqueuedAt: time))
        }
        return entries
    }

    private static func decodeOrigins(_ count: Int, _ reader: inout ByteReader) throws(FormatError) -> [RegionID] {
        let distinct = try reader.length("origin count", limit: count)
        var origins: [RegionID] = []
        for _ in 0..<distinct { origins.append(try reader.region("origin")) }
        guard let first = origins.first else { throw FormatError("a frame without an origin") }
        if distinct == 1 { return Array(repeating: first, count: count) }
        var column: [RegionID] = []
        column.reserveCapacity(count)
        for index in try reader.array(count, "origin indices") {
            guard Int(index) < distinct else { throw FormatError("origin index \(index) of \(distinct)") }
            column.append(origins[Int(index)])
        }
        return column
    }

    private static func decodeColumn(
        _ count: Int,
        _ reader: inout ByteReader,
        _ field: StaticString
    ) throws(FormatError) -> [UInt64] {
        guard count > 0 else { return [] }
        let mode = try reader.byte(field)
        let first = try reader.varint(field)
        guard mode > 0 else { return Array(repeating: first, count: count) }
        guard mode <= 2 else { throw FormatError("\(field) have mode \(mode)") }
        var step: Int64 = 0
        if mode == 1 { step = unzigzag(try reader.varint(field)) }
        var values: [UInt64] = []
        values.reserveCapacity(count)
        values.append(first)
        var value = first
        for _ in 1..<count {
            if mode == 2 { step = unzigzag(try reader.varint(field)) }
            value &+= UInt64(bitPattern: step)
            values.append(value)
        }
        return values
    }

    private static func decodeFlags(
        _ count: Int,
        _ reader: inout ByteReader,
        _ field: StaticString
    ) throws(FormatError) -> [Bool] {
        switch try reader.byte(field) {
        case 0: return Array(repeating: false, count: count)
        case 1: return Array(repeating: true, count: count)
        case 2: return try Bitmap.unpack(try reader.array(Bitmap.size(count), field), count: count)
        case let mode: throw FormatError("\(field) have mode \(mode)")
        }
    }

    private static func decodeBytes(
        _ count: Int,
        _ reader: inout ByteReader,
        _ field: StaticString
    ) throws(FormatError) -> [[UInt8]] {
        var values: [[UInt8]] = []
        values.reserveCapacity(count)
        for length in try decodeColumn(count, &reader, field) {
            guard length <= UInt64(reader.remaining) else { throw FormatError("\(field) end too early") }
            values.append(try reader.array(Int(length), field))
        }
        return values
    }

    private static func zigzag(_ value: Int64) -> UInt64 { UInt64(bitPattern: value &<< 1 ^ value >> 63) }
    private static func unzigzag(_ value: UInt64) -> Int64 {
        Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }
}

/// A bit for each entry, the first in the lowest bit of the first byte.
package enum Bitmap {
    /// The bytes that `count` bits take.
    package static func size(_ count: Int) -> Int { (count + 7) / 8 }

    static func pack(_ flags: [Bool]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size(flags.count))
        for (index, flag) in flags.enumerated() where flag { bytes[index / 8] |= 1 << UInt8(index % 8) }
        return bytes
    }

    static func unpack(_ bytes: [UInt8], count: Int) throws(FormatError) -> [Bool] {
        if count % 8 > 0, let last = bytes.last, last >> UInt8(count % 8) != 0 {
            throw FormatError("a bitmap has bits beyond its \(count) entries")
        }
        return (0..<count).map { bytes[$0 / 8] & 1 << UInt8($0 % 8) != 0 }
    }
}

extension ByteReader {
    /// A region's name: one byte of length, then the name.
    package mutating func region(_ field: StaticString) throws(FormatError) -> RegionID {
        let length = Int(try byte(field))
        guard let region = RegionID(utf8: try array(length, field)) else {
            throw FormatError("\(field) is no region name")
        }
        return region
    }
}

extension [UInt8] {
    package mutating func append(region: RegionID) {
        append(UInt8(region.rawValue.utf8.count))
        append(contentsOf: region.rawValue.utf8)
    }
}
