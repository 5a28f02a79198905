import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("Syncs, as the system sees them") struct SyncTests {
    /// Runs 64 tasks that append one write at a time, with every sync on record.
    private func record(appenders: Int, appends: Int) throws -> [Substring] {
        let directory = try TemporaryDirectory()
        let library = directory.appending("recorder.so")
        let compiled = try Tool.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, Tool.source("Tests/CrashTests/recorder.c").path, "-ldl"],
            program: "/usr/bin/env"
        )
        try #require(compiled.status == 0, "\(compiled.talk)")
        let record = directory.appending("record")
        let worked = try Tool.run(
            [directory.appending("store"), record, "\(appenders)", "\(appends)"],
            program: Tool.path("CrashWorker"),
            environment: ["LD_PRELOAD": library, "RECORD": record]
        )
        try #require(worked.status == 0, "\(worked.talk)")
        let text = try String(contentsOfFile: record, encoding: .utf8)
        let lines = text.split(separator: "\n")
        let begin = try #require(lines.firstIndex(of: "B"))
        let end = try #require(lines.lastIndex(of: "E"))
        return Array(lines[(begin + 1)..<end])
    }

    @Test("64 appenders share them, and none returns before the one of its transaction") func groupCommit() throws {
        let lines = try record(appenders: 64, appends: 100)
        var syncs = 0
        var flushedSinceMeta = false
        var durable: UInt64 = 0
        var returned = 0
        for line in lines {
            if line == "F" {
                syncs += 1
                flushedSinceMeta = true
            } else if line.hasPrefix("M ") {
                syncs += 1
                // LMDB writes the data, syncs it, and only then writes the page that makes it count.
                #expect(flushedSinceMeta)
                flushedSinceMeta = false
                durable = max(durable, try #require(UInt64(line.dropFirst(2))))
            } else if line.hasPrefix("A ") {
                returned += 1
                let transaction = try #require(UInt64(line.dropFirst(2)))
                #expect(transaction <= durable, "an append returned before transaction \(transaction) was on the disk")
            }
        }
        print("64 appenders, 6,400 appends: \(syncs) syncs, last durable transaction \(durable)")
        #expect(returned == 6_400)
        #expect(syncs <= 800)
        #expect(syncs > 0)
    }
}
