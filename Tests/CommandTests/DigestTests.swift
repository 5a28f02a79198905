import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("The digest of a store") struct DigestTests {
    private func digest(_ path: String) throws -> String {
        let outcome = try Tool.run(["digest", path, "--format", "json"])
        try #require(outcome.status == 0, "\(outcome.talk)")
        return try #require(try object(outcome.output)?["digest"] as? String)
    }

    @Test("is the same for a copy, whatever its blocks look like") func copies() throws {
        let store = try ToolStore("--limit-entries", "900", "--overflow", "dropOldest")
        for start in [1, 301, 601, 901] {
            try store.run(
                "append",
                "--region",
                "eu",
                "--region",
                "ap",
                "--batch",
                "7",
                input: ToolStore.lines(start...(start + 299))
            )
        }
        try store.run("ack", "--region", "eu", "--through", "523")
        try store.run("ack", "--region", "ap", "--through", "1200")
        try store.run("region fail", "us")
        let before = try digest(store.path)
        #expect(before.count == 32)
        #expect(try digest(store.path) == before)
        let loaded = store.directory.appending("loaded")
        #expect(try Tool.run(["load", loaded], input: try store.run("dump").output).status == 0)
        #expect(try digest(loaded) == before)
        let copied = store.directory.appending("copied")
        #expect(try store.run("compact", "--to", copied).status == 0)
        #expect(try digest(copied) == before)
        try store.run("compact", "--in-place", "--yes")
        #expect(try digest(store.path) == before)
        #expect(try Tool.run(["diff", store.path, loaded]).status == 0)
    }

    @Test(
        "changes with whatever a store means",
        arguments: [
            ["append", "--region", "eu"], ["ack", "--region", "eu", "--through", "3"], ["drain", "--region", "eu"],
            ["region", "pause", "eu"], ["region", "fail", "us"], ["region", "limits", "eu", "--entries", "50"],
        ]
    )
    func changes(verb: [String]) throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...10))
        let before = try digest(store.path)
        let words = verb[0] == "region" ? Array(verb.prefix(2)) : Array(verb.prefix(1))
        let arguments = words + [store.path] + verb.dropFirst(words.count)
        #expect(try Tool.run(arguments, input: ToolStore.lines(11...11)).status == 0)
        #expect(try digest(store.path) != before)
    }

    @Test("is not changed by a call that changes nothing, though time passes") func changesNothing() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...10))
        try store.run("ack", "--region", "eu", "--through", "4")
        let before = try digest(store.path)
        let copy = store.directory.appending("copy")
        try #require(try store.run("compact", "--to", copy).status == 0)
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(1...10)).status == 0)
        #expect(try digest(store.path) == before)
        #expect(try store.run("ack", "--region", "eu", "--through", "3").status == 0)
        #expect(try digest(store.path) == before)
        // A heartbeat of a healthy region says that it was heard from, and changes nobody's state.
        #expect(try store.run("region heartbeat", "ap").status == 0)
        #expect(try digest(store.path) == before)
        #expect(try Tool.run(["diff", store.path, copy]).status == 0)
        // Another state is a difference of the controller.
        try store.run("region fail", "us")
        #expect(try digest(store.path) != before)
        #expect(try Tool.run(["diff", store.path, copy, "--format", "jsonl"]).output.contains("controller"))
    }

    @Test("has a part for each region, which another region does not change") func regions() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...10))
        let part = { (region: String) in
            try object(try store.run("digest", "--region", region, "--format", "json").output)?["digest"] as? String
        }
        let before = (try part("eu"), try part("ap"))
        try store.run("append", "--region", "eu", input: ToolStore.lines(11...20))
        #expect(try part("eu") != before.0)
        #expect(try part("ap") == before.1)
        #expect(before.0 != before.1)
        #expect(try store.run("digest", "--region", "mars").status == 64)
    }

    @Test("is of one moment: it is refused while the store is open") func inUse() throws {
        let store = try ToolStore()
        let holder = Tool.process(["append", store.path, "--region", "eu", "--print-acks", "--batch", "1"])
        let (input, acks) = (Pipe(), Pipe())
        holder.standardInput = input
        holder.standardOutput = acks
        try holder.run()
        input.fileHandleForWriting.write(Data(ToolStore.lines(1...1).utf8))
        _ = acks.fileHandleForReading.availableData
        #expect(try store.run("digest").status == 75)
        #expect(try Tool.run(["diff", store.path, store.path]).status == 75)
        try input.fileHandleForWriting.close()
        holder.waitUntilExit()
        #expect(try store.run("digest").status == 0)
    }

    @Test("is not given of a store that is damaged") func damaged() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...100))
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        let header = try #require(bytes.range(of: Data([1, 1, 0, 100])))
        bytes[header.lowerBound + 90] ^= 1
        try bytes.write(to: file)
        let outcome = try store.run("digest")
        #expect(outcome.status == 65)
        #expect(outcome.output.isEmpty)
    }
}

