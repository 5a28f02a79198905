import Foundation
import Holdfast
import HoldfastTesting
import LMDB
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

extension ToolStore {
    /// Changes the file of the closed store, as no verb does.
    func change(_ body: (inout Transaction) throws -> Void) throws {
        let environment = try Environment(
            path: path,
            access: .bulk,
            mapSizeBytes: 1 << 30,
            databasesMax: 64,
            readersMax: 8
        )
        var transaction = try environment.beginWrite()
        try body(&transaction)
        try transaction.commit()
    }

    /// The row of a region.
    func row(_ region: RegionID) throws -> RegionRow {
        try #require(
            try StoreReader.open(path).look { (view) throws(HoldfastError) in try view.regionRow(region) }
        )
    }

    /// Takes out the blocks that begin at `positions`.
    func remove(_ positions: [UInt64], of region: RegionID) throws {
        let table = Table.queue(try row(region).number)
        try change { transaction in
            let queue = try #require(try transaction.database(table.name, create: false))
            for position in positions { #expect(try transaction.delete(Key.number(position), in: queue)) }
        }
    }

    /// Appends 100 writes to two regions, in ten blocks each.
    static func ofBlocks() throws -> ToolStore {
        let store = try ToolStore()
        let appended = try store.run(
            "append",
            "--region",
            "eu",
            "--region",
            "ap",
            "--batch",
            "10",
            input: lines(1...100)
        )
        try #require(appended.status == 0, "\(appended.talk)")
        return store
    }
}

