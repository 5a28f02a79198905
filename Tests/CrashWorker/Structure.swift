import Bytes
import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport

/// Stores of every kind of table, images of them with one bit of LMDB's own flipped, and what reading and changing those says.
enum Structure {
    static func run(_ arguments: [String]) async throws {
        switch (arguments.first, arguments.count) {
        case ("make", 3): try await StructureStore.make(arguments[2], isLong: arguments[1] == "long")
        case ("sweep", 3): try await sweep(arguments[1], scratch: arguments[2])
        default: exit(64)
        }
    }

    /// Reads lines, each an offset and a bit, or `whole`; for each it makes an image, and prints what that says.
    ///
    /// Of a whole store it says after each change what is there; of another one at the end alone.
    private static func sweep(_ store: String, scratch: String) async throws {
        let whole = try Data(contentsOf: URL(fileURLWithPath: store + "/data.mdb"))
        let lock = try Data(contentsOf: URL(fileURLWithPath: store + "/LOCK"))
        while let line = readLine() {
            var image = whole
            let words = line.split(separator: " ").compactMap { Int($0) }
            if words.count == 2 { image[words[0]] ^= 1 << UInt8(words[1]) }
            try? FileManager.default.removeItem(atPath: scratch)
            try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
            try image.write(to: URL(fileURLWithPath: scratch + "/data.mdb"))
            try lock.write(to: URL(fileURLWithPath: scratch + "/LOCK"))
            say("image \(line)")
            read(scratch, "before")
            await change(scratch, isWhole: words.isEmpty)
            say("end")
        }
    }

    // MARK: Reading

    /// Says what each way to read a store finds in it.
    private static func read(_ path: String, _ when: String) {
        let reader: StoreReader
        do throws(HoldfastError) {
            reader = try StoreReader.open(path)
        } catch {
            return say("\(when) open \(word(error))")
        }
        func tell(_ name: String, _ body: () throws(HoldfastError) -> Digest) {
            do throws(HoldfastError) {
                let found = try body()
                say("\(when) \(name) ok \(found.count) \(String(found.hash, radix: 16))")
            } catch {
                say("\(when) \(name) \(word(error))")
            }
        }
        tell("rows") { () throws(HoldfastError) in
            Digest(try reader.look { (view) throws(HoldfastError) in try view.regionRows().map { "\($0)" } })
        }
        tell("history") { () throws(HoldfastError) in
            Digest(try reader.look { (view) throws(HoldfastError) in try view.history().map { "\($0)" } })
        }
        tell("dump") { () throws(HoldfastError) in
            var found = Digest()
            for row in try reader.dumpHeader().rows { found.add(Array(row.table.name.utf8), row.key, row.value) }
            return found
        }
        for table in [Table.lost, .controller, .superblock, .dictionaries, .raft] {
            tell(table.name) { () throws(HoldfastError) in try rows(of: table, reader) }
        }
        for region in StructureStore.watched {
            readRegion(region, reader, tell)
        }
        guard when == "before" else { return }
        tell("check") { () throws(HoldfastError) in
            let report = try StoreCheck.run(reader, .deep)
            guard report.isClean else { throw HoldfastError(code: .damaged, message: "\(report.findings)") }
            return Digest()
        }
    }

