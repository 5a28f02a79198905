/// Which identities of one origin a queue has accepted: ranges, and a floor below which it has forgotten.
///
/// A value, kept beside the rows of the table `seen` that it came from. ``changes`` says which rows differ.
package struct SeenRanges: Sendable {
    /// An incarnation and a sequence, ordered as they were numbered.
    package struct Number: Sendable, Hashable, Comparable {
        package var incarnation: UInt64
        package var sequence: UInt64

        package init(incarnation: UInt64, sequence: UInt64) {
            self.incarnation = incarnation
            self.sequence = sequence
        }

        package static func < (lhs: Self, rhs: Self) -> Bool {
            (lhs.incarnation, lhs.sequence) < (rhs.incarnation, rhs.sequence)
        }
    }

    private struct Range: Sendable {
        var incarnation: UInt64
        var first: UInt64
        var last: UInt64
    }

    /// The greatest number that may have been forgotten; nil while nothing was.
    package private(set) var floor: Number?
    private var ranges: [Range] = []
    private var incarnations = 0

    /// The rows that changed: a range's first number to its last sequence, or to nil when the range has gone.
    package var changes: [Number: UInt64?] = [:]
    /// Whether the floor changed.
    package var floorChanged = false

    package init(floor: Number?) { self.floor = floor }

    /// Takes a stored range; they come in the order of their keys.
    package mutating func load(incarnation: UInt64, first: UInt64, last: UInt64) {
        if ranges.last?.incarnation != incarnation { incarnations += 1 }
        ranges.append(Range(incarnation: incarnation, first: first, last: last))
    }

    /// How many identities are remembered.
    package var count: UInt64 { ranges.reduce(0) { $0 &+ ($1.last &- $1.first &+ 1) } }

    /// Calls `body` with each range that is remembered, in order.
    package func forEachRange(_ body: (_ incarnation: UInt64, _ first: UInt64, _ last: UInt64) -> Void) {
        for range in ranges { body(range.incarnation, range.first, range.last) }
    }

    /// The index of the first range that begins after `number`.
    private func indexAfter(_ number: Number) -> Int {
        // Sequences come in order as a rule, so the end is looked at first.
        if let last = ranges.last, Number(incarnation: last.incarnation, sequence: last.first) <= number {
            return ranges.count
        }
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            let begins = Number(incarnation: ranges[middle].incarnation, sequence: ranges[middle].first)
            if begins <= number { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Whether the identity was accepted.
    package func contains(_ number: Number) -> Bool {
        let index = indexAfter(number)
        guard index > 0 else { return false }
        let range = ranges[index - 1]
        return range.incarnation == number.incarnation && number.sequence <= range.last
    }

    /// Whether nobody can know if the identity was accepted.
    package func isForgotten(_ number: Number) -> Bool {
        guard let floor, number <= floor else { return false }
        return !contains(number)
    }

    /// Whether none of the sequences from `first` to `last` was accepted, or forgotten.
    func isNew(incarnation: UInt64, first: UInt64, last: UInt64) -> Bool {
        if let floor, Number(incarnation: incarnation, sequence: first) <= floor { return false }
        let index = indexAfter(Number(incarnation: incarnation, sequence: last))
        guard index > 0 else { return true }
        let range = ranges[index - 1]
        return range.incarnation != incarnation || range.last < first
    }

    /// Accepts the sequences from `first` to `last`, none of which was accepted before.
    package mutating func insert(incarnation: UInt64, first: UInt64, last: UInt64) {
        let index = indexAfter(Number(incarnation: incarnation, sequence: last))
        let joinsBefore =
            index > 0 && ranges[index - 1].incarnation == incarnation && ranges[index - 1].last &+ 1 == first
        let joinsAfter =
            index < ranges.count && ranges[index].incarnation == incarnation && last &+ 1 == ranges[index].first
        switch (joinsBefore, joinsAfter) {
        case (true, true):
            ranges[index - 1].last = ranges[index].last
            forget(ranges[index])
            ranges.remove(at: index)
            remember(ranges[index - 1])
        case (true, false):
            ranges[index - 1].last = last
            remember(ranges[index - 1])
        case (false, true):
            forget(ranges[index])
            ranges[index].first = first
            remember(ranges[index])
        case (false, false):
            let isKnown =
                index > 0 && ranges[index - 1].incarnation == incarnation
                || index < ranges.count && ranges[index].incarnation == incarnation
            if !isKnown { incarnations += 1 }
            ranges.insert(Range(incarnation: incarnation, first: first, last: last), at: index)
            remember(ranges[index])
        }
    }

    /// Forgets the lowest ranges until the bounds hold; the floor rises to the end of each.
    package mutating func trim(rangesMax: Int, incarnationsMax: Int) {
        var removed = 0
        while removed < ranges.count, ranges.count - removed > rangesMax || incarnations > incarnationsMax {
            let range = ranges[removed]
            forget(range)
            floor = Number(incarnation: range.incarnation, sequence: range.last)
            floorChanged = true
            removed += 1
            if removed == ranges.count || ranges[removed].incarnation != range.incarnation { incarnations -= 1 }
        }
        ranges.removeFirst(removed)
    }

    private mutating func remember(_ range: Range) {
        changes[Number(incarnation: range.incarnation, sequence: range.first)] = .some(range.last)
    }

    private mutating func forget(_ range: Range) {
        changes[Number(incarnation: range.incarnation, sequence: range.first)] = .some(nil)
    }
}
