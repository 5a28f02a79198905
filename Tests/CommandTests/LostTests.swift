import Foundation
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("The ledger of what was lost") struct LostTests {
    /// A store whose queue dropped its oldest, lost a block to a flipped byte, and lost another region with its queue.
    private func store() async throws -> ToolStore {
        let store = try ToolStore("--limit-entries", "700", "--overflow", "dropOldest")
        let input = (1...900).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k","value":"\#(UUID())"}"# + "\n"
        }
        try store.run("append", "--region", "eu", "--region", "ap", "--batch", "100", input: input.joined())
        let controller = try await RegionFailoverController.open(at: store.path)
        try await controller.configure(FailoverConfiguration(local: "us", regions: ["us", "eu"]), force: true)
        await controller.close()
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        // The block at position 201, wherever LMDB has a copy of it: format, flags, 100 entries; the position is at 24.
        var start = bytes.startIndex
        var places = 0
        while let place = bytes.range(of: Data([1, 1, 0, 100]), in: start..<bytes.endIndex) {
            if bytes[(place.lowerBound + 24)..<(place.lowerBound + 32)] == Data([0, 0, 0, 0, 0, 0, 0, 201]) {
                bytes[place.lowerBound + 100] ^= 0x10
                places += 1
            }
            start = place.upperBound
        }
        try #require(places > 0)
        try bytes.write(to: file)
        try store.run("drain", "--region", "eu", "--max", "1")
        return store
    }

    @Test("has a row for each range, with its reason, and the damaged block's bytes where they are asked for")
    func rows() async throws {
        let store = try await store()
        let rows = try store.run("lost", "--format", "jsonl").lines.compactMap { try object($0) }
        #expect(rows.map { $0["region"] as? String } == ["ap", "ap", "eu", "eu"])
        #expect(rows.map { $0["reason"] as? String } == ["dropped", "removed", "dropped", "damaged"])
        #expect(rows.map { $0["first"] as? Int } == [1, 201, 1, 201])
        #expect(rows.map { $0["through"] as? Int } == [200, 900, 200, 300])
        #expect(rows.map { $0["entries"] as? Int } == [200, 700, 200, 100])
        #expect(rows.map { $0["blockKept"] as? Bool } == [false, false, false, true])
        #expect(rows.allSatisfy { ($0["atMs"] as? Int ?? 0) > 0 })
        let length = try #require(rows[3]["blockBytes"] as? Int)
        #expect((rows[3]["blockHash"] as? String)?.count == 16)
        let eu = try store.run("lost", "--region", "eu", "--values", "base64", "--format", "json").output
        let list = try #require(try JSONSerialization.jsonObject(with: Data(eu.utf8)) as? [[String: Any]])
        #expect(list.count == 2)
        let block = try #require((list[1]["blockBase64"] as? String).flatMap { Data(base64Encoded: $0) })
        #expect(block.count == length)
        #expect(block.prefix(4) == Data([1, 1, 0, 100]))
        let none = try store.run("lost", "--values", "none", "--format", "jsonl").output
        #expect(!none.contains("blockHash") && none.contains(#""blockKept":true"#))
        let table = try store.run("lost", "--format", "table")
        #expect(table.lines.count == 5)
        #expect(table.lines[0].hasPrefix("region  queue  first  through  entries"))
    }

    @Test("is empty where nothing was lost, and refuses a region that never was") func nothing() throws {
        let store = try ToolStore()
        #expect(try store.run("lost", "--format", "jsonl").output.isEmpty)
        #expect(try store.run("lost", "--format", "table").talk == "Nothing was lost.\n")
        #expect(try store.run("lost", "--region", "eu").status == 0)
        #expect(try store.run("lost", "--region", "mars").status == 64)
        #expect(try Tool.run(["lost", store.directory.appending("nope")]).status == 66)
    }

    @Test("tells a row that was changed, and lists the others") func damagedRow() async throws {
        let store = try await store()
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        // The key of the row of positions 1 to 200 of 'ap', wherever LMDB has a copy of it.
        let listed = try object(try store.run("lost", "--region", "ap", "--format", "jsonl").lines[0])
        let queue = UInt8(try #require(listed?["queue"] as? Int))
        let row = Data("ap".utf8) + [0, 0, 0, 0, queue] + Data([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 200])
        var start = bytes.startIndex
        while let place = bytes.range(of: row, in: start..<bytes.endIndex) {
            bytes[place.upperBound] ^= 0x02
            start = place.upperBound
        }
        try bytes.write(to: file)
        let outcome = try store.run("lost", "--format", "jsonl")
        #expect(outcome.status == 65)
        #expect(outcome.lines.count == 3)
    }
}
