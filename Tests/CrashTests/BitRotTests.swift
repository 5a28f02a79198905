import Foundation
import HoldfastTesting
import LMDB
import TestSupport
import Testing

/// Damage that a disk or an operator does to the data file of a closed store, each as an image of its own that the tool, a
/// recovery and a service are shown.
@Suite("A data file that was damaged", .serialized) struct BitRotTests {
    private static func count(_ variable: String, _ standard: Int) -> Int {
        ProcessInfo.processInfo.environment[variable].flatMap { Int($0) } ?? standard
    }

    /// Its first store has dead letters, an entry that was dropped, and a region that came later.
    private static let seed = UInt64(count("HOLDFAST_ROT_SEED", 20_261_132))
    /// A store is damaged in so many ways, or in one for each of its pages.
    private static let imagesOfStore = 100

    /// Makes stores, damages them in `count` ways, and records everything that is told wrong or not at all.
    private func run(
        _ name: String,
        _ count: Int,
        isInPlace: Bool = true,
        _ damage: (RotSubject, Int, inout SplitMix64) throws -> (what: String, image: Data)?
    ) throws {
        var tally = RotTally()
        var (left, seed, bad, isEnded) = (count, Self.seed, 0, false)
        while left > 0, bad < 10 {
            let subject = try RotSubject(seed: seed, steps: 30)
            var random = SplitMix64(seed: seed)
            for index in 0..<min(left, max(Self.imagesOfStore, subject.bytes.count / 4096 + 2)) {
                guard let (what, image) = try damage(subject, index, &random) else {
                    (left, isEnded) = (0, true)
                    break
                }
                left -= 1
                let faults = try subject.faults(of: image, isInPlace: isInPlace, &tally)
                guard !faults.isEmpty else { continue }
                bad += 1
                let told = faults.map { $0.prefix(400) }.joined(separator: "\n")
                Issue.record("store \(seed), \(what):\n\(told)")
            }
            seed += 1
        }
        print("\(name): \(tally.text), seed \(Self.seed)")
        if isEnded {
            #expect(tally.images > 0)
        } else {
            #expect(tally.images == count || bad == 10)
        }
    }

    @Test("by one flipped bit is right or told, in every verb, a recovery and a service") func flips() throws {
        try run("bit rot, flips", Self.count("HOLDFAST_ROT_FLIPS", 30)) { subject, _, random in
            var image = subject.bytes
            // Where nothing was ever written nothing can be read.
            var offset = 0
            repeat {
                offset = Int.random(in: 0..<image.count, using: &random)
                let start = offset / 64 * 64
                if image[start..<min(start + 64, image.count)].contains(where: { $0 != 0 }) { break }
            } while true
            let bit = Int.random(in: 0..<8, using: &random)
            image[offset] ^= 1 << bit
            return ("bit \(bit) of byte \(offset) (page \(offset / 4096), \(offset % 4096))", image)
        }
    }

    @Test("by one flipped bit of LMDB's own is right or told, in every verb, a recovery and a service")
    func structure() throws {
        try run("bit rot, structure", Self.count("HOLDFAST_ROT_STRUCTURE", 6)) { subject, _, random in
            let path = try subject.write(subject.bytes)
            defer { try? subject.remove(path) }
            let seed = UInt64.random(in: 0...(.max), using: &random)
            let place = try #require(try StructureBits(path + "/store").sample(1, seed: seed).first)
            var image = subject.bytes
            image[place.offset] ^= 1 << UInt8(place.bit)
            return ("\(place.kind): bit \(place.bit) of byte \(place.offset % 4096) of page \(place.page)", image)
        }
    }

    @Test("by two values that changed places is right or told") func swaps() throws {
        try run("bit rot, swaps", Self.count("HOLDFAST_ROT_SWAPS", 10), isInPlace: false) { subject, _, random in
            let path = try subject.write(subject.bytes)
            defer { try? subject.remove(path) }
            let what = try Self.swap(path + "/store", &random)
            return (what, try Data(contentsOf: URL(fileURLWithPath: path + "/store/data.mdb")))
        }
    }

    /// Exchanges the values of two keys, through LMDB.
    private static func swap(_ path: String, _ random: inout SplitMix64) throws -> String {
        let environment = try LMDBPairs.open(path)
        var transaction = try environment.beginWrite()
        var pairs: [(table: String, key: [UInt8], value: [UInt8])] = []
        let main = try transaction.mainDatabase()
        for (key, _) in try LMDBPairs.all(of: main, transaction) {
            let name = String(decoding: key, as: UTF8.self)
            guard let table = try transaction.database(name, create: false) else { continue }
            pairs += try LMDBPairs.all(of: table, transaction).map { (name, $0.key, $0.value) }
        }
        guard let first = pairs.randomElement(using: &random) else { throw RotFailure("an empty store") }
        // Half of them within a table, where a value is what is expected but for its place.
        let others = pairs.filter { other in
            (other.table, other.key) != (first.table, first.key)
        }
        let near = others.filter { $0.table == first.table }
        let second = (Bool.random(using: &random) && !near.isEmpty ? near : others).randomElement(using: &random)
        guard let second else { throw RotFailure("one pair") }
        for (place, value) in [(first, second.value), (second, first.value)] {
            guard let table = try transaction.database(place.table, create: false) else { continue }
            try transaction.put(place.key, value.span, in: table)
        }
        try transaction.commit()
        try environment.sync()
        return "\(first.table) \(first.key) and \(second.table) \(second.key) changed places"
    }

    @Test("by its end being cut off at a page is right or told") func truncations() throws {
        try run("truncations", Self.count("HOLDFAST_ROT_PAGES", 10)) { subject, index, random in
            let pages = subject.bytes.count / 4096
            let isAll = Self.count("HOLDFAST_ROT_PAGES", 10) >= pages
            guard !isAll || index < pages else { return nil }
            let kept = isAll ? index : Int.random(in: 0..<pages, using: &random)
            return ("\(kept) of \(pages) pages kept", Data(subject.bytes.prefix(kept * 4096)))
        }
    }

    @Test("by a page of zeros is right or told") func zeros() throws {
        try run("zeroed pages", Self.count("HOLDFAST_ROT_PAGES", 10)) { subject, index, random in
            let pages = subject.bytes.count / 4096
            let isAll = Self.count("HOLDFAST_ROT_PAGES", 10) > pages
            guard !isAll || index <= pages else { return nil }
            // The first is both meta pages.
            let page = index == 0 ? 0 : isAll ? index - 1 : Int.random(in: 0..<pages, using: &random)
            let count = index == 0 ? 2 : 1
            var image = subject.bytes
            image.replaceSubrange(page * 4096..<(page + count) * 4096, with: Data(count: count * 4096))
            return ("\(count) pages of zeros at page \(page)", image)
        }
    }
}
