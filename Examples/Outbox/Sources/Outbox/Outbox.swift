public import Postgres

/// The outbox of a region's database: each write that another region must get, in the transaction that made it.
public enum Outbox {
    /// The tables; `incarnation` is a new one for each new database, so that numbers that begin again name new writes.
    public static let schema = """
        CREATE TABLE outbox (
            sequence bigint PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('put', 'delete')),
            key text NOT NULL,
            value text NOT NULL,
            made_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE TABLE outbox_counter (incarnation bigint NOT NULL, last bigint NOT NULL);
        INSERT INTO outbox_counter VALUES ((extract(epoch FROM clock_timestamp()) * 1000)::bigint, 0);
        CREATE TABLE outbox_mark (relayed bigint NOT NULL);
        INSERT INTO outbox_mark VALUES (0);
        """

    /// What a write does to its key.
    public enum Kind: String, Sendable {
        /// Sets it.
        case put
        /// Removes it.
        case delete
    }

    /// Notes a write; call it last in the transaction that changes the row.
    ///
    /// The counter's row stays locked until COMMIT. So numbers are in the order of the commits and have no gaps: a relay
    /// that reads beyond a number never misses a smaller one that commits later, which a `bigserial` allows.
    ///
    /// - Parameters:
    ///   - kind: What it does.
    ///   - key: Which row.
    ///   - value: What the row is to be, as the receiver reads it; empty for a deletion.
    ///   - connection: Within the transaction.
    /// - Throws: ``PostgresError``.
    public static func note(
        _ kind: Kind,
        key: String,
        value: String,
        in connection: borrowing Connection
    ) throws(PostgresError) {
        try connection.query(
            """
            WITH next AS (UPDATE outbox_counter SET last = last + 1 RETURNING last)
            INSERT INTO outbox (sequence, kind, key, value) SELECT last, $1, $2, $3 FROM next
            """,
            kind.rawValue,
            key,
            value
        )
    }
}
