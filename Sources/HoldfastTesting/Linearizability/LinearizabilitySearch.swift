/// The search for an order of one partition's operations.
///
/// It goes down into one order and back up, without recursion. What it leaves out, since nothing is lost by it:
/// a set of operations with a state that was met before (Lowe 2017); what may stand beside a required operation that is
/// possible and leaves the state as it was, since that one can always go first; an operation of unknown outcome that
/// would change nothing, or nothing that the next one does not change as well; and of several with equal calls and
/// unknown outcomes all but the one that was invoked first.
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

    /// What is looked for among the operations that may come next, one after the other.
    private enum Phase {
        /// Required operations that leave the state as it is: one that is possible can always go first.
        case settling
        /// Other required operations.
        case required
        /// Operations of unknown outcome.
        case optional
    }

    /// One search, with at most `runMax` operations of unknown outcome between two others.
    ///
    /// It starts and, unless it finds something, ends with nothing in order.
    private mutating func round(_ runMax: Int) -> Ending {
        var isCut = false
        var phase = Phase.settling
        /// Where the first required operation is that is possible and changes the state.
        var possible: Int?
        var place = list.first
        while required > 0 {
            let operation = EventList.invocation(at: place)
            var step = Step.impossible
            if let operation, isOptional(operation) == (phase == .optional), !isBehindItsLike(operation) {
                // For one operation the model is asked up to three times.
                guard steps + 3 <= stepsMax else { return .stepsUsedUp }
                if phase == .optional, run >= runMax {
                    isCut = true
                } else {
                    step = take(operation, phase, isLimited: runMax < .max)
                }
            }
            switch (step, operation) {
            case (.taken, _):
                phase = .settling
                possible = nil
                place = list.first
            case (.later, _):
                possible = possible ?? place
                place = list.after(place)
            case (.impossible, _?): place = list.after(place)
            case (.impossible, nil) where phase == .settling && possible != nil:
                phase = .required
                place = possible ?? list.first
            case (.impossible, nil) where phase != .optional && hasOptional:
                phase = .optional
                place = list.first
            case (.impossible, nil), (.inVain, _):
                // Behind the first return nothing can come next.
                guard let undone = goBack() else { return .none(isCut: isCut) }
                phase = isOptional(undone) ? .optional : .required
                place = list.after(EventList.call(of: undone))
            }
        }
        return .found
    }

    private enum Step {
        case taken, impossible
        /// It is possible, and is looked at again in the next phase.
        case later
        /// It can always go first, and nothing came of it: nothing comes of what is beside it.
        case inVain
    }

    /// Puts an operation next, if it can be and that is new.
    private mutating func take(_ operation: Int, _ phase: Phase, isLimited: Bool) -> Step {
        guard let after = ask(state, operation) else { return .impossible }
        let isKept = after == state
        if phase == .settling, !isKept { return .later }
        if phase == .optional, isKept { return .impossible }
        if isIdle(operation, after, isLimited: isLimited) { return isKept ? .inVain : .impossible }
        linearized.insert(places[operation])
        let runAfter = phase == .optional && isLimited ? run + 1 : 0
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
        if phase != .optional { required -= 1 }
        return .taken
    }

    /// Whether the last operation, of unknown outcome, makes no difference for one that would follow it.
    ///
    /// Then it is in the wrong place: another one of unknown outcome does as well without it, and a required one before
    /// it, which has been tried. The latter is known from ``seen`` too, but not in a round with a limit, where it would
    /// count as a new run.
    private mutating func isIdle(_ operation: Int, _ after: Model.State, isLimited: Bool) -> Bool {
        guard let last = stack.last, isOptional(last.operation), isOptional(operation) || isLimited else {
            return false
        }
        guard let without = ask(last.state, operation) else { return false }
        return isOptional(operation) ? without == after : ask(without, last.operation) == after
    }

    private mutating func ask(_ state: Model.State, _ operation: Int) -> Model.State? {
        steps += 1
        return model.step(state, operations[operation].call, operations[operation].outcome)
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
