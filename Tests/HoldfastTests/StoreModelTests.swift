import Holdfast
import HoldfastTesting
import ReplayStore
import Testing

/// What the queues must hold, kept in plain arrays.
private struct Oracle {
    struct Queue {
        var next: UInt64 = 1
        var entries: [(position: UInt64, write: OutstandingWrite)] = []
        var seen: Set<WriteIdentity> = []
        var acknowledged: UInt64 = 0
        var drained: UInt64 = 0
        var dropped: UInt64 = 0
        var limits = QueueLimits.unlimited
    }

    var queues: [RegionID: Queue] = ["us-east-1": Queue(), "eu-west-1": Queue(), "ap-northeast-1": Queue()]

    /// Whether a call fits; what does not fit must be refused with `full`.
    func fits(_ writes: [OutstandingWrite], _ region: RegionID) -> Bool {
        guard let queue = queues[region], let limit = queue.limits.entriesMax else { return true }
        let new = fresh(writes, region).count
        if new == 0 { return true }
        return queue.limits.overflow == .dropOldest ? new <= Int(limit) : queue.entries.count + new <= Int(limit)
    }

    private func fresh(_ writes: [OutstandingWrite], _ region: RegionID) -> [OutstandingWrite] {
        var seen = queues[region]?.seen ?? []
        return writes.filter { seen.insert($0.identity).inserted }
    }

    mutating func append(_ writes: [OutstandingWrite], _ region: RegionID) -> Range<UInt64> {
        guard var queue = queues[region] else { return 0..<0 }
        let first = queue.next
        for write in fresh(writes, region) {
            queue.entries.append((queue.next, write))
            queue.seen.insert(write.identity)
            queue.next += 1
        }
        if queue.next > first, let limit = queue.limits.entriesMax, queue.entries.count > Int(limit) {
            let over = queue.entries.count - Int(limit)
            queue.entries.removeFirst(over)
            queue.dropped += UInt64(over)
        }
        queues[region] = queue
        return first..<queue.next
    }

    mutating func acknowledge(_ region: RegionID, through position: UInt64) {
        let count = queues[region]?.entries.prefix { $0.position <= position }.count ?? 0
        queues[region]?.entries.removeFirst(count)
        queues[region]?.acknowledged += UInt64(count)
    }

    mutating func drain(_ region: RegionID, max: Int) -> [OutstandingWrite] {
        let taken = queues[region]?.entries.prefix(max).map(\.write) ?? []
        queues[region]?.entries.removeFirst(taken.count)
        queues[region]?.drained += UInt64(taken.count)
        return taken
    }
}

