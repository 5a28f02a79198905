import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import Testing

@Suite("The head of a queue") struct HeadTests {
    private let region: RegionID = "eu-west-1"
    private let start = Timestamp(milliseconds: 0)

    /// How an entry leaves that was sent in vain.
    enum Leaving: CaseIterable {
        case acknowledged, dropped, expired, drained, parked
    }

    @Test("has the attempts of the entry that stands there, and of no other one", arguments: Leaving.allCases)
    func attempts(leaving: Leaving) async throws {
        let directory = try TemporaryDirectory()
        let store = try await bareStore(directory.appending("store"))
        let (region, start) = (region, start)
        _ = try await store.append((1...5).map { write($0) }, to: [region], ifEpoch: nil, at: start)
        let later = Timestamp(milliseconds: 10_000)
        _ = try await store.append((6...9).map { write($0) }, to: [region], ifEpoch: nil, at: later)
        let row = try await store.transact { (transaction) throws(HoldfastError) in
            let queue = try transaction.regionRow(region).number
            try transaction.setAttempts(3, at: 1, of: region, queue: queue)
            switch leaving {
            case .acknowledged: _ = try transaction.acknowledge(region, through: 2, now: later)
            case .drained: _ = try transaction.drain(region, max: 2, now: later)
            case .parked:
                _ = try transaction.park(
                    region,
                    queue: queue,
                    1...1,
                    cause: .attempts,
                    attempts: 3,
                    reason: "",
                    now: later
                )
            case .dropped: try transaction.setLimits(QueueLimits(entriesMax: 8, overflow: .dropOldest), of: region)
            case .expired:
                try transaction.setLimits(QueueLimits(ageMaxMilliseconds: 100, overflow: .dropOldest), of: region)
                _ = try transaction.expire(now: later)
            }
            return try transaction.regionRow(region)
        }
        if leaving == .dropped {
            _ = try await store.append([write(10), write(11)], to: [region], ifEpoch: nil, at: later)
            let dropped = try #require(try await store.statistics().first { $0.region == region })
            #expect((dropped.headPosition, dropped.attempts) == (4, 0))
        } else {
            #expect(row.headPosition > 1)
            #expect(row.attempts == 0)
        }
        await store.close()
    }

    @Test("passes two damaged blocks side by side, and each one's row has its bytes") func neighbours() async throws {
        let deployment = try await Deployment()
        for start in stride(from: 1 as UInt64, through: 1025, by: 256) {
            let value = start == 257 ? "four" : "v"
            let writes = (start..<(start + 256)).map { write($0, "key", value) }
            try await deployment.controller.append(writes, to: region)
        }
        await deployment.controller.close()
        let file = URL(fileURLWithPath: deployment.path + "/data.mdb")
        let whole = try Data(contentsOf: file)
        var damaged = whole
        for first in [257, 513] as [UInt64] {
            let key = Data((0..<8).reversed().map { UInt8(truncatingIfNeeded: first >> (8 * UInt64($0))) })
            var start = whole.startIndex
            while let place = whole.range(of: key + [1, 1, 1, 0], in: start..<whole.endIndex) {
                damaged[place.lowerBound + 90] ^= 4
                start = place.upperBound
            }
        }
        try #require(damaged != whole)
        try damaged.write(to: file)
        let controller = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(try await controller.drain(region, max: 300).entries.count == 300)
        let left = try #require(try await controller.statistics().first { $0.region == region })
        #expect((left.lost, left.rawBytes) == (512, 4 * 468))
        await controller.close()
        var rows: [LostRow] = []
        try StoreReader.open(deployment.path).ledger { item in
            rows.append(try item.row.get().row)
            return true
        }
        #expect(rows.map(\.rawBytes) == [7 * 256, 4 * 256])
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
    }

    @Test("of a region that is removed by force leaves a trace of its dead letters too") func removed() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let store = try await bareStore(path)
        let (region, start) = (region, start)
        _ = try await store.append((1...9).map { write($0, "k", "vv") }, to: [region], ifEpoch: nil, at: start)
        try await store.transact { (transaction) throws(HoldfastError) in
            let queue = try transaction.regionRow(region).number
            func park(_ positions: ClosedRange<UInt64>) throws(HoldfastError) {
                _ = try transaction.park(
                    region,
                    queue: queue,
                    positions,
                    cause: .key,
                    attempts: 0,
                    reason: "",
                    now: start
                )
            }
            try park(1...2)
            _ = try transaction.acknowledge(region, through: 3, now: start)
            try park(4...6)
            _ = try transaction.acknowledge(region, through: 7, now: start)
            try transaction.removeRegion(region, now: start)
        }
        await store.close()
        var rows: [(ClosedRange<UInt64>, LostRow)] = []
        try StoreReader.open(path).ledger { item in
            let (place, row) = try item.row.get()
            rows.append((place.first...place.last, row))
            return true
        }
        #expect(rows.map(\.0) == [1...2, 4...6, 8...9])
        #expect(rows.map(\.1.reason) == [.removed, .removed, .removed])
        #expect(rows.map(\.1.entries) == [2, 3, 2])
        #expect(rows.map(\.1.rawBytes) == [6, 9, 6])
    }
}
