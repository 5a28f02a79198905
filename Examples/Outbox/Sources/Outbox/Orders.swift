public import Postgres

/// The application: orders, and how they are changed where they are made.
///
/// `changes` counts the writes that a row has had, on each side by itself. Nothing copies it: a write that was lost or
/// applied twice leaves another number, and another table.
public enum Orders {
    /// The table, the same in every region.
    public static let schema = """
        CREATE TABLE orders (
            id bigint PRIMARY KEY,
            customer text NOT NULL,
            cents bigint NOT NULL,
            changes bigint NOT NULL
        );
        """

    /// Makes an order or changes it, and notes that in the outbox.
    ///
    /// Call it in a transaction.
    public static func put(
        _ id: Int,
        customer: String,
        cents: Int,
        in connection: borrowing Connection
    ) throws(PostgresError) {
        let rows = try connection.query(
            """
            INSERT INTO orders VALUES ($1::bigint, $2, $3::bigint, 1)
            ON CONFLICT (id) DO UPDATE
                SET customer = EXCLUDED.customer, cents = EXCLUDED.cents, changes = orders.changes + 1
            RETURNING jsonb_build_object('customer', customer, 'cents', cents)
            """,
            String(id),
            customer,
            String(cents)
        )
        guard let value = rows.first?.first ?? nil else { return }
        try Outbox.note(.put, key: String(id), value: value, in: connection)
    }

    /// Removes an order, and notes that in the outbox; nothing happens where there is none.
    ///
    /// Call it in a transaction.
    public static func remove(_ id: Int, in connection: borrowing Connection) throws(PostgresError) {
        let rows = try connection.query("DELETE FROM orders WHERE id = $1::bigint RETURNING id", String(id))
        guard !rows.isEmpty else { return }
        try Outbox.note(.delete, key: String(id), value: "", in: connection)
    }
}
