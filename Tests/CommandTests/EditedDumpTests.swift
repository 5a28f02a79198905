import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("A dump that was edited by hand") struct EditedDumpTests {
    /// What the trailer is made to say.
    private static let trailers: [(name: String, from: String, to: String)] = [
        ("beyond the queue", "[]", #"[{"region":"eu","last":18446744073709551615}]"#),
        ("one beyond the queue", "[]", #"[{"region":"eu","last":13}]"#),
        ("inside the queue", "[]", #"[{"region":"eu","last":5}]"#),
        ("of a region that is none", "[]", #"[{"region":"mars","last":5}]"#),
        ("in another form", "[]", #""none""#), ("nothing", #","acknowledgedMeanwhile":[]"#, ""),
        ("by another program", #""trailer":"holdfast""#, #""trailer":"zzz""#),
    ]

    @Test(
        "so that its trailer gives up entries that are in it is refused, and nothing is made",
        arguments: 0..<trailers.count
    )
    func trailer(which: Int) throws {
        let (name, from, to) = Self.trailers[which]
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...12))
        let dump = try store.run("dump")
        #expect(dump.status == 0)
        var lines = dump.output.split(separator: "\n").map(String.init)
        let trailer = try #require(lines.last)
        lines.removeLast()
        let edited = trailer.replacingOccurrences(of: from, with: to)
        try #require(edited != trailer)
        let new = store.directory.appending("new")
        let loaded = try Tool.run(["load", new], input: (lines + [edited]).joined(separator: "\n") + "\n")
        #expect(loaded.status == 65, "\(name): \(loaded.status) \(loaded.output)")
        #expect(!FileManager.default.fileExists(atPath: new + "/data.mdb"), "\(name)")
        // As it was it loads.
        let whole = try Tool.run(["load", new], input: dump.output)
        #expect(whole.status == 0, "\(whole.talk)")
    }
}

@Suite("A store whose directory moves while it is open") struct MovedStoreTests {
    @Test("is not to be made anew in its old place") func advice() throws {
        let store = try ToolStore()
        let process = Tool.process(["append", store.path, "--region", "eu", "--print-acks", "--batch", "1"])
        let (input, output, talk) = (Pipe(), Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = talk
        try process.run()
        input.fileHandleForWriting.write(Data(ToolStore.lines(1...1).utf8))
        // It is open once it has said that the first one is there.
        #expect(!output.fileHandleForReading.availableData.isEmpty)
        try FileManager.default.moveItem(atPath: store.path, toPath: store.path + "-moved")
        input.fileHandleForWriting.write(Data(ToolStore.lines(2...2).utf8))
        try input.fileHandleForWriting.close()
        let said = String(decoding: talk.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(process.terminationStatus == 66, "\(said)")
        #expect(said.contains("ls -la") && !said.contains("holdfast init"), "\(said)")
    }
}
