import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("The scenario language") struct SimulateTests {
    static let words: Set<String> = [
        "configure", "heartbeat", "tick", "demoteAndPromote", "readmit", "switchover", "append", "acknowledge", "drain",
        "pause", "resume", "clearResync", "role", "state", "pending", "history", "epoch",
    ]
    static let codes: Set<String> = [
        "unknownRegion", "noSecondaryAvailable", "illegalTransition", "replayPending", "needsResync", "staleEpoch",
        "invalidConfiguration", "badCommand", "full", "tooLarge", "identityBelowFloor", "identityConflict",
        "positionOutOfRange",
    ]
    /// Without detectorPaused: the detector of a scenario cannot sleep.
    static let events: Set<String> = [
        "suspect", "failed", "recovering", "healthy", "demoted", "promoted", "replayed", "readmitted", "switchedOver",
        "configured", "paused", "resumed", "resyncNeeded", "resyncCleared",
    ]

    private let input: [String]
    private let output: [String]

    init() throws {
        input = try Self.golden("scenario.in.jsonl")
        output = try Self.golden("scenario.out.jsonl")
    }

    /// The lines of a golden file, without the empty ones, which have no answer.
    private static func golden(_ name: String) throws -> [String] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(name)")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map(String.init)
    }

    // MARK: The golden files

    @Test("answers the golden scenario as written, byte for byte") func golden() throws {
        let outcome = try Tool.run(["simulate"], input: input.joined(separator: "\n\n  \n") + "\n")
        #expect(outcome.status == 0)
        #expect(outcome.talk.isEmpty)
        #expect(outcome.lines.count == output.count)
        for (index, pair) in zip(outcome.lines, output).enumerated() where pair.0 != pair.1 {
            Issue.record("line \(index + 1): \(input[index].prefix(200))\n  answer \(pair.0)\n  golden \(pair.1)")
        }
    }

    @Test("has every word, code and kind of event in the golden files") func coverage() throws {
        var words: Set<String> = []
        var codes: Set<String> = []
        var events: Set<String> = []
        for (line, answer) in zip(input, output) {
            let answer = try #require(try object(answer))
            if let code = (answer["error"] as? [String: Any])?["code"] as? String { codes.insert(code) }
            guard let ok = answer["ok"] as? [String: Any] else { continue }
            // A word counts where it did what it is for.
            if let word = try object(line)?["do"] as? String { words.insert(word) }
            let happened = try #require(ok["events"] as? [[String: Any]])
            events.formUnion(happened.compactMap { $0["event"] as? String })
        }
        #expect(words == Self.words)
        #expect(codes == Self.codes)
        #expect(events == Self.events)
    }

    // MARK: Lines that are no command

    @Test("changes nothing, not even the time, for a line that is no command", arguments: 1...4 as ClosedRange<UInt64>)
    func badCommands(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var lines: [String] = []
        // Where the golden lines are among the wrong ones, each of which goes beyond in time.
        var places: [Int] = []
        for line in input {
            if let command = try object(line), line.utf8.count < 4096 {
                for wrong in wrongVersions(of: command).shuffled(using: &random).prefix(3) {
                    lines.append(try text(wrong))
                }
            }
            places.append(lines.count)
            lines.append(line)
        }
        let outcome = try Tool.run(["simulate"], input: lines.joined(separator: "\n"))
        try #require(outcome.status == 0)
        try #require(outcome.lines.count == lines.count)
        let isGolden = Set(places)
        for (index, answer) in outcome.lines.enumerated() where !isGolden.contains(index) {
            #expect(answer.hasPrefix(#"{"error":{"code":"badCommand","message":""#), "seed \(seed): \(lines[index])")
        }
        for (number, place) in places.enumerated() {
            #expect(outcome.lines[place] == output[number], "seed \(seed), golden line \(number + 1)")
        }
    }

    /// The ways in which a command can be none, each with a time far ahead.
    private func wrongVersions(of command: [String: Any]) -> [[String: Any]] {
        var late = command
        late["atMs"] = 99_000_000_000
        var wrong: [[String: Any]] = []
        func add(_ change: (inout [String: Any]) -> Void) {
            var next = late
            change(&next)
            wrong.append(next)
        }
        add { $0["do"] = "demote" }
        add { $0["do"] = 7 }
        add { $0["do"] = nil }
        add { $0["Region"] = "us" }
        add { $0["atMs"] = 99_000_000_000.5 }
        add { $0["atMs"] = "99000000000 " }
        add { $0["atMs"] = NSNull() }
        add { $0["atMs"] = "9223372036854775808" }
        for key in command.keys where key != "do" && key != "atMs" {
            // Of no key is this the type.
            add { $0[key] = ["limits": 1.5] }
            add { $0[key] = NSNull() }
            add { $0[key] = 1.5 }
        }
        for key in ["through", "maximumPending", "ifEpoch"] where command[key] != nil { add { $0[key] = -1 } }
        let required = ["region", "writes", "through", "local", "regions"]
        for key in required where command[key] != nil { add { $0[key] = nil } }
        let fenced = ["configure", "demoteAndPromote", "readmit", "switchover", "append", "acknowledge"]
        if !fenced.contains(command["do"] as? String ?? "") { add { $0["ifEpoch"] = 1 } }
        for (index, write) in (command["writes"] as? [[String: Any]] ?? []).enumerated() {
            func addWrite(_ change: (inout [String: Any]) -> Void) {
                var write = write
                change(&write)
                var writes = command["writes"] as? [Any] ?? []
                writes[index] = write
                add { $0["writes"] = writes }
            }
            addWrite { $0["kind"] = "put" }
            addWrite { $0["origin"] = "not a name" }
            addWrite { $0["sequence"] = "1.0" }
            addWrite { $0["value"] = 1 }
            for key in ["origin", "sequence", "key", "value"] { addWrite { $0[key] = nil } }
        }
        return wrong
    }

    @Test("answers every line once and ends well, whatever the bytes", arguments: 1...8 as ClosedRange<UInt64>)
    func mutatedBytes(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var bytes: [UInt8] = []
        var count = 0
        for line in input where line.utf8.count < 4096 {
            var copies = [Array(line.utf8)]
            for _ in 0..<6 { copies.append(mutated(Array(line.utf8), &random)) }
            for copy in copies {
                if !copy.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { count += 1 }
                bytes += copy + [UInt8(ascii: "\n")]
            }
        }
        let directory = try TemporaryDirectory()
        let file = directory.appending("scenario")
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        let outcome = try Tool.run(["simulate", file])
        #expect(outcome.status == 0, "seed \(seed): \(outcome.talk)")
        #expect(!outcome.isSignalled, "seed \(seed)")
        #expect(outcome.lines.count == count, "seed \(seed)")
        for line in outcome.lines {
            let answer = try object(line)
            #expect(answer?.count == 1 && (answer?["ok"] != nil || answer?["error"] != nil), "seed \(seed): \(line)")
        }
    }

    private func mutated(_ line: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var line = line
        for _ in 0..<Int.random(in: 1...3, using: &random) where !line.isEmpty {
            let place = Int.random(in: 0..<line.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: line[place] = UInt8.random(in: 0...255, using: &random)
            case 1: line.remove(at: place)
            case 2: line.insert(contentsOf: line[place...].prefix(20), at: place)
            case 3: line[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 4: line.insert(contentsOf: Array(#"{}[]",:\0-e."#.utf8).shuffled(using: &random).prefix(3), at: place)
            default: line.removeSubrange(place...)
            }
        }
        // A line feed would make two lines of one.
        line.removeAll { $0 == UInt8(ascii: "\n") }
        return line
    }

    // MARK: The process

    @Test("answers a line before it has read the next one") func answersAtOnce() throws {
        let process = Tool.process(["simulate"])
        let (lines, answers) = (Pipe(), Pipe())
        process.standardInput = lines
        process.standardOutput = answers
        try process.run()
        for (line, answer) in zip(input, output).prefix(5) {
            try lines.fileHandleForWriting.write(contentsOf: Data("\(line)\n".utf8))
            var got = ""
            while !got.hasSuffix("\n") {
                let data = answers.fileHandleForReading.availableData
                try #require(!data.isEmpty, "the tool ended")
                got += String(decoding: data, as: UTF8.self)
            }
            #expect(got == "\(answer)\n")
        }
        try lines.fileHandleForWriting.close()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }

    @Test("leaves no store behind, and takes a closed pipe for an end") func leavesNothing() throws {
        let directory = try TemporaryDirectory()
        let scenario = directory.appending("scenario")
        try Data((input.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: scenario))
        let temporary = directory.appending("temporary")
        try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: false)
        let closed = Tool.process(["simulate", scenario], environment: ["TMPDIR": temporary])
        let answers = Pipe()
        closed.standardOutput = answers
        // Whoever would read has gone before the first answer.
        try answers.fileHandleForReading.close()
        try closed.run()
        closed.waitUntilExit()
        #expect(closed.terminationReason == .exit)
        #expect(closed.terminationStatus == 0)
        let whole = try Tool.run(["simulate", scenario], environment: ["TMPDIR": temporary])
        #expect(whole.status == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: temporary).isEmpty)
    }

    @Test("says which file it cannot read") func missingFile() throws {
        let outcome = try Tool.run(["simulate", "/nowhere/scenario.jsonl"])
        #expect(outcome.status == 66)
        #expect(outcome.output.isEmpty)
        #expect(outcome.talk.contains("/nowhere/scenario.jsonl"))
    }

    // MARK: JSON

    private func object(_ line: String) throws -> [String: Any]? {
        try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    }

    private func text(_ object: [String: Any]) throws -> String {
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys])
        return String(decoding: data, as: UTF8.self)
    }
}
