import Bytes
import Foundation
import Glibc
import HoldfastTesting
import ReplayFormat
import TestSupport
import Testing

@Suite("A backup") struct BackupTests {
    private func digest(_ path: String) throws -> String {
        try #require(try object(try Tool.run(["digest", path, "--format", "json"]).output)?["digest"] as? String)
    }

    private func filled() throws -> ToolStore {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--region", "ap", input: ToolStore.lines(1...700))
        try store.run("append", "--region", "eu", input: ToolStore.lines(650...760))
        try store.run("ack", "--region", "eu", "--through", "300")
        return store
    }

    @Test("is the store, whole, and restores to a store with an identity of its own that goes on where it was")
    func restores() throws {
        let store = try filled()
        let (backup, restored) = (store.directory.appending("backup"), store.directory.appending("restored"))
        let made = try store.run("backup", "--to", backup, "--format", "json")
        #expect(made.status == 0, "\(made.talk)")
        let report = try #require(try object(made.output))
        #expect(report["entries"] as? Int == 460 + 700)
        #expect(report["verified"] as? Bool == true)
        #expect(try digest(backup) == digest(store.path))
        #expect(try Tool.run(["check", backup, "--level", "full"]).status == 0)
        let plan = try Tool.run(["restore", backup, "--to", restored, "--format", "table"])
        #expect(plan.status == 0)
        #expect(plan.output.contains("holdfast restore \(backup) --to \(restored) --yes"))
        #expect(!FileManager.default.fileExists(atPath: restored))
        let outcome = try Tool.run(["restore", backup, "--to", restored, "--yes", "--format", "json"])
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(try digest(restored) == digest(store.path))
        let uuid = { (path: String) in try object(try Tool.run(["info", path]).output)?["uuid"] as? String }
        #expect(try uuid(backup) == uuid(store.path))
        #expect(try uuid(restored) != uuid(store.path))
        #expect(try object(outcome.output)?["storeUUID"] as? String == uuid(restored))
        // The restored store takes what is new, and knows what it has had.
        let more = try Tool.run(
            ["append", restored, "--region", "eu", "--print-acks"],
            input: ToolStore.lines(700...780)
        )
        #expect(more.lines == [#"{"region":"eu","first":761,"through":780,"accepted":20,"duplicates":61}"#])
        let drained = try Tool.run(["drain", restored, "--region", "eu", "--values", "utf8"])
        #expect(drained.lines.count == 480)
        #expect(try Tool.run(["check", restored, "--level", "full"]).status == 0)
    }

