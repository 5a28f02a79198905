/// Which operations of a partition a search has put in order, as bits.
///
/// Operations that have returned are numbered in the order of their invocation, so that those in order are a solid run
/// of bits and a ragged edge as wide as there were clients; the key of a state keeps the edge alone. Operations that
/// never returned would hold the run up for ever: their bits are apart, and always kept.
struct LinearizedSet {
    /// First those that never returned, then those that did.
    private var words: [UInt64]
    private let openWords: Int
    /// The first word of those that returned which has a bit to spare.
    private var low: Int
    /// The word behind the last that has a bit.
    private var high: Int

    init(open: Int, closed: Int) {
        openWords = (open + 63) / 64
        words = Array(repeating: 0, count: openWords + (closed + 63) / 64)
        low = openWords
        high = openWords
    }

    /// The place of an operation that never returned, by its number among them.
    func open(_ number: Int) -> Int { number }

    /// The place of an operation that returned, by its number among them.
    func closed(_ number: Int) -> Int { openWords * 64 + number }

    func contains(_ place: Int) -> Bool { words[place / 64] & Self.bit(place) != 0 }

    mutating func insert(_ place: Int) {
        let word = place / 64
        words[word] |= Self.bit(place)
        guard word >= openWords else { return }
        high = max(high, word + 1)
        while low < words.count, words[low] == .max { low += 1 }
    }

    mutating func remove(_ place: Int) {
        let word = place / 64
        words[word] &= ~Self.bit(place)
        guard word >= openWords else { return }
        low = min(low, word)
        while high > openWords, words[high - 1] == 0 { high -= 1 }
    }

    /// What tells this set from every other one of the same partition.
    var key: [UInt64] {
        var key: [UInt64] = []
        key.reserveCapacity(1 + openWords + max(0, high - low))
        key.append(UInt64(low))
        key += words[..<openWords]
        if low < high { key += words[low..<high] }
        return key
    }

    private static func bit(_ place: Int) -> UInt64 { 1 << UInt64(place % 64) }
}
