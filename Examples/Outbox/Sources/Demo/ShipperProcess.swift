import Foundation
import Glibc
import Synchronization

/// The process `outbox-shipper`, which can be killed and started again.
final class ShipperProcess: Sendable {
    private let program: String
    private let arguments: [String]
    private let log: String
    private let running = Mutex<Running?>(nil)

    private struct Running: Sendable {
        let process: Process
        let input: Pipe
    }

    init(_ program: String, store: String, from source: Server, to target: Server, log: String) {
        self.program = program
        arguments = [store, source.target, target.target]
        self.log = log
    }

    /// Starts it; it ends when this process does, since its standard input ends then.
    func start() async throws {
        if !FileManager.default.fileExists(atPath: log) { try Data().write(to: URL(fileURLWithPath: log)) }
        let before = try lines().count
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        try output.seekToEnd()
        let process = Process()
        let input = Pipe.ours()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
        running.withLock { $0 = Running(process: process, input: input) }
        try await wait(for: "the shipper to start; see \(log)") {
            guard process.isRunning else {
                throw DemoError("The shipper ended:\n\(try lines().joined(separator: "\n"))")
            }
            return try lines().dropFirst(before).contains("started")
        }
    }

    /// Ends it with SIGKILL.
    func kill() async throws {
        guard let process = running.withLock({ $0?.process }) else { throw DemoError("No shipper runs.") }
        Glibc.kill(process.processIdentifier, SIGKILL)
        try await end(process, SIGKILL)
    }

    /// Lets it finish what is under way, and close the store.
    func stop() async throws {
        guard let (process, input) = running.withLock({ $0.map { ($0.process, $0.input) } }) else { return }
        try input.fileHandleForWriting.close()
        try await end(process, 0)
    }

    private func end(_ process: Process, _ status: Int32) async throws {
        try await wait(for: "the shipper to end") { !process.isRunning }
        running.withLock { $0 = nil }
        guard process.terminationStatus == status else {
            throw DemoError(
                "The shipper ended with \(process.terminationStatus):\n\(try lines().joined(separator: "\n"))"
            )
        }
    }

    /// How many writes came a second time: to the queue, and to the receiver.
    func repeats() throws -> (queued: Int, received: Int) {
        func sum(_ prefix: String) throws -> Int {
            try lines().filter { $0.hasPrefix(prefix) }
                .compactMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } }
                .reduce(0, +)
        }
        return (try sum("relay:"), try sum("receiver:"))
    }

    private func lines() throws -> [String] {
        try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").map { String($0) }
    }
}
