import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("A receiver that is killed at random", .serialized) struct ReceiverKillTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["HOLDFAST_RECEIVER_ROUNDS"].flatMap { Int($0) } ?? 150

    /// What happened in all rounds.
    private struct Tally {
        var killed = 0
        var killedWhileOpening = 0
        var deliveries = 0
        var again = 0
        var answersLost = 0
        /// Writes that had been applied when they came.
        var duplicates = 0
        var applied = 0
    }

    /// One life of the receiver.
    private final class Life {
        let process: Program
        private let input = Pipe()
        private let output = Pipe()
        private var rest: [UInt8] = []

        init(_ ledger: String) throws {
            process = Tool.process([ledger], program: Tool.path("ReceiverWorker"))
            process.standardInput = input
            process.standardOutput = output
            try process.run()
        }

        func send(_ writes: [OutstandingWrite]) {
            let lines = writes.map { "\($0.origin) \($0.incarnation) \($0.sequence)\n" }
            // It may be dead: then nobody reads.
            try? input.fileHandleForWriting.write(contentsOf: Data((lines.joined() + ".\n").utf8))
        }

        /// The next line; nil when the receiver has died.
        func answer() -> String? {
            while true {
                if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    defer { rest.removeFirst(end + 1) }
                    return String(decoding: rest[..<end], as: UTF8.self)
                }
                let piece = output.fileHandleForReading.availableData
                if piece.isEmpty { return nil }
                rest += piece
            }
        }

        func killAfter(nanoseconds: UInt64) {
            let start = DispatchTime.now().uptimeNanoseconds
            while DispatchTime.now().uptimeNanoseconds - start < nanoseconds {}
            kill(process.processIdentifier, SIGKILL)
        }

        /// Whether it was killed; otherwise it has ended as it should.
        func end() throws -> Bool {
            try? input.fileHandleForWriting.close()
            process.waitUntilExit()
            if process.terminationReason == .uncaughtSignal, process.terminationStatus == SIGKILL { return true }
            try #require(process.terminationStatus == 0)
            return false
        }
    }

    @Test("has applied every write exactly once, and in order", arguments: [20_261_123 as UInt64])
    func exactlyOnce(seed: UInt64) async throws {
        _ = signal(SIGPIPE, SIG_IGN)
        var random = SplitMix64(seed: seed)
        let directory = try TemporaryDirectory()
        let ledger = directory.appending("ledger")
        let controller = try await RegionFailoverController.create(
            at: directory.appending("store"),
            configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
            options: .small
        )
        var writes: [OutstandingWrite] = []
        var tally = Tally()
        var next: [RegionID: UInt64] = ["us": 1, "ap": 1]
        for round in 0..<Self.rounds {
            let fresh = Self.writes(Int.random(in: 0...60, using: &random), round, &next, &random)
            writes += fresh
            try await controller.append(fresh, to: "eu")
            try await Self.live(ledger, controller, mayKill: round < Self.rounds - 1, &tally, &random)
            if round % 5 == 4 { try await Self.verify(ledger, writes, "seed \(seed), round \(round)", &tally) }
        }
        try await Self.verify(ledger, writes, "seed \(seed)", &tally)
        #expect(tally.applied == writes.count)
        #expect(try await controller.pendingCount(for: "eu") == 0)
        await controller.close()
        print(
            "receiver rounds: \(Self.rounds), killed: \(tally.killed) (\(tally.killedWhileOpening) while opening), "
                + "batches: \(tally.deliveries), delivered again: \(tally.again), answers lost: \(tally.answersLost), "
                + "writes that came again: \(tally.duplicates), applied once: \(tally.applied), seed \(seed)"
        )
        #expect(tally.killed >= Self.rounds / 2)
        #expect(tally.again >= Self.rounds / 4 && tally.duplicates >= Self.rounds)
        #expect(tally.killedWhileOpening > 0 && tally.answersLost > 0)
    }

    /// New writes of two origins, which skip numbers now and then, and begin a new life now and then.
    private static func writes(
        _ count: Int,
        _ round: Int,
        _ next: inout [RegionID: UInt64],
        _ random: inout SplitMix64
    ) -> [OutstandingWrite] {
        (0..<count).map { _ in
            let origin: RegionID = Bool.random(using: &random) ? "us" : "ap"
            let sequence = next[origin, default: 1]
            next[origin] = sequence + (Int.random(in: 0..<10, using: &random) == 0 ? 5 : 1)
            let incarnation = UInt64(origin == "us" ? 1 : 1 + round / 20)
            return OutstandingWrite(
                origin: origin,
                incarnation: incarnation,
                sequence: sequence,
                key: "key",
                value: "value"
            )
        }
    }

    /// Delivers what is outstanding to a receiver that is killed at a random moment.
    private static func live(
        _ ledger: String,
        _ controller: RegionFailoverController,
        mayKill: Bool,
        _ tally: inout Tally,
        _ random: inout SplitMix64
    ) async throws {
        let life = try Life(ledger)
        if mayKill, Int.random(in: 0..<8, using: &random) == 0 {
            life.killAfter(nanoseconds: 1 << UInt64.random(in: 16...25, using: &random))
            tally.killedWhileOpening += 1
            tally.killed += try life.end() ? 1 : 0
            return
        }
        try #require(life.answer() == "R")
        let entriesMax = Int.random(in: 1...40, using: &random)
        for try await batch in controller.batches(for: "eu", entriesMax: entriesMax) {
            let isLast = mayKill && Int.random(in: 0..<4, using: &random) == 0
            tally.deliveries += 1
            if batch.attempt > 1 { tally.again += 1 }
            life.send(batch.entries.map(\.write))
            // From a microsecond to some milliseconds: the kill comes before the transaction, within it, or after.
            if isLast { life.killAfter(nanoseconds: 1 << UInt64.random(in: 10...22, using: &random)) }
            guard let answer = life.answer() else {
                // Nobody knows how far it came.
                tally.again += 1
                break
            }
            let new = try #require(Int(answer.dropFirst(2)))
            #expect(answer.hasPrefix("A ") && new <= batch.entries.count)
            tally.duplicates += batch.entries.count - new
            // The answer does not arrive: the sender delivers again, to this life or to the next one.
            if mayKill, Int.random(in: 0..<6, using: &random) == 0 {
                tally.answersLost += 1
            } else {
                try await batch.acknowledge()
            }
            if isLast { break }
        }
        tally.killed += try life.end() ? 1 : 0
    }

    /// The log holds the first of all writes, each once, in their order.
    private static func verify(
        _ path: String,
        _ writes: [OutstandingWrite],
        _ comment: Comment,
        _ tally: inout Tally
    ) async throws {
        // Killed before it had made one.
        guard FileManager.default.fileExists(atPath: path + "/ledger.mdb") else { return }
        let ledger: AppliedLedger
        do throws(HoldfastError) {
            ledger = try await AppliedLedger.open(at: path)
        } catch {
            try #require(error.code == .notFound && tally.applied == 0, comment)
            return
        }
        let log = try await ledger.read { (state) throws(HoldfastError) in
            var log: [String] = []
            try state.scan(from: Array("log/".utf8)) { (_, value) throws(HoldfastError) in
                log.append(String(decoding: value, as: UTF8.self))
                return true
            }
            return log
        }
        let expected = writes.prefix(log.count).map { "\($0.origin) \($0.incarnation) \($0.sequence)" }
        #expect(log == expected, comment)
        let new = try await ledger.filter(writes)
        #expect(new == Array(writes.dropFirst(log.count)), comment)
        #expect(log.count >= tally.applied, comment)
        tally.applied = log.count
        await ledger.close()
    }
}
