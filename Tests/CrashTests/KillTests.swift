import Foundation
import Glibc
import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore
import Synchronization
import TestSupport
import Testing

@Suite("A process that is killed while it appends", .serialized) struct KillTests {
    /// One life of the appending process.
    private struct Round {
        var acknowledged: UInt64
        var wasKilled: Bool
    }

    private static let rounds = ProcessInfo.processInfo.environment["HOLDFAST_KILL_ROUNDS"].flatMap { Int($0) } ?? 200

    @Test("has every acknowledged write in its store: in order, once", arguments: [20_261_123 as UInt64])
    func keepsAcknowledgedWrites(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        var killed = 0
        var acknowledged: UInt64 = 0
        var directory = try TemporaryDirectory()
        var store = ""
        var through: UInt64 = 0
        for round in 0..<Self.rounds {
            if round % 10 == 0 {
                directory = try TemporaryDirectory()
                store = directory.appending("store")
                through = 0
                try #require(try Tool.run(["init", store, "--local", "us", "--regions", "us,eu"]).status == 0)
            }
            let comment: Comment = "seed \(seed), round \(round)"
            let life = try Self.live(store, directory, from: through > 150 ? through - 150 : 1, &random)
            if life.wasKilled { killed += 1 }
            #expect(life.acknowledged <= 1_000_000, comment)
            let held = try Self.verify(store, comment)
            #expect(held >= max(life.acknowledged, through), comment)
            acknowledged += life.acknowledged > through ? life.acknowledged - through : 0
            through = held
        }
        print(
            "kill rounds: \(Self.rounds), killed mid-stream: \(killed), acknowledged writes: \(acknowledged), seed \(seed)"
        )
        #expect(killed >= Self.rounds * 3 / 4)
        _ = directory
    }

    @Test("leaves a file as long as it says, while it lives and after it was killed", arguments: [200, 2_000])
    func fileLength(count: Int) throws {
        let directory = try TemporaryDirectory()
        let store = directory.appending("store")
        try #require(try Tool.run(["init", store, "--local", "us", "--regions", "us,eu"]).status == 0)
        let process = Tool.process([
            "append", store, "--region", "eu", "--incarnation", "0", "--print-acks", "--batch", "\(count)",
        ])
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        // Every second sequence, then those between: ranges that come and go, with pages that LMDB takes and gives back.
        for start in 0..<2 {
            let lines = (0..<UInt64(count)).map { Self.line($0 * 2 + UInt64(start)) + "\n" }
            input.fileHandleForWriting.write(Data(lines.joined().utf8))
            #expect(!output.fileHandleForReading.availableData.isEmpty)
        }
        #expect(try Tool.run(["info", store]).status == 0)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        #expect(try Tool.run(["check", store, "--level", "full"]).status == 0)
        #expect(try Tool.run(["append", store, "--region", "eu"], input: "").status == 0)
    }

    /// Feeds writes to a process, and kills it a random moment after a random acknowledgement.
    private static func live(
        _ store: String,
        _ directory: TemporaryDirectory,
        from first: UInt64,
        _ random: inout SplitMix64
    ) throws -> Round {
        let input = directory.appending("input.jsonl")
        let batch = Int.random(in: 1...64, using: &random)
        let lines = (first..<(first + UInt64(batch * 60))).map(Self.line)
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: input))
        let process = Tool.process([
            "append", store, "--region", "eu", "--incarnation", "0", "--print-acks", "--batch", "\(batch)", input,
        ])
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let wanted = Int.random(in: 1...40, using: &random)
        let delay = UInt64.random(in: 0...3_000_000, using: &random)
        var acks = 0
        var rest: [UInt8] = []
        var acknowledged: UInt64 = 0
        var isKilled = false
        while true {
            let piece = pipe.fileHandleForReading.availableData
            if piece.isEmpty { break }
            rest += piece
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                acknowledged = max(acknowledged, try Self.through(Array(rest[..<end])))
                rest.removeFirst(end + 1)
                acks += 1
            }
            if acks >= wanted, !isKilled {
                isKilled = true
                // A random moment, in nanoseconds: the process is in the middle of some later commit.
                let start = DispatchTime.now().uptimeNanoseconds
                while DispatchTime.now().uptimeNanoseconds - start < delay {}
                kill(process.processIdentifier, SIGKILL)
            }
        }
        process.waitUntilExit()
        return Round(
            acknowledged: acknowledged,
            wasKilled: process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL
        )
    }

    private static func line(_ sequence: UInt64) -> String {
        #"{"origin":"us","sequence":\#(sequence),"key":"key \#(sequence)","value":"\#(value(sequence))"}"#
    }

    private static func value(_ sequence: UInt64) -> String {
        String(repeating: String(sequence &* 0x9E37_79B9_7F4A_7C15, radix: 16), count: Int(sequence % 9))
    }

    private static func through(_ line: [UInt8]) throws -> UInt64 {
        struct Ack: Decodable {
            var region: String
            var first, through: UInt64
            var accepted, duplicates: Int
        }
        return try JSONDecoder().decode(Ack.self, from: Data(line)).through
    }

    /// Every position from 1 on holds the write of that sequence; gives the last one.
    private static func verify(_ store: String, _ comment: Comment) throws -> UInt64 {
        let report = try StoreCheck.run(store, level: .full)
        #expect(report.findings == [], comment)
        let reader = try StoreReader.open(store)
        return try reader.look { (view) throws(HoldfastError) in
            guard let row = try view.regionRow("eu") else { throw HoldfastError(code: .damaged, message: "no region") }
            var next: UInt64 = 1
            let codec = reader.codec
            let identity = view.superblock.store
            try view.scan(.queue(row.number)) { (_, value) throws(HoldfastError) in
                let block = try format("A block") { () throws(FormatError) in
                    try VerifiedBlock(value, store: identity, queue: row.number, firstPosition: next).entries(codec)
                }
                for entry in block {
                    let isRight =
                        entry.position == next && entry.write.sequence == next
                        && entry.write.keyText == "key \(next)" && entry.write.valueText == Self.value(next)
                    #expect(isRight, comment)
                    next += 1
                }
                return true
            }
            #expect(next == row.nextPosition, comment)
            return next - 1
        }
    }
}
