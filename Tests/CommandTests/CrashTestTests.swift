import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

@Suite("The verb crashtest") struct CrashTestTests {
    private struct Summary: Decodable {
        struct Violation: Decodable {
            var kind: String
            var region: String?
        }
        var rounds, kills, stores, acknowledged, received, seed: UInt64
        var milliseconds: Int64
        var violations: [Violation]
        var kept: String?
    }

    private func summary(_ outcome: Tool.Outcome) throws -> Summary {
        try JSONDecoder().decode(Summary.self, from: Data(outcome.output.utf8))
    }

    @Test("kills, finds nothing, and leaves nothing", arguments: [20_261_123 as UInt64])
    func passes(seed: UInt64) throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("crashtest")
        let outcome = try Tool.run(["crashtest", path, "--rounds", "8", "--seed", "\(seed)"])
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.talk)")
        let summary = try summary(outcome)
        print("crashtest: \(outcome.output)")
        #expect(summary.rounds == 8 && summary.kills > 0 && summary.stores == 1 && summary.seed == seed)
        #expect(summary.violations.isEmpty && summary.kept == nil)
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test("keeps what it made when it is told to, and a directory that was there") func keeps() throws {
        let directory = try TemporaryDirectory()
        let outcome = try Tool.run(["crashtest", directory.path, "--rounds", "1", "--format", "table"])
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.talk)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
        let kept = try Tool.run(["crashtest", directory.path, "--rounds", "1", "--keep", "--format", "table"])
        #expect(kept.status == 0 && kept.output.contains("kept"))
        #expect(FileManager.default.fileExists(atPath: directory.appending("1/journal")))
        // Now it is not empty.
        let refused = try Tool.run(["crashtest", directory.path, "--rounds", "1"])
        #expect(refused.status == 73)
        #expect(FileManager.default.fileExists(atPath: directory.appending("1/journal")))
        #expect(try Tool.run(["crashtest", directory.appending("a/b"), "--rounds", "1"]).status == 73)
        #expect(try Tool.run(["crashtest", directory.path, "--rounds", "0"]).status == 64)
    }

    @Test("ends by itself when its time is over, with its figures") func timed() throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("crashtest")
        let outcome = try Tool.run(["crashtest", path, "--seconds", "1", "--seed", "3"])
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.talk)")
        let summary = try summary(outcome)
        #expect(summary.rounds > 0 && summary.milliseconds >= 1000 && summary.violations.isEmpty)
        // The line of progress is for terminals.
        #expect(outcome.talk.isEmpty)
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test("tells on a terminal how far it is, and takes the line away") func progress() throws {
        struct Ending: Decodable {
            var rest: String
            var signal, status: Int
        }
        let directory = try TemporaryDirectory()
        let script = Tool.source("Tests/CommandTests/watch_terminal.py").path
        let verb = ["crashtest", directory.appending("crashtest"), "--seconds", "2", "--rounds", "1000", "--seed", "3"]
        let outcome = try Tool.run(
            ["python3", script, "none", Tool.path()] + verb,
            program: "/usr/bin/env",
            environment: ["TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"]
        )
        try #require(outcome.status == 0, "\(outcome.talk)")
        let ending = try JSONDecoder().decode(Ending.self, from: Data(outcome.output.utf8))
        #expect(ending.signal == 0 && ending.status == 0, "\(ending.rest)")
        let line = /\r\e\[Kround [0-9]+, [0-9]+ kills, [0-9]+ writes acknowledged, [0-9.]+ m?s left/
        #expect(ending.rest.contains(line), "\(ending.rest)")
        // Where a line of progress was, the table begins.
        #expect(ending.rest.contains(/left\r\e\[Krounds +[0-9]+/), "\(ending.rest)")
    }

    /// Starts the verb, and waits until its first process has had its store open.
    private func start(_ directory: TemporaryDirectory) throws -> (Program, Pipe) {
        let process = Tool.process(["crashtest", directory.appending("crashtest"), "--seconds", "600", "--seed", "1"])
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        while process.isRunning, (try? Data(contentsOf: journal(directory)).isEmpty) ?? true { sched_yield() }
        return (process, pipe)
    }

    private func journal(_ directory: TemporaryDirectory) -> URL {
        URL(fileURLWithPath: directory.appending("crashtest/1/journal"))
    }

    @Test("ends at an interrupt, with its figures and without a trace") func interrupted() throws {
        let directory = try TemporaryDirectory()
        let (process, pipe) = try start(directory)
        kill(process.processIdentifier, SIGINT)
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
        #expect(try JSONDecoder().decode(Summary.self, from: output).violations.isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
    }

    @Test("names what is broken, exits with 65, and keeps the store") func fails() throws {
        let directory = try TemporaryDirectory()
        let (process, pipe) = try start(directory)
        // Says that a region has received more than was ever queued.
        let journal = try FileHandle(forWritingTo: journal(directory))
        try journal.seekToEnd()
        try journal.write(contentsOf: Data("\nacknowledged eu 1000000 .\n".utf8))
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 65)
        let summary = try JSONDecoder().decode(Summary.self, from: output)
        #expect(summary.violations.contains { $0.kind == "doubled" && $0.region == "eu" })
        #expect(summary.kept == directory.appending("crashtest"))
        #expect(FileManager.default.fileExists(atPath: directory.appending("crashtest/1/store/data.mdb")))
    }
}
