import Holdfast
import HoldfastTesting
import ReplayStore
import Testing

@Suite("Replay") struct ReplayTests {
    @Test("Batches come in order, from the first entry that is not acknowledged") func batchesInOrder() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append((1...10).map { write($0) }, to: "eu-west-1")
        try await controller.append([write(11)], to: "eu-west-1")
        try await controller.append((12...700).map { write($0) }, to: "eu-west-1")
        var delivered: [UInt64] = []
        for try await batch in controller.batches(for: "eu-west-1", entriesMax: 100) {
            try #require(batch.attempt == 1)
            #expect(batch.entries.count <= 100)
            delivered += batch.entries.map(\.write.sequence)
            #expect(batch.entries.map(\.position) == batch.entries.map(\.write.sequence))
            let receipt = try await batch.acknowledge()
            #expect(receipt.acknowledged == UInt64(batch.entries.count))
        }
        #expect(delivered == Array(1...700))
        #expect(try await controller.history().map(\.kind) == [.replayed(entries: 700)])
        try await controller.append((701...3000).map { write($0) }, to: "eu-west-1")
        try await controller.acknowledge("eu-west-1", through: 1000)
        await controller.close()
        for level in StoreCheck.Level.allCases {
            #expect(try StoreCheck.run(deployment.path, level: level).findings == [])
        }
    }

    @Test("A batch that is not acknowledged comes again, with a higher attempt") func redelivery() async throws {
        let deployment = try await Deployment()
        try await deployment.controller.append((1...3).map { write($0) }, to: "eu-west-1")
        var iterator = deployment.controller.batches(for: "eu-west-1", entriesMax: 2).makeAsyncIterator()
        let first = try #require(try await iterator.next())
        let again = try #require(try await iterator.next())
        #expect(first.entries == again.entries)
        #expect([first.attempt, again.attempt] == [1, 2])
        try await again.acknowledge()
        #expect(try await first.acknowledge().acknowledged == 0)
        #expect(try await iterator.next()?.entries.map(\.position) == [3])
    }

    @Test("A region has one replayer") func oneReplayer() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append([write(1)], to: "eu-west-1")
        do {
            var iterator = controller.batches(for: "eu-west-1").makeAsyncIterator()
            _ = try await iterator.next()
            var second = controller.batches(for: "eu-west-1").makeAsyncIterator()
            let codes = [
                await code { _ = try await second.next() },
                await code { try await controller.drain("eu-west-1") },
                await code { try await controller.acknowledge("eu-west-1", through: 1) },
            ]
            #expect(codes == [.replayerActive, .replayerActive, .replayerActive])
            _ = try await iterator.next()
        }
        #expect(try await controller.acknowledge("eu-west-1", through: 1).acknowledged == 1)
    }

    @Test("Acknowledging stops at the last position, and below the cursor changes nothing") func bounds() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        #expect(try await controller.acknowledge("eu-west-1", through: 0).acknowledged == 0)
        #expect(await code { try await controller.acknowledge("eu-west-1", through: 1) } == .positionOutOfRange)
        try await controller.append((1...300).map { write($0) }, to: "eu-west-1")
        #expect(try await controller.acknowledge("eu-west-1", through: 7).acknowledged == 7)
        #expect(try await controller.acknowledge("eu-west-1", through: 5).acknowledged == 0)
        #expect(await code { try await controller.acknowledge("eu-west-1", through: 301) } == .positionOutOfRange)
        #expect(try await controller.acknowledge("eu-west-1", through: 256).remaining == 44)
        #expect(try await controller.drain("eu-west-1", max: 10).entries.map(\.position) == Array(257...266))
        #expect(try await controller.pendingCount(for: "eu-west-1") == 34)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("A token of a region that was removed and added again is stale") func staleToken() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.append([write(1)], to: "ap-northeast-1")
        var iterator = controller.batches(for: "ap-northeast-1").makeAsyncIterator()
        let batch = try #require(try await iterator.next())
        var configuration = controller.configuration
        configuration.regions.removeLast()
        #expect(await code { try await controller.configure(configuration) } == .replayPending)
        try await controller.configure(configuration, force: true)
        configuration.regions.append("ap-northeast-1")
        try await controller.configure(configuration)
        #expect(await code { try await batch.acknowledge() } == .staleToken)
        #expect(try await controller.append([write(1)], to: "ap-northeast-1").accepted == 1)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("A write is queued once, whatever happened since") func duplicates() async throws {
        let deployment = try await Deployment()
        var controller = deployment.controller
        let first = try await controller.append([write(1), write(2), write(4)], to: "eu-west-1")
        #expect(first.positions == 1..<4)
        try await controller.acknowledge("eu-west-1", through: 3)
        controller = try await deployment.reopened()
        let second = try await controller.append((1...5).map { write($0) }, to: "eu-west-1")
        #expect(second.duplicates == [0, 1, 3])
        #expect(second.positions == 4..<6)
        let third = try await controller.append([write(5), write(6), write(6)], to: "eu-west-1")
        #expect(third.duplicates == [0, 2])
        #expect(
            await code { try await controller.append([write(7), write(7, "other")], to: "eu-west-1") }
                == .identityConflict
        )
        #expect(try await controller.drain("eu-west-1").entries.map(\.write.sequence) == [3, 5, 6])
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("A fan-out reaches all of its regions or none") func fanOut() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        try await controller.setLimits(QueueLimits(entriesMax: 2), for: "ap-northeast-1")
        let both: [RegionID] = ["ap-northeast-1", "eu-west-1"]
        let receipts = try await controller.append([write(1), write(2)], to: both)
        #expect(receipts.map(\.positions) == [1..<3, 1..<3])
        #expect(await code { try await controller.append([write(3)], to: both) } == .full)
        #expect(await code { try await controller.append([write(3)], to: both.reversed()) } == .full)
        #expect(await code { try await controller.append([write(3)], to: ["eu-west-1", "mars"]) } == .unknownRegion)
        #expect(try await controller.pendingCount(for: "eu-west-1") == 2)
    }

    @Test("A forgotten identity is refused, never guessed") func floor() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        for incarnation in 0..<17 as Range<UInt64> {
            let write = OutstandingWrite(
                origin: "us-east-1",
                incarnation: incarnation,
                sequence: 9,
                key: "k",
                value: "v"
            )
            try await controller.append([write], to: "eu-west-1")
        }
        let old = write(3)
        let error = await #expect(throws: HoldfastError.self) { try await controller.append([old], to: "eu-west-1") }
        #expect(error?.code == .identityBelowFloor)
        #expect(error?.floor == WriteIdentity(origin: "us-east-1", incarnation: 0, sequence: 9))
        #expect(try await controller.append([write(10)], to: "eu-west-1").accepted == 1)
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }
}

/// The code of the error that `body` throws; nil when it throws none.
func code(_ body: () async throws -> some Any) async -> HoldfastError.Code? {
    do {
        _ = try await body()
        return nil
    } catch let error as HoldfastError {
        return error.code
    } catch {
        return nil
    }
}
