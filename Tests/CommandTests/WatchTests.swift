import Foundation
import HoldfastTesting
import TestSupport
import Testing

@testable import HoldfastTool
@testable import Lines

@Suite("Watching the queues") struct WatchTests {
    @Test("prints a line a region and look where there is no terminal") func lines() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...300))
        let outcome = try store.run("queues", "--watch", "--count", "3", "--interval", "100ms")
        #expect(outcome.status == 0)
        #expect(outcome.lines.count == 9)
        let eu = outcome.lines.filter { $0.contains(" eu entries=300 ") }
        #expect(eu.count == 3)
        #expect(eu[0].contains(" in/s=- out/s=- ") && eu[0].hasSuffix(" left=- flags=-"))
        #expect(eu[1].contains(" in/s=0.0 out/s=0.0 ") && eu[1].hasSuffix(" left=stands flags=-"))
        #expect(!outcome.output.contains("\u{1B}"))
    }

    @Test("sees what a live store takes and gives, in JSON lines as they come") func rates() throws {
        let store = try ToolStore()
        let writer = Tool.process(["append", store.path, "--region", "eu", "--print-acks", "--batch", "50"])
        let (input, acks) = (Pipe(), Pipe())
        writer.standardInput = input
        writer.standardOutput = acks
        try writer.run()
        func write(_ range: ClosedRange<Int>) throws {
            try input.fileHandleForWriting.write(contentsOf: Data(ToolStore.lines(range).utf8))
            _ = acks.fileHandleForReading.availableData
        }
        try write(1...50)
        let watcher = Tool.process(
            ["queues", store.path, "--watch", "--interval", "100ms", "--format", "jsonl", "--count", "10000"]
        )
        let output = Pipe()
        watcher.standardOutput = output
        try watcher.run()
        var text = ""
        func rows() throws -> [[String: Any]] {
            text += String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            return try text.split(separator: "\n").dropLast().compactMap { try object(String($0)) }
                .filter { $0["region"] as? String == "eu" }
        }
        // The first look's lines arrive before the second look: they are handed over at once.
        while try rows().isEmpty {}
        try write(51...100)
        var seen: [[String: Any]] = []
        // Two looks after the last write: between them nothing came in.
        repeat { seen = try rows() } while seen.filter { $0["entries"] as? Int == 100 }.count < 2
        // It ends when nobody reads any more.
        try output.fileHandleForReading.close()
        watcher.waitUntilExit()
        #expect(watcher.terminationReason == .exit && watcher.terminationStatus == 0)
        try input.fileHandleForWriting.close()
        writer.waitUntilExit()
        #expect(seen[0]["inPerSecond"] is NSNull)
        #expect(seen.contains { ($0["inPerSecond"] as? Double ?? 0) > 0 })
        // Between the looks, what came in is what the rates say.
        for (before, after) in zip(seen, seen.dropFirst()) {
            let (a, b) = (before["accepted"] as? Int ?? 0, after["accepted"] as? Int ?? 0)
            #expect((a < b) == ((after["inPerSecond"] as? Double ?? 0) > 0))
        }
    }

    @Test("waits for a store that goes away, and says when another is in its place") func replaced() throws {
        let store = try ToolStore()
        let other = try ToolStore()
        let away = store.directory.appending("away")
        let watcher = Tool.process(["queues", store.path, "--watch", "--interval", "100ms", "--format", "jsonl"])
        let (output, talk) = (Pipe(), Pipe())
        watcher.standardOutput = output
        watcher.standardError = talk
        try watcher.run()
        _ = output.fileHandleForReading.availableData
        try FileManager.default.moveItem(atPath: store.path, toPath: away)
        var said = String(decoding: talk.fileHandleForReading.availableData, as: UTF8.self)
        #expect(said.contains("Not as of now: There is no store here"))
        try FileManager.default.moveItem(atPath: other.path, toPath: store.path)
        while !said.contains("Another store since") {
            said += String(decoding: talk.fileHandleForReading.availableData, as: UTF8.self)
        }
        try output.fileHandleForReading.close()
        watcher.waitUntilExit()
        #expect(watcher.terminationStatus == 0)
    }

    @Test(
        "refuses what it cannot do",
        arguments: [
            ["--watch", "--interval", "1ms"], ["--watch", "--interval", "soon"], ["--watch", "--count", "0"],
            ["--watch", "--format", "json"], ["--count", "1"],
        ]
    )
    func refusals(options: [String]) throws {
        let store = try ToolStore()
        #expect(try Tool.run(["queues", store.path] + options).status == 64)
        let missing = store.directory.appending("nope")
        #expect(try Tool.run(["queues", missing, "--watch", "--count", "1"]).status == 66)
    }

    struct Ending: Decodable {
        var first: String
        var rest: String
        var signal: Int
        var status: Int
        var echo: Bool
        var stopped: Bool
        var restored: Bool
    }

    private func watch(_ action: String, _ store: ToolStore, _ more: [String] = [], term: String = "xterm") throws
        -> Ending
    {
        let script = Tool.source("Tests/CommandTests/watch_terminal.py").path
        let outcome = try Tool.run(
            ["python3", script, action, Tool.path(), "queues", store.path, "--watch"] + more,
            program: "/usr/bin/env",
            environment: ["TERM": term, "LC_ALL": "C.UTF-8", "NO_COLOR": action == "resize" ? "1" : ""]
        )
        try #require(outcome.status == 0, "\(outcome.talk)")
        return try JSONDecoder().decode(Ending.self, from: Data(outcome.output.utf8))
    }

    @Test(
        "leaves the terminal as it was, however it ends",
        arguments: [
            ("q", 0), ("interrupt", 2), ("terminate", 15), ("stop", 0), ("resize", 0), ("none", 0),
        ]
    )
    func terminal(action: String, signal: Int) throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...30))
        try store.run("region pause", "eu")
        let ending = try watch(action, store, action == "none" ? ["--count", "1"] : [])
        #expect(ending.signal == signal && ending.status == 0)
        #expect(ending.restored)
        #expect(ending.stopped == (action == "stop"))
        let all = ending.first + ending.rest
        #expect(all.contains("\u{1B}[H"))
        let entered = all.components(separatedBy: "\u{1B}[?1049h").count
        #expect(entered == (action == "resize" ? 1 : 2))
        let left = all.components(separatedBy: "\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l")
        #expect(left.count == 2)
        // What was seen last is printed where the terminal keeps its lines.
        #expect(try #require(left.last).contains("total"))
        #expect(all.contains("paused"))
        if action != "none" { #expect(!ending.echo) }
        if action == "resize" { #expect(!all.contains("\u{1B}[1m")) }
    }

    @Test("draws nothing on a terminal that cannot") func dumb() throws {
        let ending = try watch("none", try ToolStore(), ["--count", "2", "--interval", "100ms"], term: "dumb")
        #expect(!(ending.first + ending.rest).contains("\u{1B}"))
        #expect((ending.first + ending.rest).contains(" eu entries=0 "))
    }

    @Test("knows a locale of UTF-8 by the variable that counts") func locale() {
        #expect(QueueWatch.isUnicode(["LANG": "en_US.UTF-8"]))
        #expect(QueueWatch.isUnicode(["LC_CTYPE": "C.utf8", "LANG": "C"]))
        #expect(!QueueWatch.isUnicode(["LC_ALL": "C", "LANG": "en_US.UTF-8"]))
        #expect(!QueueWatch.isUnicode([:]))
    }

    @Test("fits the table of queues into 80 columns, and shows all when asked") func table() throws {
        let store = try ToolStore("--limit-entries", "1000000")
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...3000))
        try store.run("region pause", "eu")
        let table = try store.run("queues", "--format", "table")
        #expect(table.lines.allSatisfy { $0.utf8.count <= 80 })
        #expect(table.lines[0].contains("use") && table.lines[2].contains("<1%") && table.lines[2].hasSuffix("paused"))
        let wide = try store.run("queues", "--format", "table", "--wide").lines[0]
        for title in [
            "raw", "head", "next", "acknowledged", "drained", "dropped", "dead", "retried", "lost", "attempts",
        ] {
            #expect(wide.contains(title))
        }
    }

    @Test("gives every field in JSON") func fields() throws {
        let store = try ToolStore("--limit-entries", "1000", "--overflow", "dropOldest")
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...250))
        let queue = try store.statistics("eu")
        #expect(queue["limitUse"] as? Double == 0.25)
        #expect(queue["retried"] as? Int == 0)
        #expect(queue["attempts"] as? Int == 0)
        #expect(try ToolStore().statistics("eu")["limitUse"] is NSNull)
    }
}
