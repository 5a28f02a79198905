import Foundation
import Holdfast
import HoldfastTesting
import RegionFailover
import ReplayFormat
import Testing

/// A way in which a store, or what is told of it, is made to break a promise.
private struct Planted: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var kind: ConservationViolation.Kind
    /// What the violation's text must have.
    var text: String
    var plant: @Sendable (inout ConservationOracle, inout QueueContents) -> Void

    init(
        _ name: String,
        _ kind: ConservationViolation.Kind,
        _ text: String,
        _ plant: @escaping @Sendable (inout ConservationOracle, inout QueueContents) -> Void
    ) {
        (testDescription, self.kind, self.text, self.plant) = (name, kind, text, plant)
    }

    private static let region: RegionID = "eu-west-1"

    private static func counter(
        _ name: String,
        _ change: @escaping @Sendable (inout QueueStatistics) -> Void
    ) -> Planted {
        Planted("the counter '\(name)' is off by one", .counter, name) { change(&$1.statistics) }
    }

    /// What is changed in a store of 101 writes, of which 20 were received, 10 drained, and 6 dropped.
    static let all: [Planted] = [
        Planted("an acknowledged write is missing in the queue", .missing, "not in the queue") {
            $1.entries.remove(at: 30)
        },
        Planted("the queue ends before an acknowledged write", .missing, "the queue ends at position 100") {
            $1.entries.removeLast()
            $1.statistics.nextPosition -= 1
            $1.statistics.entries -= 1
            $1.statistics.accepted -= 1
        },
        Planted("writes left that nobody has received", .missing, "its append had returned, and nobody has received it")
        {
            $1.entries.removeFirst(12)
            $1.statistics.headPosition += 12
            $1.statistics.entries -= 12
            $1.statistics.acknowledged += 12
        },
        Planted("the ledger says that a write was damaged", .missing, "damaged") {
            $1.departures.append(.init(reason: "damaged", positions: 40...40, entries: 1))
        },
        Planted("a byte of a queued write is changed", .changed, "other bytes") { $1.entries[20].write.key[0] ^= 1 },
        Planted("a byte of a received write is changed", .changed, "other bytes") {
            var entry = $1.entries[10]
            entry.write.clock.append(0)
            $0.received([entry], from: region)
        },
        Planted("two queued writes are swapped", .outOfOrder, "was appended") {
            ($1.entries[30].write, $1.entries[31].write) = ($1.entries[31].write, $1.entries[30].write)
        },
        Planted("two writes are received in the wrong order", .outOfOrder, "for the first time after position") {
            $0.received([$1.entries[11]], from: region)
            $0.received([$1.entries[10]], from: region)
        },
        Planted("a write is received at another one's position", .outOfOrder, "was appended") {
            var entry = $1.entries[10]
            entry.write = $1.entries[11].write
            $0.received([entry], from: region)
        },
        Planted("a later call gets a lower position", .outOfOrder, "was issued when an append up to position 110") {
            oracle,
            _ in
            for position in [110, 105] as [UInt64] {
                let call = oracle.issue(1, to: [region])
                oracle.apply(.answered(call: call.number, region: region, first: position, duplicates: []))
            }
        },
        Planted("a later call that nobody has heard of is queued before", .outOfOrder, "was issued when an append") {
            let early = $0.issue(1, to: [region])
            $0.apply(.answered(call: early.number, region: region, first: 103, duplicates: []))
            let late = $0.issue(1, to: [region])
            for (position, write) in [(102, late.writes[0]), (103, early.writes[0])] as [(UInt64, OutstandingWrite)] {
                let time = Timestamp(milliseconds: 0)
                $1.entries.append(QueueEntry(position: position, enqueuedAt: time, write: write))
            }
            $1.statistics.nextPosition += 2
            $1.statistics.entries += 2
            $1.statistics.accepted += 2
        },
        Planted("an acknowledged batch is received again", .doubled, "after everything up to it had left") {
            oracle,
            _ in
            let write = WriteSource(seed: 5, origin: "oracle", incarnation: 1).write(3)
            let entry = QueueEntry(position: 3, enqueuedAt: Timestamp(milliseconds: 0), write: write)
            oracle.received([entry], from: region)
        },
        Planted("a batch comes again that is beyond the window", .doubled, "more than the 10 in flight") {
            $0.received(Array($1.entries[0..<10]), from: region)
            $0.received(Array($1.entries[10..<20]), from: region)
            $0.received([$1.entries[5]], from: region)
        },
        Planted("a write is queued twice", .doubled, "is queued again") {
            var entry = $1.entries[40]
            entry.position = $1.statistics.nextPosition
            $1.entries.append(entry)
            $1.statistics.nextPosition += 1
            $1.statistics.entries += 1
            $1.statistics.accepted += 1
        },
        Planted("what was acknowledged is queued again", .doubled, "had left") {
            $1.statistics.headPosition = 20
            $1.statistics.entries += 16
        },
        Planted("a write appears that was never issued", .notIssued, "nobody had issued it") {
            $1.entries[50].write.sequence = 5_000
        },
        Planted("a write of another origin is received", .notIssued, "nobody had issued it") {
            var entry = $1.entries[10]
            entry.write.origin = "elsewhere"
            $0.received([entry], from: region)
        },
        Planted("the region is not there", .missing, "not in the store") { oracle, contents in
            _ = oracle.violations(in: [:])
        },
        counter("accepted") { $0.accepted += 1 }, counter("queued") { $0.entries += 1 },
        counter("acknowledged") { $0.acknowledged -= 1 }, counter("drained") { $0.drained += 1 },
        counter("dropped") { $0.dropped -= 1 }, counter("dead") { $0.dead += 1 }, counter("lost") { $0.lost += 1 },
        counter("retried") { $0.retried += 1 },
    ]
}

