public import Holdfast
public import Postgres

/// Applies the writes of other regions to a region's database, each exactly once.
///
/// The effect of a batch and the marks of its writes are one transaction: after any crash of either side both are there, or
/// neither. So a batch that comes again has no effect.
public struct Receiver: Sendable {
    /// The table of the marks, and one for the demonstration alone.
    ///
    /// `received` gets a row for every write that had an effect. It has no key on purpose, so that a write applied twice
    /// would be seen in it.
    public static let schema = """
        CREATE TABLE applied (
            origin text, kind smallint, incarnation bigint, first bigint, last bigint NOT NULL,
            PRIMARY KEY (origin, kind, incarnation, first)
        );
        CREATE TABLE received (origin text NOT NULL, incarnation bigint NOT NULL, sequence bigint NOT NULL);
        """

    private let target: Database

    /// Creates a receiver that writes to `target`.
    public init(_ target: Database) { self.target = target }

    /// Applies those of the writes that are new, in their order.
    ///
    /// - Parameter writes: The writes of a batch.
    /// - Returns: How many of them were new.
    /// - Throws: ``PostgresError``, or ``HoldfastError`` of ``AppliedSet``. Nothing of the batch is there then; only when
    ///   the connection was lost it may be: deliver it again either way.
    public func receive(_ writes: [OutstandingWrite]) async throws -> Int {
        try await target.transaction { connection in
            // One at a time: the transaction of a sender that was killed may still be at work when the next one delivers.
            try connection.query("SELECT pg_advisory_xact_lock(hashtext('applied'))")
            var applied = try Self.load(of: Set(writes.map(\.origin)).sorted(), connection)
            let new = try applied.insert(writes.map(\.identity))
            for index in new { try Self.apply(writes[index], connection) }
            try Self.store(applied.takeChanges(), connection)
            return new.count
        }
    }

    // MARK: The effect

    private static func apply(_ write: OutstandingWrite, _ connection: borrowing Connection) throws(PostgresError) {
        switch write.kind {
        case .put:
            try connection.query(
                """
                INSERT INTO orders
                SELECT $1::bigint, value->>'customer', (value->>'cents')::bigint, 1 FROM (SELECT $2::jsonb AS value) AS new
                ON CONFLICT (id) DO UPDATE
                    SET customer = EXCLUDED.customer, cents = EXCLUDED.cents, changes = orders.changes + 1
                """,
                write.keyText,
                write.valueText
            )
        case .delete:
            try connection.query("DELETE FROM orders WHERE id = $1::bigint", write.keyText)
        }
        try connection.query(
            "INSERT INTO received VALUES ($1, $2::bigint, $3::bigint)",
            write.origin.rawValue,
            signed(write.incarnation),
            signed(write.sequence)
        )
    }

    // MARK: The marks

    private static func load(of origins: [RegionID], _ connection: borrowing Connection) throws -> AppliedSet {
        // The name of a region needs no quotes in an array.
        let names = "{" + origins.map(\.rawValue).joined(separator: ",") + "}"
        let rows = try connection.query(
            "SELECT origin, kind, incarnation, first, last FROM applied WHERE origin = ANY($1::text[])",
            names
        )
        return try AppliedSet(rows.map(row), of: origins)
    }

    private static func row(_ row: Connection.Row) throws -> AppliedRow {
        let numbers = row.dropFirst().compactMap { $0.flatMap { Int64($0) } }
        guard numbers.count == 4, let name = row[0], let origin = try? RegionID(name),
            let kind = UInt8(exactly: numbers[0]).flatMap({ AppliedRow.Kind(rawValue: $0) })
        else { throw UnreadableRow(row) }
        return AppliedRow(
            kind: kind,
            origin: origin,
            incarnation: UInt64(bitPattern: numbers[1]),
            first: UInt64(bitPattern: numbers[2]),
            last: UInt64(bitPattern: numbers[3])
        )
    }

    private static func store(_ changes: AppliedChanges, _ connection: borrowing Connection) throws(PostgresError) {
        for key in changes.removed {
            try connection.query(
                """
                DELETE FROM applied
                WHERE origin = $1 AND kind = $2::smallint AND incarnation = $3::bigint AND first = $4::bigint
                """,
                key.origin.rawValue,
                String(key.kind.rawValue),
                signed(key.incarnation),
                signed(key.first)
            )
        }
        for row in changes.stored {
            try connection.query(
                """
                INSERT INTO applied VALUES ($1, $2::smallint, $3::bigint, $4::bigint, $5::bigint)
                ON CONFLICT (origin, kind, incarnation, first) DO UPDATE SET last = EXCLUDED.last
                """,
                row.key.origin.rawValue,
                String(row.key.kind.rawValue),
                signed(row.key.incarnation),
                signed(row.key.first),
                signed(row.last)
            )
        }
    }

    /// A `UInt64` as PostgreSQL's `bigint`, which has a sign.
    private static func signed(_ number: UInt64) -> String { String(Int64(bitPattern: number)) }
}
