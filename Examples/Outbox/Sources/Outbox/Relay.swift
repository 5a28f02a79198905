public import Holdfast
public import Postgres

/// Moves a database's outbox into a queue of Holdfast, in order.
///
/// The mark in the database moves only when the queue has the writes durably. After a crash in between, the same writes are
/// appended again; Holdfast knows their identities, and queues none of them twice.
public struct Relay: Sendable {
    /// What one step did.
    public struct Step: Sendable {
        /// Rows of the outbox that are in the queue now.
        public var moved: Int
        /// How many of them were there before, since a relay had ended before it could move the mark.
        public var duplicates: Int
    }

    /// The most rows in a step.
    public static let rowsMax = 500

    private let source: Database
    private let origin: RegionID
    private let controller: RegionFailoverController
    private let destination: RegionID

    /// Creates a relay.
    ///
    /// - Parameters:
    ///   - source: The database with the outbox.
    ///   - origin: The region that it belongs to.
    ///   - controller: Whose queue gets the writes.
    ///   - destination: The region that is to receive them.
    public init(
        from source: Database,
        of origin: RegionID,
        to controller: RegionFailoverController,
        for destination: RegionID
    ) {
        self.source = source
        self.origin = origin
        self.controller = controller
        self.destination = destination
    }

    /// Moves the rows behind the mark, at most ``rowsMax``, and then the mark; rows that have moved are deleted.
    ///
    /// - Returns: What it did; nothing moved when the outbox has nothing new.
    /// - Throws: ``PostgresError``, or ``HoldfastError`` of the append, such as `full`: the mark stays where it was, and
    ///   the outbox keeps the rows.
    public func step() async throws -> Step {
        let writes = try await unrelayed()
        guard let last = writes.last else { return Step(moved: 0, duplicates: 0) }
        let receipt = try await controller.append(writes, to: destination)
        // A crash here, and the next step appends the same writes again: that changes nothing.
        let mark = String(last.sequence)
        try await source.transaction { connection in
            try connection.query("UPDATE outbox_mark SET relayed = $1::bigint", mark)
            try connection.query("DELETE FROM outbox WHERE sequence <= $1::bigint", mark)
        }
        return Step(moved: writes.count, duplicates: receipt.duplicates.count)
    }

    private func unrelayed() async throws -> [OutstandingWrite] {
        let origin = origin
        return try await source.run { connection in
            let rows = try connection.query(
                """
                SELECT incarnation, sequence, kind, key, value, (extract(epoch FROM made_at) * 1000)::bigint
                FROM outbox, outbox_mark, outbox_counter
                WHERE sequence > relayed ORDER BY sequence LIMIT \(Self.rowsMax)
                """
            )
            return try rows.map { try Self.write($0, origin) }
        }
    }

    private static func write(_ row: Connection.Row, _ origin: RegionID) throws -> OutstandingWrite {
        guard row.count == 6, let incarnation = row[0].flatMap({ UInt64($0) }),
            let sequence = row[1].flatMap({ UInt64($0) }), let kind = row[2].flatMap({ Outbox.Kind(rawValue: $0) }),
            let key = row[3], let value = row[4], let made = row[5].flatMap({ Int64($0) })
        else { throw UnreadableRow(row) }
        return OutstandingWrite(
            origin: origin,
            incarnation: incarnation,
            sequence: sequence,
            key: key,
            value: value,
            kind: kind == .put ? .put : .delete,
            timestamp: Timestamp(milliseconds: made)
        )
    }
}

/// A row that is not what this package writes.
struct UnreadableRow: Error, CustomStringConvertible {
    let description: String

    init(_ row: Connection.Row) {
        description = "A row is not what was written: \(row.map { $0 ?? "NULL" })"
    }
}
