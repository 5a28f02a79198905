import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

@Suite("The verb crashtest, on a disk of its own", .serialized) struct CrashTestDiskTests {
    /// Runs a script with the disk mounted at `$1`, and the tool as `$0`.
    private func run(_ disk: MountedDisk, in directory: TemporaryDirectory, _ script: String) throws -> Tool.Outcome {
        let words = ["-c", script, Tool.path(), directory.appending("disk")]
        return try disk.run(in: directory.path, "/bin/sh", words)
    }

    @Test("leaves the mount point as it was, and tells its figures", arguments: MountedDisk.allCases)
    fileprivate func mountPoint(disk: MountedDisk) throws {
        if let refusal = disk.refusal { return print("no \(disk): \(refusal)") }
        let directory = try TemporaryDirectory()
        let script = #""$0" crashtest "$1" --rounds 1 --seed 1; status=$?; ls "$1" >&2; exit $status"#
        let outcome = try run(disk, in: directory, script)
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.talk)")
        #expect(outcome.output.contains(#""rounds":1,"#) && outcome.output.contains(#""violations":[]"#))
        // What a new ext4 has in its root.
        #expect(outcome.talk == (disk == .ext4 ? "lost+found\n" : ""))
    }

    @Test(
        "says on a full disk that it says nothing, and how much room it needs",
        .enabled(if: MountedDisk.tmpfs.refusal == nil, "needs a mount of its own"),
        arguments: [0, 64, 1000]
    )
    func fullDisk(kibibytes: Int) throws {
        let directory = try TemporaryDirectory()
        let script = """
            fallocate -l $((16777216 - \(kibibytes) * 1024)) "$1/lost" && mkdir "$1/new" && mount --bind "$1" "$1"
            "$0" crashtest "$1/new" --rounds 40 --seed 3; status=$?; ls "$1/new" >&2; exit $status
            """
        let outcome = try run(.tmpfs, in: directory, script)
        #expect(outcome.status == 74, "\(outcome.output)\(outcome.talk)")
        #expect(outcome.talk.contains("The disk ran full, so the test says nothing: "), "\(outcome.talk)")
        #expect(outcome.talk.firstMatch(of: /Free [0-9]+ MiB on it/) != nil, "\(outcome.talk)")
        // On one line, and nothing is left.
        #expect(outcome.talk.split(separator: "\n", omittingEmptySubsequences: false).count == 2, "\(outcome.talk)")
        #expect(outcome.output.isEmpty)
    }

    @Test("names what a run before it has left, and how to remove it; what is somebody's stays") func left() throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("new")
        #expect(try Tool.run(["crashtest", path, "--rounds", "26", "--keep", "--seed", "5"]).status == 0)
        let refused = try Tool.run(["crashtest", path, "--rounds", "1"])
        #expect(refused.status == 73 && refused.talk.contains("what a crashtest made"), "\(refused.talk)")
        #expect(refused.talk.hasSuffix("  rm -r \(path)/1 \(path)/2\n"), "\(refused.talk)")
        try Data("mine".utf8).write(to: URL(fileURLWithPath: path + "/mine"))
        let foreign = try Tool.run(["crashtest", path, "--rounds", "1"])
        #expect(foreign.status == 73 && foreign.talk.contains("is not empty"), "\(foreign.talk)")
        #expect(!foreign.talk.contains("rm -r"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == ["1", "2", "mine"])
    }
}
