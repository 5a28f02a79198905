import Outbox
import Postgres

/// Two regions with a server each, and the shipper between them.
struct Deployment: Sendable {
    let source: Server
    let target: Server
    let shipper: ShipperProcess
    let application: Application
    private let tool: String
    private let store: String
    private let sourceDatabase: Database
    private let targetDatabase: Database

    /// - Parameters:
    ///   - work: An empty directory, which gets everything.
    ///   - programs: The directory of the programs `outbox-shipper` and `holdfast`.
    init(work: String, programs: String) {
        source = Server("us-east-1", in: work)
        target = Server("eu-west-1", in: work)
        store = work + "/store"
        tool = programs + "/holdfast"
        shipper = ShipperProcess(
            programs + "/outbox-shipper",
            store: store,
            from: source,
            to: target,
            log: work + "/shipper.log"
        )
        application = Application(source)
        sourceDatabase = Database(source.target)
        targetDatabase = Database(target.target)
    }

    func create() async throws {
        try await source.create(Orders.schema, Outbox.schema)
        try await target.create(Orders.schema, Receiver.schema)
    }

    func end() async throws {
        try await shipper.stop()
        try await source.stop()
        try await target.stop()
    }

    // MARK: Looking

    /// What the outbox has numbered so far.
    func written() async throws -> Int { try await number("SELECT last FROM outbox_counter", sourceDatabase) }

    /// Rows of the outbox that no queue has yet.
    func waiting() async throws -> Int { try await number("SELECT count(*) FROM outbox", sourceDatabase) }

    /// Writes that had an effect in the target, each time that they had it.
    func received() async throws -> Int { try await number("SELECT count(*) FROM received", targetDatabase) }

    /// The table that `holdfast queues` prints, of the store in use.
    func queues() async throws -> String { try await Program.run(tool, "queues", store, "--format", "table") }

    /// Entries in the queue for the target.
    func queued() async throws -> Int {
        let lines = try await Program.run(tool, "queues", store, "--format", "jsonl")
        let line = lines.split(separator: "\n").first { $0.contains("\"region\":\"\(target.region)\"") }
        let field = line?.split(separator: ",").first { $0.hasPrefix("\"entries\":") }
        guard let count = field.flatMap({ Int($0.drop { !$0.isNumber }) }) else {
            throw DemoError("No queue for \(target.region):\n\(lines)")
        }
        return count
    }

    /// Waits until the outbox is in the queue.
    func waitUntilRelayed() async throws {
        try await wait(for: "the outbox to be relayed") { try await waiting() == 0 }
    }

    /// Waits until outbox and queue are empty: everything has been received and acknowledged.
    func waitUntilArrived() async throws {
        try await wait(for: "everything to arrive") {
            guard try await waiting() == 0, try await received() >= written() else { return false }
            return try await queued() == 0
        }
    }

    private func number(_ query: String, _ database: Database) async throws -> Int {
        var failures = 0
        while true {
            do {
                let rows = try await database.run { try $0.query(query) }
                guard let number = rows.first?.first?.flatMap({ Int($0) }) else { throw DemoError("\(query): \(rows)") }
                return number
            } catch let error as PostgresError where error.isTransient && failures < 3 {
                // The connection was lost with a server that has started again since.
                failures += 1
            }
        }
    }

    /// Runs `body` while the relay stands between its append and the move of its mark.
    func betweenAppendAndMark(_ body: () async throws -> Void) async throws {
        let lock = Database(source.target)
        try await lock.run { connection in
            try connection.query("BEGIN")
            try connection.query("SELECT relayed FROM outbox_mark FOR UPDATE")
        }
        let waiting = """
            SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE outbox_mark%'
            """
        try await wait(for: "the relay to reach its mark") { try await number(waiting, sourceDatabase) > 0 }
        try await body()
        try await lock.run { _ = try $0.query("ROLLBACK") }
    }

    // MARK: Comparing

    /// What the comparison of the two regions found.
    struct Comparison: Sendable {
        let written: Int
        let received: Int
        let distinct: Int
        /// Rows of the two tables, and the MD5 of all of them in order.
        let tables: [(rows: String, md5: String)]
        /// The first rows that differ.
        let differences: [String]

        var duplicates: Int { received - distinct }
        var missing: Int { written - distinct }
        var isExact: Bool {
            duplicates == 0 && missing == 0 && differences.isEmpty && tables[0] == tables[1]
        }
    }

    /// Compares the tables of the two regions row by row, and counts the writes that had an effect.
    func compare() async throws -> Comparison {
        let digest = """
            SELECT count(*), md5(coalesce(string_agg(format('%s|%s|%s|%s', id, customer, cents, changes), E'\\n'
                ORDER BY id), '')) FROM orders
            """
        let distinct = "SELECT count(*) FROM (SELECT DISTINCT origin, incarnation, sequence FROM received) AS writes"
        var tables: [(String, String)] = []
        var rows: [Set<[String?]>] = []
        for database in [sourceDatabase, targetDatabase] {
            let row = try await database.run { try $0.query(digest) }[0]
            tables.append((row[0] ?? "", row[1] ?? ""))
            rows.append(Set(try await database.run { try $0.query("SELECT * FROM orders") }))
        }
        let differing = rows[0].symmetricDifference(rows[1]).map { row in row.map { $0 ?? "NULL" } }
        return Comparison(
            written: try await written(),
            received: try await received(),
            distinct: try await number(distinct, targetDatabase),
            tables: tables,
            differences: differing.map { $0.joined(separator: " | ") }.sorted().prefix(10).map { $0 }
        )
    }
}
