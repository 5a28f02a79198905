/// The search for an order of one partition's operations.
///
/// It goes down into one order and back up, without recursion. What it leaves out, since nothing is lost by it:
/// a set of operations with a state that was met before (Lowe 2017); what may stand beside a required operation that is
/// possible and leaves the state as it was, since that one can always go first; an operation of unknown outcome that would
/// change nothing; and of several with equal calls and unknown outcomes all but the one that was invoked first.
///
/// Operations of unknown outcome are tried last, and in rounds: first at most one between two required ones, then more.
/// In a good history most of them are needed nowhere, or alone, and their subsets would be as many as there are.
struct LinearizabilitySearch<Model: SequentialModel> {
    typealias Entry = Operation<Model.Call, Model.Outcome>

    enum Ending: Equatable {
        case found
        /// There is no order; with `isCut` only none with so few operations of unknown outcome between others.
        case none(isCut: Bool)
        case stepsUsedUp
    }

    private struct Configuration: Hashable {
        var linearized: [UInt64]
        var state: Model.State
    }

    /// An operation that was put in order, and what was before it.
    private struct Frame {
        var operation: Int
        var state: Model.State
        var run: Int
        /// Whether nothing can be won by another operation in its place.
        var isSettled: Bool
    }

    private let model: Model
    private let operations: [Entry]
    private let stepsMax: Int
    /// The operation with the same call and unknown outcome that was invoked before each, if there is one.
    private let alike: [Int?]
    private let places: [Int]
    private let hasOptional: Bool

    private var list: EventList
    private var linearized: LinearizedSet
    private var state: Model.State
    private var stack: [Frame] = []
    private var seen: [Configuration: Int] = [:]
    /// Operations of unknown outcome since the last required one.
    private var run = 0
    private var required: Int
    private(set) var steps = 0

    /// The longest order so far: the one with most required operations.
    private(set) var best: (order: [Int], state: Model.State)
    private var leastRequired: Int
    /// So many operations at the start of ``best`` are those of the stack.
    private var shared = 0

    /// Creates a search through operations in the order of their invocation.
    init(_ model: Model, _ operations: [Entry], stepsMax: Int) {
        self.model = model
        self.operations = operations
        self.stepsMax = stepsMax
        state = model.initial
        best = ([], model.initial)
        let open = operations.count { $0.returned == nil }
        linearized = LinearizedSet(open: open, closed: operations.count - open)
        var places: [Int] = []
        var alike: [Int?] = []
        var last: [Model.Call: Int] = [:]
        var numbers = (open: 0, closed: 0)
        for (index, operation) in operations.enumerated() {
            alike.append(operation.outcome == nil ? last.updateValue(index, forKey: operation.call) : nil)
            if operation.returned == nil {
                places.append(linearized.open(numbers.open))
                numbers.open += 1
            } else {
                places.append(linearized.closed(numbers.closed))
                numbers.closed += 1
            }
        }
        self.places = places
        self.alike = alike
        required = operations.count { $0.outcome != nil }
        leastRequired = required
        hasOptional = required < operations.count
        list = EventList(
            invoked: operations.map(\.invoked),
            returned: operations.map { $0.outcome == nil ? nil : $0.returned ?? .max }
        )
    }

    /// Searches until there is an answer.
    ///
    /// - Returns: Whether there is an order; nil when the steps were used up.
    mutating func search() -> Bool? {
        for runMax in hasOptional ? [1, 2, 4, .max] : [.max] {
            switch round(runMax) {
            case .found: return true
            case .none(isCut: false): return false
            case .none(isCut: true): seen = [:]
            case .stepsUsedUp: return nil
            }
        }
        return false
    }

    /// One search, with at most `runMax` operations of unknown outcome between two others.
    ///
    /// It starts and, unless it finds something, ends with nothing in order.
    private mutating func round(_ runMax: Int) -> Ending {
        var isCut = false
        var takesOptional = false
        var place = list.first
        while required > 0 {
            guard let operation = EventList.invocation(at: place) else {
                // Behind the first return nothing can come next.
                if hasOptional, !takesOptional {
                    takesOptional = true
                    place = list.first
                } else if let undone = goBack() {
                    takesOptional = isOptional(undone)
                    place = list.after(EventList.call(of: undone))
                } else {
                    return .none(isCut: isCut)
                }
                continue
            }
            guard isOptional(operation) == takesOptional, !isBehindItsLike(operation) else {
                place = list.after(place)
                continue
            }
            if takesOptional, run >= runMax {
                isCut = true
                place = list.after(place)
                continue
            }
            guard steps < stepsMax else { return .stepsUsedUp }
            steps += 1
            switch take(operation, countsRun: runMax < .max) {
            case .taken:
                takesOptional = false
                place = list.first
            case .impossible: place = list.after(place)
            case .inVain:
                // That one can always go first, and nothing came of it: skip what is beside it.
                guard let undone = goBack() else { return .none(isCut: isCut) }
                takesOptional = isOptional(undone)
                place = list.after(EventList.call(of: undone))
            }
        }
        return .found
    }

    private enum Step { case taken, impossible, inVain }

    /// Puts an operation next, if it can be and that is new.
    private mutating func take(_ operation: Int, countsRun: Bool) -> Step {
        let entry = operations[operation]
        guard let after = model.step(state, entry.call, entry.outcome) else { return .impossible }
        let isKept = after == state
        let isOptional = entry.outcome == nil
        if isOptional, isKept { return .impossible }
        linearized.insert(places[operation])
        let runAfter = isOptional && countsRun ? run + 1 : 0
        let configuration = Configuration(linearized: linearized.key, state: after)
        if let known = seen[configuration], known <= runAfter {
            linearized.remove(places[operation])
            return isKept ? .inVain : .impossible
        }
        seen[configuration] = runAfter
        stack.append(Frame(operation: operation, state: state, run: run, isSettled: isKept))
        list.lift(operation)
        state = after
        run = runAfter
        if !isOptional { required -= 1 }
        return .taken
    }

    /// Takes back the last operation in whose place another one may do better.
    ///
    /// - Returns: That operation; nil when there is none, and nothing is in order any more.
    private mutating func goBack() -> Int? {
        noteBest()
        while let frame = stack.popLast() {
            shared = min(shared, stack.count)
            linearized.remove(places[frame.operation])
            list.putBack(frame.operation)
            state = frame.state
            run = frame.run
            if !isOptional(frame.operation) { required += 1 }
            if !frame.isSettled { return frame.operation }
        }
        return nil
    }

    private mutating func noteBest() {
        guard required < leastRequired else { return }
        leastRequired = required
        best.order.removeLast(best.order.count - shared)
        best.order += stack[shared...].map(\.operation)
        best.state = state
        shared = stack.count
    }

    private func isOptional(_ operation: Int) -> Bool { operations[operation].outcome == nil }

    private func isBehindItsLike(_ operation: Int) -> Bool {
        guard let before = alike[operation] else { return false }
        return !linearized.contains(places[before])
    }
}
