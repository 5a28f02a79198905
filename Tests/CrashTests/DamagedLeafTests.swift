import Foundation
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayStore
import TestSupport
import Testing

/// LMDB proves no page that it comes to.
///
/// Opening reads every branch; leaves, which are a thousand times as many, it reads
/// whole where the store was not closed in order.
@Suite("A leaf on which LMDB ends the process") struct DamagedLeafTests {
    /// A store with a queue of many leaves, closed.
    private func store(_ directory: TemporaryDirectory) async throws -> String {
        let path = directory.appending("store")
        let controller = try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
            options: .small
        )
        for sequence in 1...200 as ClosedRange<UInt64> {
            try await controller.append([.numbered("us", 1, sequence)], to: "eu")
        }
        await controller.close()
        return path
    }

    /// Makes the first row of the first leaf of the longest queue say that its value has a gibibyte.
    private func damageLeaf(_ path: String) throws -> UInt64 {
        let file = try PageFile(try File(path + "/data.mdb", O_RDONLY))
        let walk = try PageWalk(file, try file.newestMeta(), .trees)
        let leaves = Dictionary(grouping: walk.leaves) { $0.table }.values.max { $0.count < $1.count } ?? []
        try #require(leaves.count > 2, "a queue of many leaves")
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path + "/data.mdb"))
        let page = leaves[0].page * 4096
        // Where the first row stands is said behind the header; its length's upper half is the row's second word.
        try handle.seek(toOffset: page + 16)
        let row = try #require(try handle.read(upToCount: 2))
        try handle.seek(toOffset: page + UInt64(row[0]) + UInt64(row[1]) << 8 + 2)
        try handle.write(contentsOf: Data([0x00, 0x40]))
        try handle.close()
        return leaves[0].page
    }

    @Test("is named when the store is opened next, and nothing is touched") func named() async throws {
        let directory = try TemporaryDirectory()
        let path = try await store(directory)
        let page = try damageLeaf(path)
        let first = try Tool.run(["replay", path], program: Tool.path("CrashWorker"))
        #expect(first.isSignalled && first.lines.contains("open"), "\(first)")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        for _ in 0..<2 {
            let error = await #expect(throws: HoldfastError.self) {
                try await RegionFailoverController.open(at: path, options: .small)
            }
            #expect(error?.code == .damaged)
            #expect(error?.message.contains("page \(page)") == true, "\(error?.message ?? "")")
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb")) == bytes)
    }

    @Test("is refused when the store is opened, where opening comes to it: no bit of where its rows stand ends that")
    func opening() async throws {
        let directory = try TemporaryDirectory()
        let path = try await store(directory)
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let file = try PageFile(try File(path + "/data.mdb", O_RDONLY))
        let leaves = try PageWalk(file, try file.newestMeta(), .trees).leaves
        let ends = Set(Dictionary(leaves.map { ($0.table, $0.page) }) { $1 }.values)
        var images: [String] = []
        for (table, page) in leaves where !table.hasPrefix("queue/") || ends.contains(page) {
            // Where its free space is, and where its first row and its second one stand.
            for bit in 0..<64 {
                let image = directory.appending("image-\(page)-\(bit)")
                try FileManager.default.createDirectory(atPath: image, withIntermediateDirectories: false)
                var changed = data
                changed[Int(page) * 4096 + 12 + bit / 8] ^= 1 << UInt8(bit % 8)
                try changed.write(to: URL(fileURLWithPath: image + "/data.mdb"))
                images.append(image)
            }
        }
        try #require(images.count > 300)
        let opened = try Tool.run(["open"] + images, program: Tool.path("CrashWorker"))
        #expect(!opened.isSignalled && opened.lines.count == images.count, "\(opened.lines.count) of \(images.count)")
        #expect(opened.lines.contains { $0.hasPrefix("refused damaged") })
    }

    @Test("ends no copy of the store: it is proved first", arguments: ["backup", "compact"])
    func copies(verb: String) async throws {
        let directory = try TemporaryDirectory()
        let path = try await store(directory)
        let page = try damageLeaf(path)
        let outcome = try Tool.run([verb, path, "--to", directory.appending("copy")])
        #expect(outcome.status == 65, "\(outcome)")
        #expect(outcome.talk.contains("page \(page)"), "\(outcome.talk)")
        #expect(!FileManager.default.fileExists(atPath: directory.appending("copy")))
    }
}
