import Foundation
import HoldfastTesting
import TestSupport
import Testing

/// A store with a queue, and a shell command that receives it.
struct Receiver {
    let store: ToolStore
    /// Where the command keeps its files: its working directory.
    let path: String

    init(_ lines: ClosedRange<Int> = 1...100, region: String = "eu") throws {
        store = try ToolStore()
        path = store.directory.appending("receiver")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try store.run("append", "--region", region, input: ToolStore.lines(lines))
        // Tests do not wait for a receiver to recover.
        try store.run("region replay", region, "--backoff-base", "1ms", "--backoff-max", "5ms")
    }

    /// A replay that has not started; `script` is what the command does.
    func process(_ script: String, _ options: [String] = ["--once"], region: String = "eu") -> Program {
        let arguments = ["replay", store.path, "--region", region, "--exec", script] + options
        let process = Tool.process(arguments, environment: ["HOLDFAST": Tool.path()])
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        process.standardInput = FileHandle.nullDevice
        return process
    }

    func run(_ script: String, _ options: String..., region: String = "eu") throws -> Tool.Outcome {
        try Tool.run(
            ["replay", store.path, "--region", region, "--exec", "cd '\(path)'; \(script)"] + options,
            environment: ["HOLDFAST": Tool.path()]
        )
    }

    func text(_ name: String) throws -> String { try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8) }

    /// The sequences in the order in which the command wrote them down.
    func sequences(_ name: String = "received") throws -> [Int] {
        try text(name).split(separator: "\n").map { line in
            try #require(try object(String(line))?["sequence"] as? Int, "\(line)")
        }
    }

    func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(path)/\(name)") }

    /// Makes an empty file, which the command waits for.
    func make(_ name: String) throws { try Data().write(to: URL(fileURLWithPath: "\(path)/\(name)")) }

    /// Returns when the command has made the file, or the process has ended.
    func wait(for name: String, _ process: Program) {
        while !has(name), process.isRunning { usleep(1000) }
    }

    /// Whether a process is there.
    static func isAlive(_ process: Int32) -> Bool {
        // A process that nobody has waited for yet is there in name alone.
        guard let status = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
        return !status.contains(") Z ")
    }
}

/// Checks that what a receiver wrote down, repeats aside, is `count` writes in order.
func expectInOrder(_ sequences: [Int], _ count: Int, _ comment: String) {
    var first: [Int] = []
    var seen: Set<Int> = []
    for sequence in sequences where seen.insert(sequence).inserted { first.append(sequence) }
    #expect(first == Array(1...count), "\(comment)")
}

@Suite("holdfast replay") struct ReplayTests {
    /// Fails in four ways, each once, and then by the seed, the batch and how many batches there were: once in six times.
    private static let flaky = """
        echo >> runs
        run=$(wc -l < runs)
        how=$(( $(printf '%s' "$SEED $HOLDFAST_FIRST $run" | cksum | cut -d ' ' -f 1) / 7 % 24 ))
        [ $run -gt 5 ] || how=$(( run - 2 ))
        case $how in
        0) exit 75 ;;
        1) cat >> received; exit 75 ;;
        2) head -n 3 >> received; echo 'only three' >&2; exit 1 ;;
        3) cat >> received; kill -9 $$ ;;
        *) cat >> received ;;
        esac
        """

    @Test("gives a command that fails at random every line, in order", arguments: 1...3)
    func random(seed: Int) throws {
        let receiver = try Receiver(1...600)
        try receiver.store.run("region replay", "eu", "--batch-entries", "20")
        let outcome = try receiver.run("SEED=\(seed); \(Self.flaky)", "--once", "--format", "json")
        try #require(outcome.status == 0, "seed \(seed): \(outcome.talk)")
        let sequences = try receiver.sequences()
        expectInOrder(sequences, 600, "seed \(seed)")
        #expect(sequences.count > 600, "seed \(seed): nothing failed")
        let summary = try #require(try outcome.talk.split(separator: "\n").last.flatMap { try object(String($0)) })
        #expect(summary["received"] as? Int == 600)
        #expect(summary["left"] as? Int == 0)
        #expect((summary["refused"] as? Int ?? 0) > 0)
        #expect((summary["unavailable"] as? Int ?? 0) > 0)
        #expect(try receiver.store.run("check", "--level", "full").status == 0)
    }

    @Test("loses nothing when it is killed at any moment", arguments: 1...2 as ClosedRange<UInt64>)
    func killed(seed: UInt64) throws {
        let receiver = try Receiver(1...2000)
        try receiver.store.run("region replay", "eu", "--batch-entries", "20")
        var random = SplitMix64(seed: seed)
        var kills = 0
        while kills < 12 {
            let process = receiver.process("cat >> received")
            process.standardError = FileHandle.nullDevice
            try process.run()
            usleep(UInt32.random(in: 0...150_000, using: &random))
            let isRunning = process.isRunning
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            guard isRunning else { break }
            kills += 1
        }
        #expect(try receiver.run("cat >> received", "--once").status == 0)
        expectInOrder(try receiver.sequences(), 2000, "seed \(seed), \(kills) kills")
        #expect(kills > 0, "seed \(seed)")
        #expect(try receiver.store.statistics("eu")["acknowledged"] as? Int == 2000)
    }

