import Foundation
import HoldfastTesting
import TestSupport
import Testing

/// `read_store.py` was written from the article "On-disk format" alone, with the packages lmdb, zstandard and xxhash.
@Suite("A reader in another language") struct PythonReaderTests {
    /// A Python that has the three packages: that of `Tools/test`, or the one on the PATH.
    private static let python = ProcessInfo.processInfo.environment["HOLDFAST_PYTHON"] ?? "python3"

    private func compare(_ store: ToolStore) throws {
        let script = Tool.source("Tests/CommandTests/read_store.py").path
        let read = try Tool.run([Self.python, script, store.path], program: "/usr/bin/env")
        try #require(read.status == 0, "\(read.talk)")
        let dump = try store.run("dump", "--entries-only")
        #expect(dump.status == 0)
        #expect(read.lines.count == dump.lines.count)
        // One line, not two whole stores, says what went wrong.
        let different = zip(read.lines, dump.lines).first { $0 != $1 }
        #expect(different?.0 == different?.1)
        let digest = try Tool.run([Self.python, script, "--digest", store.path], program: "/usr/bin/env")
        #expect(digest.status == 0, "\(digest.talk)")
        let printed = try #require(try object(try store.run("digest", "--format", "json").output)?["digest"] as? String)
        #expect(digest.lines == [printed])
    }

    @Test("reads every entry that the tool reads", arguments: 0..<6 as Range<UInt64>) func agrees(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let limits = seed % 2 == 0 ? [] : ["--limit-entries", "900", "--overflow", "dropOldest"]
        let directory = try ToolStore()
        if !limits.isEmpty {
            try FileManager.default.removeItem(atPath: directory.path)
            try #require(
                try Tool.run(["init", directory.path, "--local", "us", "--regions", "us,eu,ap"] + limits).status == 0
            )
        }
        for _ in 0..<8 {
            let start = Int.random(in: 1...1500, using: &random)
            let lines = (start..<(start + Int.random(in: 1...700, using: &random))).map { Self.line($0, seed: seed) }
            let shuffled = Bool.random(using: &random) ? lines.shuffled(using: &random) : lines
            let regions = Bool.random(using: &random) ? ["--region", "eu"] : ["--region", "eu", "--region", "ap"]
            let batch = Int.random(in: 1...400, using: &random)
            let outcome = try Tool.run(
                ["append", directory.path, "--batch", "\(batch)"] + regions,
                input: shuffled.joined(separator: "\n") + "\n"
            )
            try #require(outcome.status == 0, "\(outcome.talk)")
            let queue = try directory.statistics("eu")
            let next = try #require(queue["nextPosition"] as? Int)
            let through = Int.random(in: 0..<next, using: &random)
            try directory.run("ack", "--region", "eu", "--through", "\(through)")
        }
        try compare(directory)
        let options = [[], ["--train-dictionary"], ["--level", "7"], ["--level", "1", "--train-dictionary"]]
        for more in [options.randomElement(using: &random) ?? [], ["--train-dictionary"]] {
            let compacted = try Tool.run(["compact", directory.path, "--in-place", "--yes"] + more)
            try #require(compacted.status == 0, "\(compacted.talk)")
            let few = (2000..<2005).map { Self.line($0, seed: seed) }.joined(separator: "\n") + "\n"
            try directory.run("append", "--region", "ap", "--batch", "2", input: few)
            try compare(directory)
        }
    }

    /// A write of many shapes, the same for the same sequence.
    private static func line(_ sequence: Int, seed: UInt64) -> String {
        var random = SplitMix64(seed: seed &* 1_000_003 &+ UInt64(sequence))
        let key = Data(
            (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        )
        let isLong = Int.random(in: 0..<200, using: &random) == 0
        let value = Data(
            (0..<Int.random(in: 0...(isLong ? 90_000 : 120), using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
        )
        var members = [
            #""origin":"\#(sequence % 9 == 0 ? "eu" : "us")""#, #""incarnation":\#(sequence % 4)"#,
            #""sequence":\#(sequence)"#, #""keyBase64":"\#(key.base64EncodedString())""#,
            #""valueBase64":"\#(value.base64EncodedString())""#,
        ]
        if sequence % 3 == 0 { members.append(#""timestampMs":\#(Int64.random(in: .min ... .max, using: &random))"#) }
        if sequence % 5 == 0 { members.append(#""clock":"clock \#(sequence)""#) }
        if sequence % 7 == 0 { members.append(#""kind":"delete""#) }
        return "{" + members.joined(separator: ",") + "}"
    }

    @Test("reads real records") func realRecords() throws {
        let store = try ToolStore()
        let source = try String(contentsOfFile: "/usr/share/unicode/UnicodeData.txt", encoding: .utf8)
        let lines = source.split(separator: "\n").enumerated().map { index, record in
            #"{"origin":"us","incarnation":0,"sequence":\#(index + 1),"key":"U+\#(record.prefix { $0 != ";" })","value":"\#(record)"}"#
        }
        try store.run("append", "--region", "eu", input: lines.joined(separator: "\n") + "\n")
        try store.run("ack", "--region", "eu", "--through", "1000")
        try compare(store)
        try store.run("compact", "--in-place", "--train-dictionary", "--yes")
        try store.run(
            "append",
            "--region",
            "ap",
            "--batch",
            "1",
            input: lines.prefix(50).joined(separator: "\n") + "\n"
        )
        try compare(store)
    }
}
