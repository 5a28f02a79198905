import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("A compaction") struct CompactTests {
    private func digest(_ path: String) throws -> String {
        try #require(try object(try Tool.run(["digest", path, "--format", "json"]).output)?["digest"] as? String)
    }

    private func compact(_ path: String, _ options: String...) throws -> [String: Any] {
        let outcome = try Tool.run(["compact", path, "--in-place", "--yes", "--format", "json"] + options)
        try #require(outcome.status == 0, "\(outcome.talk)")
        return try #require(try object(outcome.output))
    }

    /// Writes that are alike, as those of one service are.
    private static func lines(_ range: ClosedRange<Int>) -> String {
        range.map { number in
            let value = #"{\"user\":\#(number * 7919 % 10_007),\"name\":\"customer \#(number)\",\"state\":\"active\"}"#
            return
                #"{"origin":"us","incarnation":0,"sequence":\#(number),"key":"user:\#(number)","value":"\#(value)"}"#
                + "\n"
        }
        .joined()
    }

    @Test("merges small blocks, and what the store means stays the same") func merges() throws {
        let store = try ToolStore()
        for start in stride(from: 1, through: 401, by: 100) {
            // Every call repeats ten of the one before: frames with entries that are skipped.
            let input = Self.lines(max(1, start - 10)...(start + 99))
            try store.run("append", "--region", "eu", "--region", "ap", "--batch", "7", input: input)
        }
        try store.run("ack", "--region", "eu", "--through", "123")
        let before = (try digest(store.path), try store.run("dump", "--entries-only").output)
        let report = try compact(store.path)
        let blocks = (try #require(report["blocksBefore"] as? Int), try #require(report["blocksAfter"] as? Int))
        #expect(blocks.0 > 100)
        // Positions 124 to 500 and 1 to 500, in blocks of 250 and more where there is enough.
        #expect(blocks.1 == 4)
        #expect(try #require(report["storedAfter"] as? Int) < (report["storedBefore"] as? Int ?? 0) / 2)
        #expect(try digest(store.path) == before.0)
        #expect(try store.run("dump", "--entries-only").output == before.1)
        #expect(try store.run("check", "--level", "full").status == 0)
        // The cursor moves inside a merged block, and what was seen is known.
        try store.run("ack", "--region", "eu", "--through", "200")
        #expect(try store.run("append", "--region", "eu", input: Self.lines(1...501)).status == 0)
        #expect(try store.run("drain", "--region", "eu").lines.count == 301)
        #expect(try store.run("check", "--level", "full").status == 0)
        #expect(try compact(store.path)["blocksAfter"] as? Int == 2)
    }

    @Test("with a dictionary makes few entries shorter, for blocks that are there and for those to come")
    func dictionary() throws {
        let (store, plain) = (try ToolStore(), try ToolStore())
        for path in [store.path, plain.path] {
            #expect(
                try Tool.run(["append", path, "--region", "eu", "--batch", "3"], input: Self.lines(1...2400)).status
                    == 0
            )
        }
        let before = (try digest(store.path), try store.run("dump", "--entries-only").output)
        let report = try compact(store.path, "--train-dictionary", "--level", "3")
        #expect(report["dictionary"] as? Int == 1)
        #expect((256...4096).contains(try #require(report["dictionaryBytes"] as? Int)))
        #expect(try digest(store.path) == before.0)
        #expect(try store.run("dump", "--entries-only").output == before.1)
        // New blocks of one entry, here with the dictionary and there without.
        var grown: [Int] = []
        for each in [store, plain] {
            let stored = { try #require(try each.statistics("eu")["storedBytes"] as? Int) }
            let start = try stored()
            try each.run("append", "--region", "eu", "--batch", "1", input: Self.lines(3001...3040))
            grown.append(try stored() - start)
        }
        print("40 blocks of one entry: \(grown[0]) bytes with a dictionary, \(grown[1]) without")
        #expect(grown[0] * 10 < grown[1] * 9)
        #expect(try store.run("check", "--level", "full").status == 0)
        #expect(
            try store.run("get", "--region", "eu", "--position", "2440", "--values", "utf8").output.contains("3040")
        )
        // Through every way that a store is written anew.
        let entries = try store.run("dump", "--entries-only").output
        let places = ["loaded", "backup", "restored", "copied"].map { store.directory.appending($0) }
        #expect(try Tool.run(["load", places[0]], input: try store.run("dump").output).status == 0)
        #expect(try store.run("backup", "--to", places[1]).status == 0)
        #expect(try Tool.run(["restore", places[1], "--to", places[2], "--yes"]).status == 0)
        #expect(try store.run("compact", "--to", places[3], "--train-dictionary").status == 0)
        let whole = try digest(store.path)
        for place in places {
            #expect(try digest(place) == whole, "\(place)")
            #expect(try Tool.run(["dump", place, "--entries-only"]).output == entries, "\(place)")
        }
        #expect(try Tool.run(["drain", places[2], "--region", "eu"]).lines.count == 2440)
        // The second dictionary takes the place of the first, which no block names any more.
        let tables = try Tool.run(["dump", places[3]]).output
        #expect(tables.contains(#""table":"dictionaries","keyBase64":"AAAAAgA=""#))
        #expect(!tables.contains(#""table":"dictionaries","keyBase64":"AAAAAQA=""#))
    }

    @Test("to another directory says that the copy takes the store's place") func place() throws {
        let store = try ToolStore()
        let copies = ["one", "two"].map { store.directory.appending($0) }
        let report = try object(try store.run("compact", "--to", copies[0], "--format", "json").output)
        #expect(report?["takesPlaceOf"] as? String == store.path)
        let told = try store.run("compact", "--to", copies[1], "--format", "table").output
        #expect(told.contains("write to \(store.path) no more"))
        #expect(try compact(store.path)["takesPlaceOf"] == nil)
        #expect(try Tool.run(["compact", "--help"]).output.contains("takes the store's place"))
    }

    @Test("trains no dictionary on too little, and says so") func tooLittle() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: Self.lines(1...50))
        let outcome = try store.run("compact", "--in-place", "--train-dictionary", "--yes", "--format", "table")
        #expect(outcome.status == 0)
        #expect(outcome.output.contains("none: what is queued is too little"))
        #expect(try store.run("records", "--format", "jsonl").lines.count == 50)
        let plan = try store.run("compact", "--in-place", "--train-dictionary", "--level", "9", "--format", "table")
        #expect(plan.output.contains("--in-place --level 9 --train-dictionary --yes"))
        #expect(try store.run("compact", "--in-place", "--level", "20").status == 64)
    }

    /// Flips a bit in rows of the table `dictionaries`, which begin with a dictionary's magic number.
    private func damageDictionaries(_ path: String, copies: Int) throws {
        let file = URL(fileURLWithPath: path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        var start = bytes.startIndex
        var places = 0
        while places < copies, let place = bytes.range(of: Data([0x37, 0xA4, 0x30, 0xEC]), in: start..<bytes.endIndex) {
            bytes[place.lowerBound + 300] ^= 4
            start = place.upperBound
            places += 1
        }
        #expect(places == copies)
        try bytes.write(to: file)
    }

    @Test("stores a dictionary twice, so that a flipped bit in one costs nothing; in both it is named") func damaged()
        throws
    {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: Self.lines(1...1000))
        _ = try compact(store.path, "--train-dictionary")
        try store.run("append", "--region", "ap", "--batch", "1", input: Self.lines(1...20))
        let entries = try store.run("dump", "--entries-only").output
        try damageDictionaries(store.path, copies: 1)
        #expect(try store.run("dump", "--entries-only").output == entries)
        let check = try store.run("check", "--level", "full", "--format", "json")
        #expect(check.status == 65)
        #expect(check.output.contains("Of dictionary 1 a copy is missing or damaged"))
        _ = try compact(store.path)
        #expect(try store.run("check", "--level", "full").status == 0)
        #expect(try store.run("dump", "--entries-only").output == entries)
        try damageDictionaries(store.path, copies: 2)
        let records = try store.run("records", "--region", "ap", "--format", "jsonl")
        #expect(records.status == 65)
        #expect(records.talk.contains("names dictionary 1, which the store does not have"))
        let named = try store.run("check", "--level", "full", "--format", "json")
        #expect(named.status == 65)
        #expect(named.output.contains("names dictionary 1, which the store does not have"))
        #expect(try store.run("compact", "--in-place", "--train-dictionary", "--yes").status == 65)
    }

    @Test("that was killed leaves the old store or the new one, whole", arguments: [11 as UInt64])
    func killed(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--batch", "20", input: Self.lines(1...1500))
        let whole = try digest(store.path)
        let begin = DispatchTime.now().uptimeNanoseconds
        let copy = store.directory.appending("copy")
        try #require(try store.run("compact", "--to", copy, "--train-dictionary").status == 0)
        let lasts = DispatchTime.now().uptimeNanoseconds - begin
        let identity = { try FileManager.default.attributesOfItem(atPath: store.path + "/data.mdb")[.systemFileNumber] }
        var (replaced, kept) = (0, 0)
        for round in 0..<20 {
            let before = try identity() as? UInt64
            let process = Tool.process([
                "compact", store.path, "--in-place", "--yes", "--train-dictionary", "--level", "\(round % 5 + 1)",
            ])
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            let until = DispatchTime.now().uptimeNanoseconds + UInt64.random(in: 0...(lasts * 2), using: &random)
            while DispatchTime.now().uptimeNanoseconds < until, process.isRunning {}
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            if try identity() as? UInt64 == before { kept += 1 } else { replaced += 1 }
            #expect(try digest(store.path) == whole, "seed \(seed), round \(round)")
        }
        print("killed compactions: \(kept) left the old store, \(replaced) the new one, seed \(seed)")
        #expect(kept > 0)
        #expect(try store.run("append", "--region", "eu", input: Self.lines(1501...1501)).status == 0)
    }

    @Test("leaves blocks that a replay service reads like any other") func replay() async throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--batch", "5", input: Self.lines(1...1500))
        // A block of few entries, which the dictionary makes shorter.
        try store.run("append", "--region", "ap", input: Self.lines(1...20))
        _ = try compact(store.path, "--train-dictionary", "--level", "1")
        try store.run("append", "--region", "eu", "--batch", "2", input: Self.lines(1501...1600))
        let controller = try await RegionFailoverController.open(at: store.path)
        for (region, count) in [("eu", 1600), ("ap", 20)] as [(RegionID, UInt64)] {
            var sequences: [UInt64] = []
            for try await batch in controller.batches(for: region, entriesMax: 90) {
                sequences += batch.entries.map(\.write.sequence)
                try await batch.acknowledge()
            }
            #expect(sequences == Array(1...count))
        }
        let lost = try await controller.statistics().map(\.lost)
        #expect(lost == [0, 0, 0])
        await controller.close()
        #expect(try store.run("check", "--level", "full").status == 0)
    }
}