@Suite("A block that is not there") struct MissingTests {
    @Test(
        "is told by every verb that lists entries, wherever it was, and what is there is printed",
        arguments: [[1], [1, 11], [51], [91], [1, 51, 91]] as [[UInt64]]
    )
    func told(blocks: [UInt64]) throws {
        let store = try ToolStore.ofBlocks()
        try store.remove(blocks, of: "eu")
        let first = blocks == [1, 11] ? "1 to 20" : "\(blocks[0]) to \(blocks[0] + 9)"
        for verb in [
            ["dump"], ["dump", "--entries-only"], ["dump", "--consistent"], ["records"], ["records", "--region", "eu"],
            ["records", "--reverse"], ["records", "--from", "\(blocks[0])", "--to", "\(blocks[0] + 4)"],
        ] {
            let outcome = try Tool.run([verb[0], store.path] + verb.dropFirst())
            #expect(outcome.status == 65, "\(verb)")
            let isBackward = verb.contains("--reverse") && blocks.count == 3
            let cut = verb.contains("--to") ? "\(blocks[0]) to \(blocks[0] + 4)" : isBackward ? "91 to 100" : first
            #expect(outcome.talk.contains("eu") && outcome.talk.contains(cut), "\(verb): \(outcome.talk)")
            let entries = outcome.lines.filter { $0.contains(#""sequence""#) }
            let whole = 100 - blocks.count * 10
            switch verb {
            case ["records"], ["records", "--reverse"]: #expect(entries.count == 100 + whole)
            case ["records", "--region", "eu"]: #expect(entries.count == whole)
            case _ where verb[0] == "dump": #expect(entries.count == 100 + Int(blocks[0]) - 1)
            default: #expect(entries.count == 5 && entries.allSatisfy { $0.contains(#""region":"ap""#) })
            }
        }
        for block in blocks {
            let got = try store.run("get", "--region", "eu", "--position", "\(block + 4)")
            #expect(got.status == 65 && got.talk.contains("eu") && got.talk.contains("\(block + 4)"), "\(got.talk)")
        }
        #expect(try store.run("get", "--region", "eu", "--position", "35").status == 0)
        #expect(try store.run("get", "--region", "eu", "--position", "101").status == 66)
        // What is not asked for is not told.
        #expect(try store.run("records", "--region", "ap").status == 0)
        #expect(try store.run("records", "--region", "eu", "--from", "61", "--to", "70").status == 0)
        #expect(try store.run("records", "--region", "eu", "--from", "21", "--limit", "5").status == 0)
    }

    @Test("of what was accepted is told by check, also when nothing of it is queued any more") func identities() throws
    {
        let store = try ToolStore.ofBlocks()
        try store.run("ack", "--region", "eu", "--through", "100")
        #expect(try store.run("check", "--level", "full").output.contains("seen") == false)
        let table = Table.seen(try store.row("eu").number)
        try store.change { transaction in
            let seen = try #require(try transaction.database(table.name, create: false))
            try transaction.empty(seen)
        }
        let check = try store.run("check", "--level", "full", "--format", "json")
        #expect(check.output.contains("Of the 100 writes that region 'eu' has accepted, 0 are noted as seen"))
    }

    @Test(
        "is a known gap once it is in the ledger: a recovered store is dumped, loaded and compared",
        arguments: [
            [1], [51], [91], [1, 31, 41, 91],
        ] as [[UInt64]]
    )
    func recovered(blocks: [UInt64]) throws {
        let store = try ToolStore.ofBlocks()
        let whole = store.directory.appending("whole")
        try #require(try store.run("compact", "--to", whole).status == 0)
        try store.remove(blocks, of: "eu")
        let new = store.directory.appending("new")
        let made = try store.run("recover", "--to", new)
        try #require(try Tool.run(["check", new, "--level", "full"]).status == 0, "\(made.talk)")
        let dump = try Tool.run(["dump", new])
        #expect(dump.status == 0, "\(dump.talk)")
        let listed = try Tool.run(["records", new, "--region", "eu", "--format", "jsonl"])
        #expect(listed.status == 0 && listed.lines.count == 100 - blocks.count * 10, "\(listed.talk)")
        #expect(try Tool.run(["queues", new]).status == 0)
        let loaded = store.directory.appending("loaded")
        let load = try Tool.run(["load", loaded], input: dump.output)
        #expect(load.status == 0, "\(load.talk)")
        #expect(try Tool.run(["check", loaded, "--level", "full"]).status == 0)
        let same = try Tool.run(["diff", new, loaded])
        #expect(same.status == 0, "\(same.output) \(same.talk)")
        // The store that has everything has those that are missing, and nothing else is another one.
        let differing = try Tool.run(["diff", whole, new, "--region", "eu", "--format", "jsonl"])
        #expect(differing.status == 1 && !differing.isSignalled, "\(differing.talk)")
        let rows = try differing.lines.compactMap { try object($0) }.filter { $0["what"] as? String != "state" }
        #expect(rows.allSatisfy { $0["in"] as? String == "a" && $0["what"] as? String == "queued" }, "\(rows)")
        let missing = rows.flatMap { Array(($0["first"] as? Int ?? 0)...($0["last"] as? Int ?? 0)) }
        #expect(missing == blocks.flatMap { Array(Int($0)...Int($0 + 9)) })
        // A position that the ledger names is not there, and was not received either.
        let got = try Tool.run(["get", new, "--region", "eu", "--position", "\(blocks[blocks.count - 1] + 1)"])
        #expect(got.status == 66)
        if blocks[0] > 1 { #expect(got.talk.contains("holdfast lost"), "\(got.talk)") }
    }

    @Test("moves no write of another origin to its place, where sequences go on over the gap") func interleaved() throws
    {
        let line = { (origin: String, sequence: Int) in
            #"{"origin":"\#(origin)","incarnation":0,"sequence":\#(sequence),"key":"k","value":"\#(UUID())"}"# + "\n"
        }
        let store = try ToolStore()
        for part in [
            (1...10).map { line("us", $0) }, (1...10).map { line("ap", $0) }, (11...20).map { line("us", $0) },
        ] {
            try #require(try store.run("append", "--region", "eu", input: part.joined()).status == 0)
        }
        let whole = store.directory.appending("whole")
        try #require(try store.run("compact", "--to", whole).status == 0)
        try store.remove([11], of: "eu")
        let new = store.directory.appending("new")
        try store.run("recover", "--to", new)
        let (empty, other) = (try ToolStore(), try ToolStore())
        try other.run("append", "--region", "eu", input: line("us", 1))
        let outcome = try Tool.run(["diff", new, empty.path, "--region", "eu", "--format", "jsonl"])
        let rows = try outcome.lines.compactMap { try object($0) }.filter { $0["what"] as? String == "queued" }
        #expect(rows.map { $0["first"] as? Int } == [1, 11], "\(outcome.output)\(outcome.talk)")
        #expect(rows.map { $0["firstPosition"] as? Int } == [1, 21])
        // Of one that is the same but for the gap, no content differs.
        let differing = try Tool.run(["diff", whole, new, "--region", "eu", "--format", "jsonl"])
        #expect(!differing.isSignalled && !differing.output.contains("content"), "\(differing.talk)")
        let another = try Tool.run(["diff", new, other.path, "--region", "eu", "--format", "jsonl"])
        #expect(another.output.contains("content"), "\(another.talk)")
    }
}

@Suite("A row that is older than its queue") struct OldRowTests {
    @Test("is told by every verb that trusts it, with what the row knows of") func told() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--batch", "3", input: ToolStore.lines(1...3))
        let old = try store.row("eu")
        try store.run("append", "--region", "eu", "--batch", "1", input: ToolStore.lines(4...14))
        try store.change { transaction in
            let regions = try #require(try transaction.database(Table.regions.name, create: false))
            let key = Key.region("eu")
            let value = Row.seal(old.encoded(), key: key, in: .regions)
            try transaction.put(key, value.span, in: regions, append: false)
        }
        for verb in [
            ["dump"], ["dump", "--entries-only"], ["dump", "--consistent"], ["records"], ["records", "--reverse"],
            ["records", "--region", "eu", "--to", "2"], ["queues"],
        ] {
            let outcome = try Tool.run([verb[0], store.path] + verb.dropFirst())
            #expect(outcome.status == 65, "\(verb)")
            #expect(outcome.talk.contains("eu") && outcome.talk.contains("position 4"), "\(verb): \(outcome.talk)")
            let count = outcome.lines.count { $0.contains(#""sequence""#) }
            #expect(count == (verb == ["queues"] ? 0 : verb.last == "2" ? 2 : 3), "\(verb)")
        }
        #expect(try store.run("queues").lines.count == 3)
        let got = try store.run("get", "--region", "eu", "--position", "9")
        #expect(got.status == 65 && got.talk.contains("position 4"), "\(got.talk)")
        #expect(try store.run("get", "--region", "eu", "--position", "2").status == 0)
        #expect(try store.run("records", "--region", "ap").status == 0)
        let watched = try store.run("queues", "--watch", "--count", "1", "--format", "table")
        #expect(watched.output.contains("damaged"), "\(watched.output) \(watched.talk)")
    }
}
