import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

/// What makes a store in a directory that is empty.
private enum Maker: String, CaseIterable {
    case restore, copy, backup, load, recover, create

    func arguments(_ source: String, _ new: String) -> [String] {
        switch self {
        case .restore: ["restore", source, "--to", new, "--yes"]
        case .copy: ["compact", source, "--to", new]
        case .backup: ["backup", source, "--to", new]
        case .load: ["load", new, source + ".jsonl"]
        case .recover: ["recover", source, "--to", new]
        case .create: ["init", new, "--local", "us", "--regions", "us,eu"]
        }
    }
}

/// A place with two stores, dumps of them, and an empty directory.
private struct Site {
    let directory: TemporaryDirectory
    let sources: [String]
    let new: String
    let library: String

    init() throws {
        directory = try TemporaryDirectory()
        new = directory.appending("new")
        library = try Tool.library("stopper", in: directory.path)
        sources = ["first", "second"].map { [directory] in directory.appending($0) }
        for source in sources {
            let name = String(source.split(separator: "/").last ?? "")
            #expect(try Tool.run(["init", source, "--local", "us", "--regions", "us,eu"]).status == 0)
            let lines = (1...20).map { #"{"origin":"us","sequence":\#($0),"key":"\#(name)","value":"\#($0)"}"# + "\n" }
            let append = ["append", source, "--region", "eu", "--incarnation", "0"]
            #expect(try Tool.run(append, input: lines.joined()).status == 0)
            let dump = try Tool.run(["dump", source]).output
            try Data(dump.utf8).write(to: URL(fileURLWithPath: source + ".jsonl"))
        }
        try FileManager.default.createDirectory(atPath: new, withIntermediateDirectories: false)
    }

    func entries(_ store: String) throws -> String { try Tool.run(["dump", store, "--entries-only"]).output }

    /// Starts a verb that stops once it has looked into the new directory so often, and waits until it has, or has ended.
    func start(_ maker: Maker, _ source: String, stoppingAt count: Int) throws -> Program {
        let process = Tool.process(
            maker.arguments(source, new),
            environment: ["LD_PRELOAD": library, "STOP_AT": new, "STOP_COUNT": "\(count)"]
        )
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        while process.isRunning, try !isStopped(process) { sched_yield() }
        return process
    }

    private func isStopped(_ process: Program) throws -> Bool {
        let status = try? String(contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8)
        return status?.split(separator: ")").last?.split(separator: " ").first == "T"
    }
}

@Suite("Two processes that make a store in one empty directory") struct NewStoreTests {
    @Test(
        "leave the one that was done, whole, and the other is refused",
        arguments: Maker.allCases.filter { $0 != .create },
        [Maker.restore, .load, .create]
    )
    fileprivate func second(first: Maker, second: Maker) throws {
        let site = try Site()
        // Where the first has seen that the directory is empty, and has made nothing.
        let waiting = try site.start(first, site.sources[0], stoppingAt: 1)
        #expect(waiting.isRunning)
        let made = try Tool.run(second.arguments(site.sources[1], site.new))
        kill(waiting.processIdentifier, SIGCONT)
        waiting.waitUntilExit()
        #expect(made.status == 0 && waiting.terminationReason == .exit, "\(made.talk)")
        #expect([73, 75].contains(waiting.terminationStatus), "\(waiting.terminationStatus)")
        #expect(try Tool.run(["check", site.new, "--level", "deep"]).status == 0)
        let expected = second == .create ? "" : try site.entries(site.sources[1])
        #expect(try site.entries(site.new) == expected)
    }