    private static func readRegion(
        _ region: RegionID,
        _ reader: StoreReader,
        _ tell: (String, () throws(HoldfastError) -> Digest) -> Void
    ) {
        tell("row of \(region)") { () throws(HoldfastError) in
            let row = try reader.look { (view) throws(HoldfastError) in try view.regionRow(region) }
            return Digest([String(describing: row)])
        }
        tell("settings of \(region)") { () throws(HoldfastError) in
            Digest(["\(try reader.look { (view) throws(HoldfastError) in try view.replaySettings(region) })"])
        }
        let number = try? reader.look { (view) throws(HoldfastError) in try view.regionRow(region)?.number }
        guard let number else { return }
        tell("dead of \(region)") { () throws(HoldfastError) in try dead(of: region, from: 0, reader) }
        tell("seen of \(region)") { () throws(HoldfastError) in try rows(of: .seen(number), reader) }
        tell("queue of \(region)") { () throws(HoldfastError) in
            try blocks(of: number, from: [], reader)
        }
        // By key: each that the whole store has, or every so many.
        for position in StructureStore.positions {
            tell("dead of \(region) from \(position)") { () throws(HoldfastError) in
                try dead(of: region, from: position, reader)
            }
            tell("queue of \(region) from \(position)") { () throws(HoldfastError) in
                try blocks(of: number, from: Key.number(position), reader)
            }
            tell("seen of \(region) at \(position)") { () throws(HoldfastError) in
                let key = Key.seenRange("us", incarnation: 1, first: position | 1)
                return Digest([
                    "\(try reader.look { (view) throws(HoldfastError) in try view.row(key, in: .seen(number)) ?? [] })"
                ])
            }
        }
        tell("gaps of \(region)") { () throws(HoldfastError) in
            let ranges = try reader.look { (view) throws(HoldfastError) in
                try view.gaps(of: region, queue: number).missing(in: 1...1000)
            }
            return Digest(["\(ranges)"])
        }
    }

    private static func rows(of table: Table, _ reader: StoreReader) throws(HoldfastError) -> Digest {
        try reader.look { (view) throws(HoldfastError) in
            var found = Digest()
            try view.scan(table) { (key, value) throws(HoldfastError) in
                do throws(FormatError) {
                    found.add(key, try Row.open(value, key: key, in: table))
                } catch {
                    throw HoldfastError(code: .damaged, message: error.description)
                }
                return true
            }
            return found
        }
    }

    /// The dead letters from a position on: all from 0, or the first.
    private static func dead(
        of region: RegionID,
        from position: UInt64,
        _ reader: StoreReader
    ) throws(HoldfastError) -> Digest {
        try reader.look { (view) throws(HoldfastError) in
            var found = Digest()
            try view.deadLetters(of: region, from: position) { (letter) throws(HoldfastError) in
                found.add(Array("\(letter.position) \(letter.attempts) \(letter.reason)".utf8), letter.write.value)
                return position == 0
            }
            return found
        }
    }

    /// The entries of a queue from a key on: all of them, or those of the first block.
    private static func blocks(
        of queue: UInt32,
        from key: [UInt8],
        _ reader: StoreReader
    ) throws(HoldfastError) -> Digest {
        let codec = reader.codec
        return try reader.look { (view) throws(HoldfastError) in
            var found = Digest()
            let store = view.superblock.store
            try view.scan(.queue(queue), from: key) { (own, value) throws(HoldfastError) in
                do throws(FormatError) {
                    let position = try Key.number(from: own.span)
                    let block = try VerifiedBlock(value, store: store, queue: queue, firstPosition: position)
                    for entry in try block.entries(codec) {
                        found.add(Array("\(entry.position) \(entry.write.sequence)".utf8), entry.write.value)
                    }
                } catch {
                    throw HoldfastError(code: .damaged, message: error.description)
                }
                return key.isEmpty
            }
            return found
        }
    }

    // MARK: Changing

    /// Makes the changes of a service, one after another, until one is refused.
    private static func change(_ path: String, isWhole: Bool) async {
        var stage = 0
        if isWhole { read(path, "stage 0") }
        for change in StructureStore.changes {
            do throws(HoldfastError) {
                let said = try await change.body(path)
                say("change \(change.name) ok \(said)")
            } catch {
                say("change \(change.name) \(word(error))")
                break
            }
            stage += 1
            if isWhole { read(path, "stage \(stage)") }
        }
        if !isWhole { read(path, "stage \(stage)") }
    }

    // MARK: Saying

    private static func word(_ error: HoldfastError) -> String {
        error.code == .damaged ? "told" : "\(error.code) \(error.message)"
    }

    /// How many things were found, and FNV-1a of them all.
    private struct Digest {
        private(set) var count = 0
        private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325

        init(_ lines: [String] = []) { for line in lines { add(Array(line.utf8)) } }

        mutating func add(_ parts: [UInt8]...) {
            count += 1
            for part in parts {
                for byte in part + [UInt8(truncatingIfNeeded: part.count)] {
                    hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
                }
            }
        }
    }

    static func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
}
