import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("Beside a store's data file") struct LinkTests {
    @Test("a link is not followed, but refused and told", arguments: ["reserve", "lock.mdb"], [true, false])
    func link(name: String, isDangling: Bool) throws {
        let store = try ToolStore()
        let (link, target) = ("\(store.path)/\(name)", store.directory.appending("precious"))
        try FileManager.default.removeItem(atPath: link)
        if !isDangling { try Data("precious".utf8).write(to: URL(fileURLWithPath: target)) }
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
        let refused = try store.run("append", "--region", "eu", input: ToolStore.lines(1...1))
        #expect(refused.status == 64)
        #expect(refused.talk.contains("'\(link)' is a symbolic link"), "\(refused.talk)")
        #expect(refused.talk.contains("  rm \(link)"), "\(refused.talk)")
        let doctor = try store.run("doctor", "--format", "jsonl")
        #expect(doctor.status == 1)
        #expect(
            try doctor.lines.compactMap { try object($0) }.contains { finding in
                finding["verdict"] as? String == "fail"
                    && (finding["action"] as? String)?.contains("rm \(link)") == true
            }
        )
        let left = try? String(contentsOfFile: target, encoding: .utf8)
        #expect(left == (isDangling ? nil : "precious"))
        try FileManager.default.removeItem(atPath: link)
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(1...1)).status == 0)
        #expect(try store.run("doctor").status == 0)
    }

    @Test("a directory in place of the reserve is told, and appends go on") func directory() throws {
        let store = try ToolStore()
        try FileManager.default.removeItem(atPath: store.path + "/reserve")
        try FileManager.default.createDirectory(atPath: store.path + "/reserve", withIntermediateDirectories: false)
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(1...1)).status == 0)
        let doctor = try store.run("doctor", "--format", "jsonl")
        #expect(
            try doctor.lines.compactMap { try object($0) }.contains { finding in
                finding["verdict"] as? String == "warn" && finding["check"] as? String == "files"
            }
        )
    }

    @Test("the limit on the size of files is named, also for what makes room", arguments: ["ack", "drain", "pause"])
    func fileSize(verb: String) throws {
        let store = try ToolStore()
        try store.run("append", "--region", "eu", input: ToolStore.lines(1...3000))
        let words: [String: String] = [
            "ack": "ack \"$1\" --region eu --through 2000", "drain": "drain \"$1\" --region eu",
            "pause": "region pause \"$1\" eu",
        ]
        let script = "ulimit -f 40; exec \"$0\" \(try #require(words[verb]))"
        let refused = try Tool.run(["-c", script, Tool.path(), store.path], program: "/bin/bash")
        #expect(refused.status == 1, "\(refused.talk)")
        #expect(refused.talk.contains("the process's limit on the size of files"), "\(refused.talk)")
        #expect(!refused.talk.contains("disk is full"), "\(refused.talk)")
        #expect(refused.output.isEmpty)
        #expect(try store.statistics("eu")["entries"] as? Int == 3000)
    }
}