    @Test(
        "leave that of the one that holds the directory, and the other touches nothing",
        arguments: Maker.allCases.filter { $0 != .create },
        [Maker.backup, .load, .recover, .create]
    )
    fileprivate func held(first: Maker, second: Maker) throws {
        let site = try Site()
        // It holds the directory, and has made nothing but LOCK.
        let holder = try site.start(first, site.sources[0], stoppingAt: 2)
        #expect(holder.isRunning)
        let refused = try Tool.run(second.arguments(site.sources[1], site.new))
        #expect(refused.status == 75, "\(refused.status): \(refused.talk)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: site.new) == ["LOCK"])
        kill(holder.processIdentifier, SIGCONT)
        holder.waitUntilExit()
        #expect(holder.terminationReason == .exit && holder.terminationStatus == 0)
        #expect(try Tool.run(["check", site.new, "--level", "deep"]).status == 0)
        #expect(try site.entries(site.new) == site.entries(site.sources[0]))
        // Nobody holds it any more, and who opens it next need not suspect anything.
        let lock = try String(contentsOfFile: site.new + "/LOCK", encoding: .utf8)
        #expect(lock.hasSuffix("a store is here\nclosed\n"))
        if first != .backup { #expect(try Tool.run(["drain", site.new, "--region", "eu"]).status == 0) }
    }

    @Test("A verb that fails leaves nothing that it made, and what was there before it") func failed() throws {
        let site = try Site()
        let cut = site.directory.appending("cut")
        let dump = try String(contentsOfFile: site.sources[0] + ".jsonl", encoding: .utf8)
        try Data(dump.prefix(dump.count / 2).utf8).write(to: URL(fileURLWithPath: cut))
        let other = site.directory.appending("other")
        for place in [site.new, other] {
            let outcome = try Tool.run(["load", place, cut])
            #expect(outcome.status == 65 && outcome.talk.contains("has been removed"), "\(outcome.talk)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: site.new) == [])
        #expect(!FileManager.default.fileExists(atPath: other))
        #expect(try Tool.run(["load", site.new, site.sources[0] + ".jsonl"]).status == 0)
        // Now it is a store: nobody else begins there, and nothing of it goes.
        for maker in Maker.allCases {
            #expect(try Tool.run(maker.arguments(site.sources[1], site.new)).status == 73, "\(maker)")
        }
        #expect(try site.entries(site.new) == site.entries(site.sources[0]))
    }

    @Test("A directory with a LOCK alone is free, unless a store was there") func lockAlone() throws {
        let site = try Site()
        let lock = URL(fileURLWithPath: site.new + "/LOCK")
        try Data("pid 1, start 1, boot b, host h\na store is here\n".utf8).write(to: lock)
        let refused = try Tool.run(Maker.restore.arguments(site.sources[0], site.new))
        #expect(refused.status == 73 && refused.talk.contains("its data.mdb is gone"), "\(refused.talk)")
        try Data("pid 1, start 1, boot b, host h\n".utf8).write(to: lock)
        #expect(try Tool.run(Maker.restore.arguments(site.sources[0], site.new)).status == 0)
        #expect(try site.entries(site.new) == site.entries(site.sources[0]))
    }

    @Test("None is made inside the directory of a store, and none where the system makes no directory") func inside()
        throws
    {
        let site = try Site()
        let before = try FileManager.default.contentsOfDirectory(atPath: site.sources[0]).sorted()
        for maker in Maker.allCases where maker != .create {
            let outcome = try Tool.run(maker.arguments(site.sources[0], site.sources[0] + "/sub"))
            #expect(outcome.status == 73 && outcome.talk.contains("is inside the directory of a store"), "\(maker)")
            let nowhere = try Tool.run(maker.arguments(site.sources[0], "/proc/x"))
            #expect(nowhere.status == 77 && nowhere.talk.contains("the file system there takes none"), "\(maker)")
        }
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: site.sources[0]).filter { $0 != "lock.mdb" }.sorted()
                == before.filter { $0 != "lock.mdb" }
        )
    }

    @Test(
        "A full disk is told as such, by every verb that writes a store, and nothing is left on it",
        .enabled(if: MountedDisk.tmpfs.refusal == nil, "needs a mount of its own"),
        arguments: Maker.allCases.filter { $0 != .create },
        [256, 100, 8]
    )
    fileprivate func fullDisk(maker: Maker, kibibytes: Int) throws {
        let site = try Site()
        let source = site.sources[0]
        var random = SplitMix64(seed: 20_261_124)
        let noise = (0..<600_000).map { _ in letters.randomElement(using: &random)! }
        let lines = (1...6).map { number in
            let value = String(noise[(number - 1) * 100_000..<number * 100_000])
            return #"{"origin":"us","sequence":\#(100 + number),"key":"k","value":"\#(value)"}"# + "\n"
        }
        let append = ["append", source, "--region", "eu", "--incarnation", "0"]
        #expect(try Tool.run(append, input: lines.joined()).status == 0)
        try Data(Tool.run(["dump", source]).output.utf8).write(to: URL(fileURLWithPath: source + ".jsonl"))
        let disk = site.directory.appending("disk")
        let words = maker.arguments(source, disk + "/new").map { "'\($0)'" }.joined(separator: " ")
        let script = """
            fallocate -l $(($(stat -f -c '%a*%S' '\(disk)') - \(kibibytes) * 1024)) '\(disk)/filler'
            '\(Tool.path())' \(words); status=$?; ls '\(disk)'; exit $status
            """
        let outcome = try MountedDisk.tmpfs.run(in: site.directory.path, "/bin/sh", ["-c", script])
        #expect(outcome.status == 1, "\(maker), \(kibibytes) KiB: \(outcome.output)\(outcome.talk)")
        #expect(outcome.talk.contains("The disk is full"), "\(outcome.talk)")
        #expect(!outcome.talk.contains("holdfast queues"), "\(outcome.talk)")
        #expect(outcome.lines.filter { !$0.isEmpty } == ["filler"], "\(outcome.output)")
    }
}

private let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
