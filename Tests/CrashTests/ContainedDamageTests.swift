import Foundation
import Holdfast
import HoldfastTesting
import LMDB
import Logging
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("Damaged blocks among whole ones") struct ContainedDamageTests {
    private static let regions: [RegionID] = ["ap", "eu", "us"]

    /// A store of many blocks, closed.
    private func store(_ random: inout SplitMix64) async throws -> (TemporaryDirectory, String) {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let controller = try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: Self.regions),
            options: .small
        )
        var next: UInt64 = 1
        for _ in 0..<Int.random(in: 20...60, using: &random) {
            let count = UInt64.random(in: 1...40, using: &random)
            let writes = (next..<(next + count)).map { OutstandingWrite.numbered("us", 1, $0) }
            try await controller.append(writes, to: Bool.random(using: &random) ? ["ap", "eu"] : ["eu"])
            next += count
        }
        await controller.close()
        return (directory, path)
    }

    /// A block that was harmed: the positions that it held, and what is to be said of it.
    private struct Harm: Equatable {
        var positions: ClosedRange<UInt64>
        var reason: String
    }

    /// Flips a bit in some of the blocks, takes others out, and says which positions they hold.
    ///
    /// None is taken out behind one that was harmed: where a damaged block ends, only the next one tells.
    private func damage(_ path: String, _ random: inout SplitMix64) throws -> [UInt32: [Harm]] {
        let environment = try LMDBPairs.open(path)
        var transaction = try environment.beginWrite()
        var damaged: [UInt32: [Harm]] = [:]
        for number in 1...3 as ClosedRange<UInt32> {
            guard let table = try transaction.database(Table.queue(number).name, create: false) else { continue }
            for (key, value) in try LMDBPairs.all(of: table, transaction)
            where Int.random(in: 0..<4, using: &random) == 0 {
                let header = try BlockHeader(verifying: value.span)
                let positions = header.firstPosition...header.lastPosition
                let isBehind = damaged[number]?.last.map { $0.positions.upperBound + 1 == positions.lowerBound }
                if isBehind != true, Int.random(in: 0..<3, using: &random) == 0 {
                    damaged[number, default: []].append(Harm(positions: positions, reason: "missing"))
                    #expect(try transaction.delete(key, in: table))
                    continue
                }
                damaged[number, default: []].append(Harm(positions: positions, reason: "damaged"))
                var changed = value
                changed[Int.random(in: 0..<value.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                try transaction.put(key, changed.span, in: table)
            }
        }
        try transaction.commit()
        try environment.sync()
        return damaged
    }

    @Test(
        "are named by region and positions with the reason, and every other entry is delivered in order",
        arguments: 0..<12 as Range<UInt64>
    )
    func contained(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let (directory, path) = try await store(&random)
        defer { withExtendedLifetime(directory) {} }
        let reader = try StoreReader.open(path)
        var queued: [RegionID: [(position: UInt64, write: OutstandingWrite)]] = [:]
        var numbers: [RegionID: UInt32] = [:]
        for region in Self.regions {
            queued[region] = try reader.entries(of: region)
            numbers[region] = try reader.look { (view) throws(HoldfastError) in try view.regionRow(region)?.number }
        }
        let damaged = try damage(path, &random)
        let check = try Tool.run(["check", path, "--level", "full", "--format", "json"])
        #expect(check.status == (damaged.isEmpty ? 0 : 65), "seed \(seed)")
        let findings = try StoreCheck.run(path, level: .full).findings
        let log = LogLines()
        var options = StoreOptions.small
        options.logger = log.logger
        let controller = try await RegionFailoverController.open(at: path, options: options)
        for region in Self.regions {
            let harms = numbers[region].flatMap { damaged[$0] } ?? []
            let ranges = harms.map(\.positions)
            let whole = (queued[region] ?? []).filter { entry in !ranges.contains { $0.contains(entry.position) } }
            var delivered: [(position: UInt64, write: OutstandingWrite)] = []
            for try await batch in controller.batches(for: region, entriesMax: 7) {
                delivered += batch.entries.map { ($0.position, $0.write) }
                try await batch.acknowledge()
            }
            #expect(delivered.map(\.position) == whole.map(\.position), "seed \(seed), \(region)")
            #expect(delivered.map(\.write) == whole.map(\.write), "seed \(seed), \(region)")
            let found = findings.filter { $0.region == region && $0.severity == .error }
            // A block whose header is damaged is named by its key, and its positions by what is missing behind it.
            let named = found.compactMap { finding in finding.first.flatMap { first in finding.last.map { first...$0 } }
            }
            #expect(Set(named.joined()) == Set(ranges.joined()), "seed \(seed), \(region)")
            let queue = try #require(try await controller.statistics().first { $0.region == region })
            #expect(queue.lost == UInt64(ranges.reduce(0) { $0 + $1.count }), "seed \(seed), \(region)")
            #expect(queue.needsResync == !ranges.isEmpty, "seed \(seed), \(region)")
            let logged = log.all.filter { $0.level == .error && $0.metadata["holdfast.region"] == "\(region)" }
            let expected = harms.map { harm in
                [
                    "holdfast.region": "\(region)", "holdfast.first": "\(harm.positions.lowerBound)",
                    "holdfast.last": "\(harm.positions.upperBound)", "holdfast.entries": "\(harm.positions.count)",
                    "holdfast.reason": harm.reason,
                ]
            }
            #expect(logged.map(\.metadata) == expected, "seed \(seed)")
        }
        await controller.close()
        try told(path, damaged, numbers, seed)
    }

    /// What the verbs say once everything was delivered.
    private func told(
        _ path: String,
        _ damaged: [UInt32: [Harm]],
        _ numbers: [RegionID: UInt32],
        _ seed: UInt64
    ) throws {
        let metrics = try Tool.run(["info", path, "--format", "prometheus"]).lines
        for (region, number) in numbers {
            let harms = damaged[number] ?? []
            let rows = try Tool.run(["lost", path, "--region", region.rawValue, "--format", "jsonl"]).lines
            #expect(rows.count == harms.count, "seed \(seed), \(region): \(rows)")
            for (row, harm) in zip(rows, harms) {
                let range = #""first":\#(harm.positions.lowerBound),"through":\#(harm.positions.upperBound)"#
                let isTold = row.contains(range) && row.contains(#""reason":"\#(harm.reason)""#)
                #expect(isTold, "seed \(seed): \(row), \(harm)")
            }
            for reason in ["damaged", "missing"] {
                let labels = #"{region="\#(region)",reason="\#(reason)"}"#
                let count = harms.reduce(0) { $1.reason == reason ? $0 + $1.positions.count : $0 }
                let line = "holdfast_lost_writes_total\(labels) \(count)"
                #expect(metrics.contains(line), "seed \(seed): no \(line)")
            }
        }
        #expect(try Tool.run(["check", path, "--level", "deep"]).status == 0, "seed \(seed)")
    }
}

/// What LMDB itself holds, past every check of a store.
enum LMDBPairs {
    /// A store's environment, to be changed behind the store's back.
    static func open(_ path: String) throws -> Environment {
        try Environment(path: path, access: .bulk, mapSizeBytes: 64 << 20, databasesMax: 64, readersMax: 8)
    }

    /// The pairs of a table, in the order of their keys.
    static func all(
        of table: Database,
        _ transaction: borrowing Transaction
    ) throws -> [(key: [UInt8], value: [UInt8])] {
        var pairs: [(key: [UInt8], value: [UInt8])] = []
        var cursor = try transaction.cursor(table)
        var isThere = try cursor.first()
        while isThere {
            let key = unsafe cursor.key.withUnsafeBytes { unsafe Array($0) }
            let value = unsafe cursor.value.withUnsafeBytes { unsafe Array($0) }
            pairs.append((key, value))
            isThere = try cursor.next()
        }
        return pairs
    }
}
