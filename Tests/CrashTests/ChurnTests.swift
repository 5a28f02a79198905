import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayStore
import TestSupport
import Testing

@Suite("A store that is used for long", .serialized) struct ChurnTests {
    private static func number(_ name: String, or standard: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
    }
    private static let cycles = number("HOLDFAST_CHURN_CYCLES", or: 1_000)
    private static let drainMiB = number("HOLDFAST_CHURN_MIB", or: 64)

    /// Appends a batch, delivers one, and acknowledges it, with some batches left in the queue.
    private struct Churn {
        static let options = StoreOptions(acknowledgeReserveBytes: 64 << 10, mapSizeBytes: 16 << 30)

        let directory: TemporaryDirectory
        let controller: RegionFailoverController
        var random: SplitMix64
        var sequence: UInt64 = 0
        var delivered: UInt64 = 0
        var path: String { directory.appending("store") }

        init(seed: UInt64, _ directory: TemporaryDirectory) async throws {
            self.directory = directory
            random = SplitMix64(seed: seed)
            controller = try await RegionFailoverController.create(
                at: directory.appending("store"),
                configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
                options: Self.options,
                // Time stands still, so that the same seed gives the same bytes.
                time: ManualTime(wallMilliseconds: 1_800_000_000_000)
            )
        }

        /// Writes of all sizes that cannot be compressed, 60 KiB or so.
        mutating func append(_ count: Int = 40) async throws {
            let writes = (0..<count).map { _ in
                sequence += 1
                let isLarge = Int.random(in: 0..<20, using: &random) == 0
                let size = isLarge ? 12_000 : Int.random(in: 8...1_600, using: &random)
                return Noise.write(sequence, size)
            }
            try await controller.append(writes, to: "eu")
        }

        /// As much leaves the queue as has come, a little sooner or later: so many are left.
        mutating func cycle(backlog: UInt64 = 2_000) async throws {
            try await append()
            let left = backlog + UInt64.random(in: 0...60, using: &random)
            while sequence - delivered > left {
                let most = Int.random(in: 1...60, using: &random)
                var batches = controller.batches(for: "eu", entriesMax: most).makeAsyncIterator()
                let batch = try #require(try await batches.next())
                try #require(batch.entries.first?.write.sequence == delivered + 1)
                delivered += UInt64(batch.entries.count)
                try await batch.acknowledge()
            }
        }

        /// The length of the data file, and the bytes that LMDB uses of it.
        func sizes() throws -> (file: Int64, used: Int64) {
            let file = try PageFile(File(path + "/data.mdb", O_RDONLY))
            let size = try File(path + "/data.mdb", O_RDONLY).size()
            return (size, (Int64(try file.newestMeta().lastPage) + 1) * Int64(file.pageSize))
        }
    }

