import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayFormat
import Testing

@Suite("Opening a ledger") struct LedgerOpeningTests {
    private let receiver: Receiver
    private var data: String { receiver.path + "/ledger.mdb" }

    init() throws { receiver = try Receiver() }

    @Test("A ledger is open once") func openOnce() async throws {
        let ledger = try await receiver.create()
        _ = unsafe symlink(receiver.path, receiver.directory.appending("link"))
        #expect(await code { try await receiver.open() } == .alreadyOpen)
        #expect(await code { try await receiver.create() } == .alreadyOpen)
        let link = receiver.directory.appending("link")
        #expect(await code { try await AppliedLedger.open(at: link) } == .alreadyOpen)
        await ledger.close()
        await ledger.close()
        let descriptor = unsafe open(receiver.path + "/LOCK", O_RDWR)
        var range = flock()
        range.l_type = Int16(F_WRLCK)
        // A lock of an open file, as another process would have it.
        let setLock: CInt = 37
        try #require(unsafe fcntl(descriptor, setLock, &range) == 0)
        let error = await #expect(throws: HoldfastError.self) { try await receiver.open() }
        #expect(error?.code == .inUse)
        #expect(error?.message.contains("pid \(getpid())") == true)
        // By itself: a program that another test is starting may have a copy of the descriptor.
        range.l_type = Int16(F_UNLCK)
        try #require(unsafe fcntl(descriptor, setLock, &range) == 0)
        Glibc.close(descriptor)
        await (try await receiver.open()).close()
    }

    @Test("A ledger that nobody holds gives its directory free") func release() async throws {
        _ = try await receiver.create()
        for life in 0..<20 {
            let ledger = try await reopen()
            #expect(try await Receiver.log([write(1)], ledger) == (life == 0 ? 1 : 0))
        }
        await (try await reopen()).close()
    }

    /// Opens the ledger as soon as the last one has gone.
    private func reopen() async throws -> AppliedLedger {
        for _ in 0..<100_000 {
            do throws(HoldfastError) {
                return try await receiver.open()
            } catch {
                try #require(error.code == .alreadyOpen)
                await Task.yield()
            }
        }
        return try await receiver.open()
    }

    @Test("A ledger that was not closed is read whole when it is opened, and one with a damaged leaf refused")
    func damagedLeaf() async throws {
        let ledger = try await receiver.create()
        _ = try await Receiver.log((1...200).map { write($0) }, ledger)
        let lock = URL(fileURLWithPath: receiver.path + "/LOCK")
        let held = try Data(contentsOf: lock)
        await ledger.close()
        try held.write(to: lock)
        await (try await receiver.open()).close()
        // As if its process had been killed.
        try held.write(to: lock)
        let file = try PageFile(try File(data, O_RDONLY))
        let leaf = try #require(try PageWalk(file, try file.newestMeta(), .trees).leaves.first).page
        var bytes = try Data(contentsOf: URL(fileURLWithPath: data))
        let page = Int(leaf) * file.pageSize
        // The upper half of the length of its first row's value.
        let row = page + Int(bytes[page + 16]) + Int(bytes[page + 17]) << 8
        bytes.replaceSubrange((row + 2)..<(row + 4), with: [0x00, 0x40])
        try bytes.write(to: URL(fileURLWithPath: data))
        #expect(await code { try await receiver.open() } == .damaged)
        #expect(try Data(contentsOf: URL(fileURLWithPath: data)) == bytes)
    }

    @Test("A path without a ledger, and one with something else, are told apart") func nothingThere() async throws {
        #expect(await code { try await receiver.open() } == .notFound)
        await (try await receiver.create()).close()
        #expect(await code { try await receiver.create() } == .alreadyExists)
        let missing = receiver.directory.appending("no/parent")
        #expect(await code { try await AppliedLedger.create(at: missing) } == .notFound)
        let full = receiver.directory.appending("full")
        try FileManager.default.createDirectory(atPath: full, withIntermediateDirectories: false)
        try Data().write(to: URL(fileURLWithPath: full + "/other"))
        #expect(await code { try await AppliedLedger.create(at: full) } == .alreadyExists)
        #expect(await code { try await AppliedLedger.open(at: full) } == .notFound)
    }

    @Test("A store is no ledger, and a ledger no store") func store() async throws {
        let configuration = FailoverConfiguration(local: "us", regions: ["us", "eu"])
        let path = receiver.directory.appending("store")
        let controller = try await RegionFailoverController.create(
            at: path,
            configuration: configuration,
            options: Deployment.options
        )
        #expect(await code { try await AppliedLedger.create(at: path) } == .alreadyOpen)
        await controller.close()
        #expect(await code { try await AppliedLedger.create(at: path) } == .alreadyExists)
        #expect(await code { try await AppliedLedger.open(at: path) } == .notFound)
        await (try await receiver.create()).close()
        let ledger = receiver.path
        let refusal = await code {
            try await RegionFailoverController.create(at: ledger, configuration: configuration)
        }
        // Its LOCK says that something was made here, and there is no store.
        #expect(refusal == .damaged)
        #expect(await code { try await RegionFailoverController.open(at: ledger) } == .notFound)
    }

