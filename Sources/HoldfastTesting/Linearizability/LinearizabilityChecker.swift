/// Says whether a history of concurrent calls is linearizable: whether each call can be given one moment between its
/// invocation and its return, so that in the order of these moments a ``SequentialModel`` answers what was answered.
///
/// ```swift
/// let checker = LinearizabilityChecker(QueueModel())
/// print(checker.check(history).verdict)  // linearizable, or what stands in the way
/// ```
///
/// It is the search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memory of Lowe
/// ("Testing for linearizability", 2017), through each partition alone (Horn and Kroening, "Faster linearizability
/// checking via P-compositionality", 2015). Porcupine is the well-known implementation of the same papers, in Go.
///
/// The problem is NP-complete (Gibbons and Korach, 1997), hence the limit on steps. A step asks the model once.
/// Where outcomes tell the order, as positions do, there is nearly one order alone, and the steps grow with the
/// operations and the clients: for 20,000 operations on one queue, measured with ``QueueModel``, 116,000 steps with 8
/// in flight, 248,000 with 16 and 618,000 with 32; twice as many where the fault is in one of the last. With one
/// outcome of a hundred unknown, after ``UnknownAppends``, 160,000 to 221,000 with 8 in flight, 481,000 to 896,000 with
/// 16, and 4,000,000 to 9,200,000 with 32; but that a history with a hundred unknown outcomes is bad is often undecided
/// since each set of them would have to be tried. So keep outcomes known where a history must be long, or
/// histories short where outcomes are unknown, and do not take `undecided` for a success.
public struct LinearizabilityChecker<Model: SequentialModel>: Sendable {
    /// What the object must do.
    public let model: Model
    /// The most steps for each partition.
    public let stepsMax: Int

    /// Creates a checker.
    ///
    /// - Parameters:
    ///   - model: What the object must do.
    ///   - stepsMax: The most steps for each partition; each that the model allows takes some 100 bytes of memory until
    ///     the partition is done.
    public init(_ model: Model, stepsMax: Int = 10_000_000) {
        precondition(stepsMax > 0, "a search of at most \(stepsMax) steps finds nothing")
        self.model = model
        self.stepsMax = stepsMax
    }

    /// Judges a history.
    ///
    /// - Parameter history: Its operations, in any order. An operation that was refused for a reason that the model
    ///   knows nothing of, and so changed nothing, is left out by the caller.
    /// - Returns: The verdict on all partitions: a violation before anything that was not decided. A violation is
    ///   certain: there is no order.
    public func check(_ history: [Operation<Model.Call, Model.Outcome>]) -> LinearizabilityReport {
        var partitions: [Model.Partition: [Int]] = [:]
        var names: [Model.Partition] = []
        for (index, operation) in history.enumerated() {
            let partition = model.partition(of: operation.call)
            if partitions[partition] == nil { names.append(partition) }
            partitions[partition, default: []].append(index)
        }
        var report = LinearizabilityReport(partitions: names.count)
        for name in names {
            let indices = (partitions[name] ?? []).sorted { left, right in
                (history[left].invoked, left) < (history[right].invoked, right)
            }
            var search = LinearizabilitySearch(model, indices.map { history[$0] }, stepsMax: stepsMax)
            let isFound = search.search()
            report.steps += search.steps
            switch isFound {
            case true?: break
            case nil: if report.verdict == .linearizable { report.verdict = .undecided(partition: "\(name)") }
            case false?:
                report.verdict = .violation(violation(in: "\(name)", history, indices, search.best))
                return report
            }
        }
        return report
    }

    /// Puts in words where the longest order ends.
    private func violation(
        in partition: String,
        _ history: [Operation<Model.Call, Model.Outcome>],
        _ indices: [Int],
        _ best: (order: [Int], state: Model.State)
    ) -> LinearizabilityViolation {
        let done = Set(best.order)
        let left = indices.indices.filter { !done.contains($0) }
        let end = left.compactMap { history[indices[$0]].returned }.min() ?? .max
        let next = left.filter { history[indices[$0]].invoked <= end }.map { indices[$0] }
        let prefix = best.order.map { indices[$0] }
        return LinearizabilityViolation(
            partition: partition,
            operations: indices.count,
            prefix: prefix,
            blocking: next,
            detail: LinearizabilityViolation.text(
                state: model.describe(best.state),
                prefix: prefix.suffix(LinearizabilityViolation.prefixShown).map { history[$0].description },
                blocking: next.prefix(LinearizabilityViolation.blockingShown).map { history[$0].description }
            )
        )
    }
}

/// What a ``LinearizabilityChecker`` has to say of a history.
public struct LinearizabilityReport: Sendable, Hashable {
    /// The verdict.
    public var verdict = LinearizabilityVerdict.linearizable
    /// How many partitions the history has.
    public var partitions: Int
    /// How often the model was asked: what the search cost.
    public var steps = 0
}

/// Whether a history is linearizable.
public enum LinearizabilityVerdict: Sendable, Hashable, CustomStringConvertible {
    /// There is an order for each partition.
    case linearizable
    /// There is none for one of them.
    case violation(LinearizabilityViolation)
    /// The steps were used up in a partition, and no other one has a violation.
    case undecided(partition: String)

    /// The verdict in words.
    public var description: String {
        switch self {
        case .linearizable: "linearizable"
        case .violation(let violation): violation.description
        case .undecided(let partition): "partition \(partition): not decided, the steps are used up"
        }
    }
}

/// A partition of a history for which there is no order.
public struct LinearizabilityViolation: Sendable, Hashable, CustomStringConvertible {
    /// What its calls are about.
    public var partition: String
    /// How many operations it has.
    public var operations: Int
    /// The longest order that could be made, counted in operations that are required: indices into the history.
    public var prefix: [Int]
    /// The operations of which one would have to come next, and none can: indices into the history.
    public var blocking: [Int]
    /// The state at the end of the order, its last operations, and what stands in the way, one line each.
    public var detail: String

    /// So many operations of an order are shown, its last.
    static let prefixShown = 8
    /// So many operations that stand in the way are shown.
    static let blockingShown = 16

    static func text(state: String, prefix: [String], blocking: [String]) -> String {
        var lines = ["state: \(state)", "the last in order:"]
        lines += prefix.isEmpty ? ["  none"] : prefix.map { "  \($0)" }
        lines.append("none of these can be next:")
        lines += blocking.map { "  \($0)" }
        return lines.joined(separator: "\n")
    }

    /// The partition, how far an order goes, and ``detail``.
    public var description: String {
        "partition \(partition): an order of \(prefix.count) of \(operations) operations, and no further\n\(detail)"
    }
}