@Suite("The conservation oracle") struct ConservationOracleTests {
    private static let region: RegionID = "eu-west-1"

    /// A store of 101 writes: 20 received, 10 drained, 6 dropped, 65 queued; a call was refused in between.
    private func store() async throws -> (ConservationOracle, QueueContents, Deployment) {
        let deployment = try await Deployment()
        let controller = deployment.controller
        var oracle = ConservationOracle(seed: 5, regions: [Self.region], windowEntries: 10)
        for count in [1, 60, 39] {
            let call = oracle.issue(count, to: [Self.region])
            oracle.appended(call, try await controller.append(call.writes, to: call.regions))
        }
        for try await batch in controller.batches(for: Self.region, entriesMax: 10) {
            oracle.received(batch)
            if batch.through > 20 { break }
            oracle.acknowledged(try await batch.acknowledge(), batch)
        }
        oracle.willDrain(Self.region, max: 10)
        oracle.drained(try await controller.drain(Self.region, max: 10), from: Self.region)
        let call = oracle.issue(1, to: [Self.region])
        try await controller.setLimits(QueueLimits(entriesMax: 1), for: Self.region)
        await #expect(throws: HoldfastError.self) { try await controller.append(call.writes, to: call.regions) }
        oracle.refused(call)
        try await controller.setLimits(QueueLimits(entriesMax: 65, overflow: .dropOldest), for: Self.region)
        let last = oracle.issue(1, to: [Self.region])
        oracle.appended(last, try await controller.append(last.writes, to: last.regions))
        await controller.close()
        let contents = try #require(try QueueContents.read(storeAt: deployment.path)[Self.region])
        return (oracle, contents, deployment)
    }

