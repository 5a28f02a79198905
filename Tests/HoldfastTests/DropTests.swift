import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import Testing

@Suite("What an append drops") struct DropTests {
    private let region: RegionID = "eu-west-1"

    private func queue(_ controller: RegionFailoverController, _ region: RegionID) async throws -> QueueStatistics {
        try #require(try await controller.statistics().first { $0.region == region })
    }

    @Test("is what is too old, and nothing more where that makes the room") func once() async throws {
        let limits = QueueLimits(entriesMax: 100, ageMaxMilliseconds: 60_000, overflow: .dropOldest)
        let deployment = try await Deployment(limits: limits)
        let controller = deployment.controller
        try await controller.append((1...40).map { write($0) }, to: region)
        deployment.time.advance(milliseconds: 30_000)
        try await controller.append((41...100).map { write($0) }, to: region)
        deployment.time.advance(milliseconds: 31_000)
        let estimate = try await controller.dropEstimate(of: limits, for: region)
        #expect(estimate == DropEstimate(entries: 40, positions: 1...40))
        #expect(try await controller.append((101...110).map { write($0) }, to: region).dropped == 40)
        #expect(try await queue(controller, region).entries == 70)
        await controller.close()
    }

    /// A block as it stands in the queue.
    private struct Block {
        var first: UInt64
        var last: UInt64
        var stored: UInt64
        var appendedAt: Int64
    }

    /// What the queue may hold, and what the call brings.
    private struct Bounds {
        var entries: UInt64
        var bytes: UInt64
        var oldest: Int64

        /// The first position of the longest part at the end that fits.
        func head(_ blocks: [Block], from head: UInt64, next: UInt64) -> UInt64 {
            let old = blocks.prefix { $0.appendedAt < oldest }.last.map { $0.last + 1 } ?? 0
            let fewest = next - min(next, entries)
            var bytesHead: UInt64 = 0
            var stored = blocks.filter { $0.last >= head }.reduce(0) { $0 + $1.stored }
            for block in blocks where block.last >= head && stored > bytes {
                stored -= block.stored
                bytesHead = block.last + 1
            }
            return min(next, max(head, old, fewest, bytesHead))
        }
    }

