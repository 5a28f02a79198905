import Foundation
import HoldfastTesting
import TestSupport
import Testing

@testable import HoldfastTool

@Suite("What the tool advises") struct AdviceTests {
    // MARK: Pauses

    @Test("says below the tables why a region is paused, and until when") func pauses() throws {
        let store = try ToolStore()
        try store.run("region pause", "eu", "--reason", "db\nmoved", "--for", "1h")
        try store.run("region pause", "ap")
        for verb in ["queues", "region status"] {
            let lines = try store.run(verb, "--format", "table").lines.suffix(2)
            #expect(lines.first == "ap: paused, until it is resumed", "\(verb)")
            #expect(lines.last?.hasPrefix("eu: paused: db\\u{a}moved, until 20") == true, "\(verb)")
        }
        #expect(try store.run("queues", "--format", "jsonl").lines.count == 3)
    }

    @Test("pauses for a time or until one, which is still to come") func pauseUntil() throws {
        let store = try ToolStore()
        #expect(try store.run("region pause", "eu", "--until-ms", "1000").status == 64)
        #expect(try store.run("region pause", "eu", "--for", "1h", "--until-ms", "9999999999999").status == 64)
        #expect(try store.run("region pause", "eu", "--for", "0s").status == 64)
        #expect(try store.statistics("eu")["paused"] as? Bool == false)
        let paused = try store.run("region pause", "eu", "--for", "2h", "--reason", "a")
        let until = try #require(try object(paused.output)?["pausedUntilMs"] as? Int)
        let now = Int(Date().timeIntervalSince1970 * 1000)
        #expect((7_100_000...7_300_000).contains(until - now))
        let again = try store.run("region pause", "eu", "--reason", "b", "--format", "table").output
        #expect(again.contains("it was paused already, with 'a', until 20"))
        #expect(try store.statistics("eu")["pauseReason"] as? String == "b")
    }

    // MARK: Closed output

    private func closed(_ arguments: [String], input: String? = nil) throws -> Tool.Outcome {
        try Tool.run(
            ["-c", "\"$0\" \"$@\" | head -n 1 > /dev/null; exit ${PIPESTATUS[0]}", Tool.path()] + arguments,
            input: input,
            program: "/bin/bash"
        )
    }

