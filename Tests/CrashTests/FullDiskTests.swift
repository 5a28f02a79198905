import Foundation
import Glibc
import HoldfastTesting
import ReplayFormat
import TestSupport
import Testing

/// A disk of its own, 10 MiB of memory, in a mount namespace of its own.
private enum SmallDisk {
    /// Mounts the disk at the first argument, and runs the script of the second.
    static func run(_ directory: String, _ script: String) throws -> Tool.Outcome {
        let mounted = "mount -t tmpfs -o size=10m none \"$1\" && eval \"$2\""
        let isolated = ["--mount"] + (getuid() == 0 ? [] : ["--user", "--map-root-user"])
        return try Tool.run(isolated + ["sh", "-c", mounted, "sh", directory, script], program: "/usr/bin/unshare")
    }

    /// Whether this system lets the tests mount one: some containers do not.
    static let isThere: Bool = {
        guard let directory = try? TemporaryDirectory() else { return false }
        return (try? run(directory.path, "true").status) == 0
    }()
}

@Suite("A full disk", .serialized) struct FullDiskTests {
    @Test(
        "refuses appends, takes every acknowledgement, and is used again once there is room",
        .enabled(if: SmallDisk.isThere, "needs a mount of its own: root, or user namespaces"),
        arguments: [1, 2] as [UInt64]
    )
    func acknowledges(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let directory = try TemporaryDirectory()
        // Values of every size scatter the free pages, so that large blocks find no room between them.
        let lines = (1...9000).map { number in
            let value = String(
                (0..<Int.random(in: 10...3000, using: &random)).map { _ in letters.randomElement(using: &random)! }
            )
            return #"{"origin":"us","sequence":\#(number),"key":"k","value":"\#(value)"}"#
        }
        let input = directory.appending("lines")
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: input))
        let disk = directory.appending("disk")
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: false)
        let shares = (0..<8).map { _ in Int.random(in: 1...10, using: &random) }
        let batches = (0..<8).map { _ in [1, 5, 64, 200].randomElement(using: &random)! }
        let script = """
            tool='\(Tool.path())'; store='\(disk)/store'; incarnation=0
            $tool init "$store" --local us --regions us,eu > /dev/null || exit 9
            set -- \(shares.map(String.init).joined(separator: " "))
            for batch in \(batches.map(String.init).joined(separator: " ")); do
              $tool append "$store" --region eu --incarnation $incarnation --batch $batch --print-acks '\(input)' \\
                > '\(disk)/../acks' 2> '\(disk)/../error'
              append=$?; grep -q 'The disk is full' '\(disk)/../error' && append="full"
              last=$(tail -n 1 '\(disk)/../acks' | sed 's/.*"through":\\([0-9]*\\).*/\\1/')
              queue=$($tool queues "$store" --format jsonl | grep '"eu"')
              next=$(echo "$queue" | sed 's/.*"nextPosition":\\([0-9]*\\).*/\\1/')
              head=$(echo "$queue" | sed 's/.*"headPosition":\\([0-9]*\\).*/\\1/')
              $tool ack "$store" --region eu --through $((head - 1 + (next - head) * $1 / 10)) > /dev/null
              acknowledge=$?; shift
              $tool check "$store" --level full > /dev/null
              echo "$append ${last:-0} $((next - 1)) $acknowledge $?"
              incarnation=$((incarnation + 1))
            done
            $tool ack "$store" --region eu --through $((next - 1)) > /dev/null && $tool compact "$store" --in-place --yes > /dev/null
            head -n 5 '\(input)' | $tool append "$store" --region eu --incarnation 99 > /dev/null 2> '\(disk)/../error'; echo "again $?"; cat '\(disk)/../error' >&2
            """
        let outcome = try SmallDisk.run(disk, script)
        #expect(outcome.status == 0, "\(outcome.talk)")
        var held: UInt64 = 0
        for line in outcome.lines.dropLast() {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count == 5, "\(line)")
            #expect(words[0] == "full", "seed \(seed): \(outcome.output)")
            let acknowledged = try #require(UInt64(words[1]))
            let through = try #require(UInt64(words[2]))
            #expect(acknowledged <= through, "an acknowledged write is not there: \(line)")
            #expect(words[3] == "0", "an acknowledgement failed: \(outcome.output)\(outcome.talk)")
            #expect(words[4] == "0", "the check found damage: \(line)")
            held = max(held, through)
        }
        #expect(held > 2000)
        #expect(outcome.lines.last == "again 0", "\(outcome.talk)")
    }
}

private let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
