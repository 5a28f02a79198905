import Foundation
import HoldfastTesting
import TestSupport
import Testing

/// A store that the tool made, and the tool's answers about it.
struct ToolStore {
    let directory: TemporaryDirectory
    var path: String { directory.appending("store") }

    init(_ options: String...) throws {
        directory = try TemporaryDirectory()
        let made = try Tool.run(["init", path, "--local", "us", "--regions", "us,eu,ap"] + options)
        try #require(made.status == 0, "\(made.talk)")
    }

    @discardableResult
    func run(_ verb: String, _ arguments: String..., input: String? = nil) throws -> Tool.Outcome {
        try Tool.run(verb.split(separator: " ").map(String.init) + [path] + arguments, input: input)
    }

    /// Lines of input: sequences `range`, each with a key and a value of its own.
    static func lines(_ range: ClosedRange<Int>) -> String {
        range.map { #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k\#($0)","value":"v\#($0)"}"# + "\n" }
            .joined()
    }

    func statistics(_ region: String) throws -> [String: Any] {
        let outcome = try run("queues", "--format", "jsonl")
        let rows = try outcome.lines.compactMap { try object($0) }
        return try #require(rows.first { $0["region"] as? String == region })
    }
}

func object(_ line: String) throws -> [String: Any]? {
    try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
}

@Suite("The tool") struct VerbTests {
    @Test("says with its exit code what kind of failure it was") func exitCodes() throws {
        let store = try ToolStore()
        let missing = store.directory.appending("nope")
        let eu = ["--region", "eu"]
        let cases: [([String], Int32)] = [
            (["init", store.path, "--local", "us", "--regions", "us"], 73),
            (["init", missing, "--local", "mars", "--regions", "us"], 64),
            (["init", missing, "--local", "us", "--regions", "us,us"], 64),
            (["queues", missing], 66), (["check", missing], 66), (["info", missing], 66), (["dump", missing], 66),
            (["append", missing] + eu, 66), (["ack", missing, "--through", "1"] + eu, 66),
            (["append", store.path, "--region", "mars"], 64),
            (["ack", store.path, "--through", "9"] + eu, 1), (["ack", store.path, "--through", "0"] + eu, 0),
            (["ack", store.path, "--through", "0", "--if-epoch", "9"] + eu, 1),
            (["get", store.path, "--position", "1"] + eu, 66),
            (["get", store.path, "--position", "1", "--values", "none"] + eu, 64),
            (["drain", store.path, "--values", "len-hash"] + eu, 64), (["drain", store.path] + eu, 0),
            (["region", "fail", store.path, "eu"], 1), (["region", "status", store.path, "mars"], 64),
            (["compact", store.path], 64), (["compact", store.path, "--in-place"], 0),
            (["load", store.path, "/dev/null"], 65), (["nothere"], 64),
            (["queues", store.path, "--format", "xml"], 64),
            (["doctor", store.path], 0), (["version"], 0), (["snapshot", store.path], 0), (["history", store.path], 0),
        ]
        for (arguments, status) in cases {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == status, "\(arguments): \(outcome.talk)")
            #expect(!outcome.isSignalled)
            if status == 66, ["queues", "info", "append"].contains(arguments[0]) {
                #expect(outcome.talk.contains("holdfast init \(missing)"))
            }
        }
        #expect(FileManager.default.fileExists(atPath: missing) == false)
    }

    @Test("gives an error as one JSON object where JSON is asked for") func jsonErrors() throws {
        let store = try ToolStore()
        let outcome = try store.run("region fail", "eu", "--format", "json")
        let error = try #require(try object(outcome.talk)?["error"] as? [String: Any])
        #expect(outcome.output.isEmpty)
        #expect(error["code"] as? String == "illegalTransition")
        #expect(error["region"] as? String == "eu")
        #expect(error["role"] as? String == "secondary")
    }

