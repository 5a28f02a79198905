import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

@Suite("A directory in which nothing can be written") struct ReadOnlyTests {
    /// A store with something for every read verb to say.
    private static func filled() throws -> ToolStore {
        let store = try ToolStore("--limit-entries", "50", "--overflow", "dropOldest")
        let changes = [
            try store.run("append", "--region", "eu", input: ToolStore.lines(1...40)),
            try store.run("append", "--region", "eu", input: ToolStore.lines(41...60)),
            try store.run("append", "--region", "ap", input: ToolStore.lines(1...30)),
            try store.run("ack", "--region", "eu", "--through", "35"),
        ]
        for change in changes { try #require(change.status == 0, "\(change.talk)") }
        return store
    }

    /// Runs the tool as somebody whom permissions bind: of root, they bind who has given up its capabilities.
    private static func bound(_ words: [String]) throws -> Tool.Outcome {
        guard getuid() == 0 else { return try Tool.run(words) }
        let given = ["--bounding-set", "-all", "--inh-caps", "-all", Tool.path()]
        return try Tool.run(given + words, program: "/usr/bin/setpriv")
    }

    /// Every name in a directory with the bytes of its file.
    private static func contents(_ path: String) throws -> [String: Data] {
        let names = try FileManager.default.contentsOfDirectory(atPath: path)
        return try Dictionary(
            uniqueKeysWithValues: names.map { ($0, try Data(contentsOf: URL(fileURLWithPath: path + "/" + $0))) }
        )
    }

    private static func setWritable(_ isWritable: Bool, _ path: String) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: path) {
            try #require(unsafe chmod(path + "/" + name, isWritable ? 0o600 : 0o444) == 0)
        }
        try #require(unsafe chmod(path, isWritable ? 0o700 : 0o555) == 0)
    }

    @Test("is read by every read verb, which makes nothing and changes nothing in it", arguments: [true, false])
    func readVerbs(hasLock: Bool) throws {
        let store = try Self.filled()
        let other = store.directory.appending("other")
        try #require(try store.run("compact", "--to", other).status == 0)
        let verbs = [
            ["info"], ["info", "--format", "table"], ["digest"], ["digest", "--format", "json"],
            ["records", "--format", "jsonl"], ["get", "--region", "eu", "--position", "40"],
            ["lost", "--format", "jsonl"], ["history", "--format", "jsonl"], ["dump"], ["dump", "--consistent"],
            ["dump", "--entries-only"], ["diff", other], ["dlq list"], ["dlq export"],
            ["check", "--level", "quick"], ["check", "--level", "full"], ["check", "--level", "deep"],
        ]
        // Of these the clock tells a part.
        let clocked = [
            ["queues", "--format", "jsonl"], ["info", "--format", "prometheus"], ["snapshot"], ["doctor"],
            ["region status", "--format", "json"],
        ]
        func words(_ verb: [String]) -> [String] {
            verb[0].split(separator: " ").map(String.init) + [store.path] + verb.dropFirst()
        }
        let said = try verbs.map { try Tool.run(words($0)) }
        // As in a copy: who reads by LMDB would make one anew.
        for name in ["lock.mdb"] + (hasLock ? [] : ["LOCK"]) {
            try FileManager.default.removeItem(atPath: store.path + "/" + name)
        }
        try Self.setWritable(false, store.path)
        defer { try? Self.setWritable(true, store.path) }
        let before = try Self.contents(store.path)
        for (verb, said) in zip(verbs, said) {
            let outcome = try Self.bound(words(verb))
            #expect(outcome.status == 0 && said.status == 0, "\(verb): \(outcome.talk)")
            #expect(outcome.output == said.output, "\(verb)")
        }
        for verb in clocked {
            let outcome = try Self.bound(words(verb))
            #expect(outcome.status == 0 && !outcome.output.isEmpty, "\(verb): \(outcome.talk)")
        }
        #expect(try Self.bound(words(["ack", "--region", "eu", "--through", "36"])).status == 77)
        // What makes a copy somewhere else reads here only.
        for (verb, name) in [("compact", "compacted"), ("backup", "saved")] {
            let made = try Self.bound(words([verb, "--to", store.directory.appending(name)]))
            #expect(made.status == 0, "\(verb): \(made.talk)")
        }
        #expect(try Self.contents(store.path) == before)
    }
}
