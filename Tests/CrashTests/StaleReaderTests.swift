import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayStore
import TestSupport
import Testing

@Suite("A reader that was killed in a transaction", .serialized) struct StaleReaderTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.appending("store") }

    init() throws { directory = try TemporaryDirectory(in: MountedDisk.fastDirectory) }

    private func create() async throws -> RegionFailoverController {
        try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
            options: .small
        )
    }

    /// A process that has taken places in LMDB's table of readers, in read transactions.
    private func startReaders(_ count: Int) throws -> Program {
        let reader = Tool.process(["hold", path, "\(count)"], program: Tool.path("CrashWorker"))
        let pipe = Pipe()
        reader.standardOutput = pipe
        try reader.run()
        let said = String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
        try #require(said == "held\n", "\(said)")
        return reader
    }

    /// A process takes places in LMDB's table of readers, and is killed in its read transactions; says which it was.
    @discardableResult
    private func leaveReaders(_ count: Int) throws -> Int32 {
        let reader = try startReaders(count)
        kill(reader.processIdentifier, SIGKILL)
        reader.waitUntilExit()
        return reader.processIdentifier
    }

    /// How many places in LMDB's table of readers a process has.
    ///
    /// A place takes 64 bytes, the number of the transaction first, then that of the process.
    private func places(of process: Int32) throws -> Int {
        let table = try File(path + "/lock.mdb", O_RDONLY).read(atMost: 64 << 10, at: 0)
        let number = (0..<4).map { UInt8(truncatingIfNeeded: process >> (8 * $0)) }
        return stride(from: 0, to: table.count - 63, by: 64).count { table[($0 + 8)..<($0 + 12)].elementsEqual(number) }
    }

    /// Appends writes that cannot be compressed, 60 KiB or so, and takes them out again.
    private func churn(_ cycles: ClosedRange<UInt64>, _ controller: RegionFailoverController) async throws {
        for cycle in cycles {
            try await controller.append((1...40).map { Noise.write(cycle * 40 + $0, 1_500) }, to: "eu")
            try await controller.acknowledge("eu", through: cycle * 40)
        }
    }

    private func used() throws -> Int64 {
        let file = try PageFile(File(path + "/data.mdb", O_RDONLY))
        return (Int64(try file.newestMeta().lastPage) + 1) * Int64(file.pageSize)
    }

    @Test("holds no page back: the store keeps its size") func holdsNothingBack() async throws {
        let controller = try await create()
        try await churn(1...30, controller)
        let before = try used()
        try leaveReaders(1)
        try await churn(31...230, controller)
        let after = try used()
        print("stale reader: \(before) bytes used before it was killed, \(after) after 200 cycles")
        // Twelve megabytes have gone through the queue since.
        #expect(after <= before + 2 << 20)
        await controller.close()
        #expect(try StoreCheck.run(path, level: .deep).findings.filter { $0.severity == .error } == [])
    }

    @Test("has no place any more once the store is opened, while the places of others stay")
    func clearedAtOpening() async throws {
        await (try await create()).close()
        // With a reader that lives nobody makes the table anew.
        let living = try startReaders(2)
        let killed = try leaveReaders(3)
        #expect(try places(of: killed) == 3 && places(of: living.processIdentifier) == 2)
        let controller = try await RegionFailoverController.open(at: path, options: .small)
        #expect(try places(of: killed) == 0 && places(of: living.processIdentifier) == 2)
        kill(living.processIdentifier, SIGKILL)
        living.waitUntilExit()
        await controller.close()
    }

    @Test("leaves its place to the next, also where every place is taken", arguments: ["read", "backup"])
    func leavesItsPlace(next: String) async throws {
        let controller = try await create()
        try await controller.append((1...40).map { Noise.write($0, 100) }, to: "eu")
        // The store is open, so that nothing makes the table anew.
        try leaveReaders(StoreLimits.readersMax)
        if next == "read" {
            #expect(try await controller.pendingCount(for: "eu") == 40)
        } else {
            let outcome = try Tool.run(["backup", path, "--to", directory.appending("backup")])
            #expect(outcome.status == 0, "\(outcome.talk)")
        }
        try await controller.append([Noise.write(41, 100)], to: "eu")
        await controller.close()
    }
}
