import Foundation
import Holdfast
import HoldfastTesting
import LMDB
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
            options: FoundStore.options
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

    /// Flips a bit in some of the blocks, and says which positions they hold.
    private func damage(_ path: String, _ random: inout SplitMix64) throws -> [UInt32: [ClosedRange<UInt64>]] {
        let environment = try LMDBPairs.open(path)
        var transaction = try environment.beginWrite()
        var damaged: [UInt32: [ClosedRange<UInt64>]] = [:]
        for number in 1...3 as ClosedRange<UInt32> {
            guard let table = try transaction.database(Table.queue(number).name, create: false) else { continue }
            for (key, value) in try LMDBPairs.all(of: table, transaction)
            where Int.random(in: 0..<4, using: &random) == 0 {
                let header = try BlockHeader(verifying: value.span)
                damaged[number, default: []].append(header.firstPosition...header.lastPosition)
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
        let controller = try await RegionFailoverController.open(at: path, options: FoundStore.options)
        for region in Self.regions {
            let ranges = numbers[region].flatMap { damaged[$0] } ?? []
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
        }
        await controller.close()
        try told(path, damaged, numbers, seed)
    }

    /// What the verbs say once everything was delivered.
    private func told(
        _ path: String,
        _ damaged: [UInt32: [ClosedRange<UInt64>]],
        _ numbers: [RegionID: UInt32],
        _ seed: UInt64
    ) throws {
        let metrics = try Tool.run(["info", path, "--format", "prometheus"]).lines
        for (region, number) in numbers {
            let ranges = damaged[number] ?? []
            let rows = try Tool.run(["lost", path, "--region", region.rawValue, "--format", "jsonl"]).lines
            let named = ranges.map { #""first":\#($0.lowerBound),"through":\#($0.upperBound)"# }
            #expect(rows.count == named.count, "seed \(seed), \(region): \(rows)")
            for (row, range) in zip(rows, named) {
                #expect(row.contains(range) && row.contains(#""reason":"damaged""#), "seed \(seed): \(row), \(range)")
            }
            let metric = metrics.first { $0.hasPrefix("holdfast_lost_writes_total{") && $0.contains("\"\(region)\"") }
            let count = ranges.reduce(0) { $0 + $1.count }
            #expect(metric?.hasSuffix(" \(count)") == true, "seed \(seed): \(metric ?? "no metric"), \(count)")
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
