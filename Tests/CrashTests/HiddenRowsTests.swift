import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import LMDB
import Pages
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// Rows that are there no more leave no trace in those that are left.
@Suite("Rows that nobody sees any more") struct HiddenRowsTests {
    /// What is taken out of a store, or put into it, behind its back.
    enum Loss: String, CaseIterable, CustomTestStringConvertible {
        case deadLetter, region, foreignRegion, lastEvent, eventBetween

        var testDescription: String { rawValue }

        /// The verbs that tell it.
        var verbs: [[String]] {
            switch self {
            case .deadLetter:
                [
                    ["queues"], ["dlq list"], ["dlq export", "--region", "eu", "--all"], ["dump"],
                    ["check", "--level", "quick"],
                ]
            case .region:
                [
                    ["queues"], ["records"], ["dump"], ["dlq list"], ["info"], ["snapshot"],
                    ["get", "--region", "eu", "--position", "15"], ["check", "--level", "quick"],
                ]
            case .foreignRegion:
                [
                    ["queues"], ["records"], ["dump"], ["dlq list"], ["info"], ["snapshot"],
                    ["check", "--level", "quick"],
                ]
            case .lastEvent, .eventBetween: [["history"], ["dump"], ["check", "--level", "quick"]]
            }
        }

        /// The region that is to be named.
        var region: String? {
            switch self {
            case .deadLetter, .region: "eu"
            case .foreignRegion: "xx"
            case .lastEvent, .eventBetween: nil
            }
        }

        func happen(to path: String) throws {
            let environment = try LMDBPairs.open(path)
            var transaction = try environment.beginWrite()
            let table: Table =
                switch self {
                case .deadLetter: .dead(2)
                case .region, .foreignRegion: .regions
                case .lastEvent, .eventBetween: .history
                }
            let database = try #require(try transaction.database(table.name, create: false))
            let keys = try LMDBPairs.all(of: database, transaction).map(\.key)
            switch self {
            case .deadLetter: try transaction.delete(Key.number(3), in: database)
            case .region: try transaction.delete(Key.region("eu"), in: database)
            case .foreignRegion:
                let row = Row.seal(RegionRow(number: 77).encoded(), key: Key.region("xx"), in: table)
                try transaction.put(Key.region("xx"), row.span, in: database)
            case .lastEvent: try transaction.delete(keys[keys.count - 1], in: database)
            case .eventBetween: try transaction.delete(keys[keys.count - 2], in: database)
            }
            try transaction.commit()
            try environment.sync()
        }
    }

    private func store(_ directory: TemporaryDirectory, _ kind: String = "short") throws -> String {
        let path = directory.appending("store")
        let made = try Tool.run(["structure", "make", kind, path], program: Tool.path("CrashWorker"))
        try #require(made.status == 0, "\(made.talk)")
        return path
    }

    private func run(_ verb: [String], _ path: String) throws -> Tool.Outcome {
        try Tool.run(verb[0].split(separator: " ").map(String.init) + [path] + verb.dropFirst())
    }

    @Test("are told by the rows that count them, to who opens the store and to who lists it", arguments: Loss.allCases)
    func told(loss: Loss) async throws {
        let directory = try TemporaryDirectory()
        let path = try store(directory)
        for verb in loss.verbs { try #expect(run(verb, path).status == 0, "\(verb)") }
        try loss.happen(to: path)
        for verb in loss.verbs {
            let outcome = try run(verb, path)
            #expect(outcome.status == 65, "\(verb): \(outcome)")
            let said = outcome.talk + (verb[0] == "check" ? outcome.output : "")
            if let region = loss.region { #expect(said.contains("'\(region)'"), "\(verb): \(said)") }
        }
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: path, options: .small)
        }
        #expect(error?.code == .damaged && error?.region?.rawValue == loss.region, "\(String(describing: error))")
    }

    /// The rows are there, and prove themselves: only the number of them that the page tells is wrong.
    @Test("since their page says that it has fewer come back by a recovery, all of them") func recovered() async throws
    {
        let directory = try TemporaryDirectory()
        let path = try store(directory)
        let right = try StoreReader.open(path).look { (view) throws(HoldfastError) in try StoreDigest(view) }.whole
        let whole = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let file = try PageFile(File(path + "/data.mdb", O_RDONLY))
        let leaves = try PageWalk(file, try file.newestMeta(), .trees).leaves
        try #require(leaves.count > 12)
        for (table, page) in leaves {
            let rows = try file.page(page).count
            // Two bytes a row: the lowest bit that is set makes them fewer.
            let bit = rows.trailingZeroBitCount + 1
            if rows > 1 << (bit - 1) {
                var image = whole
                image[Int(page) * 4096 + 12] ^= 1 << UInt8(bit)
                try image.write(to: URL(fileURLWithPath: path + "/data.mdb"))
                let opened = await #expect(throws: HoldfastError.self) {
                    try await RegionFailoverController.open(at: path, options: .small)
                }
                #expect(opened?.code == .damaged)
                let new = directory.appending("\(page)-\(bit)")
                let report = try StoreRecover.run(path, to: new, now: Timestamp(milliseconds: 5_000_000))
                #expect(report.isComplete, "\(table), bit \(bit): \(report)")
                let found = try StoreReader.open(new).look { (view) throws(HoldfastError) in try StoreDigest(view) }
                #expect(found.whole == right, "\(table), bit \(bit)")
            }
        }
    }

    /// Opening has proved the branches; this one is damaged afterwards.
    @Test("since a branch leads astray while the store is open end a retry with an error", .timeLimit(.minutes(10)))
    func retried() async throws {
        let directory = try TemporaryDirectory()
        let path = try store(directory, "long")
        let controller = try await RegionFailoverController.open(at: path, options: .small)
        let file = try PageFile(File(path + "/data.mdb", O_RDONLY))
        let tables = try PageSnapshot(file, try file.newestMeta()).tables
        let root = try #require(tables.first { $0.name == Array("dead/2".utf8) && $0.tree.depth == 2 }).tree.root
        let bytes = try file.bytes(of: root)
        // The second node's key, a position, gets its greatest bit: what is behind it is looked for before it.
        let node = Int(bytes[18]) + Int(bytes[19]) << 8
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path + "/data.mdb"))
        try handle.seek(toOffset: root * 4096 + UInt64(node + 8))
        try handle.write(contentsOf: Data([0x80]))
        let error = await #expect(throws: HoldfastError.self) { try await controller.retryDeadLetters("eu") }
        #expect(error?.code == .damaged, "\(String(describing: error))")
        await controller.close()
    }
}
