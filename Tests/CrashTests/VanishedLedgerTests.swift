import Foundation
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("A ledger whose directory or LOCK goes away while it is open") struct VanishedLedgerTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.appending("ledger") }
    private var moved: String { directory.appending("moved") }
    private let files = FileManager.default

    init() throws { directory = try TemporaryDirectory(in: MountedDisk.fastDirectory) }

    private func open(_ path: String? = nil) async throws(HoldfastError) -> AppliedLedger {
        try await AppliedLedger.open(at: path ?? self.path, mapSizeBytes: 1 << 30)
    }

    /// A ledger that has applied the sequences from 1 to 3.
    private func create() async throws -> AppliedLedger {
        let ledger = try await AppliedLedger.create(at: path, mapSizeBytes: 1 << 30)
        #expect(try await apply([1, 2, 3], ledger) == 3)
        return ledger
    }

    private func writes(_ sequences: [UInt64]) -> [OutstandingWrite] {
        sequences.map { OutstandingWrite(origin: "us", incarnation: 1, sequence: $0, key: "key", value: "value") }
    }

    @discardableResult
    private func apply(_ sequences: [UInt64], _ ledger: AppliedLedger) async throws(HoldfastError) -> Int {
        try await ledger.apply(writes(sequences)) { (new, state) throws(HoldfastError) in
            let sum = try state.value(for: "sum").flatMap { Int($0) } ?? 0
            try state.set("\(sum + new.count)", for: "sum")
            return new.count
        }
    }

    /// What each kind of call that is about what was applied is refused with.
    private func refusals(_ ledger: AppliedLedger) async -> [HoldfastError.Code?] {
        [
            await code { () throws(HoldfastError) in _ = try await apply([3, 4], ledger) },
            await code { () throws(HoldfastError) in _ = try await ledger.filter(writes([4])) },
            await code { () throws(HoldfastError) in _ = try await ledger.record(writes([4])) },
            await code { () throws(HoldfastError) in _ = try await ledger.admit(9) },
        ]
    }

    private func code(_ call: () async throws(HoldfastError) -> Void) async -> HoldfastError.Code? {
        do throws(HoldfastError) {
            try await call()
            return nil
        } catch {
            return error.code
        }
    }

    /// Another process applies sequences to the ledger at `path`; its last line says how many were new to it.
    private func applyElsewhere(_ sequences: [UInt64], _ path: String) throws -> Tool.Outcome {
        let lines = sequences.map { "us 1 \($0)\n" }.joined() + ".\n"
        return try Tool.run([path], input: lines, program: Tool.path("ReceiverWorker"))
    }

    @Test("lets nobody apply beside a process that came in: it refuses every call") func lockRemoved() async throws {
        let ledger = try await create()
        try files.removeItem(atPath: path + "/LOCK")
        #expect(await refusals(ledger) == [.inUse, .inUse, .inUse, .inUse])
        // The data file has a lock of its own.
        #expect(try applyElsewhere([3, 4, 5], path).status == 75)
        #expect(await refusals(ledger) == [.inUse, .inUse, .inUse, .inUse])
        await ledger.close()
        let again = try await open()
        #expect(try await apply([1, 2, 3, 4, 5, 6], again) == 3)
        await again.close()
    }

    @Test("is poisoned by what another process applied meanwhile, and applies it no second time")
    func foreignChange() async throws {
        for call in 0..<3 {
            let ledger = call == 0 ? try await create() : try await open()
            // By one that keeps to no lock of ours: nothing tells of it but the number of the last transaction, in LMDB's table.
            let next = UInt64(10 + call)
            try files.createDirectory(atPath: moved, withIntermediateDirectories: false)
            try files.copyItem(atPath: path + "/ledger.mdb", toPath: moved + "/ledger.mdb")
            try files.linkItem(atPath: path + "/ledger.mdb-lock", toPath: moved + "/ledger.mdb-lock")
            #expect(try applyElsewhere([3, next], moved).lines.last == "A 1")
            let data = try FileHandle(forWritingTo: URL(fileURLWithPath: path + "/ledger.mdb"))
            try data.write(contentsOf: Data(contentsOf: URL(fileURLWithPath: moved + "/ledger.mdb")))
            try data.close()
            try files.removeItem(atPath: moved)
            let refusal = await code { () throws(HoldfastError) in
                switch call {
                case 0: _ = try await apply([next], ledger)
                case 1: _ = try await ledger.filter(writes([next]))
                default: _ = try await ledger.read { (state) throws(HoldfastError) in try state.value(for: "sum") }
                }
            }
            #expect(refusal == .inUse)
            #expect(await refusals(ledger) == [.poisoned, .poisoned, .poisoned, .poisoned])
            await ledger.close()
            let again = try await open()
            #expect(try await again.filter(writes([3, 4, next])) == writes([4]))
            await again.close()
        }
    }

    @Test("refuses every call where it was renamed, and goes on once it is back") func renamed() async throws {
        let ledger = try await create()
        try files.moveItem(atPath: path, toPath: moved)
        #expect(await refusals(ledger) == [.notFound, .notFound, .notFound, .notFound])
        try files.moveItem(atPath: moved, toPath: path)
        #expect(try await apply([3, 4], ledger) == 1)
        try files.moveItem(atPath: path, toPath: moved)
        #expect(await refusals(ledger) == [.notFound, .notFound, .notFound, .notFound])
        await ledger.close()
        let again = try await open(moved)
        #expect(try await again.filter(writes([1, 2, 3, 4, 5])) == writes([5]))
        await again.close()
    }

    @Test("applies nothing that would be gone, and leaves what is made in its place alone") func replaced() async throws
    {
        let ledger = try await create()
        try files.removeItem(atPath: path)
        #expect(await refusals(ledger) == [.notFound, .notFound, .notFound, .notFound])
        let other = try await create()
        #expect(await refusals(ledger) == [.notFound, .notFound, .notFound, .notFound])
        await ledger.close()
        #expect(try await apply([3, 4], other) == 1)
        await other.close()
    }
}
