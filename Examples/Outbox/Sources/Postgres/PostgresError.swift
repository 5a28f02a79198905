/// What a server refused, or why it cannot be reached.
public struct PostgresError: Error, Sendable, CustomStringConvertible {
    /// What the server or libpq said.
    public let message: String
    /// The SQLSTATE, five characters; nil when no server answered.
    public let state: String?
    /// Whether the connection is gone; what became of a COMMIT that was under way is unknown then.
    public let isConnectionLost: Bool

    /// Whether the server is away, stopping, starting or overloaded, or gave way to another transaction.
    ///
    /// The same call can succeed later: no row is to blame.
    public var isTransient: Bool {
        guard !isConnectionLost, let state else { return true }
        // Classes: connection, rollback by the server, resources, operator intervention.
        return ["08", "40", "53", "57"].contains(state.prefix(2))
    }

    /// For people: the message, and the SQLSTATE where there is one.
    public var description: String { state.map { "\(message) (SQLSTATE \($0))" } ?? message }
}
