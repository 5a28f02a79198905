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
import Zstd

@Suite("The pages of a data file") struct PagesTests {
    private func file(_ deployment: Deployment) throws -> PageFile {
        try PageFile(File(regular: deployment.path + "/data.mdb", O_RDONLY))
    }

    /// A key whose length, even or odd, its number tells: that of a branch changes its length where another takes its place.
    private static func key(_ number: UInt64) -> [UInt8] {
        Key.number(number) + [UInt8](repeating: 7, count: [0, 1, 2, 7, 40, 201][Int(number % 6)])
    }

    /// LMDB sets pages aside for a row of its free list, and may need fewer in the end.
    @Test("that LMDB frees and takes in any way are no damage", arguments: 0..<40 as Range<UInt64>)
    func anyCommits(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let directory = try TemporaryDirectory()
        let environment = try Environment(
            path: directory.path,
            access: .bulk,
            mapSizeBytes: 256 << 20,
            databasesMax: 8,
            readersMax: 8
        )
        let file = try PageFile(File(directory.appending("data.mdb"), O_RDONLY), pageSize: 4096)
        for commit in 0..<60 as Range<UInt64> {
            var transaction = try environment.beginWrite()
            let names = ["first", "second", "third"]
            let tables = try names.compactMap { try transaction.database($0, create: true) }
            for _ in 0..<[1, 3, 40, 300][Int.random(in: 0..<4, using: &random)] {
                let table = tables[Int.random(in: 0..<2, using: &random)]
                let key = Self.key(UInt64.random(in: 0..<600, using: &random))
                let size = [10, 500, 3_000, 9_000].randomElement(using: &random) ?? 10
                if Int.random(in: 0..<10, using: &random) < 6 {
                    try transaction.put(key, [UInt8](repeating: 0, count: size).span, in: table)
                } else {
                    _ = try transaction.delete(key, in: table)
                }
            }
            if Int.random(in: 0..<3, using: &random) == 0 {
                for key in 0..<600 as Range<UInt64> { _ = try transaction.delete(Self.key(key), in: tables[0]) }
            }
            try transaction.put([1], Key.number(commit).span, in: tables[2])
            try transaction.commit()
            let meta = try file.newestMeta()
            // A page that was given back within a transaction is not written: the file may be shorter than it says.
            try? FileHandle(forUpdating: URL(fileURLWithPath: directory.appending("data.mdb"))).truncate(
                atOffset: max(try file.pages(), meta.lastPage + 1) * 4096
            )
            let walk = try PageWalk(file, meta, .values)
            try #require(walk.findings.filter { !$0.isWarning } == [], "seed \(seed), commit \(commit)")
        }
    }

    /// What is looked for by its key is looked for in one leaf; which, the branches say.
    @Test(
        "that lead astray hide no row, and no row is found in the place of another",
        arguments: 0..<6 as Range<UInt64>
    )
    func astray(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let directory = try TemporaryDirectory()
        let environment = try Environment(
            path: directory.path,
            access: .bulk,
            mapSizeBytes: 64 << 20,
            databasesMax: 2,
            readersMax: 2
        )
        var transaction = try environment.beginWrite()
        let table = try #require(try transaction.database("table", create: true))
        // Keys are long, so that there are three levels with few rows; every second number is not there.
        func key(_ number: UInt64) -> [UInt8] { [UInt8](repeating: 1, count: 200) + Self.key(number) }
        for number in stride(from: 0 as UInt64, to: 800, by: 2) {
            try transaction.put(key(number), key(number).span, in: table)
        }
        try transaction.commit()
        let path = directory.appending("data.mdb")
        let file = try PageFile(File(path, O_RDONLY))
        let meta = try file.newestMeta()
        let tree = try #require(try PageSnapshot(file, meta).tables.first?.tree)
        try #require(tree.depth == 3)
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        let branches = (2...meta.lastPage).compactMap { try? file.page($0) }.filter { !$0.isLeaf && $0.count > 1 }
        var refused = 0
        for _ in 0..<20 {
            let branch = try #require(branches.randomElement(using: &random))
            let bytes = try file.bytes(of: branch.number)
            let node = Int.random(in: 1..<branch.count, using: &random)
            let start = Int(bytes[16 + 2 * node]) + Int(bytes[17 + 2 * node]) << 8
            // Most of a key is the same in all of them: what differs is behind that.
            let byte = start + 8 + Int.random(in: 196..<branch.key(node).count, using: &random)
            let flipped = bytes[byte] ^ 1 << UInt8.random(in: 0..<8, using: &random)
            func write(_ value: UInt8) throws {
                try handle.seek(toOffset: branch.number * 4096 + UInt64(byte))
                try handle.write(contentsOf: Data([value]))
            }
            try write(flipped)
            let snapshot = try PageSnapshot(file, meta)
            for number in stride(from: UInt64.random(in: 0..<5, using: &random), to: 800, by: 5) {
                do throws(PageError) {
                    let found = try snapshot.value(of: key(number), in: tree)
                    #expect(found == (number % 2 == 0 ? key(number) : nil), "seed \(seed), \(number)")
                } catch {
                    refused += 1
                }
            }
            try write(bytes[byte])
        }
        #expect(refused > 10)
    }

