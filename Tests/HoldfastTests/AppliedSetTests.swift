import Holdfast
import HoldfastTesting
import Testing

@Suite("A set of applied identities") struct AppliedSetTests {
    /// The receiver's own table: what a set's changes have made of it.
    private struct Rows {
        var rows: [AppliedRow.Key: UInt64] = [:]

        mutating func take(_ changes: AppliedChanges) {
            for key in changes.removed { rows[key] = nil }
            for row in changes.stored { rows[row.key] = row.last }
        }

        /// In an order that no key has.
        var all: [AppliedRow] {
            rows.map { key, last in
                AppliedRow(
                    kind: key.kind,
                    origin: key.origin,
                    incarnation: key.incarnation,
                    first: key.first,
                    last: last
                )
            }
        }
    }

    private static let origins: [RegionID] = ["us", "eu", "ap"]

    private static func identity(_ sequence: UInt64, _ incarnation: UInt64 = 1) -> WriteIdentity {
        WriteIdentity(origin: "us", incarnation: incarnation, sequence: sequence)
    }

    private static func random(_ random: inout SplitMix64) -> WriteIdentity {
        let near = UInt64.random(in: 0..<60, using: &random)
        return WriteIdentity(
            origin: origins.randomElement(using: &random) ?? "us",
            incarnation: UInt64.random(in: 0..<3, using: &random),
            sequence: Int.random(in: 0..<8, using: &random) == 0 ? .max - near % 4 : near
        )
    }

    @Test("holds what a plain set holds, in any order, after aborts and reloads", arguments: 0..<100 as Range<UInt64>)
    func model(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var applied = AppliedSet()
        var model: Set<WriteIdentity> = []
        var rows = Rows()
        for step in 0..<40 {
            let comment: Comment = "seed \(seed), step \(step)"
            let identities = (0..<Int.random(in: 0..<24, using: &random)).map { _ in Self.random(&random) }
            let isKnown = identities.allSatisfy { identity in
                applied.standing(of: identity) == (model.contains(identity) ? .applied : .new)
            }
            #expect(isKnown, comment)
            var next = applied
            var nextModel = model
            let expected = identities.indices.filter { nextModel.insert(identities[$0]).inserted }
            if Bool.random(using: &random) {
                #expect(try next.insert(identities) == expected, comment)
            } else {
                let new = try identities.indices.filter { try next.insert(identities[$0]) }
                #expect(new == expected, comment)
            }
            let changes = next.takeChanges()
            #expect(next.takeChanges().isEmpty, comment)
            // A transaction that does not commit leaves the old set, the old rows, and the writes new.
            if Int.random(in: 0..<5, using: &random) == 0 { continue }
            rows.take(changes)
            (applied, model) = (next, nextModel)
            #expect(rows.all.sorted { $0.key < $1.key } == applied.rows, comment)
            if Int.random(in: 0..<4, using: &random) == 0 { applied = try AppliedSet(rows.all) }
            try checkOneOrigin(rows, model, &random, comment)
        }
        let runs = model.filter { identity in
            identity.sequence == 0
                || !model.contains(
                    WriteIdentity(
                        origin: identity.origin,
                        incarnation: identity.incarnation,
                        sequence: identity.sequence - 1
                    )
                )
        }
        #expect(applied.rows.count == runs.count, "seed \(seed)")
    }

    /// A set of one origin alone knows the same of it, and nothing of the others.
    private func checkOneOrigin(
        _ rows: Rows,
        _ model: Set<WriteIdentity>,
        _ random: inout SplitMix64,
        _ comment: Comment
    ) throws {
        let origin = Self.origins.randomElement(using: &random) ?? "us"
        var one = try AppliedSet(rows.all.filter { $0.key.origin == origin }, of: [origin])
        for _ in 0..<8 {
            let identity = Self.random(&random)
            if identity.origin == origin {
                #expect(try one.contains(identity) == model.contains(identity), comment)
            } else {
                #expect(one.standing(of: identity) == .forgotten, comment)
                let error = #expect(throws: HoldfastError.self) { try one.insert(identity) }
                #expect(error?.code == .invalidConfiguration, comment)
            }
        }
        #expect(one.takeChanges().isEmpty, comment)
    }

    @Test("within bounds never takes an old write for a new one", arguments: 0..<100 as Range<UInt64>)
    func bounds(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var limits = AppliedSet.Limits()
        limits.ranges = Int.random(in: 1...5, using: &random)
        limits.incarnations = Int.random(in: 1...2, using: &random)
        var applied = AppliedSet(origins: nil, limits: limits)
        var model: Set<WriteIdentity> = []
        var rows = Rows()
        var refused = 0
        for step in 0..<200 {
            let comment: Comment = "seed \(seed), step \(step)"
            let identity = Self.random(&random)
            let standing = applied.standing(of: identity)
            do {
                let isNew = try applied.insert(identity)
                #expect(isNew == !model.contains(identity), comment)
                #expect(standing == (isNew ? .new : .applied), comment)
                model.insert(identity)
            } catch {
                #expect(error.code == .identityBelowFloor && standing == .forgotten, comment)
                #expect(error.identity == identity, comment)
                refused += 1
            }
            rows.take(applied.takeChanges())
            guard Int.random(in: 0..<10, using: &random) == 0 else { continue }
            #expect(rows.all.sorted { $0.key < $1.key } == applied.rows, comment)
            applied = try AppliedSet(rows.all, of: nil, limits: limits)
            for (_, rows) in Dictionary(grouping: applied.rows, by: { $0.key.origin }) {
                let ranges = rows.filter { $0.key.kind == .range }
                #expect(ranges.count <= limits.ranges && rows.count - ranges.count <= 1, comment)
                #expect(Set(ranges.map(\.key.incarnation)).count <= limits.incarnations, comment)
            }
        }
        // What was applied is never new again.
        #expect(model.allSatisfy { applied.standing(of: $0) != .new }, "seed \(seed)")
        #expect(refused > 0, "seed \(seed): the bounds were never met")
    }

