import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("What holdfast replay tells") struct ReplayTellingTests {
    /// The JSON objects on standard error.
    private func told(_ outcome: Tool.Outcome) throws -> [[String: Any]] {
        try outcome.talk.split(separator: "\n").compactMap { try object(String($0)) }
    }

    @Test("says how many entries were lost to damage, which, and where to look, with exit 65") func damage() throws {
        let receiver = try Receiver(1...1)
        let lines = (2...601).map {
            #"{"origin":"us","incarnation":0,"sequence":\#($0),"key":"k","value":"\#(UUID())"}"# + "\n"
        }
        try receiver.store.run("append", "--region", "eu", "--batch", "200", input: lines.joined())
        try damageBlock(at: 202, of: receiver.store)
        let outcome = try receiver.run("cat >> received", "--once", "--format", "json")
        #expect(outcome.status == 65)
        let error = try #require(try told(outcome).last?["error"] as? [String: Any])
        #expect(error["code"] as? String == "damaged")
        #expect(error["next"] as? String == "holdfast lost \(receiver.store.path) --region eu")
        #expect((error["message"] as? String)?.contains("Lost to damage: 200 (positions 202-401).") == true)
        let summary = try #require(error["summary"] as? [String: Any])
        #expect(summary["lost"] as? Int == 200)
        #expect(summary["dropped"] as? Int == 0)
        #expect(summary["received"] as? Int == 401)
        let gone = try #require((summary["gone"] as? [[String: Any]])?.first)
        #expect(gone["first"] as? Int == 202 && gone["through"] as? Int == 401)
        #expect(gone["reason"] as? String == "damaged")
        #expect(try receiver.sequences().count == 401)
    }

    /// Flips a bit in every copy of the block of 200 entries at a position.
    private func damageBlock(at position: UInt8, of store: ToolStore) throws {
        let file = URL(fileURLWithPath: store.path + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        var (start, places) = (bytes.startIndex, 0)
        while let place = bytes.range(of: Data([1, 1, 0, 200]), in: start..<bytes.endIndex) {
            if bytes[(place.lowerBound + 24)..<(place.lowerBound + 32)] == Data([0, 0, 0, 0, 0, 0, 0, position]) {
                bytes[place.lowerBound + 100] ^= 0x10
                places += 1
            }
            start = place.upperBound
        }
        try #require(places > 0)
        try bytes.write(to: file)
    }

    @Test("says at once that the store cannot note what was delivered, sends it once, and ends with the reason")
    func refusedAcknowledgement() throws {
        let receiver = try Receiver(1...20)
        let replay = ["replay", receiver.store.path, "--region", "eu", "--once", "--exec"]
        let received = "cat >> '\(receiver.path)/received'"
        // The data file is at its limit: an acknowledgement finds no page that it could write.
        let script = #"ulimit -f 64 && exec "$@""#
        let arguments = ["-c", script, "sh", Tool.path()] + replay + [received]
        let limited = try Tool.run(arguments, program: "/bin/sh")
        let waiting = try receiver.store.statistics("eu")["entries"] as? Int ?? 0
        #expect(limited.status == 1 && waiting > 0, "\(limited.talk)")
        #expect(limited.talk.contains("holdfast: eu waits for the store, which is asked again: "), "\(limited.talk)")
        #expect(limited.talk.contains("could not note is sent again. Region eu has received"), "\(limited.talk)")
        let first = try receiver.sequences()
        #expect(first == Array(1...first.count))
        let after = try Tool.run(replay + [received])
        #expect(after.status == 0, "\(after.talk)")
        #expect(try receiver.sequences() == first + Array((21 - waiting)...20))
    }

    @Test(
        "ends with exit 65 when the data file is damaged under it, whatever it was asked to wait for",
        arguments: [["--once"], ["--give-up-after", "1h"]]
    )
    func damagedStore(options: [String]) throws {
        let receiver = try Receiver(1...20)
        let file = "'\(receiver.store.path)/data.mdb'"
        let damage = "dd if=/dev/zero of=\(file) bs=4096 seek=2 count=14 conv=notrunc status=none"
        let script = "cat >> '\(receiver.path)/received'; \(damage)"
        let outcome = try Tool.run(["replay", receiver.store.path, "--region", "eu", "--exec", script] + options)
        #expect(!outcome.isSignalled && outcome.status == 65, "\(outcome.talk)")
        #expect(try receiver.sequences() == Array(1...16))
    }

    @Test("counts what a limit took meanwhile") func dropped() throws {
        let receiver = try Receiver(1...20)
        try receiver.store.run("region limits", "eu", "--age", "1ms", "--overflow", "dropOldest", "--yes")
        let outcome = try receiver.run("cat >> received", "--once")
        #expect(outcome.status == 0, "\(outcome.talk)")
        let queue = try receiver.store.statistics("eu")
        let dropped = try #require(queue["dropped"] as? Int)
        #expect(outcome.talk.contains("Dropped by a limit: \(dropped) (positions ") == (dropped > 0))
        #expect(outcome.talk.contains("holdfast lost ") == (dropped > 0))
    }

    @Test(
        "ends when nobody reads its standard output any more, and blames no entry",
        arguments: ["yes | head -c 300000; kill -PIPE $$", "yes | head -c 300000 || exit 1; exit 1"]
    )
    func closedOutput(script: String) throws {
        let receiver = try Receiver(1...20)
        try receiver.store.run("region replay", "eu", "--attempts-max", "1", "--exhausted", "park")
        let process = receiver.process(script, [])
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        try output.fileHandleForReading.close()
        let ended = waited(process)
        #expect(ended)
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
        let queue = try receiver.store.statistics("eu")
        #expect(queue["dead"] as? Int == 0 && queue["entries"] as? Int == 20)
    }

    /// Whether a process ends by itself within a time that is ample; it is ended otherwise.
    private func waited(_ process: Program) -> Bool {
        let end = ContinuousClock.now + .seconds(60)
        while process.isRunning, ContinuousClock.now < end { usleep(1000) }
        defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        return !process.isRunning
    }

    @Test("gives up where a region cannot be reached for so long, with exit 75 and the reason") func givesUp() throws {
        let receiver = try Receiver(1...20)
        let outcome = try receiver.run(
            "echo 'no route' >&2; exit 75",
            "--once",
            "--give-up-after",
            "50ms",
            "--format",
            "json"
        )
        #expect(outcome.status == 75)
        let error = try #require(try told(outcome).last?["error"] as? [String: Any])
        #expect(error["code"] as? String == "gaveUp")
        let failure = try #require((error["summary"] as? [String: Any])?["lastFailure"] as? [String: Any])
        #expect((failure["reason"] as? String)?.contains("no route") == true)
        #expect(failure["first"] as? Int == 1)
        #expect(try receiver.store.statistics("eu")["entries"] as? Int == 20)
        #expect(try receiver.run("true", "--once", "--give-up-after", "1h").status == 0)
        #expect(try receiver.run("true", "--once", "--give-up-after", "0s").status == 64)
    }

    @Test("tells the first failure, and later ones less and less often") func failures() throws {
        let receiver = try Receiver(1...5)
        let script = "echo >> runs; [ $(wc -l < runs) -gt 40 ] && exit 0; echo \"run $(wc -l < runs)\" >&2; exit 75"
        let outcome = try receiver.run(script, "--once")
        #expect(outcome.status == 0)
        let failures = outcome.talk.split(separator: "\n").filter { $0.contains("unavailable after") }
        #expect(failures.count == 6, "\(outcome.talk)")
        #expect(failures.first?.contains("eu 1-5: unavailable after ") == true)
        #expect(failures.first?.contains(": run 1 (failure 1;") == true)
        #expect(failures.last?.contains("(failure 32;") == true)
        let summary = try #require(outcome.talk.split(separator: "\n").last)
        #expect(summary.contains("Could not be reached: 40 times. The last failure: positions 1-"))
        #expect(summary.contains(": run 40."))
    }

    @Test("waits while it is paused, and says so once; with --once it fails") func paused() throws {
        let receiver = try Receiver(1...5)
        try receiver.store.run("region pause", "eu", "--reason", "db\nmoved")
        let once = try receiver.run("true", "--once")
        #expect(once.status == 1)
        #expect(once.talk.contains("is paused: db\\u{a}moved. "))
        let process = receiver.process("true", [])
        let talk = Pipe()
        process.standardError = talk
        try process.run()
        let said = String(decoding: talk.fileHandleForReading.availableData, as: UTF8.self)
        #expect(said.contains("eu is paused: db\\u{a}moved."))
        #expect(said.contains("holdfast region resume \(receiver.store.path) eu"))
        #expect(process.isRunning)
        kill(process.processIdentifier, SIGTERM)
        let rest = String(decoding: try talk.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(!rest.contains("is paused"))
        // One that is over by itself is waited for.
        try receiver.store.run("region pause", "eu", "--for", "300ms")
        #expect(try receiver.run("cat > received; kill -TERM $PPID").status == 0)
        #expect(try receiver.sequences() == Array(1...5))
    }

    @Test("counts signals of one instant once") func sameSignal() throws {
        let receiver = try Receiver(1...5)
        let process = receiver.process("touch begun; while [ ! -e go ]; do sleep 0.01; done; cat >> received", [])
        process.standardError = FileHandle.nullDevice
        try process.run()
        receiver.wait(for: "begun", process)
        kill(process.processIdentifier, SIGINT)
        kill(process.processIdentifier, SIGTERM)
        try receiver.make("go")
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(try receiver.sequences() == Array(1...5))
    }

    @Test("says why a command was killed, and counts in words") func words() throws {
        let receiver = try Receiver(1...1)
        try receiver.store.run("region replay", "eu", "--timeout", "300ms", "--attempts-max", "1")
        let outcome = try receiver.run("[ -e tried ] && exit; touch tried; exec sleep 100", "--once")
        #expect(outcome.talk.contains("it took longer than 'region replay --timeout' allows"))
        #expect(!outcome.talk.contains("cancelled"))
        #expect(outcome.talk.contains("1 entry in 1 batch; the queue is empty. Could not be reached: 1 time."))
        let settings = try receiver.store.run("region replay", "eu", "--format", "table").output
        #expect(settings.contains("at most 1 time\n"))
    }
}
