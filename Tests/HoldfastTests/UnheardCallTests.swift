import Holdfast
import HoldfastTesting
import Testing

/// Something that a call of which nobody has heard may leave in its regions, or must not.
private struct Unheard: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// What the violation is of, and what its text must have; nil where nothing is wrong.
    var violation: (kind: ConservationViolation.Kind, text: String)?
    /// Changes the writes of the call, as positions behind the last one that was acknowledged: one list for each region.
    var plant: @Sendable (inout [[Int]]) -> Void

    init(
        _ name: String,
        _ violation: (kind: ConservationViolation.Kind, text: String)?,
        _ plant: @escaping @Sendable (inout [[Int]]) -> Void
    ) {
        (testDescription, self.violation, self.plant) = (name, violation, plant)
    }

    static let all: [Unheard] = [
        Unheard("all of it", nil) { _ in }, Unheard("nothing", nil) { $0 = [[], []] },
        Unheard("its writes in reverse", (.outOfOrder, "the other writes of its call")) { $0[0].reverse() },
        Unheard("two of its writes swapped", (.outOfOrder, "the other writes of its call")) { $0[1].swapAt(2, 3) },
        Unheard("half of it", (.missing, "where the other writes of its call put it")) { $0 = [[0, 1], [0, 1]] },
        Unheard("all but the first", (.missing, "where the other writes of its call put it")) { $0[0].removeFirst() },
        Unheard("all but one in the middle", (.missing, "where the other writes of its call put it")) {
            $0[0] = [0, 2, 3]
        },
        Unheard("all of it in one region of two", (.missing, "and not here")) { $0[1] = [] },
        Unheard("all of it in the other region alone", (.missing, "and not here")) { $0[0] = [] },
    ]
}

@Suite("A call of append that nobody has heard of") struct UnheardCallTests {
    private static let regions: [RegionID] = ["eu-west-1", "us-east-1"]

    /// A store of 5 writes that were acknowledged, and 4 of a call that was under way, each for two regions.
    private func store() async throws -> (ConservationOracle, [RegionID: QueueContents], ConservationOracle.Call) {
        let deployment = try await Deployment()
        var oracle = ConservationOracle(seed: 7, regions: Self.regions)
        let first = oracle.issue(5, to: Self.regions)
        oracle.appended(first, try await deployment.controller.append(first.writes, to: first.regions))
        let call = oracle.issue(4, to: Self.regions)
        try await deployment.controller.append(call.writes, to: call.regions)
        await deployment.controller.close()
        return (oracle, try QueueContents.read(storeAt: deployment.path), call)
    }

    /// The contents with some of the call's writes, in some order.
    private func planted(_ unheard: Unheard, _ contents: [RegionID: QueueContents]) -> [RegionID: QueueContents] {
        var (contents, writes) = (contents, [[0, 1, 2, 3], [0, 1, 2, 3]])
        unheard.plant(&writes)
        for (region, kept) in zip(Self.regions, writes) {
            let entries = contents[region]?.entries ?? []
            var left = Array(entries.prefix(5))
            for (rank, index) in kept.enumerated() {
                var entry = entries[5 + index]
                entry.position = 6 + UInt64(rank)
                left.append(entry)
            }
            contents[region]?.entries = left
            let gone = UInt64(entries.count - left.count)
            contents[region]?.statistics.nextPosition -= gone
            contents[region]?.statistics.entries -= gone
            contents[region]?.statistics.accepted -= gone
        }
        return contents
    }

    @Test("has left all of it in order in each of its regions, or nothing", arguments: Unheard.all)
    private func judged(unheard: Unheard) async throws {
        var (oracle, contents, _) = try await store()
        let found = oracle.violations(in: planted(unheard, contents))
        guard let wanted = unheard.violation else {
            #expect(found == [])
            return
        }
        #expect(found.contains { $0.kind == wanted.kind && $0.detail.contains(wanted.text) }, "\(found)")
        #expect(found.allSatisfy { [.missing, .outOfOrder].contains($0.kind) }, "\(found)")
    }

    @Test("is judged too when it was made again before anybody looked", arguments: Unheard.all)
    private func repeated(unheard: Unheard) async throws {
        var (oracle, contents, call) = try await store()
        let isWhole = unheard.violation == nil
        contents = planted(unheard, contents)
        for region in Self.regions where contents[region]?.entries.count == 9 {
            oracle.apply(.answered(call: call.number, region: region, first: 0, duplicates: [0, 1, 2, 3]))
        }
        let found = oracle.violations(in: contents)
        #expect(found.isEmpty == isWhole, "\(found)")
    }

    @Test("may have left before anybody saw it, as far as there is room for it", arguments: [4, 3])
    func left(dropped: UInt64) async throws {
        var (oracle, contents, _) = try await store()
        // In one region it is queued; of the other one the last positions were dropped unseen.
        let region = Self.regions[1]
        contents[region]?.entries.removeLast(4)
        let gone = 4 - dropped
        contents[region]?.statistics.nextPosition -= gone
        contents[region]?.statistics.accepted -= gone
        contents[region]?.statistics.entries = 5
        contents[region]?.statistics.dropped = dropped
        contents[region]?.departures.append(
            .init(reason: "dropped", positions: 6...(5 + dropped), entries: dropped)
        )
        let found = oracle.violations(in: contents)
        #expect(found.contains { $0.detail.contains("and not here") } == (dropped < 4), "\(found)")
    }
}