    @Test(
        "leaves the longest part at the end that fits every limit, and is what was told before",
        arguments: 0..<16 as Range<UInt64>
    )
    func fewest(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment(limits: QueueLimits(sharePercent: 0))
        let controller = deployment.controller
        // What a call takes as stored is known from a queue that takes all of it.
        let scale = try await Deployment(source: deployment.time)
        let other: RegionID = "ap-northeast-1"
        try await controller.append((1...25).map { write($0, "k", "\($0 &* 0x9E37_79B9)") }, to: other)
        let beside = try await queue(controller, other)
        let limits = QueueLimits(
            entriesMax: seed % 2 == 0 ? UInt64.random(in: 60...200, using: &random) : nil,
            bytesMax: seed % 4 < 2 ? UInt64.random(in: 2500...6000, using: &random) : nil,
            ageMaxMilliseconds: seed % 3 == 0 ? nil : UInt64.random(in: 5000...60_000, using: &random),
            overflow: .dropOldest,
            sharePercent: 0
        )
        let total = TotalLimits(
            entriesMax: seed % 5 < 3 ? UInt64.random(in: 100...220, using: &random) : nil,
            bytesMax: seed % 7 < 4 ? beside.storedBytes + UInt64.random(in: 2500...6000, using: &random) : nil
        )
        try await controller.setLimits(limits, for: region)
        try await controller.setTotalLimits(total)
        var blocks: [Block] = []
        var (head, next): (UInt64, UInt64) = (1, 1)
        for step in 0..<60 {
            deployment.time.advance(milliseconds: Int64.random(in: 0...9000, using: &random))
            let count = UInt64.random(in: 2...20, using: &random)
            let writes = (next..<(next + count)).map { write($0, "k", "\($0 &* 0x9E37_79B9_7F4A_7C15)") }
            let before = try await queue(scale.controller, region).storedBytes
            try await scale.controller.append(writes, to: region)
            let stored = try await queue(scale.controller, region).storedBytes - before
            let now = controller.now.milliseconds
            let bounds = Bounds(
                entries: min(limits.entriesMax ?? .max, (total.entriesMax ?? .max) - beside.entries) - count,
                bytes: min(limits.bytesMax ?? .max, (total.bytesMax ?? .max) - beside.storedBytes) - stored,
                oldest: now - Int64(clamping: limits.ageMaxMilliseconds ?? UInt64(Int64.max))
            )
            let expected = bounds.head(blocks, from: head, next: next)
            let told = try await estimate(controller, limits, total, count, stored)
            let receipt = try await controller.append(writes, to: region)
            #expect(receipt.dropped == expected - head, "seed \(seed), step \(step)")
            #expect(receipt.dropped == told, "seed \(seed), step \(step)")
            blocks.append(Block(first: next, last: next + count - 1, stored: stored, appendedAt: now))
            next += count
            if Int.random(in: 0..<4, using: &random) == 0 {
                try await controller.acknowledge(region, through: UInt64.random(in: 0..<next, using: &random))
            }
            let row = try await queue(controller, region)
            head = row.headPosition
            blocks.removeAll { $0.last < head }
            #expect(row.storedBytes == blocks.reduce(0) { $0 + $1.stored }, "seed \(seed), step \(step)")
        }
        await controller.close()
        await scale.controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean, "seed \(seed)")
    }

    /// What would be dropped under limits that leave the room that a call needs.
    private func estimate(
        _ controller: RegionFailoverController,
        _ limits: QueueLimits,
        _ total: TotalLimits,
        _ count: UInt64,
        _ stored: UInt64
    ) async throws -> UInt64 {
        var (limits, total) = (limits, total)
        limits.entriesMax? -= count
        limits.bytesMax? -= stored
        total.entriesMax? -= count
        total.bytesMax? -= stored
        return try await controller.dropEstimates(of: [region: limits], total: total)[region]?.entries ?? 0
    }

    @Test("for the bytes of all queues together is no more because other callers append at the same moment")
    func singles() async throws {
        let directory = try TemporaryDirectory()
        let store = try await bareStore(
            directory.appending("store"),
            QueueLimits(overflow: .dropOldest, sharePercent: 0)
        )
        // Blocks of 1,000 bytes, and then two writes of 1,500 that nothing makes shorter, in one transaction.
        var random = SplitMix64(seed: 1)
        func noise(_ sequence: UInt64, _ bytes: Int) -> OutstandingWrite {
            OutstandingWrite(
                origin: "us-east-1",
                incarnation: 0,
                sequence: sequence,
                key: Array("k".utf8),
                value: (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) }
            )
        }
        for sequence in stride(from: 1 as UInt64, through: 7, by: 2) {
            let pair = [noise(sequence, 450), noise(sequence + 1, 450)]
            _ = try await store.append(pair, to: [region], ifEpoch: nil, at: Timestamp(milliseconds: 0))
        }
        try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.setTotalLimits(TotalLimits(bytesMax: 6000))
        }
        let singles = [noise(11, 1500), noise(12, 1500)]
        let (gate, isHeld) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        async let holding: Void = store.transact { (_) throws(HoldfastError) in
            isHeld.signal()
            gate.wait()
        }
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                isHeld.wait()
                continuation.resume()
            }
        }
        let region = region
        let appends = singles.map { write in
            Task { try await store.append([write], to: [region], ifEpoch: nil, at: Timestamp(milliseconds: 0)) }
        }
        // Both wait for the thread, which does not go on before.
        try await Task.sleep(for: .milliseconds(200))
        gate.signal()
        try await holding
        for append in appends { _ = try await append.value }
        let row = try #require(try await store.statistics().first { $0.region == region })
        #expect(row.dropped == 4)
        #expect(row.storedBytes <= 6000)
        await store.close()
    }
}

/// A store without a controller, of three regions.
func bareStore(_ path: String, _ limits: QueueLimits = .unlimited) async throws -> ReplayStore {
    let opening = ReplayStore.Opening.new(.random(), created: Timestamp(milliseconds: 0))
    return try await ReplayStore.open(path, opening, options: Deployment.options) {
        (transaction) throws(HoldfastError) in
        for region in Deployment.regions { try transaction.addRegion(region, limits: limits) }
        return ((), StoreHooks())
    }.0
}
