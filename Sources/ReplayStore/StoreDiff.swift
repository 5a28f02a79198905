internal import Bytes
package import RegionFailover
internal import ReplayFormat

/// What one store has of a region's writes that another one has not.
package enum StoreDiff {
    /// Which of the two stores.
    package enum Side: Sendable, Hashable { case first, second }

    /// What kind of difference it is.
    package enum Kind: String, Sendable, Hashable {
        /// The writes are queued here, and not there.
        case queued
        /// The writes were accepted here and have left the queue, and there they were never accepted.
        case left
        /// The writes are queued in both, but are not the same writes; when they were queued does not count.
        case content
        /// The region is here, and not there.
        case region
    }

    /// What became of writes in the store where they are not queued.
    package enum Other: String, Sendable, Hashable {
        /// They were never accepted.
        case never
        /// They were accepted, and have left the queue.
        case left
        /// Nobody can know whether they were.
        case forgotten
    }

    /// A range of writes with consecutive sequences.
    package struct Item: Sendable, Hashable {
        package var kind: Kind
        /// The store that has them.
        package var side: Side
        /// The range; nil for a region as a whole.
        package var range: IdentityRange?
        /// Their positions, where positions mean the same in both stores.
        package var positions: ClosedRange<UInt64>?
        /// What became of them in the other store; nil where that is said already.
        package var other: Other?
    }

    /// The differences of one region.
    package struct Region: Sendable {
        package var region: RegionID
        package var items: [Item]
        /// The last position up to which both stores have had the same entries; nil when nobody can know.
        package var sameThrough: UInt64?
    }

    /// Compares two stores region by region.
    ///
    /// Both must be whole, as a full check says.
    package static func regions(_ first: StoreReader, _ second: StoreReader) throws(HoldfastError) -> [Region] {
        let names = Set(try first.regionNames()).union(try second.regionNames())
        var regions: [Region] = []
        for name in names.sorted() {
            switch (try first.outline(of: name), try second.outline(of: name)) {
            case (let here?, let there?): regions.append(compare(name, here, there))
            case (let here, _):
                let side: Side = here == nil ? .second : .first
                regions.append(Region(region: name, items: [Item(kind: .region, side: side)], sameThrough: nil))
            }
        }
        return regions
    }

    private static func compare(_ name: RegionID, _ first: QueueOutline, _ second: QueueOutline) -> Region {
        let same = sameThrough(first, second)
        var items = missing(.first, first, second, same) + missing(.second, second, first, same)
        // Where the chains agree, so does the content.
        let known = same.map { $0 + 1 } ?? 0
        var hashes: [WriteIdentity: UInt64] = [:]
        for run in second.runs {
            for (identity, position) in run where position >= known { hashes[identity] = second.hash(at: position) }
        }
        var differing: [IdentityRange] = []
        for run in first.runs {
            for (identity, position) in run where position >= known {
                guard let hash = hashes[identity], hash != first.hash(at: position) else { continue }
                differing.append(joining: identity)
            }
        }
        items += differing.map { Item(kind: .content, side: .first, range: $0) }
        return Region(region: name, items: items, sameThrough: same)
    }

    /// The last position up to which both have had the same entries.
    private static func sameThrough(_ first: QueueOutline, _ second: QueueOutline) -> UInt64? {
        // The chains agree up to some position, and never again behind it. In a gap a chain is not known.
        let (ours, theirs) = (first.known, second.known)
        var same: UInt64?
        var (index, other) = (0, 0)
        while index < ours.count, other < theirs.count {
            let start = max(ours[index].lowerBound, theirs[other].lowerBound)
            var (low, high) = (start, min(ours[index].upperBound, theirs[other].upperBound))
            if ours[index].upperBound < theirs[other].upperBound { index += 1 } else { other += 1 }
            guard low <= high else { continue }
            guard first.chain(before: low) == second.chain(before: low) else { break }
            while low < high {
                let middle = high - (high - low) / 2
                if first.chain(before: middle) == second.chain(before: middle) {
                    low = middle
                } else {
                    high = middle - 1
                }
            }
            same = low - 1
        }
        return same
    }

    /// What `here` has and `there` has not.
    private static func missing(
        _ side: Side,
        _ here: QueueOutline,
        _ there: QueueOutline,
        _ same: UInt64?
    ) -> [Item] {
        // Behind the last common position, positions mean the same only where the other store ends there.
        let comparable = same.map { $0 + 1 == there.next ? UInt64.max : $0 } ?? 0
        var items: [Item] = []
        for run in here.runs {
            for part in run.range.without(there.queued) {
                for (piece, other) in there.fate(of: part) {
                    let start = run.position(of: piece.first)
                    let end = run.position(of: piece.last)
                    let positions = end <= comparable ? start...end : nil
                    items.append(Item(kind: .queued, side: side, range: piece, positions: positions, other: other))
                }
            }
        }
        for range in here.seen {
            for left in range.without(here.queued) {
                for (piece, other) in there.fate(of: left) where other == .never {
                    items.append(Item(kind: .left, side: side, range: piece, other: other))
                }
            }
        }
        return items
    }
}

