import Holdfast
import HoldfastTesting
import Synchronization
import Testing

@Suite("A region that is dead and full", .serialized) struct DeadRegionTests {
    private static func stored(_ controller: RegionFailoverController, _ sequence: UInt64) async throws -> Duration {
        let writes = (0..<16).map { write(sequence * 16 + $0, "key", "a value of some bytes") }
        let clock = ContinuousClock()
        return try await clock.measure {
            try await controller.append(writes, to: "ap-northeast-1")
            if sequence % 8 == 7 {
                try await controller.acknowledge("ap-northeast-1", through: (sequence + 1) * 16)
            }
        }
    }

    @Test("leaves the others their share for as long as it lasts; the ratio of their latency is printed")
    func others() async throws {
        let full = try await Deployment(source: SystemTime())
        let alone = try await Deployment(source: SystemTime())
        try await full.controller.setTotalLimits(TotalLimits(entriesMax: 3000))
        try await alone.controller.setTotalLimits(TotalLimits(entriesMax: 3000))
        // eu-west-1 takes all that nobody has a claim on, and its callers go on trying.
        var taken: UInt64 = 0
        while await code({ try await full.controller.append([write(taken)], to: "eu-west-1") }) == nil { taken += 1 }
        #expect(taken == 2000)
        let isDone = Atomic(false)
        async let refused: Int = {
            var refused = 0
            while !isDone.load(ordering: .relaxed) {
                if await code({ try await full.controller.append([write(9_999_999)], to: "eu-west-1") }) == .full {
                    refused += 1
                }
            }
            return refused
        }()
        var besideFull: [Duration] = []
        var besideNone: [Duration] = []
        for sequence in 0..<400 as Range<UInt64> {
            besideFull.append(try await Self.stored(full.controller, sequence))
            besideNone.append(try await Self.stored(alone.controller, sequence))
        }
        isDone.store(true, ordering: .relaxed)
        #expect(await refused > 0)
        #expect(try await full.controller.pendingCount(for: "eu-west-1") == 2000)
        let middle = { (times: [Duration]) in times.sorted()[times.count / 2] }
        let late = { (times: [Duration]) in times.sorted()[times.count * 99 / 100] }
        print(
            "latency beside a full region / beside none: p50 \(middle(besideFull) / middle(besideNone)), p99 "
                + "\(late(besideFull) / late(besideNone)), 400 appends each, interleaved"
        )
    }
}