    @Test("names what left the queue for a pipe that was closed") func drained() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...5000))
        let outcome = try closed(["drain", store.path, "--region", "eu"])
        #expect(outcome.status == 0)
        #expect(outcome.talk.contains("Positions 1 to 5000 have left the queue, and were not all printed."))
        #expect(try store.run("drain", "--region", "eu", "--max", "0").status == 64)
    }

    @Test("says that what could not be acknowledged on paper is queued") func acknowledgements() throws {
        let store = try ToolStore()
        let outcome = try Tool.run(
            ["-c", "\"$0\" append '\(store.path)' --region eu --batch 10 --print-acks > /dev/full", Tool.path()],
            input: ToolStore.lines(1...30),
            program: "/bin/bash"
        )
        #expect(outcome.status == 74)
        #expect(outcome.talk.contains("Lines 1 to 10 are queued all the same."))
        #expect(outcome.talk.contains("Running the same input again is safe"))
        #expect(try store.statistics("eu")["entries"] as? Int == 10)
    }

    // MARK: Paths and names

    @Test("suggests to make a store only where one can be made") func missing() throws {
        let store = try ToolStore()
        let (nope, file) = (store.directory.appending("nope"), store.directory.appending("file"))
        try Data().write(to: URL(fileURLWithPath: file))
        for verb in [["info"], ["queues"], ["append", "--region", "eu"]] {
            let outcome = try Tool.run([verb[0], nope] + verb.dropFirst(), input: "")
            #expect(outcome.status == 66 && outcome.talk.contains("holdfast init \(nope)"), "\(outcome.talk)")
        }
        for arguments in [
            ["restore", nope, "--to", nope + "-new"], ["diff", store.path, nope], ["digest", nope],
            ["compact", nope, "--in-place"], ["queues", "/etc"], ["queues", file], ["queues", nope + "/x/y"],
            ["check", nope], ["doctor", nope], ["region", "status", nope],
        ] {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == 66, "\(arguments): \(outcome.talk)")
            #expect(!outcome.talk.contains("init"), "\(arguments): \(outcome.talk)")
            #expect(outcome.talk.contains("Is the path right, and is the disk mounted?"), "\(arguments)")
        }
        #expect(
            try Tool.run(["restore", nope, "--to", nope + "-new"]).talk.contains("There is no backup at '\(nope)'")
        )
        for arguments in [
            ["queues", ""], ["append", "", "--region", "eu"], ["load", ""], ["restore", "", "--to", nope],
            ["diff", store.path, ""], ["init", "", "--local", "us", "--regions", "us"],
        ] {
            #expect(try Tool.run(arguments).status == 64, "\(arguments)")
        }
    }

    @Test("lists the regions there are where one is not known") func unknownRegion() throws {
        let store = try ToolStore()
        for arguments in [
            ["append", store.path, "--region", "mars"], ["region", "status", store.path, "mars"],
            ["region", "replay", store.path, "mars"], ["drain", store.path, "--region", "mars"],
        ] {
            let outcome = try Tool.run(arguments, input: "")
            #expect(outcome.status == 64, "\(arguments)")
            #expect(outcome.talk.contains("regions are ap, eu, us."), "\(arguments): \(outcome.talk)")
            #expect(!outcome.talk.contains("configure"))
        }
        let json = try store.run("lost", "--region", "mars", "--format", "json")
        let error = try #require(try object(json.talk)?["error"] as? [String: Any])
        #expect(error["regions"] as? [String] == ["ap", "eu", "us"])
    }

    @Test("asks whether another verb was meant") func verbs() throws {
        let store = try ToolStore()
        for (arguments, meant) in [
            (["queue", store.path], "'holdfast queues'"),
            (["region", "puase", store.path, "eu"], "'holdfast region pause'"),
            (["dlq", "lst", store.path], "'holdfast dlq list'"),
        ] {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == 64)
            #expect(outcome.talk.contains("Did you mean \(meant)?"), "\(outcome.talk)")
        }
        let none = try Tool.run(["frobnicate"])
        #expect(none.status == 64 && !none.talk.contains("Did you mean"))
        #expect(try Tool.run(["help", "queues"]).status == 0)
        #expect(Advice.distance("kitten", "sitting") == 3)
    }

    @Test("has examples that fit on a line") func examples() throws {
        for verb in [
            "init", "append", "info", "queues", "records", "get", "lost", "digest", "diff", "drain", "ack", "dump",
            "load",
            "check", "backup", "restore", "upgrade", "region", "snapshot", "history", "simulate", "doctor", "replay",
            "dlq",
            "region pause", "region replay", "dlq list", "dlq drop", "dlq retry",
        ] {
            let help = try Tool.run(["help"] + verb.split(separator: " ").map(String.init)).lines
            let start = try #require(help.firstIndex { $0.hasPrefix("Example") }, "\(verb)")
            let examples = help[(start + 1)...].prefix { !$0.isEmpty }
            #expect(examples.allSatisfy { $0.hasPrefix("  ") }, "\(verb): \(Array(examples))")
        }
    }

    // MARK: Values

    @Test("says what is valid where a value is not") func values() throws {
        let store = try ToolStore()
        for (arguments, valid) in [
            (["region", "replay", store.path, "eu", "--timeout", "5"], "ms, s, min, h or d"),
            (["region", "limits", store.path, "eu", "--bytes", "1XB"], "64MiB"),
            (
                ["region", "limits", store.path, "eu", "--entries", "999999999999999999999"],
                "0 to 18446744073709551615"
            ),
            (["region", "limits", store.path, "eu", "--age", "99999999999d"], "at most 36500d"),
            (["queues", store.path, "--watch", "--interval", "5"], "ms, s, min, h or d"),
            (["region", "replay", store.path, "eu", "--batch-entries", "100000000"], "--batch-entries is 1 to 65536"),
            (["region", "replay", store.path, "eu", "--timeout", "2d"], "--timeout is 1ms to 1d"),
            (["region", "replay", store.path, "eu", "--backoff-base", "1min"], "at most --backoff-max"),
            (["region", "replay", store.path, "eu", "--backoff-max", "50ms"], "at most --backoff-max"),
            (["queues", store.path, "--interval", "1s"], "--interval needs --watch"),
            (["records", store.path, "--from", "10", "--to", "5"], "--from 10 is beyond --to 5"),
            (["records", store.path, "--limit", "0"], "--limit is at least 1"),
        ] {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == 64, "\(arguments): \(outcome.talk)")
            #expect(outcome.talk.contains(valid), "\(arguments): \(outcome.talk)")
        }
        let none = try store.run("dlq list", "--key", "k9", "--format", "jsonl")
        #expect(none.status == 0 && none.talk.contains("There is no dead letter of key 'k9'."))
    }

    // MARK: Dumps, backups and locks

    @Test("says at which line a dump was cut off, and leaves nothing of what was loaded") func cutDump() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...20))
        let dump = try store.run("dump").lines
        let copy = store.directory.appending("copy")
        for cut in [dump.prefix(9).joined(separator: "\n") + "\n", dump.prefix(8).joined(separator: "\n") + "\n{\"reg"]
        {
            let outcome = try Tool.run(["load", copy], input: cut)
            #expect(outcome.status == 65)
            #expect(outcome.talk.contains("cut off at line 9"), "\(outcome.talk)")
            #expect(!FileManager.default.fileExists(atPath: copy))
        }
    }

    @Test("opens for nobody what a load left that was killed, and says how to be rid of it") func killedLoad() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...20))
        let copy = store.directory.appending("copy")
        let killed = try Tool.run(
            ["load", store.path, copy],
            program: Tool.path("KillWorker"),
            environment: ["HOLDFAST_FAULT": "loadFinish:1"]
        )
        #expect(killed.isSignalled)
        #expect(try Tool.run(["append", copy, "--region", "eu"], input: "").status == 65)
        let outcome = try Tool.run(["queues", copy])
        #expect(outcome.status == 65 && outcome.talk.contains("\n  rm -r \(copy)\n"), "\(outcome.talk)")
        let doctor = try Tool.run(["doctor", copy, "--format", "table"])
        #expect(doctor.status == 65 && doctor.output.contains("Run: rm -r \(copy)"), "\(doctor.output)")
    }

    @Test("leads from a file of nothing to a backup, and not in a circle; commands carry the store's path")
    func emptyData()
        throws
    {
        let store = try ToolStore()
        let data = URL(fileURLWithPath: store.path + "/data.mdb")
        let bytes = try Data(contentsOf: data)
        try Data().write(to: data)
        let queues = try store.run("queues")
        #expect(queues.status == 65 && queues.talk.hasSuffix("  holdfast check \(store.path) --level deep\n"))
        #expect(queues.talk.contains("'holdfast recover \(store.path) --to \(store.path)-recovered'"), "\(queues.talk)")
        let check = try store.run("check", "--level", "deep")
        #expect(check.status == 65 && check.output.contains("or restore a backup"), "\(check.output)")
        #expect(!check.output.contains("STORE"), "\(check.output)")
        let new = store.directory.appending("new")
        let recover = try store.run("recover", "--to", new)
        #expect(recover.status == 65 && recover.talk.contains("Restore a backup"), "\(recover.talk)")
        #expect(!recover.talk.contains("holdfast check"), "\(recover.talk)")
        #expect(!FileManager.default.fileExists(atPath: new))
        // A page with a row in it, cut out of the middle: findings are sentences.
        try (bytes.prefix(8192) + Data(count: bytes.count - 8192)).write(to: data)
        let findings = try store.run("check", "--level", "deep", "--format", "table").output
        #expect(!findings.contains(#/[a-z] (Keep|Open|Restore) /#), "\(findings)")
        let missing = try store.run("recover", "--to", new)
        #expect(missing.status == 65 && !missing.talk.contains("holdfast check"), "\(missing.talk)")
        #expect(!FileManager.default.fileExists(atPath: new))
        let none = try Tool.run(["recover", store.directory.path, "--to", new])
        #expect(none.status == 66 && none.talk.contains("There is no store here"), "\(none.talk)")
    }

    @Test(
        "of a file that was cut off shows some pages of a kind and counts the others, and names the region where it can"
    )
    func cutOff() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", "--batch", "1", input: LiveDumpTests.lines(1...100, bytes: 6000))
        let data = URL(fileURLWithPath: store.path + "/data.mdb")
        let bytes = try Data(contentsOf: data)
        try bytes.prefix(bytes.count / 2).write(to: data)
        let json = try store.run("check", "--level", "deep")
        let table = try store.run("check", "--level", "deep", "--format", "table")
        #expect(json.status == 65 && table.status == 65)
        #expect(json.output.components(separatedBy: #""code":"page."#).count > 30, "\(json.output)")
        #expect(table.lines.count < 30, "\(table.output)")
        #expect(table.output.contains("more of these (pages"), "\(table.output)")
        // The first page of each large value says another length.
        var changed = bytes
        for page in stride(from: 8192, to: bytes.count, by: 4096) where bytes[page + 10] == 4 {
            changed[page + 12] ^= 8
        }
        try changed.write(to: data)
        let values = try store.run("check", "--level", "deep")
        #expect(values.output.contains(#"{"code":"page.value","severity":"error","region":"eu""#), "\(values.output)")
    }

    @Test("knows a backup, and what to type for a region that missed something") func doctor() throws {
        let store = try ToolStore("--limit-entries", "10", "--overflow", "dropOldest")
        try store.run("append", "--region", "eu", "--batch", "6", input: ToolStore.lines(1...12))
        let backup = store.directory.appending("backup")
        #expect(try store.run("backup", "--to", backup).status == 0)
        let well = try Tool.run(["doctor", backup, "--format", "table"])
        #expect(well.output.contains("This is a backup, made 20"))
        #expect(well.output.contains("holdfast restore \(backup) --to \(backup)-restored"))
        let doctor = try store.run("doctor", "--format", "table").output
        #expect(
            doctor.contains(
                "2 dropped (by a limit, or dead letters given up). Run: holdfast lost \(store.path) --region eu"
            )
        )
        #expect(!doctor.contains("holdfast check"))
    }

    @Test("says who has the store in words") func owner() throws {
        let receiver = try Receiver(1...1)
        let holder = receiver.process("touch begun; while [ ! -e go ]; do sleep 0.01; done", [])
        holder.standardError = FileHandle.nullDevice
        try holder.run()
        receiver.wait(for: "begun", holder)
        let outcome = try receiver.store.run("append", "--region", "eu", input: "")
        #expect(outcome.status == 75)
        let host = try String(contentsOfFile: "/proc/sys/kernel/hostname", encoding: .utf8).dropLast()
        #expect(outcome.talk.contains("pid \(holder.processIdentifier) on host \(host), which runs since 20"))
        #expect(!outcome.talk.contains("boot"))
        kill(holder.processIdentifier, SIGTERM)
        try receiver.make("go")
        holder.waitUntilExit()
    }
}