    @Test("A ledger whose making was interrupted is made anew", arguments: [0, 512, 4096])
    func interrupted(bytes: Int) async throws {
        await (try await receiver.create()).close()
        let begun = try Data(contentsOf: URL(fileURLWithPath: data)).prefix(bytes)
        try FileManager.default.removeItem(atPath: receiver.path)
        try FileManager.default.createDirectory(atPath: receiver.path, withIntermediateDirectories: false)
        try begun.write(to: URL(fileURLWithPath: data))
        #expect(await code { try await receiver.open() } == .notFound)
        let ledger = try await receiver.create()
        #expect(try await Receiver.log([write(1)], ledger) == 1)
        await ledger.close()
    }

    @Test("A ledger whose file is gone is not begun anew") func gone() async throws {
        await (try await receiver.create()).close()
        try FileManager.default.removeItem(atPath: data)
        #expect(await code { try await receiver.open() } == .notFound)
        #expect(await code { try await receiver.create() } == .damaged)
    }

    @Test("A file that is too short or has no meta page never reaches LMDB", arguments: 0..<4)
    func brokenFile(kind: Int) async throws {
        let ledger = try await receiver.create()
        try await ledger.apply([]) { (_, state) throws(HoldfastError) in
            for number in 0..<500 { try state.set(String(repeating: "x", count: 400), for: "key \(number)") }
        }
        await ledger.close()
        let descriptor = unsafe open(data, O_RDWR)
        let zeros = [UInt8](repeating: 0, count: 4096)
        switch kind {
        case 0: _ = ftruncate(descriptor, 8192)
        case 1: _ = unsafe pwrite(descriptor, zeros, 4096, 0)
        case 2: _ = unsafe pwrite(descriptor, zeros, 4096, 4096)
        default: _ = ftruncate(descriptor, 100)
        }
        Glibc.close(descriptor)
        #expect(await code { try await receiver.open() } == .damaged)
        #expect(await code { try await receiver.create() } == .damaged)
    }

    @Test("The files are for their owner alone") func permissions() async throws {
        await (try await receiver.create()).close()
        for name in ["", "/LOCK", "/ledger.mdb", "/ledger.mdb-lock"] {
            let found = try FileManager.default.attributesOfItem(atPath: receiver.path + name)
            #expect(found[.posixPermissions] as? Int == (name.isEmpty ? 0o700 : 0o600))
        }
    }

    @Test("A newer format is refused, and both versions are named") func newerFormat() async throws {
        await (try await receiver.create()).close()
        let old = Row.seal(LedgerRow.format(), key: LedgerRow.formatKey, in: LedgerTable.ledger)
        try replace(old, with: Row.seal(LedgerRow.format(2), key: LedgerRow.formatKey, in: LedgerTable.ledger))
        let error = await #expect(throws: HoldfastError.self) { try await receiver.open() }
        #expect(error?.code == .formatTooNew)
        #expect(error?.message.contains("format 2") == true && error?.message.contains("format 1") == true)
    }

    @Test("A flipped bit in a row is found when the row is needed", arguments: ["format", "epoch", "applied", "state"])
    func flippedBit(row: String) async throws {
        let ledger = try await receiver.create()
        try await ledger.apply([write(1), write(2)], epoch: 7) { (_, state) throws(HoldfastError) in
            try state.set("a value of the state", for: "key")
        }
        await ledger.close()
        let sealed =
            switch row {
            case "format": Row.seal(LedgerRow.format(), key: LedgerRow.formatKey, in: LedgerTable.ledger)
            case "epoch": Row.seal(Key.number(7), key: LedgerRow.epochKey, in: LedgerTable.ledger)
            case "applied":
                Row.seal(
                    SeenRow.last(2),
                    key: Key.seenRange("us-east-1", incarnation: 0, first: 1),
                    in: LedgerTable.applied
                )
            default: Row.seal(Array("a value of the state".utf8), key: Array("key".utf8), in: LedgerTable.state)
            }
        var flipped = sealed
        flipped[3] ^= 0x10
        try replace(sealed, with: flipped)
        switch row {
        case "format", "epoch": #expect(await code { try await receiver.open() } == .damaged)
        case "applied":
            let again = try await receiver.open()
            #expect(await code { try await again.filter([write(1)]) } == .damaged)
            #expect(await code { try await Receiver.log([write(3)], again) } == .damaged)
            #expect(try await again.read { (state) throws(HoldfastError) in try state.value(for: "key") } != nil)
            await again.close()
        default:
            let again = try await receiver.open()
            #expect(
                await code {
                    try await again.read { (state) throws(HoldfastError) in try state.value(for: "key") ?? "" }
                } == .damaged
            )
            #expect(try await again.filter([write(1), write(3)]) == [write(3)])
            await again.close()
        }
    }

    /// Replaces bytes wherever they are in the file: LMDB leaves old copies of pages behind.
    private func replace(_ old: [UInt8], with new: [UInt8]) throws {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: data))
        var places = 0
        while let place = bytes.range(of: Data(old)) {
            bytes.replaceSubrange(place, with: new)
            places += 1
        }
        try #require(places > 0)
        try bytes.write(to: URL(fileURLWithPath: data))
    }
}