    @Test("keeps its size while readers of it are killed at random", arguments: [20_261_123 as UInt64])
    func keepsItsSize(seed: UInt64) async throws {
        var churn = try await Churn(seed: seed, TemporaryDirectory(in: MountedDisk.fastDirectory))
        var random = SplitMix64(seed: seed &+ 1)
        for _ in 0..<(50 + Self.cycles / 5) { try await churn.cycle() }
        let before = try churn.sizes()
        var readers: [(process: Program, until: Int, pipe: Pipe)] = []
        var (started, killed, holders) = (0, 0, 0)
        var largest = before
        for cycle in 0..<Self.cycles {
            try await churn.cycle()
            if readers.count < 3, Int.random(in: 0..<4, using: &random) == 0 {
                // The verbs read pages; the last one is in a transaction of LMDB, until it is killed.
                let verbs = [
                    ["dump", churn.path], ["queues", churn.path], ["check", churn.path, "--level", "quick"],
                    ["hold", churn.path, "1"],
                ]
                let verb = verbs.randomElement(using: &random) ?? []
                let isHolder = verb.first == "hold"
                let reader = Tool.process(verb, program: isHolder ? Tool.path("CrashWorker") : Tool.path())
                let pipe = Pipe()
                (reader.standardOutput, reader.standardError) = (pipe, FileHandle.nullDevice)
                try reader.run()
                if isHolder { try #require(pipe.fileHandleForReading.readData(ofLength: 5) == Data("held\n".utf8)) }
                // While it lives it holds back what it reads, as it must.
                readers.append((reader, cycle + Int.random(in: 0...(isHolder ? 2 : 8), using: &random), pipe))
                (started, holders) = (started + 1, holders + (isHolder ? 1 : 0))
            }
            for reader in readers where reader.until <= cycle || cycle == Self.cycles - 1 {
                kill(reader.process.processIdentifier, SIGKILL)
                reader.process.waitUntilExit()
                if reader.process.terminationReason == .uncaughtSignal { killed += 1 }
            }
            readers.removeAll { !$0.process.isRunning }
            let sizes = try churn.sizes()
            largest = (max(largest.file, sizes.file), max(largest.used, sizes.used))
        }
        print(
            "churn: \(Self.cycles) cycles, \(churn.sequence) writes, \(started) readers, \(killed) of them killed, "
                + "\(holders) in a transaction of LMDB; data file "
                + "\(before.file) bytes after the warm-up, \(largest.file) at most after it (\(ratio(largest.file, before.file))), "
                + "used \(before.used), then \(largest.used) (\(ratio(largest.used, before.used))), seed \(seed)"
        )
        #expect(killed > started / 4, "\(killed) of \(started)")
        #expect(holders > started / 8, "\(holders) of \(started)")
        #expect(Double(largest.file) <= 1.2 * Double(before.file), "seed \(seed)")
        #expect(Double(largest.used) <= 1.2 * Double(before.used), "seed \(seed)")
        await churn.controller.close()
        #expect(try StoreCheck.run(churn.path, level: .deep).findings.filter { $0.severity == .error } == [])
    }

    private func ratio(_ after: Int64, _ before: Int64) -> String {
        String(format: "%.3f", Double(after) / Double(before))
    }

    @Test("does not grow by a byte for a dump that takes as long as it likes", arguments: [3 as UInt64])
    func dump(seed: UInt64) async throws {
        var sizes: [(file: Int64, used: Int64)] = []
        for isDumped in [false, true] {
            var churn = try await Churn(seed: seed, TemporaryDirectory(in: MountedDisk.fastDirectory))
            for _ in 0..<60 { try await churn.cycle() }
            let dump = Tool.process(["dump", churn.path])
            let pipe = Pipe()
            (dump.standardOutput, dump.standardError) = (pipe, FileHandle.nullDevice)
            if isDumped {
                try dump.run()
                // It has begun, and stands still in the middle: nobody reads what it prints.
                #expect(!pipe.fileHandleForReading.readData(ofLength: 1_000).isEmpty)
                let files = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(dump.processIdentifier)/fd")
                let open = files.compactMap {
                    try? FileManager.default.destinationOfSymbolicLink(
                        atPath: "/proc/\(dump.processIdentifier)/fd/\($0)"
                    )
                }
                #expect(open.contains { $0.hasSuffix("/store/data.mdb") })
                #expect(!open.contains { $0.hasSuffix("/lock.mdb") }, "it has the table of readers open")
            }
            for _ in 0..<(Self.cycles / 4) { try await churn.cycle() }
            sizes.append(try churn.sizes())
            if isDumped {
                #expect(dump.isRunning)
                var lines = 0
                while case let piece = pipe.fileHandleForReading.availableData, !piece.isEmpty {
                    lines += piece.count { $0 == UInt8(ascii: "\n") }
                }
                dump.waitUntilExit()
                print("dump of a live store: \(lines) lines, exit \(dump.terminationStatus)")
                #expect(dump.terminationStatus == 0)
            }
            await churn.controller.close()
        }
        print(
            "churn of \(Self.cycles / 4) cycles: data file \(sizes[0].file) bytes without a dump, \(sizes[1].file) with one; "
                + "used \(sizes[0].used) and \(sizes[1].used), seed \(seed)"
        )
        #expect(sizes[0] == sizes[1], "seed \(seed)")
    }

    @Test("that took much and was drained compacts to next to nothing", arguments: [5 as UInt64])
    func compact(seed: UInt64) async throws {
        var churn = try await Churn(seed: seed, TemporaryDirectory())
        var bytes = 0
        while bytes < Self.drainMiB << 20 {
            try await churn.append(400)
            bytes = Int(try await churn.controller.pending(for: "eu").bytes)
        }
        let full = try churn.sizes()
        var drained: UInt64 = 0
        while case let receipt = try await churn.controller.drain("eu", max: 4_096), !receipt.entries.isEmpty {
            drained += UInt64(receipt.entries.count)
        }
        #expect(drained == churn.sequence)
        await churn.controller.close()
        let before = try churn.sizes()
        let report = try StoreCompact.inPlace(churn.path)
        await (try RegionFailoverController.open(at: churn.path, options: Churn.options)).close()
        let names = try FileManager.default.contentsOfDirectory(atPath: churn.path)
        let all = try names.reduce(0) { try $0 + File(churn.path + "/" + $1, O_RDONLY).allocatedBytes() }
        print(
            "drained: \(bytes) bytes in \(drained) writes made a file of \(full.file), \(before.file) after the drain, "
                + "\(report.bytesAfter) after compact, \(all) with what is beside it, seed \(seed)"
        )
        #expect(report.bytesAfter <= 1 << 20)
        #expect(all <= 2 << 20, "\(names)")
        #expect(try StoreCheck.run(churn.path, level: .deep).findings.filter { $0.severity == .error } == [])
    }
}
