import Bytes
import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing
import Zstd

/// The data file of a store after each of some commits that follow each other, and a store that holds one of them.
private struct Commits {
    let directory: TemporaryDirectory
    let path: String
    let images: [Data]

    /// After each commit one entry more is queued, the first of them in the first image.
    init() async throws {
        let deployment = try await Deployment()
        var images: [Data] = []
        for sequence in 1...4 as ClosedRange<UInt64> {
            try await deployment.controller.append([Noise.write(sequence, 100)], to: "eu-west-1")
            images.append(try Data(contentsOf: URL(fileURLWithPath: deployment.path + "/data.mdb")))
        }
        await deployment.controller.close()
        self.images = images
        directory = try TemporaryDirectory()
        path = directory.appending("copy")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try images[0].write(to: URL(fileURLWithPath: path + "/data.mdb"))
        let first = try file().newestMeta().transaction
        for (index, _) in images.enumerated() {
            try put(index)
            try #require(try file().newestMeta().transaction == first + UInt64(index))
        }
        try put(0)
    }

    func file() throws -> PageFile { try PageFile(File(regular: path + "/data.mdb", O_RDONLY)) }

    /// Writes an image over the file that is there.
    func put(_ index: Int) throws {
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path + "/data.mdb"))
        try file.write(contentsOf: images[index])
        try file.truncate(atOffset: UInt64(images[index].count))
        try file.close()
    }

    /// Makes the last commit's number greater by two, as two commits do.
    func overtake() throws {
        let newest = try file().newestMeta()
        let place = UInt64(newest.slot * newest.pageSize + 144)
        let number = newest.transaction + 2
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path + "/data.mdb"))
        try file.seek(toOffset: place)
        try file.write(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * $0)) })
        try file.close()
    }
}

@Suite("A look at the pages of a store") struct LookTests {
    @Test("begun at S is current at S and S + 1, and not from S + 2 on", arguments: 0...3)
    func current(commits: Int) async throws {
        let images = try await Commits()
        let file = try images.file()
        let meta = try file.newestMeta()
        try images.put(commits)
        #expect(try file.isCurrent(meta) == (commits <= 1))
    }