    @Test("makes another store of it, each write once, whatever bytes it has") func otherStore() throws {
        let receiver = try Receiver(1...10)
        let odd = (0...255).map { byte in
            let bytes = Data([UInt8(byte), 0xFF, 0, 10, UInt8(byte)]).base64EncodedString()
            return #"{"origin":"ap","incarnation":\#(byte % 3),"sequence":\#(byte),"keyBase64":"\#(bytes)","#
                + #""valueBase64":"\#(bytes)","kind":"\#(byte % 5 == 0 ? "delete" : "put")","clockBase64":"\#(bytes)"}"#
        }
        try receiver.store.run("append", "--region", "eu", input: odd.joined(separator: "\n") + "\n")
        let before = try receiver.store.run("records", "--values", "hex").lines
        let script = """
            [ -d other ] || "$HOLDFAST" init other --local us --regions us,eu > out
            "$HOLDFAST" append other --region eu > out || exit 75
            echo >> runs
            [ $(wc -l < runs) != 2 ] || exit 75
            """
        let outcome = try receiver.run(script, "--once")
        #expect(outcome.status == 0, "\(outcome.talk)")
        let after = try Tool.run(["records", receiver.path + "/other", "--values", "hex"]).lines
        // All but the time of the append is the same.
        let withoutTime = { (line: String) in line.replacing(/"enqueuedAtMs":[0-9]+/, with: "") }
        #expect(after.map(withoutTime) == before.map(withoutTime))
        #expect(after.count == 266)
    }

    // MARK: How a command can end

    @Test(
        "tells by the end of the command whether the region refused or could not be reached",
        arguments: [
            ("exit 75", "unavailable"), ("kill -9 $$", "unavailable"), ("kill -TERM $$", "unavailable"),
            ("(exit 137)", "unavailable"), ("/nowhere/command", "unavailable"), ("exit 126", "unavailable"),
            ("exit 1", "refused"), ("exit 74", "refused"), ("exit 255", "refused"), ("(", "refused"),
        ]
    )
    func endings(ending: String, outcome: String) throws {
        let receiver = try Receiver(1...3)
        let script =
            "if [ -e tried ]; then cat > received; else touch tried; \(ending == "(" ? "eval '('" : ending); fi"
        let run = try receiver.run(script, "--once", "--verbose", "--format", "jsonl")
        #expect(run.status == 0, "\(run.talk)")
        let told = try run.talk.split(separator: "\n").compactMap { try object(String($0)) }
        // What comes after it is halved where there was a rate, so it may be one batch or more.
        #expect(told.compactMap { $0["outcome"] as? String }.prefix(2) == [outcome, "received"])
        #expect(told.first?["first"] as? Int == 1)
        #expect(told.dropFirst().first?["attempt"] as? Int == 2)
        #expect(try receiver.store.statistics("eu")["entries"] as? Int == 0)
    }

    @Test("tells the command which batch it is, and of which epoch") func environment() throws {
        let receiver = try Receiver(1...40)
        try receiver.store.run("region fail", "us")
        let script =
            #"echo "$HOLDFAST_REGION $HOLDFAST_FIRST $HOLDFAST_THROUGH $HOLDFAST_ATTEMPT $HOLDFAST_EPOCH" >> said"#
        let again = "\(script); [ -e tried ] || { touch tried; exit 75; }"
        #expect(try receiver.run(again, "--once").status == 0)
        let said = try receiver.text("said").split(separator: "\n").map(String.init)
        #expect(said.prefix(2) == ["eu 1 16 1 2", "eu 1 8 2 2"])
        #expect(said.last?.hasPrefix("eu ") == true && said.last?.contains(" 40 1 2") == true)
    }

    @Test("does not wait for a command that does not read, nor for what it leaves in the background") func unread()
        throws
    {
        let receiver = try Receiver(1...1)
        let value = String(repeating: "x", count: 900_000)
        let line = #"{"origin":"us","incarnation":0,"sequence":2,"key":"k","value":"\#(value)"}"# + "\n"
        try receiver.store.run("append", "--region", "eu", input: line)
        let started = ContinuousClock.now
        let outcome = try receiver.run("exec 0<&-; sleep 100 & echo $! >> left; exit 0", "--once", "--verbose")
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(ContinuousClock.now - started < .seconds(60))
        for process in try receiver.text("left").split(separator: "\n").compactMap({ Int32($0) }) {
            #expect(Receiver.isAlive(process))
            kill(process, SIGKILL)
        }
    }

    @Test("gives the command nothing but the three standard descriptors, and the signals as they were") func inherited()
        throws
    {
        let receiver = try Receiver(1...1)
        let script = "ls /proc/self/fd > descriptors; grep -E 'Sig(Blk|Ign)' /proc/self/status > signals"
        #expect(try receiver.run(script, "--once").status == 0)
        // Of `ls` itself: the directory that it lists.
        #expect(try receiver.text("descriptors") == "0\n1\n2\n3\n")
        for line in try receiver.text("signals").split(separator: "\n") {
            let mask = try #require(UInt64(line.suffix(16), radix: 16))
            // SIGPIPE, SIGXFSZ, SIGINT and SIGTERM.
            for signal in [13, 25, 2, 15] { #expect(mask & 1 << UInt64(signal - 1) == 0, "\(line)") }
        }
    }

    @Test("kills a command that takes too long, with its children") func timeout() throws {
        let receiver = try Receiver(1...5)
        try receiver.store.run("region replay", "eu", "--timeout", "300ms")
        let script = """
            if [ -e child ]; then cat >> received; exit; fi
            sleep 1000 & echo $! > child
            wait
            """
        let outcome = try receiver.run(script, "--once", "--verbose")
        #expect(outcome.status == 0, "\(outcome.talk)")
        #expect(outcome.talk.contains("killed after"))
        let child = try #require(Int32(try receiver.text("child").dropLast()))
        #expect(!Receiver.isAlive(child))
        #expect(try receiver.sequences() == Array(1...5))
    }

    // MARK: How a replay can end

    @Test("finishes what it is sending after a signal, and nothing more", arguments: [SIGTERM, SIGINT])
    func signalled(signal: Int32) throws {
        let receiver = try Receiver(1...100)
        let script = "touch begun; while [ ! -e go ]; do sleep 0.01; done; cat >> received"
        let process = receiver.process(script, [])
        process.standardError = FileHandle.nullDevice
        try process.run()
        receiver.wait(for: "begun", process)
        kill(process.processIdentifier, signal)
        usleep(50_000)
        #expect(process.isRunning)
        try receiver.make("go")
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 0)
        #expect(try receiver.sequences() == Array(1...16))
        #expect(try receiver.store.statistics("eu")["entries"] as? Int == 84)
    }

    @Test("kills the command at a second signal, and keeps its entries") func signalledTwice() throws {
        let receiver = try Receiver(1...100)
        let process = receiver.process("sleep 1000 & echo $! > child; touch begun; wait", [])
        let talk = Pipe()
        process.standardError = talk
        try process.run()
        receiver.wait(for: "begun", process)
        // Those that come in the same instant count once, so it is sent until it is understood.
        while process.isRunning {
            kill(process.processIdentifier, SIGINT)
            usleep(10_000)
        }
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 1)
        let child = try #require(Int32(try receiver.text("child").dropLast()))
        #expect(!Receiver.isAlive(child))
        #expect(try receiver.store.statistics("eu")["entries"] as? Int == 100)
    }

