import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("The memory that a verb takes", .serialized) struct MemoryTests {
    private let region: RegionID = "eu"

    /// Runs the tool with so many KiB of memory of its own.
    private func run(_ kibibytes: Int, _ arguments: [String]) throws -> Tool.Outcome {
        let script = "ulimit -d \(kibibytes) && exec \"$@\""
        return try Tool.run(["-c", script, "sh", Tool.path()] + arguments, program: "/bin/sh")
    }

    private func open(_ path: String) async throws -> ReplayStore {
        try await ReplayStore.open(path, .existing, options: StoreOptions(mapSizeBytes: 4 << 30)) {
            (_) throws(HoldfastError) in
            ((), StoreHooks())
        }.0
    }

    private func write(_ sequence: UInt64, _ bytes: Int) -> OutstandingWrite {
        OutstandingWrite(
            origin: "us",
            incarnation: 0,
            sequence: sequence,
            key: Array("k".utf8),
            value: [UInt8](repeating: UInt8(truncatingIfNeeded: sequence), count: bytes)
        )
    }

    @Test("is not all dead letters at once, for a check") func deadLetters() async throws {
        let made = try ToolStore()
        let store = try await open(made.path)
        for sequence in 1...12 as ClosedRange<UInt64> {
            try await store.appendParked(write(sequence, 16 << 20), to: region)
        }
        await store.close()
        let outcome = try run(160 << 10, ["check", made.path, "--level", "full"])
        #expect(outcome.status == 0 && !outcome.isSignalled, "\(outcome.talk)")
    }

    @Test("is not every large value, for a dictionary") func samples() async throws {
        let made = try ToolStore()
        let store = try await open(made.path)
        for sequence in 1...220 as ClosedRange<UInt64> {
            let write = write(sequence, 1 << 20)
            _ = try await store.append([write], to: [region], ifEpoch: nil, at: Timestamp(milliseconds: 0))
        }
        await store.close()
        let copy = made.directory.appending("copy")
        let outcome = try run(160 << 10, ["compact", made.path, "--to", copy, "--train-dictionary"])
        #expect(outcome.status == 0 && !outcome.isSignalled, "\(outcome.talk)")
        #expect(try Tool.run(["check", copy, "--level", "full"]).status == 0)
    }

    @Test("and a key of the last dictionary there can be, end no verb") func lastDictionary() async throws {
        let made = try ToolStore()
        try made.run("append", "--region", "eu", input: ToolStore.lines(1...400))
        let store = try await open(made.path)
        try await store.transact { (transaction) throws(HoldfastError) in
            try transaction.put([], key: DictionaryRow.key(.max, copy: 0), in: .dictionaries)
        }
        await store.close()
        let copy = made.directory.appending("copy")
        let refused = try made.run("compact", "--to", copy, "--train-dictionary")
        #expect(refused.status == 65 && !refused.isSignalled)
        #expect(refused.talk.contains("without --train-dictionary"))
        // Written anew, the store is without it.
        #expect(try made.run("compact", "--in-place", "--yes").status == 0)
        #expect(try made.run("compact", "--in-place", "--yes", "--train-dictionary").status == 0)
    }
}
