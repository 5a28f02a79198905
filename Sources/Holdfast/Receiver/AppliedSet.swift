public import RegionFailover
public import ReplayFormat
public import ReplayStore

/// The identities that a receiver has applied, for a receiver that keeps them in its own database.
///
/// A value: nothing is stored before you store it. Put ``takeChanges()`` into the database transaction that holds the
/// effect of the writes; then both are there after a crash, or neither, and delivery at least once is applied exactly
/// once. Work on a copy, and keep it only when the transaction has committed:
///
/// ```
/// var next = applied
/// let new = try next.insert(writes.map(\.identity))
/// // In one transaction: the effect of `new`, and the rows of `next.takeChanges()`.
/// applied = next
/// ```
///
/// Between loading and storing nobody else may change the rows: keep one receiver, or load them in the transaction.
///
/// Identities are kept as ranges, so an origin whose sequences come without gaps costs one row. For each origin at most
/// ``StoreLimits/seenRangesMax`` ranges and ``StoreLimits/seenIncarnationsMax`` incarnations are kept. Beyond that the lowest
/// are forgotten, and an identity that may have been among them is neither new nor applied: nobody can know.
public struct AppliedSet: Sendable {
    /// What is known of an identity.
    public enum Standing: Sendable, Hashable, CaseIterable {
        /// It was not applied.
        case new
        /// It was applied.
        case applied
        /// It is so old that nobody can know whether it was applied.
        case forgotten
    }

    /// What bounds the memory; other values than the standard ones are for tests.
    package struct Limits: Sendable {
        package var ranges = StoreLimits.seenRangesMax
        package var incarnations = StoreLimits.seenIncarnationsMax
        package var origins = AppliedSet.originsMax

        package init() {}
    }

    private struct Origin: Sendable {
        var seen: SeenRanges
        /// The floor as the rows have it.
        var storedFloor: SeenRanges.Number?

        /// Notes an identity that is not forgotten, and says whether it is new.
        mutating func add(_ identity: WriteIdentity) -> Bool {
            guard !seen.contains(SeenRanges.Number(identity)) else { return false }
            seen.insert(incarnation: identity.incarnation, first: identity.sequence, last: identity.sequence)
            return true
        }

        mutating func noteStored() {
            seen.changes = [:]
            seen.floorChanged = false
            storedFloor = seen.floor
        }
    }

    /// The most origins: 1,024.
    public static let originsMax = 1024

    private var known: [RegionID: Origin] = [:]
    /// The origins whose rows were loaded; nil when all were.
    private(set) var origins: Set<RegionID>?
    private let limits: Limits

    /// Creates a set of every origin, in which nothing was applied.
    public init() { self.init(origins: nil, limits: Limits()) }

    package init(origins: Set<RegionID>?, limits: Limits) {
        self.origins = origins
        self.limits = limits
    }

    /// Creates a set from rows that were stored before.
    ///
    /// - Parameters:
    ///   - rows: Every row there is, or every row of `origins`, in any order.
    ///   - origins: The origins whose rows these are, so that the others need not be read; nil for all. Such a set refuses
    ///     every other origin, of which it knows nothing.
    /// - Throws: ``HoldfastError`` with `damaged` when the rows cannot have come from a set: ranges that overlap or end
    ///   before they begin, that begin at or below the floor, two floors, a row of another origin. With `full` when
    ///   they have more than ``originsMax`` origins.
    public init(_ rows: some Sequence<AppliedRow>, of origins: [RegionID]? = nil) throws(HoldfastError) {
        try self.init(rows, of: origins, limits: Limits())
    }

    package init(_ rows: some Sequence<AppliedRow>, of origins: [RegionID]?, limits: Limits) throws(HoldfastError) {
        self.init(origins: origins.map { Set($0) }, limits: limits)
        for (origin, rows) in Dictionary(grouping: rows, by: { $0.key.origin }) {
            guard self.origins?.contains(origin) != false else {
                throw .appliedRows(origin, "there are some, and they were not asked for")
            }
            guard known.count < limits.origins else { throw .appliedOrigins(limits.origins, index: nil) }
            known[origin] = try Self.load(origin, rows)
        }
    }

    /// Takes the rows of one more origin, for a set that is not of every origin.
    mutating func load(_ origin: RegionID, _ rows: [AppliedRow]) throws(HoldfastError) {
        known[origin] = try Self.load(origin, rows)
        origins?.insert(origin)
    }

    private static func load(_ origin: RegionID, _ rows: [AppliedRow]) throws(HoldfastError) -> Origin {
        var floor: SeenRanges.Number?
        for row in rows where row.key.kind == .floor {
            guard floor == nil else { throw .appliedRows(origin, "there are two floors") }
            guard row.key.first == 0 else { throw .appliedRows(origin, "a floor begins at \(row.key.first), not at 0") }
            floor = SeenRanges.Number(incarnation: row.key.incarnation, sequence: row.last)
        }
        var seen = SeenRanges(floor: floor)
        var previous: AppliedRow?
        for row in rows.filter({ $0.key.kind == .range }).sorted(by: { $0.key < $1.key }) {
            let shown = "\(row.key.first) to \(row.last) of incarnation \(row.key.incarnation)"
            guard row.key.first <= row.last else { throw .appliedRows(origin, "a range is \(shown)") }
            if let floor, SeenRanges.Number(incarnation: row.key.incarnation, sequence: row.key.first) <= floor {
                throw .appliedRows(origin, "the range \(shown) begins at or below the floor")
            }
            if let previous, previous.key.incarnation == row.key.incarnation, previous.last >= row.key.first {
                throw .appliedRows(origin, "the range \(shown) overlaps the one before it")
            }
            seen.load(incarnation: row.key.incarnation, first: row.key.first, last: row.last)
            previous = row
        }
        return Origin(seen: seen, storedFloor: floor)
    }

