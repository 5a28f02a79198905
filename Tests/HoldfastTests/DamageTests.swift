import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import Testing

extension Data {
    /// A data file with a bit flipped at `offset` from each place where the block from position `first` on begins: LMDB
    /// leaves old copies of pages behind.
    func flipped(_ bit: UInt8, at offset: Int, ofBlock first: UInt64, entries: UInt16 = 256) throws -> Data {
        let key = Data((0..<8).reversed().map { UInt8(truncatingIfNeeded: first >> (8 * UInt64($0))) })
        var damaged = self
        var start = startIndex
        var places = 0
        // The key, then the header's first bytes: format 1, a zstd frame, so many entries.
        let header = [1, 1, UInt8(entries >> 8), UInt8(truncatingIfNeeded: entries)]
        while let place = range(of: key + header, in: start..<endIndex) {
            damaged[place.lowerBound + offset] ^= bit
            start = place.upperBound
            places += 1
        }
        try #require(places > 0)
        return damaged
    }
}

@Suite("A bit that flips on the disk") struct DamageTests {
    /// A store of five blocks, closed, and its bytes.
    private func store() async throws -> (Deployment, Data) {
        let deployment = try await Deployment()
        for start in stride(from: 1 as UInt64, through: 1025, by: 256) {
            try await deployment.controller.append((start..<(start + 256)).map { write($0, "key") }, to: "eu-west-1")
        }
        await deployment.controller.close()
        return (deployment, try Data(contentsOf: URL(fileURLWithPath: deployment.path + "/data.mdb")))
    }

    /// Reads everything that can be read; the sequences in order, or the error.
    private func read(_ deployment: Deployment) async throws -> (
        sequences: [UInt64], error: HoldfastError?, lost: UInt64
    ) {
        let controller = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        var sequences: [UInt64] = []
        var failure: HoldfastError?
        do {
            for try await batch in controller.batches(for: "eu-west-1") {
                sequences += batch.entries.map(\.write.sequence)
                try await batch.acknowledge()
            }
        } catch {
            failure = error
        }
        // Another region, and a new write for this one, are not held up.
        #expect(try await controller.append([write(1)], to: "ap-northeast-1").accepted == 1)
        #expect(try await controller.append([write(5000)], to: "eu-west-1").accepted == 1)
        let lost = try await controller.statistics().first { $0.region == "eu-west-1" }?.lost ?? 0
        await controller.close()
        return (sequences, failure, lost)
    }

    @Test("in how a queue is replayed holds up that replay alone, is named, and ends when it is set again")
    func settings() async throws {
        let deployment = try await Deployment()
        let region: RegionID = "eu-west-1"
        var settings = ReplaySettings.standard
        settings.attemptsMax = 5
        try await deployment.controller.setReplaySettings(settings, for: region)
        try await deployment.controller.append([write(1)], to: region)
        await deployment.controller.close()
        let path = deployment.path + "/data.mdb"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let key = Data("p\(region)".utf8)
        var start = bytes.startIndex
        while let place = bytes.range(of: key, in: start..<bytes.endIndex) {
            bytes[place.upperBound + 3] ^= 4
            start = place.upperBound
        }
        try #require(start > bytes.startIndex)
        try bytes.write(to: URL(fileURLWithPath: path))
        let findings = try StoreCheck.run(deployment.path, level: .quick).findings
        #expect(findings.map(\.code) == ["settings"] && findings.first?.region == region)
        let controller = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(try await controller.append([write(2)], to: region).accepted == 1)
        #expect(try await controller.append([write(2)], to: "us-east-1").accepted == 1)
        #expect(await code { try await controller.replaySettings(for: region) } == .damaged)
        #expect(try await controller.replaySettings(for: "us-east-1") == .standard)
        try await controller.setReplaySettings(settings, for: region)
        #expect(try await controller.replaySettings(for: region) == settings)
        #expect(try await controller.drain(region).entries.map(\.write.sequence) == [1, 2])
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).findings == [])
    }

    @Test("in a key of the queue loses at most what the ledger says, and holds up nobody", arguments: 0..<64)
    func keys(bit: Int) async throws {
        let (deployment, whole) = try await store()
        let damaged = try whole.flipped(1 << UInt8(bit % 8), at: bit / 8, ofBlock: 513)
        try damaged.write(to: URL(fileURLWithPath: deployment.path + "/data.mdb"))
        let outcome = try await read(deployment)
        #expect(outcome.sequences == outcome.sequences.sorted())
        let isClean = try StoreCheck.run(deployment.path, level: .full).isClean
        switch bit {
        case 56...:
            // The key still stands between its neighbours: the block says itself where it belongs, and nothing is lost.
            #expect(outcome.error == nil, "bit \(bit)")
            #expect(outcome.sequences == Array(1...1280), "bit \(bit)")
            #expect(outcome.lost == 0, "bit \(bit)")
            #expect(isClean, "bit \(bit)")
        case 48, 49:
            // The key of the next block, or the first one's: one of the two blocks is not found any more.
            #expect(outcome.error == nil, "bit \(bit)")
            #expect(outcome.sequences.count == 1024, "bit \(bit)")
            #expect(outcome.lost == 256, "bit \(bit)")
            #expect(isClean, "bit \(bit)")
        default:
            // LMDB's own tree is out of order: the region is refused, and nothing is given up.
            #expect(outcome.error?.code == .damaged, "bit \(bit)")
            #expect(outcome.sequences == Array(1...512), "bit \(bit)")
            #expect(outcome.lost == 0, "bit \(bit)")
        }
    }

    @Test("in a block loses that block, and says which positions", arguments: [0, 1, 2, 3, 4]) func blocks(number: Int)
        async throws
    {
        let (deployment, whole) = try await store()
        let first = UInt64(number * 256 + 1)
        let damaged = try whole.flipped(4, at: 72, ofBlock: first)
        try damaged.write(to: URL(fileURLWithPath: deployment.path + "/data.mdb"))
        let check = try StoreCheck.run(deployment.path, level: .full)
        #expect(check.findings.map(\.first) == [first])
        #expect(check.findings.map(\.last) == [first + 255])
        let outcome = try await read(deployment)
        #expect(outcome.error == nil)
        #expect(outcome.lost == 256)
        #expect(outcome.sequences == (1...1280).filter { $0 < first || $0 > first + 255 })
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
    }
}

@Suite("An epoch") struct EpochTests {
    @Test("fences appends of the same moment as the promotion") func fencing() async throws {
        let deployment = try await Deployment()
        let controller = deployment.controller
        for epoch in 1...40 as ClosedRange<UInt64> {
            let target: RegionID = epoch % 2 == 1 ? "eu-west-1" : "us-east-1"
            async let promotion = controller.switchover(to: target, ifEpoch: epoch)
            async let refused = code { try await controller.append([write(epoch)], to: target, ifEpoch: epoch) }
            let outcome = (try? await promotion, await refused)
            if outcome.0 == nil {
                // The append came first, so the target had not received everything.
                #expect(outcome.1 == nil)
                _ = try await controller.drain(target)
                try await controller.switchover(to: target, ifEpoch: epoch)
            } else if outcome.1 == nil {
                Issue.record("epoch \(epoch): an append of the old epoch was accepted behind the promotion")
            }
        }
    }
}
