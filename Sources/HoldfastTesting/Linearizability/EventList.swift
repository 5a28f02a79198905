/// The invocations and returns of operations in the order of their times, as a doubly linked list out of which an
/// operation can be lifted, and put back, in constant time (Wing and Gong 1993; Lowe 2017).
///
/// Operation `i` has the places `2i + 1`, where it is invoked, and `2i + 2`, where it returns; place 0 is both ends.
struct EventList {
    private var next: [Int]
    private var previous: [Int]
    private let returns: [Bool]

    /// Creates a list.
    ///
    /// Where times are equal, invocations come first: calls that touch are concurrent.
    ///
    /// - Parameters:
    ///   - invoked: When each operation was invoked.
    ///   - returned: When it returned at the latest; nil for one that need not happen, which has no return in the list.
    init(invoked: [UInt64], returned: [UInt64?]) {
        returns = returned.map { $0 != nil }
        var events: [(time: UInt64, isReturn: Bool, place: Int)] = []
        for operation in invoked.indices {
            events.append((invoked[operation], false, Self.call(of: operation)))
            if let end = returned[operation] { events.append((end, true, Self.call(of: operation) + 1)) }
        }
        events.sort { ($0.time, $0.isReturn ? 1 : 0, $0.place) < ($1.time, $1.isReturn ? 1 : 0, $1.place) }
        next = Array(repeating: 0, count: 2 * invoked.count + 1)
        previous = next
        var last = 0
        for event in events {
            next[last] = event.place
            previous[event.place] = last
            last = event.place
        }
        previous[0] = last
    }

    /// The first place; 0 when the list is empty.
    var first: Int { next[0] }

    /// The place behind another one; 0 behind the last.
    func after(_ place: Int) -> Int { next[place] }

    /// The place where an operation is invoked.
    static func call(of operation: Int) -> Int { 2 * operation + 1 }

    /// The operation that is invoked at a place; nil where one returns, or the list ends.
    static func invocation(at place: Int) -> Int? { place % 2 == 1 ? place / 2 : nil }

    /// Takes an operation out.
    mutating func lift(_ operation: Int) {
        let call = Self.call(of: operation)
        unlink(call)
        if returns[operation] { unlink(call + 1) }
    }

    /// Puts the operation back that was lifted last of all that are out.
    mutating func putBack(_ operation: Int) {
        let call = Self.call(of: operation)
        if returns[operation] { link(call + 1) }
        link(call)
    }

    private mutating func unlink(_ place: Int) {
        next[previous[place]] = next[place]
        previous[next[place]] = previous[place]
    }

    private mutating func link(_ place: Int) {
        next[previous[place]] = place
        previous[next[place]] = place
    }
}