    /// LMDB finds its way by them, and ends the process where one leads nowhere.
    @Test("that are branches are proved before LMDB sees them", arguments: 0..<8)
    func branches(kind: Int) async throws {
        let deployment = try await Deployment()
        // Many blocks of one entry each: the queue's table gets a branch.
        for sequence in 1...150 as ClosedRange<UInt64> {
            try await deployment.controller.append([Noise.write(sequence, 900)], to: "eu-west-1")
        }
        await deployment.controller.close()
        let file = try file(deployment)
        let snapshot = try PageSnapshot(file, try file.newestMeta())
        let tree = try #require(snapshot.tables.map(\.tree).first { $0.depth > 1 })
        let path = URL(fileURLWithPath: deployment.path + "/data.mdb")
        var bytes = try Data(contentsOf: path)
        let page = Int(tree.root) * file.pageSize
        let node = page + Int(bytes[page + 18]) + Int(bytes[page + 19]) << 8
        switch kind {
        // All of it; its number; its flags; a child that is not there; one that another table uses; one that it has twice;
        // one that is free; where a node is.
        case 0: bytes.replaceSubrange(page..<(page + file.pageSize), with: Data(count: file.pageSize))
        case 1: bytes[page] ^= 1
        case 2: bytes[page + 10] = 2
        case 3: bytes[node + 2] = 0xFF
        case 4:
            let other = try #require(snapshot.tables.map(\.tree).first { $0.depth == 1 && !$0.isEmpty })
            for byte in 0..<4 { bytes[node + byte] = UInt8(truncatingIfNeeded: other.root >> UInt64(8 * byte)) }
        case 5:
            let sibling = page + Int(bytes[page + 16]) + Int(bytes[page + 17]) << 8
            bytes.replaceSubrange(node..<(node + 4), with: bytes[sibling..<(sibling + 4)])
        case 6:
            let free = try #require(try snapshot.freePages().first)
            for byte in 0..<4 { bytes[node + byte] = UInt8(truncatingIfNeeded: free >> UInt64(8 * byte)) }
        default: bytes[page + 18] = 0
        }
        try bytes.write(to: path)
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: deployment.path, options: Deployment.options)
        }
        #expect(error?.code == .damaged)
        #expect(error?.message.contains("holdfast recover") == true, "\(error?.message ?? "")")
        let what = [4: "it is used twice", 5: "it is used twice", 6: "it is in use, and in the free list"][kind]
        if let what { #expect(error?.message.contains(what) == true, "\(error?.message ?? "")") }
    }

    @Test(
        "of a commit are written again in the third commit after it at the earliest",
        arguments: 0..<4 as Range<UInt64>
    )
    func reuse(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment()
        let file = try file(deployment)
        var next: UInt64 = 1
        /// The pages in use of the last commits, by transaction, with what was in them.
        var kept: [(transaction: UInt64, pages: [UInt64: [UInt8]])] = []
        var reused = 0
        for _ in 0..<120 {
            try await deployment.change(&next, &random)
            let meta = try file.newestMeta()
            for (transaction, pages) in kept {
                let age = meta.transaction - transaction
                let changed = try pages.filter { try file.bytes(of: $0.key) != $0.value }
                if age <= 2 { #expect(changed.isEmpty, "seed \(seed), \(age) commits after \(transaction)") }
                if age == 3, !changed.isEmpty { reused += 1 }
            }
            kept.removeAll { meta.transaction - $0.transaction >= 3 }
            let walk = try PageWalk(file, meta, .values)
            #expect(walk.findings == [], "seed \(seed)")
            var pages: [UInt64: [UInt8]] = [:]
            for page in 2...meta.lastPage where walk.reached.contains(page) { pages[page] = try file.bytes(of: page) }
            kept.append((meta.transaction, pages))
        }
        // The bound is not a guess: one commit later the pages are gone.
        #expect(reused > 0, "seed \(seed)")
        await deployment.controller.close()
    }

    /// Opening reads branches and the free list: of these plants it refuses a page that is free and in a tree.
    @Test(
        "that are damaged are named by a deep check; opening refuses what is free and in a tree",
        arguments: 0..<24 as Range<UInt64>
    )
    func deep(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let deployment = try await Deployment()
        var next: UInt64 = 1
        for _ in 0..<60 { try await deployment.change(&next, &random) }
        try await deployment.controller.append([Noise.write(next, 6000)], to: "eu-west-1")
        await deployment.controller.close()
        #expect(try StoreCheck.run(deployment.path, level: .deep).findings.filter { $0.severity == .error } == [])
        let file = try file(deployment)
        let meta = try file.newestMeta()
        let walk = try PageWalk(file, meta, .values)
        // A large value that says it takes more pages, a page that is free and in use, or a pair that LMDB counts too many.
        var bytes = try Data(contentsOf: URL(fileURLWithPath: deployment.path + "/data.mdb"))
        let kind = seed % 3
        var isRefused = false
        // Pages of large values are reached from leaves alone.
        let whole = bytes
        func isOfTree(_ page: UInt64) -> Bool {
            let start = Int(page) * file.pageSize
            return whole[start] == UInt8(truncatingIfNeeded: page) && whole[start + 10] <= 2 && whole[start + 11] == 0
                && (walk.listed.contains(page) || whole[start + 10] == 1 || walk.leaves.contains { $0.page == page })
        }
        switch kind {
        case 0:
            let pages = try (2...meta.lastPage).filter {
                let page = try file.bytes(of: $0)
                return walk.reached.contains($0) && page[10] == 4 && page[0] == UInt8(truncatingIfNeeded: $0)
            }
            let page = try #require(pages.randomElement(using: &random))
            bytes[Int(page) * file.pageSize + 12] ^= 2
        case 1:
            // The free list is small: its first row is in its root.
            let row = Int(meta.free.root) * file.pageSize
            let node = row + Int(bytes[row + 16]) + Int(bytes[row + 17]) << 8
            let all = (2...meta.lastPage).filter { walk.reached.contains($0) }
            let used = try #require(all.filter { isOfTree($0) == (seed % 2 == 0) }.randomElement(using: &random))
            isRefused = isOfTree(used)
            let place = node + 8 + 8 + 8
            try #require(bytes[node + 4] == 0)
            for byte in 0..<8 { bytes[place + byte] = UInt8(truncatingIfNeeded: used >> (8 * UInt64(byte))) }
        default:
            let page = Int(meta.main.root) * file.pageSize
            let node = page + Int(bytes[page + 16]) + Int(bytes[page + 17]) << 8
            let name = Int(bytes[node + 6])
            bytes[node + 8 + name + 32] ^= 1
        }
        try bytes.write(to: URL(fileURLWithPath: deployment.path + "/data.mdb"))
        let findings = try StoreCheck.run(deployment.path, level: .deep).findings.filter { $0.severity == .error }
        // More pages than the value has are those of others, or more than the table counts; fewer are too few for it.
        let wanted = [["page.value", "page.counts"], ["page.free"], ["page.counts"]][Int(kind)]
        #expect(findings.contains { wanted.contains($0.code) }, "seed \(seed): \(findings)")
        let refused = await code {
            await (try RegionFailoverController.open(at: deployment.path, options: Deployment.options)).close()
        }
        // Large values are reached from leaves, of which opening reads some.
        #expect(refused == .damaged || refused == nil && !isRefused, "seed \(seed)")
    }
}

extension Deployment {
    /// Appends or drains at random: one durable change.
    func change(
        _ next: inout UInt64,
        _ random: inout SplitMix64,
        pendingMax: Int = 200,
        sizes: [Int] = [10, 100, 3000]
    ) async throws {
        let region: RegionID =
            ["eu-west-1", "us-east-1", "ap-northeast-1"].randomElement(using: &random) ?? "eu-west-1"
        let pending = try await controller.pendingCount(for: region)
        if pending > pendingMax || pending > 0 && Int.random(in: 0..<3, using: &random) == 0 {
            _ = try await controller.drain(region, max: Int.random(in: 1...100, using: &random))
            return
        }
        let count = UInt64.random(in: 1...40, using: &random)
        let size = sizes.randomElement(using: &random) ?? 10
        try await controller.append((next..<(next + count)).map { Noise.write($0, size) }, to: region)
        next += count
    }
}
