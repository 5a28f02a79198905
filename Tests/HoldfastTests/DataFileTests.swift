import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

@Suite("A data file with two names") struct DataFileTests {
    private let configuration = FailoverConfiguration(local: "us", regions: ["us", "eu"])
    private let directory: TemporaryDirectory
    private let (store, other): (String, String)

    init() async throws {
        directory = try TemporaryDirectory()
        (store, other) = (directory.appending("store"), directory.appending("other"))
        let controller = try await RegionFailoverController.create(
            at: store,
            configuration: configuration,
            options: Deployment.options
        )
        try await controller.append([write(1)], to: "eu")
        await controller.close()
        try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: false)
    }

    private func open(_ path: String) async throws -> RegionFailoverController {
        try await RegionFailoverController.open(at: path, options: Deployment.options)
    }

    private func linkHard() throws {
        try FileManager.default.linkItem(atPath: store + "/data.mdb", toPath: other + "/data.mdb")
    }

    @Test("is open once in a process, whichever directory it was reached by") func sameProcess() async throws {
        try linkHard()
        let controller = try await open(store)
        #expect(await code { try await open(other) } == .alreadyOpen)
        #expect(await code { try StoreCompact.inPlace(other) } == .alreadyOpen)
        #expect(await code { try StoreUpgrade.run(other, isDry: true) } == .alreadyOpen)
        try await controller.append([write(2)], to: "eu")
        await controller.close()
        let again = try await open(other)
        #expect(try await again.append([write(2)], to: "eu").accepted == 0)
        await again.close()
    }

    @Test("has one writer: another process is refused, and told why") func otherProcess() async throws {
        try linkHard()
        let path = other + "/data.mdb"
        // A process of its own has the lock until it is killed, as a writer by the other name would.
        let holder = Tool.process(["python3", "-c", Self.lock, path], program: "/usr/bin/env")
        let pipe = Pipe()
        holder.standardOutput = pipe
        try holder.run()
        #expect(try pipe.fileHandleForReading.read(upToCount: 1) == Data("l".utf8))
        let error = await #expect(throws: HoldfastError.self) { try await open(store) }
        #expect(error?.code == .inUse && error?.message.contains("in another directory") == true)
        #expect(await code { try StoreCompact.inPlace(store) } == .inUse)
        // Its writer would not see that it is read.
        let copy = directory.appending("copy")
        #expect(await code { try StoreCompact.copy(from: store, to: copy) } == .inUse)
        kill(holder.processIdentifier, SIGKILL)
        holder.waitUntilExit()
        await (try await open(store)).close()
    }

    private static let lock = """
        import fcntl, os, struct, sys, time
        f = os.open(sys.argv[1], os.O_RDWR)
        fcntl.fcntl(f, 37, struct.pack('hhlli4x', fcntl.F_WRLCK, 0, 0, 0, 0))
        os.write(1, b'l'); time.sleep(600)
        """

    @Test("is not written by a symbolic link, and can be read by it") func symbolic() async throws {
        try FileManager.default.createSymbolicLink(
            atPath: other + "/data.mdb",
            withDestinationPath: "../store/data.mdb"
        )
        let before = try Data(contentsOf: URL(fileURLWithPath: store + "/data.mdb"))
        let error = await #expect(throws: HoldfastError.self) { try await open(other) }
        #expect(error?.code == .invalidConfiguration && error?.field == "data.mdb")
        #expect(error?.message.contains("is a symbolic link") == true)
        #expect(await code { try StoreCompact.inPlace(other) } == .invalidConfiguration)
        #expect(await code { try StoreUpgrade.run(other, isDry: true) } == .invalidConfiguration)
        let copy = directory.appending("copy")
        #expect(await code { try StoreCompact.copy(from: other, to: copy) } == .invalidConfiguration)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: other + "/data.mdb") == "../store/data.mdb")
        #expect(try Data(contentsOf: URL(fileURLWithPath: store + "/data.mdb")) == before)
        #expect(try StoreReader.open(other).look { (view) throws(HoldfastError) in try view.regionRows().count } == 2)
        await (try await open(store)).close()
    }

    @Test("is locked by nobody once its store is closed, whoever has a copy of a descriptor") func copied() async throws
    {
        try linkHard()
        let controller = try await open(store)
        var copies: [CInt] = []
        defer { for copy in copies { Glibc.close(copy) } }
        for descriptor in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")
            if target == store + "/data.mdb", let number = CInt(descriptor) { copies.append(dup(number)) }
        }
        #expect(!copies.isEmpty)
        await controller.close()
        await (try await open(other)).close()
    }

    @Test("of a ledger is open once as well") func ledger() async throws {
        let receiver = try Receiver()
        let ledger = try await receiver.create()
        let names = try FileManager.default.contentsOfDirectory(atPath: receiver.path)
        let data = try #require(names.first { $0.hasSuffix(".mdb") })
        let linked = directory.appending("ledger")
        try FileManager.default.createDirectory(atPath: linked, withIntermediateDirectories: false)
        try FileManager.default.linkItem(atPath: receiver.path + "/" + data, toPath: linked + "/" + data)
        #expect(
            await code { try await AppliedLedger.open(at: linked, mapSizeBytes: Receiver.mapSizeBytes) } == .alreadyOpen
        )
        await ledger.close()
    }
}
