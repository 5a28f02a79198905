import Foundation
import TestSupport
import Testing

@Suite("holdfast dlq") struct DeadLetterTests {
    /// A store in which some of 30 writes were refused, with a reason, and parked.
    private func parked(_ sequences: [Int], _ policy: String = "park") throws -> Receiver {
        let receiver = try Receiver(1...30)
        try receiver.store.run("region replay", "eu", "--attempts-max", "2", "--exhausted", policy)
        let bad = sequences.map { "\"sequence\":\($0)," }.joined(separator: "|")
        let outcome = try receiver.run(
            "cat > in; grep -qE '\(bad)' in && { echo noise; echo \"bad: $HOLDFAST_FIRST\"; exit 3; } >&2; exit 0",
            "--once"
        )
        try #require(outcome.status == 0, "\(outcome.talk)")
        #expect(outcome.talk.contains("holdfast dlq list \(receiver.store.path) --region eu"))
        return receiver
    }

    private func positions(_ store: ToolStore, _ options: String...) throws -> [Int] {
        let outcome = try Tool.run(["dlq", "list", store.path, "--format", "jsonl"] + options)
        try #require(outcome.status == 0, "\(outcome.talk)")
        return try outcome.output.split(separator: "\n").compactMap { try object(String($0))?["position"] as? Int }
    }

    @Test("lists, shows and exports what was refused, with what the region said") func look() throws {
        let store = try parked([7, 21]).store
        let line = try store.run("dlq list", "--format", "jsonl").lines[0]
        #expect(
            line.replacing(/Ms":[0-9]+/, with: #"Ms":0"#)
                == #"{"region":"eu","position":7,"cause":"attempts","attempts":2,"parkedAtMs":0,"enqueuedAtMs":0,"#
                + #""reason":"bad: 7","origin":"us","incarnation":0,"sequence":7,"kind":"put","key":"k7","valueBytes":2,"#
                + #""valueHash":"\#(try #require(try object(line)?["valueHash"] as? String))"}"#
        )
        #expect(try positions(store) == [7, 21])
        #expect(try positions(store, "--region", "eu", "--position", "21") == [21])
        #expect(try positions(store, "--key", "k7") == [7])
        #expect(try positions(store, "--key", "k8") == [])
        #expect(try positions(store, "--region", "ap") == [])
        let table = try store.run("dlq list", "--format", "table").lines
        #expect(table.count == 3)
        #expect(table[0].split(separator: " ").prefix(4) == ["region", "position", "cause", "attempts"])
        let shown = try store.run("dlq show", "--region", "eu", "--position", "7", "--values", "utf8")
        #expect(try object(shown.output)?["value"] as? String == "v7")
        #expect(try store.run("dlq show", "--region", "eu", "--position", "8").status == 66)
        let exported = try store.run("dlq export", "--region", "eu").lines
        #expect(try exported.map { try object($0)?["valueBase64"] as? String } == ["djc=", "djIx"])
        for form in ["none", "len-hash"] { #expect(try store.run("dlq export", "--values", form).status == 64) }
        // What is exported can be appended elsewhere.
        let other = try ToolStore()
        let appended = try other.run("append", "--region", "eu", input: exported.joined(separator: "\n") + "\n")
        #expect(appended.status == 0, "\(appended.talk)")
        #expect(try other.statistics("eu")["entries"] as? Int == 2)
    }

    @Test("says so when there is none") func empty() throws {
        let store = try ToolStore()
        let table = try store.run("dlq list", "--format", "table")
        #expect(table.output.isEmpty)
        #expect(table.talk == "There is no dead letter.\n")
        #expect(try store.run("dlq list", "--format", "json").output == "[]\n")
        #expect(try store.run("dlq retry", "--region", "eu", "--all").status == 0)
        #expect(try store.run("dlq retry", "--region", "eu", "--position", "1").status == 66)
        #expect(try store.run("dlq drop", "--region", "eu", "--key", "k").status == 66)
        #expect(try store.run("dlq retry", "--region", "eu").status == 64)
        #expect(try store.run("dlq drop", "--region", "eu", "--all", "--key", "k").status == 64)
        #expect(try store.run("dlq list", "--position", "1").status == 64)
        #expect(try store.run("dlq list", "--region", "mars").status == 64)
        #expect(try store.run("dlq retry", "--region", "mars", "--all").status == 64)
    }

    @Test("brings a dead letter that is retried") func retry() throws {
        let receiver = try parked([7, 21])
        let store = receiver.store
        // One that is there and one that is not: nothing happens.
        #expect(try store.run("dlq retry", "--region", "eu", "--position", "7", "--position", "8").status == 66)
        #expect(try positions(store) == [7, 21])
        let outcome = try store.run("dlq retry", "--region", "eu", "--position", "7")
        #expect(outcome.output == #"{"region":"eu","retried":1,"dead":1}"# + "\n")
        #expect(try store.run("dlq retry", "--region", "eu", "--key", "k21").status == 0)
        #expect(try positions(store) == [])
        #expect(try receiver.run("cat > received", "--once").status == 0)
        #expect(try receiver.sequences() == [7, 21])
        let queue = try store.statistics("eu")
        #expect(queue["acknowledged"] as? Int == 30)
        #expect(queue["dead"] as? Int == 0)
        #expect(try store.run("check", "--level", "full").status == 0)
    }

    @Test("refuses to bring a part of a key back where the rest would come before it") func partOfKey() throws {
        let receiver = try Receiver(1...1)
        let store = receiver.store
        try store.run("region replay", "eu", "--attempts-max", "1", "--exhausted", "parkKey")
        let lines = (2...9).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k\#($0 % 2)","value":"v"}"# + "\n"
        }
        try store.run("append", "--region", "eu", input: lines.joined())
        _ = try receiver.run(#"cat > in; ! grep -qE '"key":"k[01]"' in"#, "--once")
        #expect(try positions(store) == Array(1...9))
        let part = try store.run("dlq retry", "--region", "eu", "--position", "2", "--position", "4")
        #expect(part.status == 1)
        #expect(part.talk.contains(": 6, 8 are of the same keys"), "\(part.talk)")
        #expect(part.talk.contains("  holdfast dlq retry \(store.path) --region eu --key k0\n"))
        #expect(try positions(store) == Array(1...9))
        let whole = ["2", "4", "6", "8"].flatMap { ["--position", $0] }
        let all = try Tool.run(["dlq", "retry", store.path, "--region", "eu"] + whole)
        #expect(all.status == 0, "\(all.talk)")
        #expect(try positions(store) == [1, 3, 5, 7, 9])
        try store.run("region replay", "eu", "--exhausted", "park")
        #expect(try store.run("dlq retry", "--region", "eu", "--position", "3").status == 0)
    }

    @Test("drops nothing before it is told twice, and then names it in the ledger") func drop() throws {
        let store = try parked([7, 8, 9, 21]).store
        let plan = try store.run("dlq drop", "--region", "eu", "--all")
        #expect(plan.status == 0)
        let members = try #require(try object(plan.output)?["plan"] as? [String: Any])
        #expect(members["letters"] as? Int == 4)
        #expect(plan.output.contains(#""positions":[{"first":7,"last":9},{"first":21,"last":21}]"#))
        #expect(members["next"] as? String == "holdfast dlq drop \(store.path) --region eu --all --yes")
        #expect(try store.run("dlq drop", "--region", "eu", "--all", "--format", "table").output.contains("7-9, 21"))
        #expect(try positions(store) == [7, 8, 9, 21])
        let some = try store.run("dlq drop", "--region", "eu", "--position", "8", "--position", "21", "--yes")
        #expect(some.output == #"{"region":"eu","dropped":2,"dead":2}"# + "\n")
        #expect(try positions(store) == [7, 9])
        #expect(try store.statistics("eu")["dropped"] as? Int == 2)
        #expect(try store.run("dump").lines.count { $0.contains(#""table":"lost""#) } == 2)
        #expect(try store.run("check", "--level", "full").status == 0)
    }

    @Test("takes more than one look, and more than one transaction") func many() throws {
        let receiver = try Receiver(1...1)
        let store = receiver.store
        let lines = (2...1100).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k1","value":"v\#($0)"}"# + "\n"
        }
        try store.run("append", "--region", "eu", input: lines.joined())
        try store.run("region replay", "eu", "--attempts-max", "1", "--exhausted", "parkKey")
        #expect(try receiver.run("echo no >&2; exit 1", "--once").status == 0)
        #expect(try positions(store) == Array(1...1100))
        #expect(try positions(store, "--key", "k1").count == 1100)
        #expect(
            try store.run("dlq retry", "--region", "eu", "--key", "k1").output.contains(#""retried":1100,"dead":0"#)
        )
        #expect(try receiver.run("cat >> received", "--once").status == 0)
        #expect(try receiver.sequences() == Array(1...1100))
    }

