import HoldfastTesting
import Outbox
import Postgres

/// The application of us-east-1: four connections that make, change and remove orders.
struct Application: Sendable {
    private let databases: [Database]

    init(_ server: Server) {
        databases = (0..<4).map { _ in Database(server.target) }
    }

    private struct ChangeOfMind: Error {}

    /// Runs `count` transactions on few orders, so that many meet; a tenth remove one, and some are rolled back.
    func write(_ count: Int, seed: UInt64) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, database) in databases.enumerated() {
                let share = (count + index) / databases.count
                group.addTask { try await Self.write(share, database, SplitMix64(seed: seed &+ UInt64(index))) }
            }
            try await group.waitForAll()
        }
    }

    private static func write(_ count: Int, _ database: Database, _ seeded: SplitMix64) async throws {
        var random = seeded
        var left = count
        while left > 0 {
            let id = Int.random(in: 1...400, using: &random)
            let cents = Int.random(in: 100...99_999, using: &random)
            let choice = Int.random(in: 0..<100, using: &random)
            do {
                try await database.transaction { connection in
                    if choice < 10 {
                        try Orders.remove(id, in: connection)
                    } else {
                        try Orders.put(id, customer: "customer \(id % 37)", cents: cents, in: connection)
                    }
                    if choice == 50 { throw ChangeOfMind() }
                }
                left -= 1
            } catch is ChangeOfMind {
                // Rolled back: neither the order nor the outbox knows of it.
            } catch let error as PostgresError where error.isTransient {
                // The server is down. An application that cannot repeat a request would ask first what became of it.
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }
}
