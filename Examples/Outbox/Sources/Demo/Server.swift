import Foundation
import Postgres

/// A PostgreSQL server of our own: its directory, its socket inside it, no TCP.
struct Server: Sendable {
    let region: String
    private let directory: String

    init(_ region: String, in work: String) {
        self.region = region
        directory = work + "/" + region
    }

    /// libpq's connection string; no call waits for ever.
    var target: String {
        "host=\(directory) dbname=postgres user=demo connect_timeout=3 "
            + "options='-c statement_timeout=20s -c client_min_messages=error'"
    }

    /// Makes the directory, starts the server and makes the tables.
    func create(_ schemas: String...) async throws {
        try await Program.run("initdb", "-D", directory, "-U", "demo", "-A", "trust", "-E", "UTF8", "--locale=C")
        let settings = """

            listen_addresses = ''
            unix_socket_directories = '\(directory)'
            max_connections = 20
            shared_buffers = 16MB

            """
        let path = directory + "/postgresql.conf"
        try (String(contentsOfFile: path, encoding: .utf8) + settings)
            .write(toFile: path, atomically: true, encoding: .utf8)
        try await start()
        let tables = schemas.joined(separator: "\n")
        try await Database(target).run { try $0.script(tables) }
    }

    func start() async throws {
        try await Program.run("pg_ctl", "-D", directory, "-l", directory + "/server.log", "-w", "start")
    }

    /// Ends the server as a crash would: no checkpoint, every connection cut.
    ///
    /// What was committed is on the disk.
    func crash() async throws { try await Program.run("pg_ctl", "-D", directory, "-m", "immediate", "-w", "stop") }

    func stop() async throws { try await Program.run("pg_ctl", "-D", directory, "-m", "fast", "-w", "stop") }
}