@Suite("The difference of two stores") struct DiffTests {
    private func rows(_ a: String, _ b: String, _ more: String...) throws -> [[String: Any]] {
        let outcome = try Tool.run(["diff", a, b, "--format", "jsonl"] + more)
        try #require(outcome.status == (outcome.output.isEmpty ? 0 : 1), "\(outcome.talk)")
        return try outcome.lines.filter { !$0.isEmpty }.compactMap { try object($0) }
    }

    @Test("names the ranges that each has and the other has not, with positions where they mean the same")
    func ranges() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--region", "ap", input: ToolStore.lines(1...500))
        let copy = store.directory.appending("copy")
        try store.run("compact", "--to", copy)
        #expect(try rows(store.path, copy).isEmpty)
        // The copy goes on by itself: it takes more, and acknowledges some.
        try #require(
            try Tool.run(["append", copy, "--region", "eu"], input: ToolStore.lines(501...520)).status == 0
        )
        try #require(try Tool.run(["ack", copy, "--region", "eu", "--through", "100"]).status == 0)
        let found = try rows(store.path, copy, "--region", "eu").filter { $0["what"] as? String != "state" }
        #expect(found.map { $0["in"] as? String } == ["a", "b"])
        #expect(found.map { $0["what"] as? String } == ["queued", "queued"])
        #expect(found.map { $0["first"] as? Int } == [1, 501])
        #expect(found.map { $0["last"] as? Int } == [100, 520])
        #expect(found.map { $0["firstPosition"] as? Int } == [1, 501])
        #expect(found.map { $0["lastPosition"] as? Int } == [100, 520])
        #expect(found.map { $0["other"] as? String } == ["left", "never"])
        #expect(try rows(store.path, copy, "--region", "ap").isEmpty)
        let table = try Tool.run(["diff", store.path, copy, "--format", "table"])
        #expect(table.status == 1)
        #expect(table.lines[0].contains("region  only in"))
        #expect(table.output.contains("1-100"))
        // What was acknowledged there, and was never here.
        try #require(try Tool.run(["ack", copy, "--region", "eu", "--through", "510"]).status == 0)
        let left = try rows(store.path, copy, "--region", "eu").filter { $0["what"] as? String == "left" }
        #expect(left.map { $0["in"] as? String } == ["b"])
        #expect(left.map { $0["first"] as? Int } == [501])
        #expect(left.map { $0["last"] as? Int } == [510])
    }

    @Test("tells writes of one identity whose content differs, and positions that mean something else")
    func content() throws {
        let (first, second) = (try ToolStore(), try ToolStore())
        let other = ToolStore.lines(1...40).replacingOccurrences(of: #""value":"v7""#, with: #""value":"other""#)
        try first.run("append", "--region", "eu", input: ToolStore.lines(1...40) + ToolStore.lines(60...70))
        try second.run("append", "--region", "eu", input: other)
        let found = try rows(first.path, second.path, "--region", "eu")
        // When they were queued differs for all of them, and is no difference of content.
        let content = found.filter { $0["what"] as? String == "content" }
        #expect(content.map { $0["first"] as? Int } == [7])
        #expect(content.map { $0["last"] as? Int } == [7])
        let queued = found.filter { $0["what"] as? String == "queued" }
        #expect(queued.map { $0["first"] as? Int } == [60])
        #expect(queued.allSatisfy { $0["firstPosition"] == nil })
        let state = found.filter { $0["what"] as? String == "state" }
        #expect(state.count == 1)
    }

    @Test("finds a pause, where no write is missing") func state() throws {
        let store = try ToolStore()
        let copy = store.directory.appending("copy")
        try store.run("compact", "--to", copy)
        try store.run("region pause", "eu", "--reason", "a test")
        let found = try rows(store.path, copy, "--region", "eu")
        #expect(found.map { $0["what"] as? String } == ["state"])
        #expect(found.first?["differs"] as? [String] == ["pause"])
    }

    @Test("agrees with the sets of identities, whatever the stores went through") func model() throws {
        var visited: Set<String> = []
        for seed in 0..<8 as Range<UInt64> { visited.formUnion(try modelRun(seed)) }
        // Every kind of difference was met.
        #expect(
            visited == [
                "queued a left", "queued b left", "queued a never", "queued b never", "left a never", "left b never",
            ]
        )
    }

    /// Lets two stores go their ways, compares, and gives the kinds of differences that there were.
    private func modelRun(_ seed: UInt64) throws -> Set<String> {
        var random = SplitMix64(seed: seed)
        let first = try ToolStore()
        let second = first.directory.appending("second")
        try first.run("append", "--region", "eu", input: ToolStore.lines(1...200))
        try first.run("compact", "--to", second)
        var queued: [Set<Int>] = [Set(1...200), Set(1...200)]
        var order: [[Int]] = [Array(1...200), Array(1...200)]
        for _ in 0..<8 {
            let side = Int.random(in: 0...1, using: &random)
            let path = side == 0 ? first.path : second
            if Int.random(in: 0..<3, using: &random) > 0 {
                let start = Int.random(in: 1...400, using: &random)
                let range = start...(start + Int.random(in: 0...80, using: &random))
                #expect(try Tool.run(["append", path, "--region", "eu"], input: ToolStore.lines(range)).status == 0)
                for sequence in range where !order[side].contains(sequence) {
                    order[side].append(sequence)
                    queued[side].insert(sequence)
                }
            } else {
                let through = Int.random(in: 0...order[side].count, using: &random)
                #expect(try Tool.run(["ack", path, "--region", "eu", "--through", "\(through)"]).status == 0)
                for sequence in order[side].prefix(through) { queued[side].remove(sequence) }
            }
        }
        var missing: [String: Set<Int>] = [:]
        for row in try rows(first.path, second, "--region", "eu") {
            guard let what = row["what"] as? String, what != "state" else { continue }
            let (side, other) = (row["in"] as? String ?? "", row["other"] as? String ?? "-")
            let (start, end) = (try #require(row["first"] as? Int), try #require(row["last"] as? Int))
            missing["\(what) \(side) \(other)", default: []].formUnion(start...end)
        }
        var expected: [String: Set<Int>] = [:]
        for (side, name) in ["a", "b"].enumerated() {
            let (here, there) = (queued[side], queued[1 - side])
            let (had, known) = (Set(order[side]), Set(order[1 - side]))
            expected["queued \(name) left"] = here.subtracting(there).intersection(known)
            expected["queued \(name) never"] = here.subtracting(known)
            expected["left \(name) never"] = had.subtracting(here).subtracting(known)
        }
        #expect(missing == expected.filter { !$0.value.isEmpty }, "seed \(seed)")
        return Set(missing.keys)
    }
}
