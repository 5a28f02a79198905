/// Which pages of a file, a bit for each.
package struct PageSet: Sendable {
    private var words: [UInt64]
    /// How many are in it.
    package private(set) var count: UInt64 = 0
    /// The first page number that cannot be in it.
    package let end: UInt64

    /// No page, of those below `end`.
    init(below end: UInt64) {
        self.end = end
        words = [UInt64](repeating: 0, count: Int((end + 63) / 64))
    }

    package func contains(_ page: UInt64) -> Bool {
        page < end && words[Int(page / 64)] & 1 << (page % 64) != 0
    }

    /// Adds a page below ``end``, and says whether it was new.
    mutating func insert(_ page: UInt64) -> Bool {
        precondition(page < end, "page \(page) of \(end)")
        let bit: UInt64 = 1 << (page % 64)
        guard words[Int(page / 64)] & bit == 0 else { return false }
        words[Int(page / 64)] |= bit
        count += 1
        return true
    }
}
