import Foundation
import HoldfastTesting
import Platform
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("A store that is written anew with a mistake") struct MistakeTests {
    /// How a store is written anew, in this process.
    enum Way: String, CaseIterable, Sendable {
        case copy, inPlace, backup, restore, load, recover

        func run(_ path: String, _ new: String) throws {
            let time = Timestamp(milliseconds: 1_800_000_000_000)
            switch self {
            case .copy: _ = try StoreCompact.copy(from: path, to: new)
            case .inPlace: _ = try StoreCompact.inPlace(path)
            case .backup: _ = try StoreBackup.make(of: path, at: new, time: time)
            case .restore: _ = try StoreBackup.restore(path, to: new, as: .random())
            case .load:
                let header = try StoreReader.open(path).dumpHeader()
                let contents = try QueueContents.read(storeAt: path)
                let loader = try StoreLoader(new, regions: header.regions)
                for region in header.regions {
                    for entry in contents[region.region]?.entries ?? [] { try loader.add(entry, to: region.region) }
                }
                for row in header.rows { try loader.add(table: row.table, key: row.key, value: row.value) }
                _ = try loader.finish(new, leftMeanwhile: [])
            case .recover: _ = try StoreRecover.run(path, to: new, now: time)
            }
        }
    }

    /// The last pair of each table that a copy must have as it is, or must be able to read.
    private static func pairs(_ path: String) throws -> [Table: [UInt8]] {
        try StoreReader.open(path).look { (view) throws(HoldfastError) in
            var keys: [Table: [UInt8]] = [.superblock: Key.text(Superblock.Name.queues.rawValue)]
            for table in view.tables where table.hasRows && table != .superblock && table != .dictionaries {
                try view.scan(table) { (key, _) throws(HoldfastError) in
                    keys[table] = key
                    return true
                }
            }
            return keys
        }
    }

    @Test("is refused, and nothing is left of it", arguments: ["replicated", "left"], Way.allCases)
    func refused(name: String, way: Way) throws {
        let fixture = try #require(Fixture.all.first { $0.name == name && $0.version == "version-1" })
        let directory = try TemporaryDirectory()
        let (path, new) = (directory.appending("store"), directory.appending("new"))
        try fixture.copy(to: path)
        let data = URL(fileURLWithPath: path + "/data.mdb")
        let before = try Data(contentsOf: data)
        let pairs = try Self.pairs(path)
        let needed: [Table] = name == "left" ? [.lost, .history] : [.raft]
        #expect(Set(pairs.keys).isSuperset(of: [.superblock, .regions, .controller] + needed))
        #expect(name != "left" || pairs.keys.contains { if case .dead = $0 { true } else { false } })
        for (table, wanted) in pairs {
            for isLeftOut in [true, false] {
                let place: Comment = "\(table.name), \(isLeftOut ? "left out" : "changed")"
                let isMade = Lock(false)
                let mistake: StoreBuilder.Mistake = { found, key, value in
                    guard found == table, key == wanted else { return value }
                    isMade.withLock { $0 = true }
                    guard !isLeftOut else { return nil }
                    // Its own checksum is right.
                    var fields = Array(value.dropLast(Row.checksumSize))
                    if let last = fields.popLast() { fields.append(last ^ 1) }
                    return Row.seal(fields, key: key, in: table)
                }
                do {
                    try StoreBuilder.$mistake.withValue(mistake) { try way.run(path, new) }
                    Issue.record("it was taken: \(place)")
                    try? FileManager.default.removeItem(atPath: new)
                } catch let error as HoldfastError {
                    #expect(error.code == .damaged, "\(place): \(error)")
                }
                #expect(isMade.withLock { $0 }, place)
                #expect(!FileManager.default.fileExists(atPath: new), place)
                try #require(try Data(contentsOf: data) == before, place)
            }
        }
        try way.run(path, new)
    }
}
