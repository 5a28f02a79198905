private import CPostgres
private import Glibc

/// One connection to a PostgreSQL server; one thread at a time uses it.
///
/// The only place with pointers: made in `init`, freed in `deinit`, never handed out.
@safe public struct Connection: ~Copyable {
    private let pointer: OpaquePointer

    /// A value of a row, as text; nil for NULL.
    public typealias Row = [String?]

    /// Connects.
    ///
    /// - Parameter target: libpq's connection string, such as `host=/run/postgresql dbname=shop`. Give it a
    ///   `connect_timeout`: libpq waits without end otherwise.
    /// - Throws: ``PostgresError`` without a SQLSTATE when no server answers.
    public init(_ target: String) throws(PostgresError) {
        guard let pointer = unsafe PQconnectdb(target) else {
            throw PostgresError(message: "libpq has no memory for a connection", state: nil, isConnectionLost: true)
        }
        guard unsafe PQstatus(pointer) == CONNECTION_OK else {
            let error = PostgresError(message: unsafe text(PQerrorMessage(pointer)), state: nil, isConnectionLost: true)
            unsafe PQfinish(pointer)
            throw error
        }
        unsafe self.pointer = pointer
    }

    deinit { unsafe PQfinish(pointer) }

    /// Runs one statement.
    ///
    /// - Parameters:
    ///   - statement: SQL, with `$1`, `$2` for the parameters.
    ///   - parameters: Their values as text, without NUL; nil for NULL.
    /// - Returns: The rows.
    /// - Throws: ``PostgresError``.
    @discardableResult
    public borrowing func query(_ statement: String, _ parameters: String?...) throws(PostgresError) -> [Row] {
        var values = unsafe parameters.map { unsafe $0.map { unsafe UnsafePointer(strdup($0)) } ?? nil }
        defer {
            for index in parameters.indices { unsafe free(UnsafeMutablePointer(mutating: values[index])) }
        }
        let result = unsafe PQexecParams(pointer, statement, CInt(parameters.count), nil, &values, nil, nil, 0)
        defer { unsafe PQclear(result) }
        let status = unsafe PQresultStatus(result)
        guard status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK else {
            let state = unsafe PQresultErrorField(result, CInt(UInt8(ascii: "C")))
            throw PostgresError(
                message: unsafe text(PQerrorMessage(pointer)),
                state: unsafe state.map { unsafe text($0) },
                isConnectionLost: unsafe PQstatus(pointer) != CONNECTION_OK
            )
        }
        let (rows, columns) = unsafe (PQntuples(result), PQnfields(result))
        return (0..<rows).map { row in
            (0..<columns).map { column in
                guard unsafe PQgetisnull(result, row, column) == 0 else { return nil }
                return unsafe text(PQgetvalue(result, row, column))
            }
        }
    }

    /// Runs statements that take no parameters and give no rows, such as a schema, in one transaction.
    public borrowing func script(_ statements: String) throws(PostgresError) {
        let result = unsafe PQexec(pointer, statements)
        defer { unsafe PQclear(result) }
        guard unsafe PQresultStatus(result) == PGRES_COMMAND_OK else {
            throw PostgresError(
                message: unsafe text(PQerrorMessage(pointer)),
                state: nil,
                isConnectionLost: unsafe PQstatus(pointer) != CONNECTION_OK
            )
        }
    }
}

private func text(_ pointer: UnsafePointer<CChar>?) -> String {
    guard let pointer = unsafe pointer else { return "" }
    var text = unsafe String(cString: pointer)
    while text.last?.isNewline == true { text.removeLast() }
    return text
}
