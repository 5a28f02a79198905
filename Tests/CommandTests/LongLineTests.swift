import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@testable import HoldfastTool

@Suite("A line that the tool prints", .serialized) struct LongLineTests {
    /// As UTF-8 a byte of 1 takes six characters: that line is longer than the one of the largest value as hex.
    @Test(
        "can be read by it, however long it is",
        arguments: [("utf8", 6 << 20), ("hex", OutstandingWrite.valueSizeMax)]
    )
    func long(form: String, bytes: Int) async throws {
        let made = try ToolStore()
        let store = try await ReplayStore.open(made.path, .existing, options: .tool) { (_) throws(HoldfastError) in
            ((), StoreHooks())
        }.0
        let write = OutstandingWrite(
            origin: "us",
            incarnation: 0,
            sequence: 1,
            key: Array("k".utf8),
            value: [UInt8](repeating: 1, count: bytes)
        )
        _ = try await store.append([write], to: ["eu"], ifEpoch: nil, at: Timestamp(milliseconds: 0))
        await store.close()
        let (dump, new) = (made.directory.appending("dump"), made.directory.appending("new"))
        let script = #""$0" dump "$1" --values \#(form) > "$2" && "$0" load "$3" "$2" && "$0" diff "$1" "$3""#
        let outcome = try await Tool.runBeside(["-c", script, Tool.path(), made.path, dump, new], program: "/bin/sh")
        #expect(outcome.status == 0, "\(outcome.talk)")
    }

    @Test("is no longer than what is read as one, with the longest key, clock and names as well") func limit() {
        let name = String(repeating: "r", count: RegionID.lengthMax)
        let numbers = 40 * 20
        let texts = OutstandingWrite.keySizeMax + OutstandingWrite.valueSizeMax + OutstandingWrite.clockSizeMax
        #expect(6 * texts + 2 * name.utf8.count + numbers <= LineReader.lengthMax)
    }
}