    @Test("finds nothing where nothing is wrong, again and again") func clean() async throws {
        var (oracle, contents, deployment) = try await store()
        for _ in 0..<3 { #expect(try oracle.violations(storeAt: deployment.path) == []) }
        #expect(oracle.violations(in: [Self.region: contents]) == [])
        #expect(oracle.tally.acknowledged == 101 && oracle.tally.drained == 10 && oracle.tally.dropped == 6)
    }

    @Test("names what is planted", arguments: Planted.all)
    private func planted(planted: Planted) async throws {
        var (oracle, contents, deployment) = try await store()
        // What the store is at first, is learned from it.
        #expect(try oracle.violations(storeAt: deployment.path) == [])
        planted.plant(&oracle, &contents)
        let found = oracle.violations(in: [Self.region: contents])
        let named = found.filter { $0.kind == planted.kind && $0.detail.contains(planted.text) }
        #expect(!named.isEmpty, "\(planted.testDescription): \(found)")
        #expect(named.allSatisfy { $0.region == Self.region && $0.description.contains("region eu-west-1") })
    }

    @Test("knows damage that was done on purpose from other damage") func damage() async throws {
        let deployment = try await Deployment()
        var oracle = ConservationOracle(seed: 5, regions: [Self.region], windowEntries: 256)
        for _ in 0..<3 {
            let call = oracle.issue(20, to: [Self.region])
            oracle.appended(call, try await deployment.controller.append(call.writes, to: call.regions))
        }
        await deployment.controller.close()
        let file = URL(fileURLWithPath: deployment.path + "/data.mdb")
        try Data(contentsOf: file).flipped(4, at: 72, ofBlock: 21, entries: 20).write(to: file)
        // What is told is where it is: all of it, or a part, or the block beside it.
        for (told, isRight) in [(21...40, true), (21...39, false), (1...20, false), (41...60, false)]
            as [(ClosedRange<UInt64>, Bool)]
        {
            var oracle = oracle
            oracle.willDamage(told, of: Self.region)
            let found = try oracle.violations(storeAt: deployment.path)
            #expect(found.contains { $0.kind == .damaged && $0.region == Self.region } == !isRight, "\(told): \(found)")
            #expect(found.isEmpty == isRight, "\(told): \(found)")
        }
    }

    @Test("reads every step back from its line") func lines() {
        let run = CrashEvent.Run(position: 5, sequence: 7, count: 9)
        let identity = WriteIdentity(origin: "us", incarnation: 3, sequence: 4)
        let (promise, later) = (ControllerPromise(text: "1,us+eu,us/primary"), ControllerPromise(text: "2,us+eu"))
        let events: [CrashEvent] = [
            .opened, .closed, .issued(call: 1, regions: ["us", "eu"], sequences: 3..<9),
            .answered(call: 1, region: "us", first: 8, duplicates: [0, 4]),
            .answered(call: 1, region: "us", first: 8, duplicates: []), .refused(call: 2), .received("us", run),
            .drained("us", run), .foreign("us", position: 4, identity, isDrain: true), .acknowledged("us", through: 8),
            .draining("us", max: 40), .drainEnded("us"), .retrying("us", positions: [4, 6]),
            .damaging("us", 4...9), .controlling(before: promise, after: later, words: ["paused/us", "healthy/us"]),
            .controlled(later, words: []),
        ]
        for event in events { #expect(CrashEvent(line: Substring(event.line)) == event) }
        for line in [
            "", "issued", "received us 1", "acknowledged", "drained us 1 2 x", "damaging us 9 4", "controlling 1 2",
            "controlled",
        ] {
            #expect(CrashEvent(line: Substring(line)) == nil)
        }
    }

    @Test("A line of its journal that was cut off has not happened") func cutOff() throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("journal")
        try CrashJournal(path).note([.acknowledged("us", through: 8), .acknowledged("us", through: 123)])
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for end in 0..<whole.count {
            try whole.prefix(end).write(to: URL(fileURLWithPath: path))
            try CrashJournal(path).note([.opened])
            let events = try CrashJournal.read(path).0
            #expect(events.last == .opened)
            // Never a shorter number than was written.
            let whole: [CrashEvent] = [.acknowledged("us", through: 8), .acknowledged("us", through: 123)]
            #expect(events.dropLast().allSatisfy { whole.contains($0) })
        }
    }
}
