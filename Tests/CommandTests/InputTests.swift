import Foundation
import HoldfastTesting
import TestSupport
import Testing

@testable import HoldfastTool
@testable import Lines

@Suite("Input of the tool") struct InputTests {
    private func line(_ sequence: Int, _ value: String, incarnation: Int? = 0) -> String {
        let life = incarnation.map { #""incarnation":\#($0),"# } ?? ""
        return #"{"origin":"us",\#(life)"sequence":\#(sequence),"key":"k","value":"\#(value)"}"# + "\n"
    }

    @Test("without an incarnation is refused and not skipped, where none is given") func noIncarnation() throws {
        let store = try ToolStore()
        let input = line(1, "a", incarnation: nil) + "no JSON\n" + line(2, "b", incarnation: nil)
        let refused = try store.run("append", "--region", "eu", "--skip-malformed", input: input)
        #expect(refused.status == 64 && refused.talk.contains("--incarnation"), "\(refused.talk)")
        #expect(try store.statistics("eu")["entries"] as? Int == 0)
        let taken = try store.run("append", "--region", "eu", "--skip-malformed", "--incarnation", "0", input: input)
        #expect(taken.status == 0, "\(taken.talk)")
        #expect(try store.statistics("eu")["entries"] as? Int == 2)
    }

    @Test("behind a dump's trailer is refused, and nothing is made; blank lines are none") func behindTrailer() throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...3))
        let dump = try store.run("dump").output
        let number = dump.split(separator: "\n").count + 2
        let new = store.directory.appending("new")
        for behind in ["\nmore\n", "\n" + dump, "\n\u{1}"] {
            let refused = try Tool.run(["load", new], input: dump + behind)
            #expect(refused.status == 65)
            #expect(
                refused.talk.contains("Line \(number) of the dump: it stands behind the trailer"),
                "\(refused.talk)"
            )
            #expect(!FileManager.default.fileExists(atPath: new))
        }
        #expect(try Tool.run(["load", new], input: dump + "\n \t\r\n\n").status == 0)
    }

    @Test("in base64 has one text for the same bytes, and no other is taken") func base64() {
        for count in 0...64 {
            for last in UInt8.min...UInt8.max {
                let bytes = [UInt8](repeating: 0x5A, count: count) + [last]
                let text = Data(bytes).base64EncodedString()
                guard base64Bytes(text) == bytes else {
                    Issue.record("\(text) is not taken")
                    return
                }
            }
        }
        #expect(base64Bytes("") == [])
        for text in ["AB==", "AP==", "AAB=", "AAD=", "AA", "AAA", "AA=", "A===", "AA==\n", " AA=="] {
            #expect(base64Bytes(text) == nil, "\(text)")
        }
    }

    @Test("with spare bits of base64 set is malformed") func spareBits() throws {
        let store = try ToolStore()
        let text = #"{"origin":"us","incarnation":0,"sequence":1,"key":"k","valueBase64":"AA=="}"# + "\n"
        let spare = text.replacing("AA==", with: "AB==")
        #expect(try store.run("append", "--region", "eu", input: spare).status == 65)
        #expect(try store.run("append", "--region", "eu", input: text).status == 0)
    }

    @Test("is named by its lines alone, also where one differs from another") func lines() throws {
        let store = try ToolStore()
        let conflict = try store.run("append", "--region", "eu", input: "\n" + line(1, "a") + "\n" + line(1, "b"))
        #expect(conflict.status == 65)
        #expect(conflict.talk.contains("Line 4: It differs from line 2, but both are sequence 1"), "\(conflict.talk)")
        // More lives of an origin than a queue remembers, each with one write.
        let lives = (1...600).map { line(7, "v", incarnation: $0) }.joined()
        #expect(try store.run("append", "--region", "eu", input: lives).status == 0)
        let old = try store.run("append", "--region", "eu", input: line(7, "v", incarnation: 600) + line(3, "v"))
        #expect(old.status == 1)
        #expect(old.talk.contains("Line 2: Sequence 3 of 'us'"), "\(old.talk)")
        #expect(!old.talk.contains("Write 1"), "\(old.talk)")
        #expect(old.talk.contains("a greater sequence, or a greater incarnation, such as "), "\(old.talk)")
    }

    @Test("that no limit lets in is told so, and not to wait for room") func impossible() throws {
        let store = try ToolStore()
        func refusal(_ limit: String...) throws -> String {
            try store.run("region limits", "--none", "eu")
            let set = try Tool.run(["region", "limits", store.path, "eu"] + limit)
            try #require(set.status == 0, "\(set.talk)")
            let refused = try store.run("append", "--region", "eu", input: line(1, String(repeating: "v", count: 900)))
            #expect(refused.status == 1 && !refused.talk.contains("acknowledge"), "\(limit): \(refused.talk)")
            return refused.talk
        }
        #expect(try refusal("--entries", "0").contains("raise the limit, which lets nothing in"))
        #expect(try refusal("--bytes", "0").contains("raise the limit, which lets nothing in"))
        #expect(try refusal("--bytes", "10").contains("Raise the limit, or make the write smaller"))
        try store.run("region limits", "--total-bytes", "10")
        let total = try refusal()
        #expect(total.contains("Raise the total or the region's share, or make the write smaller"), "\(total)")
    }

    @Test("for a store whose making was interrupted is to be given again, and the tool says how") func interrupted()
        throws
    {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...3))
        let dump = try store.run("dump").output
        let new = store.directory.appending("new")
        let process = Tool.process(["load", new])
        let input = Pipe()
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let header = try #require(dump.split(separator: "\n").first)
        input.fileHandleForWriting.write(Data((header + "\n").utf8))
        while !FileManager.default.fileExists(atPath: new + "/data.mdb"), process.isRunning { usleep(1000) }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        let again = try Tool.run(["load", new], input: dump)
        #expect(again.status == 73)
        #expect(again.talk.contains("was interrupted") && again.talk.contains("  rm -r \(new)"), "\(again.talk)")
        // Killed in its very first write it would have left this.
        try Data().write(to: URL(fileURLWithPath: new + "/data.mdb"))
        let read = try Tool.run(["queues", new])
        #expect(read.status == 66)
        #expect(read.talk.contains("a load, a restore or a recovery that was interrupted"), "\(read.talk)")
        try FileManager.default.removeItem(atPath: new)
        #expect(try Tool.run(["load", new], input: dump).status == 0)
    }
}
