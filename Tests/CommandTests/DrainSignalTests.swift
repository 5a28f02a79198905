import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("A signal during holdfast drain", .serialized) struct DrainSignalTests {
    private static let entries = 44
    private static let valueBytes = 512 << 10

    /// A store whose queue takes two steps to drain.
    private func store() throws -> ToolStore {
        let store = try ToolStore()
        let value = String(repeating: "v", count: Self.valueBytes)
        let lines = (1...Self.entries).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k\#($0)","value":"\#(value)"}"# + "\n"
        }
        try store.run("append", "--region", "eu", input: lines.joined())
        return store
    }

    /// A drain whose output and talk are pipes.
    private func drain(_ store: ToolStore, _ options: String...) throws -> (Program, output: FileHandle, talk: Pipe) {
        let process = Tool.process(["drain", store.path, "--region", "eu", "--values", "utf8"] + options)
        let (output, talk) = (Pipe(), Pipe())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = talk
        try process.run()
        return (process, output.fileHandleForReading, talk)
    }

    private func text(_ talk: Pipe) throws -> String {
        String(decoding: try talk.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    }

    private func positions(_ output: Data) throws -> [Int] {
        try output.split(separator: UInt8(ascii: "\n")).map { line in
            let entry = try #require(try JSONSerialization.jsonObject(with: line) as? [String: Any])
            return try #require(entry["position"] as? Int)
        }
    }

    @Test(
        "leaves every entry printed or queued, and tells how many were taken",
        arguments: zip([SIGINT, SIGTERM, SIGHUP], 1...3 as ClosedRange<UInt64>)
    )
    func oneSignal(signal: Int32, seed: UInt64) throws {
        let store = try store()
        var random = SplitMix64(seed: seed)
        let told: [Int32: String] = [SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP"]
        var printed: [Int] = []
        while printed.count < Self.entries {
            let (process, output, talk) = try drain(store)
            // The moment is a place in the output, in any of the steps or in what the pipe holds of them.
            var read = try output.read(upToCount: Int.random(in: 1...(20 << 20), using: &random)) ?? Data()
            kill(process.processIdentifier, signal)
            read += try output.readToEnd() ?? Data()
            process.waitUntilExit()
            let said = try text(talk)
            let taken = try positions(read)
            printed += taken
            #expect(process.terminationReason == .uncaughtSignal || said.isEmpty, "seed \(seed): \(said)")
            if process.terminationReason == .uncaughtSignal {
                #expect(process.terminationStatus == signal)
                let count =
                    "Interrupted by \(told[signal] ?? ""): \(taken.count) entries were taken and printed, "
                    + "the last one at position \(taken.last ?? 0); "
                #expect(said.contains(count), "seed \(seed): \(said)")
            }
            let left = try #require(try store.statistics("eu")["entries"] as? Int)
            #expect(printed == Array(1...(Self.entries - left)), "seed \(seed)")
        }
        #expect(try store.run("check", "--level", "full").status == 0)
    }

    @Test("ends one that nobody reads at the second, and tells what has left the queue") func unread() throws {
        let store = try store()
        let (process, output, talk) = try drain(store)
        // From the first byte on the first step is taken, and what it prints is more than the pipe holds.
        var read = try output.read(upToCount: 1) ?? Data()
        while process.isRunning {
            kill(process.processIdentifier, SIGINT)
            usleep(10_000)
        }
        read += try output.readToEnd() ?? Data()
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGINT)
        let left = try #require(try store.statistics("eu")["entries"] as? Int)
        #expect(left > 0 && left < Self.entries)
        let said = try text(talk)
        let sentence = "Positions 1 to \(Self.entries - left) have left the queue, and were not all printed."
        #expect(said.contains(sentence), "\(said)")
        #expect(read.count < Self.valueBytes)
    }

    @Test("that its parent has it ignore does not end it") func ignored() throws {
        let store = try store()
        let drain = #"trap '' HUP; exec "$@""#
        let words = ["-c", drain, "sh", Tool.path(), "drain", store.path, "--region", "eu", "--values", "utf8"]
        let process = Tool.process(words, program: "/bin/sh")
        let output = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        try process.run()
        var read = try output.fileHandleForReading.read(upToCount: 1) ?? Data()
        kill(process.processIdentifier, SIGHUP)
        read += try output.fileHandleForReading.readToEnd() ?? Data()
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
        #expect(try positions(read) == Array(1...Self.entries))
    }
}