    @Test("is made again when two commits overtake it, and gives what the last run saw", arguments: 0...3)
    func overtaken(commits: Int) async throws {
        let images = try await Commits()
        let reader = try StoreReader.open(images.path)
        var seen: [UInt64] = []
        let entries = try reader.look { (view) throws(HoldfastError) -> UInt64 in
            seen.append(try view.regionRow("eu-west-1")?.entries ?? 0)
            if seen.count == 1 { #expect(throws: Never.self) { try images.put(commits) } }
            return seen.last ?? 0
        }
        #expect(seen == (commits <= 1 ? [1] : [1, UInt64(commits) + 1]))
        #expect(entries == seen.last)
    }

    @Test("forgets what seemed to be damage when two commits have overtaken it", arguments: 0...3)
    func forgotten(commits: Int) async throws {
        let images = try await Commits()
        let reader = try StoreReader.open(images.path)
        var runs = 0
        let result = Result { () throws(HoldfastError) in
            try reader.look { (_) throws(HoldfastError) -> Int in
                runs += 1
                guard runs == 1 else { return runs }
                #expect(throws: Never.self) { try images.put(commits) }
                throw HoldfastError(code: .damaged, message: "A page was written anew.")
            }
        }
        switch result {
        case .success(let last): #expect(commits > 1 && last == 2)
        case .failure(let error): #expect(commits <= 1 && error.code == .damaged && runs == 1)
        }
    }

    @Test("that never gets a quiet moment reads less each time, and ends with inUse after ten seconds")
    func busy() async throws {
        let images = try await Commits()
        var now: Int64 = 1_000_000
        let reader = try StoreReader.open(images.path, clock: { now })
        var lookBytes: [Int] = []
        let result = Result { () throws(HoldfastError) in
            try reader.look { (view) throws(HoldfastError) in
                lookBytes.append(view.lookBytes)
                #expect(throws: Never.self) { try images.overtake() }
                // The third run ends one millisecond before its time, the fourth at it.
                now += lookBytes.count < 4 ? 3_333 : 1
            }
        }
        #expect(throws: HoldfastError.self) { try result.get() }
        if case .failure(let error) = result { #expect(error.code == .inUse) }
        #expect(lookBytes == [1 << 20, 1 << 19, 1 << 18, 1 << 17])
    }

    @Test("is of one commit while a writer goes on at full speed, however often it is overtaken") func live()
        async throws
    {
        let deployment = try await Deployment(source: SystemTime())
        let path = deployment.path
        let isDone = Flag()
        let writer = Task {
            var random = SplitMix64(seed: 1)
            var next: UInt64 = 1
            while !isDone.isSet { try await deployment.change(&next, &random) }
            return next
        }
        defer { isDone.set() }
        var (looks, overtaken) = (0, 0)
        var transactions: Set<UInt64> = []
        while looks < 200 || transactions.count < 50 {
            let isSlow = looks % 10 == 0
            let look = try await onThread { try LiveLook(path, isSlow: isSlow) }
            #expect(look.faults == [], "look \(looks)")
            #expect(!isSlow || look.runs > 1)
            looks += 1
            overtaken += look.runs - 1
            transactions.insert(look.transaction)
        }
        isDone.set()
        #expect(try await writer.value > 50)
        #expect(overtaken >= 20)
        print("looks beside a writer: \(looks), overtaken \(overtaken) times, at \(transactions.count) commits")
        await deployment.controller.close()
    }
}

/// What a look beside a writer came to.
private struct LiveLook: Sendable {
    /// How often it was made.
    var runs = 0
    /// A commit that it is not older than.
    var transaction: UInt64 = 0
    /// What the last run saw that no commit has left.
    var faults: [String] = []

    /// `isSlow`: Whether the first run lets two commits pass before it reads.
    init(_ path: String, isSlow: Bool) throws {
        let reader = try StoreReader.open(path, clock: { 0 })
        let file = try PageFile(File(regular: path + "/data.mdb", O_RDONLY))
        transaction = try file.newestMeta().transaction
        var runs = 0
        faults = try reader.look { (view) throws(HoldfastError) -> [String] in
            runs += 1
            if isSlow, runs == 1, let begun = try? file.newestMeta().transaction {
                while let now = try? file.newestMeta().transaction, now < begun + 2 { sched_yield() }
            }
            var faults: [String] = []
            for (region, _) in try view.regionRows() { faults += try view.faults(of: region, reader.codec) }
            return faults
        }
        self.runs = runs
    }
}

/// Runs `body` on a thread of its own, where it may wait without holding up a task.
private func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

private final class Flag: Sendable {
    private let state = Lock(false)
    var isSet: Bool { state.withLock { $0 } }
    func set() { state.withLock { $0 = true } }
}

extension StoreView {
    /// What a region's row and blocks say that does not fit each other, or what was appended.
    fileprivate func faults(of region: RegionID, _ codec: FrameCodec) throws(HoldfastError) -> [String] {
        guard let row = try regionRow(region) else { return ["\(region) has no row"] }
        var positions: [UInt64] = []
        var faults: [String] = []
        var chain = row.chain
        let store = superblock.store
        var failure: FormatError?
        try scan(.queue(row.number)) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                let position = try Key.number(from: key.span)
                let block = try VerifiedBlock(value, store: store, queue: row.number, firstPosition: position)
                var canonical = Canonical()
                chain = block.header.chainBefore
                for (offset, entry) in try block.entries(codec).enumerated() {
                    canonical.append(FrameContent.Entry(write: entry.write, enqueuedAt: entry.enqueuedAt))
                    chain = canonical.advance(chain, over: offset)
                    guard entry.position >= row.headPosition else { continue }
                    positions.append(entry.position)
                    if entry.write != Noise.write(entry.write.sequence, entry.write.value.count) {
                        faults.append("\(region) \(entry.position) is not what was appended")
                    }
                }
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw HoldfastError(failure, in: "A block") }
        if !positions.elementsEqual(row.headPosition..<row.nextPosition) {
            faults.append("\(region) has \(positions), and its row \(row.headPosition)..<\(row.nextPosition)")
        }
        if row.entries != UInt64(positions.count) { faults.append("\(region) has \(row.entries) entries in its row") }
        if chain != row.chain { faults.append("\(region) ends with another digest than its row") }
        return faults
    }
}