    @Test("looks beside a process that has the store open, and changes nothing there") func inUse() throws {
        let receiver = try parked([7])
        let store = receiver.store
        try store.run("append", "--region", "ap", input: ToolStore.lines(1...1))
        let holder = receiver.process("touch begun; while [ ! -e go ]; do sleep 0.01; done", region: "ap")
        holder.standardError = FileHandle.nullDevice
        try holder.run()
        receiver.wait(for: "begun", holder)
        #expect(try positions(store) == [7])
        #expect(try store.run("dlq show", "--region", "eu", "--position", "7").status == 0)
        #expect(try store.run("dlq export").lines.count == 1)
        #expect(try store.run("dlq drop", "--region", "eu", "--all").status == 0)
        #expect(try store.run("dlq drop", "--region", "eu", "--all", "--yes").status == 75)
        #expect(try store.run("dlq retry", "--region", "eu", "--all").status == 75)
        #expect(try store.run("region limits").status == 0)
        #expect(try store.run("region replay", "eu").status == 0)
        #expect(try store.run("region replay", "eu", "--rate", "5").status == 75)
        try receiver.make("go")
        holder.waitUntilExit()
        #expect(holder.terminationStatus == 0)
    }

    @Test("keeps at most 1,024 bytes of what the region said, in whole characters") func longReason() throws {
        let receiver = try Receiver(1...1)
        try receiver.store.run("region replay", "eu", "--attempts-max", "1", "--exhausted", "park")
        let script = #"printf 'first\n' >&2; printf 'a%0600d' 0 | sed 's/0/\xc3\xa4/g' >&2; printf '\n\n' >&2; exit 1"#
        #expect(try receiver.run(script, "--once").status == 0)
        let letter = try #require(try object(try receiver.store.run("dlq list", "--format", "jsonl").lines[0]))
        let reason = try #require(letter["reason"] as? String)
        #expect(reason.hasPrefix("a\u{E4}\u{E4}"))
        #expect((1000...1024).contains(reason.utf8.count))
        #expect(!reason.contains("\u{FFFD}"))
    }
}