    @Test("waits for more with the store open, until it is told to end") func follows() throws {
        let receiver = try Receiver(1...3)
        let process = receiver.process("cat >> received; touch begun", [])
        process.standardError = FileHandle.nullDevice
        try process.run()
        receiver.wait(for: "begun", process)
        while try receiver.store.statistics("eu")["entries"] as? Int != 0 { usleep(1000) }
        #expect(process.isRunning)
        #expect(try receiver.store.run("append", "--region", "eu", input: ToolStore.lines(4...4)).status == 75)
        kill(process.processIdentifier, SIGTERM)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(try receiver.sequences() == [1, 2, 3])
    }

    @Test("ends with an error when the replay is halted, and says why") func halted() throws {
        let options = ["--once"]
        let receiver = try Receiver(1...20)
        try receiver.store.run("region replay", "eu", "--attempts-max", "2", "--exhausted", "halt")
        let script = #"grep -q '"sequence":7,' && { echo 'seven is bad' >&2; exit 1; }; exit 0"#
        let arguments = ["replay", receiver.store.path, "--region", "eu", "--exec", script, "--format", "json"]
        let outcome = try Tool.run(arguments + options)
        #expect(outcome.status == 1)
        let last = try #require(outcome.talk.split(separator: "\n").last)
        let error = try #require(try object(String(last))?["error"] as? [String: Any])
        #expect(error["code"] as? String == "paused")
        #expect((error["message"] as? String)?.contains("position 7 was refused 2 times: seven is bad") == true)
        #expect(try receiver.store.statistics("eu")["headPosition"] as? Int == 7)
        #expect(try Tool.run(arguments + options).status == 1)
        try receiver.store.run("region resume", "eu")
        #expect(try receiver.run("true", "--once").status == 0)
        #expect(try receiver.run("false", "--once").status == 0, "nothing is left to be refused")
    }

    @Test("refuses a command line that makes no sense") func usage() throws {
        let store = try ToolStore()
        let eu = ["replay", store.path, "--region", "eu", "--once"]
        for (arguments, status) in [
            (eu, 64), (eu + ["--exec", " "], 64), (eu + ["--exec", "true", "--values", "len-hash"], 64),
            (eu + ["--exec", "true", "--values", "none"], 64), (eu + ["--exec", "true"], 0),
            (["replay", store.path, "--region", "mars", "--exec", "true"], 64),
            (["replay", store.path + "-nope", "--region", "eu", "--exec", "true"], 66),
        ] as [([String], Int32)] {
            let outcome = try Tool.run(arguments)
            #expect(outcome.status == status, "\(arguments): \(outcome.talk)")
        }
    }
}