    @Test("refuses all of a call for one identity below the floor, and says which") func belowFloor() throws {
        var limits = AppliedSet.Limits()
        limits.ranges = 2
        var applied = AppliedSet(origins: nil, limits: limits)
        // The floor rises after the last of a call: none is refused because of another one of the call.
        #expect(try applied.insert([9, 7, 5, 3].map { Self.identity($0) }) == [0, 1, 2, 3])
        #expect(applied.standing(of: Self.identity(5)) == .forgotten)
        #expect(applied.standing(of: Self.identity(7)) == .applied)
        #expect(applied.standing(of: Self.identity(6)) == .new)
        let before = applied.rows
        let error = #expect(throws: HoldfastError.self) {
            try applied.insert([Self.identity(6), Self.identity(4)])
        }
        #expect(error?.code == .identityBelowFloor)
        #expect(error?.index == 1)
        #expect(error?.identity == Self.identity(4))
        #expect(error?.floor == Self.identity(5))
        #expect(applied.rows == before)
        #expect(throws: HoldfastError.self) { try applied.contains(Self.identity(4)) }
    }

    @Test("refuses one origin too many") func manyOrigins() throws {
        var applied = AppliedSet()
        let identities = try (0...AppliedSet.originsMax).map { number in
            WriteIdentity(origin: try RegionID("region-\(number)"), incarnation: 1, sequence: 1)
        }
        let error = #expect(throws: HoldfastError.self) { try applied.insert(identities) }
        #expect(error?.code == .full && error?.field == "origins" && error?.index == AppliedSet.originsMax)
        #expect(applied.rows.isEmpty)
        #expect(try applied.insert(identities.dropLast()).count == AppliedSet.originsMax)
        #expect(try applied.insert(identities[0]) == false)
        #expect(throws: HoldfastError.self) { try applied.insert(identities[AppliedSet.originsMax]) }
    }

    /// Rows that no set has stored.
    private static let malformed: [[AppliedRow]] = [
        [AppliedRow(origin: "us", incarnation: 1, first: 5, last: 4)],
        [
            AppliedRow(origin: "us", incarnation: 1, first: 1, last: 5),
            AppliedRow(origin: "us", incarnation: 1, first: 5, last: 9),
        ],
        [
            AppliedRow(origin: "us", incarnation: 1, first: 3, last: 4),
            AppliedRow(origin: "us", incarnation: 1, first: 1, last: .max),
        ],
        [
            AppliedRow(origin: "us", incarnation: 1, first: 1, last: 2),
            AppliedRow(origin: "us", incarnation: 1, first: 1, last: 2),
        ],
        [
            AppliedRow(kind: .floor, origin: "us", incarnation: 1, first: 0, last: 5),
            AppliedRow(kind: .floor, origin: "us", incarnation: 2, first: 0, last: 5),
        ],
        [AppliedRow(kind: .floor, origin: "us", incarnation: 1, first: 2, last: 5)],
        [
            AppliedRow(kind: .floor, origin: "us", incarnation: 1, first: 0, last: 5),
            AppliedRow(origin: "us", incarnation: 1, first: 5, last: 9),
        ],
        [
            AppliedRow(kind: .floor, origin: "us", incarnation: 2, first: 0, last: 5),
            AppliedRow(origin: "us", incarnation: 1, first: 9, last: 9),
        ],
        [AppliedRow(origin: "eu", incarnation: 1, first: 1, last: 1)],
    ]

    @Test("refuses rows that it cannot have stored", arguments: malformed.indices) func malformedRows(index: Int) {
        let error = #expect(throws: HoldfastError.self) { try AppliedSet(Self.malformed[index], of: ["us"]) }
        #expect(error?.code == .damaged)
        #expect(error?.region != nil)
    }

    @Test("takes any rows without a trap, or refuses them", arguments: 0..<300 as Range<UInt64>)
    func anyRows(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        func number() -> UInt64 {
            [0, 1, 2, 3, .max - 1, .max].randomElement(using: &random) ?? 0
        }
        let rows = (0..<Int.random(in: 0..<5, using: &random)).map { _ in
            AppliedRow(
                kind: Int.random(in: 0..<4, using: &random) == 0 ? .floor : .range,
                origin: "us",
                incarnation: number(),
                first: number(),
                last: number()
            )
        }
        guard var applied = try? AppliedSet(rows) else { return }
        #expect(applied.rows == rows.sorted { $0.key < $1.key }, "seed \(seed)")
        for _ in 0..<40 {
            let identity = Self.identity(number(), number())
            let isCovered = rows.contains { row in
                row.key.kind == .range && row.key.incarnation == identity.incarnation
                    && (row.key.first...row.last).contains(identity.sequence)
            }
            if isCovered { #expect(applied.standing(of: identity) == .applied, "seed \(seed)") }
            _ = try? applied.insert(identity)
            #expect(applied.standing(of: identity) != .new, "seed \(seed)")
        }
        #expect(try AppliedSet(applied.rows).rows == applied.rows, "seed \(seed)")
    }

    @Test("in order costs one row") func inOrder() throws {
        var applied = AppliedSet()
        for sequence in 1...5000 as ClosedRange<UInt64> { try applied.insert(Self.identity(sequence)) }
        #expect(applied.rows == [AppliedRow(origin: "us", incarnation: 1, first: 1, last: 5000)])
        let changes = applied.takeChanges()
        #expect(changes.stored == applied.rows && changes.removed.isEmpty)
    }
}