/// Consecutive sequences of one origin and incarnation.
package struct IdentityRange: Sendable, Hashable {
    package var origin: RegionID
    package var incarnation: UInt64
    package var first: UInt64
    package var last: UInt64

    /// How many there are, less one: all of them are one more than a number holds.
    package var countLessOne: UInt64 { last - first }

    /// The parts of this range that are in none of `others`, which are in order and do not overlap.
    func without(_ others: IdentitySet) -> [Self] {
        var parts: [Self] = []
        var next: UInt64? = first
        for other in others.overlapping(self) {
            guard let start = next else { break }
            if other.lowerBound > start { parts.append(with(start, other.lowerBound - 1)) }
            next = other.upperBound < last ? max(start, other.upperBound + 1) : nil
        }
        if let next { parts.append(with(next, last)) }
        return parts
    }

    func with(_ first: UInt64, _ last: UInt64) -> Self {
        Self(origin: origin, incarnation: incarnation, first: first, last: last)
    }
}

extension StoreView {
    /// What of the controller's rows goes into the digest.
    fileprivate func controllerStates() throws(HoldfastError) -> [[UInt8]: [UInt8]] {
        var states: [[UInt8]: [UInt8]] = [:]
        for (key, fields) in try controllerRows() { states[key] = ControllerRows.timeless(key, fields) }
        return states
    }
}

extension [IdentityRange] {
    /// Adds an identity, to the last range where it follows that.
    fileprivate mutating func append(joining identity: WriteIdentity) {
        if let last, last.origin == identity.origin, last.incarnation == identity.incarnation,
            last.last < .max, last.last + 1 == identity.sequence
        {
            self[count - 1].last = identity.sequence
        } else {
            append(
                IdentityRange(
                    origin: identity.origin,
                    incarnation: identity.incarnation,
                    first: identity.sequence,
                    last: identity.sequence
                )
            )
        }
    }
}

extension StoreDiff {
    /// The names of what differs though no write is missing: the numbers of a region, or what is of no region.
    package struct State: Sendable, Hashable {
        /// Nil for what is of no region.
        package var region: RegionID?
        package var names: [String]
    }

    /// Compares all but the entries.
    ///
    /// Empty exactly when both stores have the same digest, for stores with the same regions.
    package static func state(_ first: StoreReader, _ second: StoreReader) throws(HoldfastError) -> [State] {
        let read = { (view: borrowing StoreView) throws(HoldfastError) in
            (
                digest: try StoreDigest(view), controller: try view.controllerStates(),
                history: try view.history().map(\.event)
            )
        }
        let (here, there) = (try first.look(read), try second.look(read))
        guard here.digest.whole != there.digest.whole else { return [] }
        var states: [State] = []
        for region in here.digest.regions {
            guard let other = there.digest.regions.first(where: { $0.region == region.region }),
                other.digest != region.digest
            else { continue }
            let names = differences(region.row, other.row)
            states.append(State(region: region.region, names: names.isEmpty ? ["seen or ledger"] : names))
        }
        var names: [String] = []
        if here.controller != there.controller { names.append("controller") }
        if here.history != there.history { names.append("history") }
        if states.isEmpty, names.isEmpty { names.append("ledger of removed queues, or event numbers") }
        if !names.isEmpty { states.append(State(region: nil, names: names)) }
        return states
    }

    private static func differences(_ first: RegionRow, _ second: RegionRow) -> [String] {
        let fields: [(String, Bool)] = [
            ("headPosition", first.headPosition == second.headPosition),
            ("nextPosition", first.nextPosition == second.nextPosition), ("chain", first.chain == second.chain),
            ("counters", first.counters == second.counters),
            ("acknowledgedSinceEmpty", first.acknowledgedSinceEmpty == second.acknowledgedSinceEmpty),
            ("attempts", first.attempts == second.attempts),
            ("needsResync", first.needsResync == second.needsResync),
            (
                "pause",
                (first.isPaused, first.pausedUntil, first.pauseReason)
                    == (second.isPaused, second.pausedUntil, second.pauseReason)
            ), ("limits", first.limits == second.limits),
        ]
        return fields.filter { !$0.1 }.map(\.0)
    }
}
