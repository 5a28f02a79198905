import Foundation
import Holdfast
import HoldfastTesting
import LMDB
import ReplayFormat
import TestSupport
import Testing

/// A dump that stands still after its first lines, since nobody reads on.
private struct StandingDump {
    let store: ToolStore
    private let process: Program
    private let pipe = Pipe()
    private let talk: String
    private let begun: Data

    init(_ store: ToolStore) throws {
        self.store = store
        talk = store.directory.appending("dump-talk")
        try Data().write(to: URL(fileURLWithPath: talk))
        process = Tool.process(["dump", store.path])
        process.standardOutput = pipe
        process.standardError = try FileHandle(forUpdating: URL(fileURLWithPath: talk))
        try process.run()
        begun = pipe.fileHandleForReading.readData(ofLength: 1)
    }

    /// Reads the rest.
    func end() throws -> (status: Int32, output: String, talk: String) {
        var output = begun
        while case let piece = pipe.fileHandleForReading.availableData, !piece.isEmpty { output += piece }
        let status = process.terminationStatus
        let said = try String(contentsOfFile: talk, encoding: .utf8)
        return (status, String(decoding: output, as: UTF8.self), said)
    }
}

@Suite("A dump of a store in use") struct LiveDumpTests {
    /// Lines whose values no compression makes small.
    ///
    /// So a dump stands still before it has read them all.
    static func lines(_ sequences: ClosedRange<Int>, bytes: Int) -> String {
        var random = SplitMix64(seed: 7)
        return sequences.map { sequence in
            let value = Data((0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) }).base64EncodedString()
            return #"{"origin":"us","incarnation":0,"sequence":\#(sequence),"key":"k","value":"\#(value)"}"# + "\n"
        }.joined()
    }

    /// A store whose `ap` is dumped first, and holds a dump up before it has looked at the ten entries of `eu`.
    private func heldUp(_ options: String...) throws -> ToolStore {
        let store = try ToolStore()
        try store.run("append", "--region", "ap", input: Self.lines(1...40, bytes: 12_000))
        for option in options {
            let words = option.split(separator: " ").map(String.init)
            let outcome = try Tool.run(["region", words[0], store.path, "eu"] + words.dropFirst())
            try #require(outcome.status == 0, "\(outcome.talk)")
        }
        try store.run("append", "--region", "eu", "--batch", "1", input: ToolStore.lines(1...10))
        return store
    }

    private func isRefused(_ dump: StandingDump, _ what: String) throws -> Bool {
        let (status, output, talk) = try dump.end()
        #expect(status == 75 && !output.contains("trailer"), "\(talk)")
        #expect(talk.contains("eu") && talk.contains(what), "\(talk)")
        #expect(talk.contains("--consistent") && talk.contains("holdfast backup"), "\(talk)")
        let loaded = dump.store.directory.appending("loaded")
        return try Tool.run(["load", loaded], input: output).status == 65
    }

    @Test("is refused where entries that it had not read were parked") func parked() throws {
        let store = try heldUp("replay --attempts-max 1 --exhausted park --batch-entries 1 --backoff-base 1ms")
        let dump = try StandingDump(store)
        let replayed = try store.run("replay", "--region", "eu", "--exec", "[ $HOLDFAST_FIRST -gt 3 ]", "--once")
        #expect(try store.statistics("eu")["dead"] as? Int == 3, "\(replayed.talk)")
        #expect(try isRefused(dump, "dead letters"))
    }

    @Test("is refused where a limit dropped them") func dropped() throws {
        let store = try heldUp("limits --entries 10 --overflow dropOldest --yes")
        let dump = try StandingDump(store)
        let appended = try store.run("append", "--region", "eu", input: ToolStore.lines(11...14))
        #expect(try store.statistics("eu")["dropped"] as? Int == 4, "\(appended.talk)")
        #expect(try isRefused(dump, "dropped"))
    }

    @Test("is refused where they were drained") func drained() throws {
        let store = try heldUp()
        let dump = try StandingDump(store)
        try store.run("drain", "--region", "eu", "--max", "4")
        #expect(try isRefused(dump, "drained"))
    }

    @Test("is refused where their region was removed") func removed() async throws {
        let store = try heldUp()
        let dump = try StandingDump(store)
        let controller = try await RegionFailoverController.open(at: store.path)
        try await controller.configure(FailoverConfiguration(local: "us", regions: ["us", "ap"]), force: true)
        await controller.close()
        #expect(try isRefused(dump, "removed"))
    }

    @Test("is of its first moment where what left had been read before") func readBefore() throws {
        let store = try heldUp()
        let dump = try StandingDump(store)
        // Only `eu` is behind what holds the dump up.
        try store.run("drain", "--region", "ap", "--max", "1")
        try store.run("append", "--region", "us", input: ToolStore.lines(1...5))
        let (status, output, talk) = try dump.end()
        try #require(status == 0, "\(talk)")
        let loaded = try loaded(store, output)
        #expect(loaded["ap"]?["entries"] == 40 && loaded["ap"]?["drained"] == 0 && loaded["us"]?["accepted"] == 0)
    }

    private func loaded(_ store: ToolStore, _ dump: String) throws -> [String: [String: Int]] {
        let path = store.directory.appending("loaded")
        let load = try Tool.run(["load", path], input: dump)
        try #require(load.status == 0, "\(load.talk)")
        #expect(try Tool.run(["check", path, "--level", "full"]).status == 0)
        var numbers: [String: [String: Int]] = [:]
        for line in try Tool.run(["queues", path, "--format", "jsonl"]).lines {
            let row = try object(line) ?? [:]
            numbers[row["region"] as? String ?? ""] = row.compactMapValues { $0 as? Int }
        }
        return numbers
    }

    @Test(
        "is loaded with what was acknowledged meanwhile counted as such, also what had been printed before it",
        arguments: [(through: 10, lost: false), (200, false), (300, false), (200, true), (151, true)]
    )
    func acknowledged(through: Int, isGapKnown: Bool) throws {
        let source = try ToolStore()
        try source.run("append", "--region", "eu", "--batch", "10", input: Self.lines(1...300, bytes: 9_000))
        var store = source
        if isGapKnown {
            try source.remove((151...160 as ClosedRange<UInt64>).filter { try source.hasBlock($0) }, of: "eu")
            store = try ToolStore()
            try FileManager.default.removeItem(atPath: store.path)
            try source.run("recover", "--to", store.path)
            #expect(try store.statistics("eu")["lost"] as? Int ?? 0 > 0)
        }
        let before = try store.statistics("eu")
        let dump = try StandingDump(store)
        #expect(try store.run("ack", "--region", "eu", "--through", "\(through)").status == 0)
        let (status, output, talk) = try dump.end()
        try #require(status == 0, "\(talk)")
        let row = try #require(try loaded(store, output)["eu"])
        let sum = ["entries", "acknowledged", "lost"].reduce(0) { $0 + (row[$1] ?? 0) }
        #expect(sum == 300 && row["accepted"] == 300)
        #expect(row["lost"] == before["lost"] as? Int)
        let now = try store.statistics("eu")
        if through > 10 {
            for name in ["entries", "acknowledged", "headPosition", "rawBytes"] {
                #expect(row[name] == now[name] as? Int, "\(name)")
            }
        } else {
            #expect(row["entries"] == 300)
        }
    }
}

extension ToolStore {
    fileprivate func hasBlock(_ position: UInt64) throws -> Bool {
        let table = Table.queue(try row("eu").number)
        var found = false
        try change { transaction in
            guard let queue = try transaction.database(table.name, create: false) else { return }
            found = try transaction.value(of: Key.number(position), in: queue) != nil
        }
        return found
    }
}
