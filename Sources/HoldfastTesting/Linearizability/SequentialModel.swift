/// What an object does that serves one call after another: what a history of concurrent calls is measured by.
///
/// A model is a function: the same state, call and outcome give the same answer each time. Where the object itself has
/// a choice, the outcome must tell which, or the state must stand for all that is possible.
public protocol SequentialModel: Sendable {
    /// All that later outcomes depend on.
    ///
    /// It is copied, compared and hashed for the steps of a search: keep it small.
    associatedtype State: Hashable & Sendable
    /// What can be asked for.
    associatedtype Call: Hashable & Sendable
    /// What can be answered.
    associatedtype Outcome: Hashable & Sendable
    /// What a call is about, where calls about different things do not depend on each other.
    associatedtype Partition: Hashable & Sendable

    /// The state of each partition before the first call.
    var initial: State { get }

    /// What a call is about.
    ///
    /// A history is linearizable just when each of its partitions is, so each is searched alone, which is far cheaper.
    func partition(of call: Call) -> Partition

    /// The state after a call.
    ///
    /// - Parameters:
    ///   - state: The state before it, which came from this model.
    ///   - call: What was asked for.
    ///   - outcome: What was answered; nil when nobody knows, so that any answer will do. The state after it must be
    ///     one in which the call took effect, if it could: that it did not is thought of elsewhere.
    /// - Returns: The state after it; nil when the object cannot answer so in that state.
    func step(_ state: State, _ call: Call, _ outcome: Outcome?) -> State?

    /// A state in words, for people.
    func describe(_ state: State) -> String
}

extension SequentialModel {
    /// The state as Swift prints it.
    public func describe(_ state: State) -> String { "\(state)" }
}
