import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("Syncs, as the system sees them") struct SyncTests {
    /// Runs tasks that append one write at a time, with everything on record: the events between the first append and the
    /// end of the last.
    private func record(appenders: Int, appends: Int) throws -> ArraySlice<Trace.Event> {
        let recorder = try Recorder()
        let trace = try recorder.record(
            ["appenders", recorder.root + "/store", recorder.marks, "\(appenders)", "\(appends)"],
            program: Tool.path("CrashWorker")
        )
        func index(of text: String) -> Int? {
            trace.events.firstIndex { if case .mark(text) = $0 { true } else { false } }
        }
        return trace.events[try #require(index(of: "B"))..<(try #require(index(of: "E")))]
    }

    @Test("64 appenders share them, and none returns before the one of its transaction") func groupCommit() throws {
        var syncs = 0
        var flushedSinceMeta = false
        var meta: UInt64 = 0
        var durable: UInt64 = 0
        var returned = 0
        for event in try record(appenders: 64, appends: 100) {
            switch event {
            case .sync:
                syncs += 1
                flushedSinceMeta = true
            case .write(_, _, let bytes):
                // The last 8 bytes of a meta page are the transaction's number.
                meta = bytes.suffix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
            case .durable:
                syncs += 1
                // LMDB writes the data, syncs it, and only then writes the page that makes it count.
                #expect(flushedSinceMeta)
                flushedSinceMeta = false
                durable = max(durable, meta)
            case .mark(let line) where line.hasPrefix("A "):
                returned += 1
                let transaction = try #require(UInt64(line.dropFirst(2)))
                #expect(transaction <= durable, "an append returned before transaction \(transaction) was on the disk")
            default: break
            }
        }
        print("64 appenders, 6,400 appends: \(syncs) syncs, last durable transaction \(durable)")
        #expect(returned == 6_400)
        #expect(syncs <= 800)
        #expect(syncs > 0)
    }
}
