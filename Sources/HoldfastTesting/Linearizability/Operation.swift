/// One call of one client, and what the client heard of it: a piece of a history.
///
/// It is required to have happened if its outcome is known. Without an outcome it may have taken effect at any moment
/// after it was invoked, also long after its client had given up, or never.
public struct Operation<Call: Hashable & Sendable, Outcome: Hashable & Sendable>: Hashable, Sendable {
    /// Who called; for people alone, since the times say what came before what.
    public let client: Int
    /// What was asked for.
    public let call: Call
    /// What the client was told; nil when it never heard.
    public let outcome: Outcome?
    /// When the call was about to be made, in nanoseconds of one clock for the whole history.
    public let invoked: UInt64
    /// When its outcome had come, in nanoseconds of the same clock.
    ///
    /// Nil when nobody heard of it; with an outcome all the same where that was found out by other means, as
    /// ``UnknownAppends`` does: then it happened, at any moment after ``invoked``.
    public let returned: UInt64?

    /// Creates an operation.
    ///
    /// It traps when `returned` comes before `invoked`, or comes without an outcome.
    public init(client: Int, call: Call, outcome: Outcome?, invoked: UInt64, returned: UInt64?) {
        if let returned {
            precondition(invoked <= returned, "an operation was invoked at \(invoked) and returned at \(returned)")
            precondition(outcome != nil, "an operation returned at \(returned) without an outcome")
        }
        self.client = client
        self.call = call
        self.outcome = outcome
        self.invoked = invoked
        self.returned = returned
    }
}

extension Operation: CustomStringConvertible {
    /// One line: the client, the times, the call and the outcome.
    public var description: String {
        let end = returned.map { "\($0)" } ?? "?"
        let told = outcome.map { "\($0)" } ?? "unknown"
        return "client \(client), \(invoked)-\(end): \(call) -> \(told)"
    }
}