    // MARK: Asking

    /// What is known of an identity; of an origin whose rows were not loaded, nothing.
    public func standing(of identity: WriteIdentity) -> Standing {
        guard origins?.contains(identity.origin) != false else { return .forgotten }
        guard let origin = known[identity.origin] else { return .new }
        let number = SeenRanges.Number(identity)
        if origin.seen.isForgotten(number) { return .forgotten }
        return origin.seen.contains(number) ? .applied : .new
    }

    /// Whether an identity was applied.
    ///
    /// - Parameter identity: The identity of a write.
    /// - Returns: True when it was applied, false when it is new.
    /// - Throws: ``HoldfastError`` with `identityBelowFloor` when nobody can know, `invalidConfiguration` when the rows of
    ///   its origin were not loaded.
    public func contains(_ identity: WriteIdentity) throws(HoldfastError) -> Bool {
        try isApplied(identity, index: nil)
    }

    /// Whether it was applied; `index` is its place in the call, for the error.
    func isApplied(_ identity: WriteIdentity, index: Int?) throws(HoldfastError) -> Bool {
        switch standing(of: identity) {
        case .new: return false
        case .applied: return true
        case .forgotten:
            guard let floor = known[identity.origin]?.seen.floor else { throw .appliedOriginNotLoaded(identity, index) }
            throw .appliedBelowFloor(identity, floor: floor, index)
        }
    }

    // MARK: Changing

    /// Notes that a write is applied.
    ///
    /// - Parameter identity: The identity of the write.
    /// - Returns: Whether it is new: apply the write then, and only then.
    /// - Throws: ``HoldfastError`` as ``insert(_:)-([WriteIdentity])`` does; nothing has changed then.
    @discardableResult
    public mutating func insert(_ identity: WriteIdentity) throws(HoldfastError) -> Bool {
        try insert([identity]) == [0]
    }

    /// Notes that writes are applied, all of them or none.
    ///
    /// Give it the writes that one transaction applies: what is forgotten to keep the bounds is decided after the last of
    /// them, so that no write of the call is refused because of another one.
    ///
    /// - Parameter identities: The identities of the writes, in the order in which they came.
    /// - Returns: Which of them are new, by index from 0; of those that are the same, the first. Apply these writes, in
    ///   this order.
    /// - Throws: ``HoldfastError`` with `identityBelowFloor` when nobody can know whether one was applied, whose `index`,
    ///   `identity` and `floor` say which; `full` for more than ``originsMax`` origins; `invalidConfiguration` when the
    ///   rows of an origin were not loaded. Nothing has changed then.
    /// - Complexity: A binary search for each, and a move of the ranges behind it where it begins a new one.
    public mutating func insert(_ identities: [WriteIdentity]) throws(HoldfastError) -> [Int] {
        var added: Set<RegionID> = []
        var candidates: [Int] = []
        for (index, identity) in identities.enumerated() where try !isApplied(identity, index: index) {
            candidates.append(index)
            if known[identity.origin] == nil { added.insert(identity.origin) }
            guard known.count + added.count <= limits.origins else {
                throw .appliedOrigins(limits.origins, index: index)
            }
        }
        var new: [Int] = []
        var touched: Set<RegionID> = []
        for index in candidates {
            let identity = identities[index]
            let isNew = known[identity.origin, default: Origin(seen: SeenRanges(floor: nil))].add(identity)
            guard isNew else { continue }
            new.append(index)
            touched.insert(identity.origin)
        }
        for origin in touched {
            known[origin]?.seen.trim(rangesMax: limits.ranges, incarnationsMax: limits.incarnations)
        }
        return new
    }

    // MARK: Rows

    /// What has changed since the set was loaded, or since the last call of this.
    public mutating func takeChanges() -> AppliedChanges {
        var changes = AppliedChanges()
        for (name, origin) in known where !origin.seen.changes.isEmpty || origin.seen.floorChanged {
            for (number, last) in origin.seen.changes {
                let row = AppliedRow(
                    origin: name,
                    incarnation: number.incarnation,
                    first: number.sequence,
                    last: last ?? 0
                )
                if last == nil { changes.removed.append(row.key) } else { changes.stored.append(row) }
            }
            if origin.seen.floorChanged, let floor = origin.seen.floor {
                let row = AppliedRow.floor(name, floor)
                if let stored = origin.storedFloor { changes.removed.append(AppliedRow.floor(name, stored).key) }
                // A floor that rises within an incarnation keeps its key.
                changes.removed.removeAll { $0 == row.key }
                changes.stored.append(row)
            }
            known[name]?.noteStored()
        }
        changes.removed.sort()
        changes.stored.sort { $0.key < $1.key }
        return changes
    }

    /// Every row of the set, in the order of the keys, with what has changed.
    public var rows: [AppliedRow] {
        var rows: [AppliedRow] = []
        for (name, origin) in known {
            if let floor = origin.seen.floor { rows.append(.floor(name, floor)) }
            origin.seen.forEachRange { incarnation, first, last in
                rows.append(AppliedRow(origin: name, incarnation: incarnation, first: first, last: last))
            }
        }
        return rows.sorted { $0.key < $1.key }
    }
}

extension SeenRanges.Number {
    init(_ identity: WriteIdentity) {
        self.init(incarnation: identity.incarnation, sequence: identity.sequence)
    }
}
