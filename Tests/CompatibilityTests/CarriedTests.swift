import Foundation
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("A store that is written anew") struct CarriedTests {
    /// How a store is written anew.
    enum Way: String, CaseIterable, Sendable {
        case compact, inPlace, backup, restore, load, recover, upgrade
    }

    /// The pairs of every table but those that a copy writes in its own way: blocks, dictionaries and the superblock.
    ///
    /// A row of a region counts the bytes of its blocks, which are written anew: of those it says nothing here.
    private func rows(_ path: String) throws -> [String: [[UInt8]: [UInt8]]] {
        try StoreReader.open(path).look { (view) throws(HoldfastError) in
            var rows: [String: [[UInt8]: [UInt8]]] = [:]
            for table in view.tables {
                switch table {
                case .superblock, .queue, .dictionaries: continue
                default: break
                }
                var pairs: [[UInt8]: [UInt8]] = [:]
                try view.scan(table) { (key, value) throws(HoldfastError) in
                    var value = (0..<value.count).map { value[$0] }
                    if table == .regions, var row = try? RegionRow.read(key, value.span).1 {
                        row.storedBytes = 0
                        value = row.encoded()
                    }
                    pairs[key] = value
                    return true
                }
                if !pairs.isEmpty { rows[table.name] = pairs }
            }
            return rows
        }
    }

    @Test(
        "has each row of the old one, those of a replicated log too",
        arguments: ["replicated", "queues", "left", "failover", "history"],
        Way.allCases
    )
    func carried(name: String, way: Way) throws {
        // Its events speak of a later epoch than its controller does: a recovery makes that anew.
        if name == "history", way == .recover { return }
        let fixture = try #require(Fixture.all.first { $0.name == name && $0.version == "version-1" })
        let directory = try TemporaryDirectory()
        let (path, copy) = (directory.appending("store"), directory.appending("copy"))
        try fixture.copy(to: path)
        let before = try rows(path)
        #expect(name != "replicated" || before["raft"]?.isEmpty == false)
        let words =
            switch way {
            case .compact: ["compact", path, "--to", copy, "--yes"]
            case .inPlace: ["compact", path, "--in-place", "--yes"]
            case .backup: ["backup", path, "--to", copy]
            case .restore: ["restore", path, "--to", copy, "--yes"]
            case .load: ["load", copy, "-"]
            case .recover: ["recover", path, "--to", copy]
            case .upgrade: ["upgrade", path, "--yes"]
            }
        let dump = way == .load ? try Tool.run(["dump", path]).output : ""
        let outcome = try Tool.run(words, input: dump)
        try #require(outcome.status == 0, "\(outcome.output)\(outcome.talk)")
        let after = try rows([.inPlace, .upgrade].contains(way) ? path : copy)
        #expect(after.keys.sorted() == before.keys.sorted())
        for (table, pairs) in before {
            #expect(after[table] == pairs, "\(table)")
        }
    }
}
