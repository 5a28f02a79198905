private import Dispatch
private import Synchronization

/// A PostgreSQL database: one connection, made when it is needed and made again when it was lost.
///
/// libpq blocks, so its calls run on a queue of their own and never hold up Swift's cooperative threads. They run one
/// after another, in the order in which they came.
public final class Database: Sendable {
    /// libpq's connection string.
    public let target: String
    private let queue = DispatchQueue(label: "postgres")
    private let connection = Mutex<Connection?>(nil)

    /// Names a database; nothing is connected before the first call.
    ///
    /// - Parameter target: libpq's connection string, with a `connect_timeout`.
    public init(_ target: String) { self.target = target }

    /// Runs `body` with the connection.
    ///
    /// - Parameter body: Runs statements; each is a transaction of its own.
    /// - Returns: What `body` returns.
    /// - Throws: ``PostgresError``, and what `body` throws.
    public func run<Value: Sendable>(
        _ body: @escaping @Sendable (borrowing Connection) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { waiting in
            queue.async { waiting.resume(with: Result { try self.runNow(body) }) }
        }
    }

    /// Runs `body` in one transaction: all of its changes are there and durable when this returns, none when it throws.
    ///
    /// Only when the connection is lost during COMMIT nobody knows: do it again, in a way that can be repeated.
    ///
    /// - Parameter body: Runs statements.
    /// - Returns: What `body` returns.
    /// - Throws: ``PostgresError``, and what `body` throws.
    public func transaction<Value: Sendable>(
        _ body: @escaping @Sendable (borrowing Connection) throws -> Value
    ) async throws -> Value {
        try await run { connection in
            try connection.query("BEGIN")
            do {
                let value = try body(connection)
                try connection.query("COMMIT")
                return value
            } catch {
                // A connection that is gone takes its transaction along.
                _ = try? connection.query("ROLLBACK")
                throw error
            }
        }
    }

    private func runNow<Value>(_ body: (borrowing Connection) throws -> Value) throws -> Value {
        try connection.withLock { connection in
            let open = try connection.take() ?? Connection(target)
            do {
                let value = try body(open)
                connection = consume open
                return value
            } catch {
                let isLost = (error as? PostgresError)?.isConnectionLost == true
                if !isLost { connection = consume open }
                throw error
            }
        }
    }
}