    @Test("refuses a second writer, and lets readers in") func inUse() throws {
        let store = try ToolStore()
        let holder = Tool.process(["append", store.path, "--region", "eu", "--print-acks", "--batch", "1"])
        let input = Pipe()
        let acks = Pipe()
        holder.standardInput = input
        holder.standardOutput = acks
        try holder.run()
        input.fileHandleForWriting.write(Data(ToolStore.lines(1...1).utf8))
        _ = acks.fileHandleForReading.availableData
        // It has acknowledged, and waits for more with the store open.
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(2...2)).status == 75)
        #expect(try store.run("compact", "--in-place", "--yes").status == 75)
        #expect(try store.run("dump", "--consistent").status == 75)
        #expect(
            try store.run("ack", "--region", "eu", "--through", "1").talk.contains("pid \(holder.processIdentifier)")
        )
        #expect(try store.run("queues").status == 0)
        #expect(try store.run("records", "--format", "jsonl").lines.count == 1)
        #expect(try store.run("check").status == 0)
        #expect(try store.run("check", "--level", "full").status == 75)
        try input.fileHandleForWriting.close()
        holder.waitUntilExit()
        #expect(holder.terminationStatus == 0)
    }

    @Test("prints an acknowledgement a commit, in the form that scripts rely on") func acknowledgements() throws {
        let store = try ToolStore()
        let outcome = try store.run("append", "--region", "eu", "--print-acks", input: ToolStore.lines(1...600))
        #expect(
            outcome.lines == [
                #"{"region":"eu","first":1,"through":256,"accepted":256,"duplicates":0}"#,
                #"{"region":"eu","first":257,"through":512,"accepted":256,"duplicates":0}"#,
                #"{"region":"eu","first":513,"through":600,"accepted":88,"duplicates":0}"#,
            ]
        )
        let again = try store.run("append", "--region", "eu", "--print-acks", input: ToolStore.lines(599...601))
        #expect(again.lines == [#"{"region":"eu","first":601,"through":601,"accepted":1,"duplicates":2}"#])
        let nothing = try store.run("append", "--region", "eu", "--print-acks", input: ToolStore.lines(1...2))
        #expect(nothing.lines == [#"{"region":"eu","first":602,"through":601,"accepted":0,"duplicates":2}"#])
    }

    @Test(
        "names a malformed line, and queues nothing of its batch",
        arguments: [
            #"{"origin":"us","incarnation":0,"sequence":2,"key":"k"}"#,
            #"{"origin":"us","incarnation":0,"sequence":-2,"key":"k","value":"v"}"#,
            #"{"origin":"us","incarnation":0,"sequence":2,"key":"k","value":"v","colour":"red"}"#,
            #"{"origin":"u s","incarnation":0,"sequence":2,"key":"k","value":"v"}"#,
            #"["origin"]"#, "not json", #"{"origin":"us""#,
        ]
    )
    func malformed(line: String) throws {
        let store = try ToolStore()
        let input = ToolStore.lines(1...4) + line + "\n" + ToolStore.lines(5...6)
        let outcome = try store.run("append", "--region", "eu", "--batch", "2", input: input)
        #expect(outcome.status == 65)
        #expect(outcome.talk.lowercased().contains("line 5"))
        #expect(try store.statistics("eu")["entries"] as? Int == 4)
        let skipping = try store.run("append", "--region", "eu", "--skip-malformed", input: input)
        #expect(skipping.status == 0)
        #expect(try store.statistics("eu")["entries"] as? Int == 6)
    }

    @Test("asks for the incarnation where neither line nor option gives it") func incarnation() throws {
        let store = try ToolStore()
        let line = #"{"origin":"us","sequence":"18446744073709551615","key":"k","value":"v"}"# + "\n"
        #expect(try store.run("append", "--region", "eu", input: line).status == 64)
        #expect(try store.run("append", "--region", "eu", "--incarnation", "3", input: line).status == 0)
        let record = try #require(try object(try store.run("records", "--format", "jsonl").lines[0]))
        #expect(record["incarnation"] as? Int == 3)
        #expect((record["sequence"] as? NSNumber)?.uint64Value == .max)
    }

    @Test("prints no payload unless asked") func payloads() throws {
        let store = try ToolStore()
        let secret = #"{"origin":"us","incarnation":0,"sequence":1,"key":"k","value":"s3cret"}"# + "\n"
        try store.run("append", "--region", "eu", input: secret)
        for verb in [["records"], ["queues"], ["info"], ["history"], ["snapshot"], ["doctor"], ["check"]] {
            for format in ["table", "json"] where verb != ["snapshot"] {
                let outcome = try Tool.run(verb + [store.path, "--format", format])
                #expect(!(outcome.output + outcome.talk).contains("s3cret"), "\(verb)")
                #expect(!outcome.output.contains(Data("s3cret".utf8).base64EncodedString()), "\(verb)")
            }
        }
        #expect(try store.run("records", "--values", "utf8").output.contains("s3cret"))
        #expect(try store.run("get", "--region", "eu", "--position", "1").output.contains("czNjcmV0"))
    }

    @Test("carries a store through dump and load, every byte of it") func dumpAndLoad() throws {
        let store = try ToolStore("--limit-entries", "700", "--overflow", "dropOldest")
        let odd = (0...255).map { byte in
            let bytes = Data([UInt8(byte), 0xFF, 0, UInt8(byte)]).base64EncodedString()
            return
                #"{"origin":"ap","incarnation":\#(byte % 3),"sequence":\#(byte),"keyBase64":"\#(bytes)","valueBase64":"#
                + #""\#(bytes)","kind":"\#(byte % 5 == 0 ? "delete" : "put")","timestampMs":-\#(byte),"clockBase64":"\#(bytes)"}"#
        }
        try store.run("append", "--region", "eu", "--batch", "100", input: odd.joined(separator: "\n") + "\n")
        try store.run("append", "--region", "eu", "--region", "ap", input: ToolStore.lines(1...600))
        try store.run("ack", "--region", "eu", "--through", "300")
        try store.run("region fail", "us")
        let dump = try store.run("dump").output
        let copy = store.directory.appending("copy")
        let loaded = try Tool.run(["load", copy], input: dump)
        #expect(loaded.status == 0, "\(loaded.talk)")
        let again = try Tool.run(["dump", copy]).output
        // All but the identity, and what follows from it and from new blocks, is the same.
        let isSame = { (line: Substring) in
            !line.contains(#""dump":"#) && !line.contains(#""trailer":"#) && !line.contains(#""table":"regions""#)
                && !line.contains(#""table":"superblock""#)
        }
        #expect(again.split(separator: "\n").filter(isSame) == dump.split(separator: "\n").filter(isSame))
        for verb in ["queues", "snapshot"] {
            var (before, after) = (try store.run(verb).output, try Tool.run([verb, copy]).output)
            // What the moment of asking decides, and what new blocks take.
            for key in ["oldestMs", "storedBytes", "uuid"] {
                let pattern = try Regex("\"\(key)\":[^,}]*")
                before.replace(pattern, with: "")
                after.replace(pattern, with: "")
            }
            #expect(before == after, "\(verb)")
        }
        #expect(try Tool.run(["check", copy, "--level", "full"]).status == 0)
        let more = try Tool.run(["append", copy, "--region", "eu", "--print-acks"], input: ToolStore.lines(600...601))
        #expect(more.output.contains(#""accepted":1,"duplicates":1"#))
    }

    @Test("leaves nothing of a load that did not end") func incompleteLoad() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...300))
        let lines = try store.run("dump").lines
        let cuts = [lines.count - 1, lines.count / 2, 1]
        for (index, cut) in cuts.enumerated() {
            let copy = store.directory.appending("copy-\(index)")
            let input = lines.prefix(cut).joined(separator: "\n") + "\n"
            #expect(try Tool.run(["load", copy], input: input).status == 65)
            #expect(!FileManager.default.fileExists(atPath: copy))
        }
        var changed = lines
        changed[5] = changed[5].replacingOccurrences(of: #""sequence":5"#, with: #""sequence":6"#)
        let input = changed.joined(separator: "\n") + "\n"
        #expect(try Tool.run(["load", store.directory.appending("changed")], input: input).status == 65)
    }

    @Test("compacts in place and to another directory, and keeps everything") func compact() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--region", "ap", input: ToolStore.lines(1...20_000))
        try store.run("ack", "--region", "eu", "--through", "19990")
        try store.run("ack", "--region", "ap", "--through", "20000")
        let before = try store.run("dump").output
        let copy = store.directory.appending("copy")
        #expect(try store.run("compact", "--to", copy).status == 0)
        #expect(try Tool.run(["dump", copy]).output == before)
        let report = try store.run("compact", "--in-place", "--yes", "--format", "json")
        #expect(report.status == 0)
        #expect(try store.run("dump").output == before)
        #expect(try store.run("check", "--level", "full").status == 0)
        let size = try FileManager.default.attributesOfItem(atPath: store.path + "/data.mdb")[.size] as? Int
        #expect(try #require(size) <= 256 << 10)
    }

    @Test("finds a flipped byte, and names region and positions") func damage() throws {
        let store = try ToolStore()
        let input = (1...1000).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k","value":"\#(UUID())"}"# + "\n"
        }
        try store.run("append", "--region", "eu", input: input.joined())
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        // A byte in the middle of a block, found by the header's first bytes: format, flags, entries.
        let header = try #require(bytes.range(of: Data([1, 1, 1, 0])))
        bytes[header.lowerBound + 200] ^= 0x10
        try bytes.write(to: file)
        let check = try store.run("check", "--level", "full", "--format", "jsonl")
        #expect(check.status == 65)
        #expect(check.output.contains(#""region":"eu""#))
        #expect(try store.run("records", "--format", "jsonl").status == 65)
        // A new store has the rest, and says what is missing; the damaged one is as it was.
        let copy = store.path + "-recovered"
        let recovered = try store.run("recover", "--to", copy, "--format", "json")
        #expect(recovered.status == 65)
        let lost = /"region":"eu","recovered":744,"dead":0,"lost":\[\{"first":(\d+),"last":(\d+)\}\]/
        let range = try #require(recovered.output.firstMatch(of: lost)?.output)
        #expect(try #require(Int(range.2)) - #require(Int(range.1)) == 255)
        #expect(check.output.contains("\(range.1)") && check.output.contains("\(range.2)"))
        #expect(try Tool.run(["check", copy, "--level", "deep"]).status == 0)
        #expect(try Tool.run(["queues", copy, "--format", "jsonl"]).output.contains(#""needsResync":true"#))
        #expect(try Data(contentsOf: file) == bytes)
        // The rest is delivered, and the ledger says what is not.
        let drained = try store.run("drain", "--region", "eu")
        #expect(drained.lines.count == 1000 - 256)
        let queue = try store.statistics("eu")
        #expect(queue["lost"] as? Int == 256)
        #expect(queue["needsResync"] as? Bool == true)
        let history = try store.run("history").output
        #expect(history.contains(#""event":"resyncNeeded","region":"eu""#))
        #expect(try store.run("check", "--level", "full").status == 0)
    }

    @Test("has an example in each verb's help, and completions that know the verbs") func help() throws {
        let verbs = [
            "init", "append", "info", "queues", "records", "get", "lost", "digest", "diff", "drain", "ack", "dump",
            "load", "check", "compact", "backup", "restore", "recover", "upgrade", "region", "snapshot", "history",
            "simulate",
            "doctor", "version", "replay", "dlq",
        ]
        for verb in verbs {
            let help = try Tool.run(["help", verb])
            #expect(help.status == 0)
            #expect(help.output.contains("holdfast \(verb)"), "\(verb)")
            #expect(help.output.contains("xample"), "\(verb)")
        }
        for shell in ["bash", "zsh", "fish"] {
            let script = try Tool.run(["--generate-completion-script", shell]).output
            for verb in verbs { #expect(script.contains(verb), "\(shell), \(verb)") }
        }
    }
}