    @Test("is read like a store, and never changed") func readOnly() throws {
        let store = try filled()
        let backup = store.directory.appending("backup")
        try #require(try store.run("backup", "--to", backup).status == 0)
        let before = try digest(backup)
        for verb in [["append", backup, "--region", "eu"], ["ack", backup, "--region", "eu", "--through", "400"]] {
            let refused = try Tool.run(verb, input: ToolStore.lines(900...900))
            #expect(refused.status == 1)
            #expect(refused.talk.contains("holdfast restore \(backup) --to"))
        }
        #expect(try Tool.run(["region", "pause", backup, "eu"]).status == 1)
        let file = try Data(contentsOf: URL(fileURLWithPath: backup + "/data.mdb"))
        for options in [["--in-place"], ["--in-place", "--yes"]] {
            let refused = try Tool.run(["compact", backup] + options)
            #expect(refused.status == 1)
            #expect(refused.talk.contains("holdfast restore \(backup) --to"))
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: backup + "/data.mdb")) == file)
        #expect(try Tool.run(["records", backup, "--format", "jsonl"]).lines.count == 1160)
        #expect(try Tool.run(["info", backup]).output.contains(#""backedUpMs":1"#))
        #expect(try digest(backup) == before)
        // What is loaded from its dump is a store.
        let loaded = store.directory.appending("loaded")
        try #require(try Tool.run(["load", loaded], input: try Tool.run(["dump", backup]).output).status == 0)
        #expect(try Tool.run(["append", loaded, "--region", "eu"], input: ToolStore.lines(900...900)).status == 0)
        #expect(try store.run("backup", "--to", backup).status == 73)
        #expect(try Tool.run(["backup", backup + "x", "--to", backup + "y"]).status == 66)
        #expect(try Tool.run(["restore", backup, "--to", store.path, "--yes"]).status == 73)
    }

    /// Whether this system lets the tests mount something: some containers do not.
    private static let canMount: Bool = {
        let isolated = ["--mount"] + (getuid() == 0 ? [] : ["--user", "--map-root-user"])
        let outcome = try? Tool.run(isolated + ["mount", "-t", "tmpfs", "none", "/mnt"], program: "/usr/bin/unshare")
        return outcome?.status == 0
    }()

    @Test("is read, compared and restored where nothing can be written", .enabled(if: canMount, "needs a mount"))
    func readOnlyMedium() throws {
        let store = try filled()
        let (backup, restored) = (store.directory.appending("backup"), store.directory.appending("restored"))
        try #require(try store.run("backup", "--to", backup).status == 0)
        let script = """
            mount --bind '\(backup)' '\(backup)' && mount -o remount,ro,bind '\(backup)' || exit 9
            touch '\(backup)/x' 2> /dev/null && exit 8
            '\(Tool.path())' diff '\(store.path)' '\(backup)' && '\(Tool.path())' check '\(backup)' --level full \\
              && '\(Tool.path())' restore '\(backup)' --to '\(restored)' --yes
            """
        let isolated = ["--mount"] + (getuid() == 0 ? [] : ["--user", "--map-root-user"])
        let outcome = try Tool.run(isolated + ["sh", "-c", script], program: "/usr/bin/unshare")
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(try digest(restored) == digest(store.path))
    }

    @Test("of a store in use is of one commit, and says that it holds a transaction") func online() throws {
        let store = try filled()
        let holder = Tool.process([
            "append", store.path, "--region", "ap", "--print-acks", "--batch", "1", "--incarnation", "5",
        ])
        let (input, acks) = (Pipe(), Pipe())
        holder.standardInput = input
        holder.standardOutput = acks
        try holder.run()
        let line = #"{"origin":"us","sequence":1,"key":"k","value":"v"}"# + "\n"
        input.fileHandleForWriting.write(Data(line.utf8))
        _ = acks.fileHandleForReading.availableData
        let backup = store.directory.appending("backup")
        let made = try store.run("backup", "--to", backup, "--format", "json")
        #expect(made.status == 0)
        #expect(made.talk.contains("one read transaction is held"))
        try input.fileHandleForWriting.close()
        holder.waitUntilExit()
        // The controller's time is stored once more when it closes; the queues are the same.
        for region in ["eu", "ap"] {
            let parts = try [backup, store.path].map { try Tool.run(["digest", $0, "--region", region]).output }
            #expect(parts[0] == parts[1])
        }
    }

    @Test("that is damaged is not restored, and a damaged store is not backed up") func damaged() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...100))
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        let header = try #require(bytes.range(of: Data([1, 1, 0, 100])))
        bytes[header.lowerBound + 90] ^= 1
        try bytes.write(to: file)
        let copy = store.directory.appending("copy")
        #expect(try store.run("backup", "--to", copy).status == 65)
        #expect(!FileManager.default.fileExists(atPath: copy))
        #expect(try Tool.run(["restore", store.path, "--to", copy, "--yes"]).status == 65)
        #expect(!FileManager.default.fileExists(atPath: copy))
    }

    @Test("that was killed is none, or whole, and nothing opens what is not whole", arguments: [7 as UInt64])
    func killed(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--batch", "1", input: ToolStore.lines(1...2_000))
        let whole = try digest(store.path)
        let begin = DispatchTime.now().uptimeNanoseconds
        try #require(try store.run("backup", "--to", store.directory.appending("first")).status == 0)
        let lasts = DispatchTime.now().uptimeNanoseconds - begin
        var (refused, kept) = (0, 0)
        for round in 0..<20 {
            let backup = store.directory.appending("backup-\(round)")
            let process = Tool.process(["backup", store.path, "--to", backup])
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            let until = DispatchTime.now().uptimeNanoseconds + UInt64.random(in: 0...(lasts * 2), using: &random)
            while DispatchTime.now().uptimeNanoseconds < until, process.isRunning {}
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            let restored = backup + "-restored"
            let outcome = try Tool.run(["restore", backup, "--to", restored, "--yes"])
            if outcome.status == 0 {
                kept += 1
                #expect(try digest(restored) == whole, "seed \(seed), round \(round)")
            } else {
                refused += 1
                // 66 where not even the file was begun.
                #expect([65, 66].contains(outcome.status), "seed \(seed), round \(round): \(outcome.talk)")
                #expect(try Tool.run(["append", backup, "--region", "eu"], input: "").status != 0)
                #expect(try Tool.run(["records", backup]).status != 0)
            }
        }
        print("killed backups: \(refused) refused, \(kept) whole, seed \(seed)")
        #expect(refused > 0)
    }
}