@Suite("The store and a plain array") struct StoreModelTests {
    @Test("agree after every call, restart and check", arguments: 0..<24 as Range<UInt64>)
    func agree(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        var oracle = Oracle()
        let options = StoreOptions(compressionLevel: seed % 3 == 0 ? 0 : 1, mapSizeBytes: 1 << 30)
        let deployment = try await Deployment(options: options)
        var controller = deployment.controller
        let regions = controller.configuration.regions
        for step in 0..<60 {
            let region = regions.randomElement(using: &random) ?? "us-east-1"
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<10:
                let writes = Self.writes(&random)
                let targets = Int.random(in: 0..<4, using: &random) == 0 ? regions : [region]
                if targets.allSatisfy({ oracle.fits(writes, $0) }) {
                    let receipts = try await controller.append(writes, to: targets)
                    for receipt in receipts {
                        #expect(
                            receipt.positions == oracle.append(writes, receipt.region),
                            "seed \(seed), step \(step)"
                        )
                    }
                } else {
                    #expect(await code { try await controller.append(writes, to: targets) } == .full, "seed \(seed)")
                }
            case 10..<14:
                guard let queue = oracle.queues[region], queue.next > 1 else { continue }
                let position = UInt64.random(in: 0..<queue.next, using: &random)
                try await controller.acknowledge(region, through: position)
                oracle.acknowledge(region, through: position)
            case 14..<16:
                let max = Int.random(in: 0...300, using: &random)
                let drained = try await controller.drain(region, max: max).entries.map(\.write)
                #expect(drained == oracle.drain(region, max: max), "seed \(seed), step \(step)")
            case 16:
                let overflow = QueueLimits.Overflow.allCases.randomElement(using: &random) ?? .reject
                let limits = QueueLimits(entriesMax: UInt64.random(in: 1...600, using: &random), overflow: overflow)
                try await controller.setLimits(limits, for: region)
                oracle.queues[region]?.limits = limits
            case 17:
                controller = try await reopen(controller, deployment, options)
            default:
                for try await batch in controller.batches(
                    for: region,
                    entriesMax: Int.random(in: 1...400, using: &random)
                ) {
                    let expected = oracle.queues[region]?.entries.prefix(batch.entries.count) ?? []
                    #expect(batch.entries.map(\.write) == expected.map(\.write), "seed \(seed), step \(step)")
                    #expect(batch.entries.map(\.position) == expected.map(\.position), "seed \(seed), step \(step)")
                    try await batch.acknowledge()
                    oracle.acknowledge(region, through: batch.through)
                    if Bool.random(using: &random) { break }
                }
            }
            try await compare(controller, oracle, "seed \(seed), step \(step)")
        }
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean, "seed \(seed)")
    }

    private func reopen(
        _ controller: RegionFailoverController,
        _ deployment: Deployment,
        _ options: StoreOptions
    ) async throws -> RegionFailoverController {
        await controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .full).isClean)
        return try await RegionFailoverController.open(
            at: deployment.path,
            options: options,
            time: deployment.time
        )
    }

    /// One write, or many; in order, or not; new, or had before.
    private static func writes(_ random: inout SplitMix64) -> [OutstandingWrite] {
        let count = [1, 1, 2, 40, 300, 700].randomElement(using: &random) ?? 1
        let start = UInt64.random(in: 1...2000, using: &random)
        let size = [0, 3, 60, 900].randomElement(using: &random) ?? 0
        let isShuffled = Int.random(in: 0..<3, using: &random) == 0
        let writes = (0..<UInt64(count)).map { offset in
            let sequence = start + offset
            // A function of the identity, so that a repetition is the same write.
            return OutstandingWrite(
                origin: sequence % 7 == 0 ? "eu-west-1" : "us-east-1",
                incarnation: sequence % 3,
                sequence: sequence,
                key: [UInt8](repeating: UInt8(truncatingIfNeeded: sequence), count: Int(sequence % 40)),
                value: [UInt8](repeating: UInt8(truncatingIfNeeded: sequence / 3), count: size),
                kind: sequence % 11 == 0 ? .delete : .put,
                timestamp: sequence % 5 == 0 ? Timestamp(milliseconds: -Int64(sequence)) : nil,
                clock: sequence % 13 == 0 ? [1, 2, 3] : []
            )
        }
        return isShuffled ? writes.shuffled(using: &random) : writes
    }

    private func compare(_ controller: RegionFailoverController, _ oracle: Oracle, _ comment: Comment) async throws {
        for statistics in try await controller.statistics() {
            let queue = try #require(oracle.queues[statistics.region])
            #expect(statistics.entries == UInt64(queue.entries.count), comment)
            #expect(statistics.headPosition == queue.entries.first?.position ?? queue.next, comment)
            #expect(statistics.nextPosition == queue.next, comment)
            #expect(statistics.rawBytes == queue.entries.reduce(0) { $0 + UInt64($1.write.rawBytes) }, comment)
            #expect(statistics.acknowledged == queue.acknowledged, comment)
            #expect(statistics.drained == queue.drained, comment)
            #expect(statistics.dropped == queue.dropped, comment)
            #expect(statistics.needsResync == (queue.dropped > 0), comment)
            #expect((statistics.storedBytes == 0) == queue.entries.isEmpty, comment)
        }
    }
}
