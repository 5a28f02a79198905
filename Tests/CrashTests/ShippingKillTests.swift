import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

@Suite("A shipper and a receiver that are killed at random", .serialized) struct ShippingKillTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["HOLDFAST_SHIPPING_ROUNDS"].flatMap { Int($0) } ?? 60
    private static let roundsPerStore = 25
    private static let batch = 16

    /// What happened in all rounds.
    private struct Tally {
        var shipperKills = 0
        var receiverKills = 0
        var ended = 0
        var written: UInt64 = 0
        var again: UInt64 = 0
    }

    @Test("lose nothing, apply nothing twice, and keep the order", arguments: [20_261_124 as UInt64])
    func kills(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        var tally = Tally()
        var round = 0
        while round < Self.rounds {
            let count = min(Self.roundsPerStore, Self.rounds - round)
            try await runStore(count, "seed \(seed), rounds \(round)...", &random, &tally)
            round += count
        }
        print(
            "shipping rounds: \(Self.rounds), shippers killed: \(tally.shipperKills), receivers killed: "
                + "\(tally.receiverKills), ended before: \(tally.ended), writes applied once: \(tally.written), writes that "
                + "came again: \(tally.again), seed \(seed)"
        )
        #expect(tally.shipperKills + tally.receiverKills >= Self.rounds / 2)
    }

    /// One store and one receiver, through some rounds.
    private func runStore(
        _ rounds: Int,
        _ comment: Comment,
        _ random: inout SplitMix64,
        _ tally: inout Tally
    ) async throws {
        let directory = try TemporaryDirectory()
        let store = directory.appending("store")
        let ledger = directory.appending("ledger")
        try #require(try Tool.run(["init", store, "--local", "us", "--regions", "us,eu"]).status == 0)
        let settings = ["--batch-entries", "\(Self.batch)", "--backoff-base", "1ms", "--backoff-max", "5ms"]
        try #require(try Tool.run(["region", "replay", store, "eu"] + settings).status == 0)
        var written: UInt64 = 0
        var kills: UInt64 = 0
        for _ in 0..<rounds {
            let more = UInt64.random(in: 60...240, using: &random)
            let lines = (written..<(written + more)).map { #"{"origin":"us","sequence":\#($0),"key":"k","value":"v"}"# }
            let append = ["append", store, "--region", "eu", "--incarnation", "1"]
            try #require(try Tool.run(append, input: lines.joined(separator: "\n") + "\n").status == 0, comment)
            written += more
            switch try life(store, ledger, &random) {
            case .shipper: tally.shipperKills += 1
            case .receiver: tally.receiverKills += 1
            case .ended:
                tally.ended += 1
                continue
            }
            kills += 1
        }
        // The last one is left alone, and delivers what is there.
        let last = try Tool.run(Self.replay(store, ledger))
        try #require(last.status == 0, "\(comment): \(last.talk)")
        let report = try StoreCheck.run(store, level: .full)
        #expect(report.findings == [], comment)
        #expect(report.entries == 0, comment)
        let applied = try await AppliedLedger.open(at: ledger)
        let (log, again) = try await applied.read { (state) throws(HoldfastError) in
            var log: [String] = []
            try state.scan(from: Array("log/".utf8)) { (key, value) throws(HoldfastError) in
                guard String(decoding: key, as: UTF8.self).hasPrefix("log/") else { return false }
                log.append(String(decoding: value, as: UTF8.self))
                return true
            }
            return (log, try state.value(for: "again").flatMap { UInt64($0) } ?? 0)
        }
        await applied.close()
        #expect(log == (0..<written).map { "us 1 \($0)" }, comment)
        // What comes again is at most what was in flight when somebody was killed.
        #expect(again <= kills * UInt64(Self.batch), comment)
        tally.written += written
        tally.again += again
    }

    private static func replay(_ store: String, _ ledger: String) -> [String] {
        let command = "'\(Tool.path("ReceiverWorker"))' --lines '\(ledger)'"
        return ["replay", store, "--region", "eu", "--exec", command, "--once"]
    }

    private enum End { case shipper, receiver, ended }

    /// Lets a shipper run for a random moment, then kills it or the receiver that it has started.
    private func life(_ store: String, _ ledger: String, _ random: inout SplitMix64) throws -> End {
        let shipper = Tool.process(Self.replay(store, ledger))
        shipper.standardError = FileHandle.nullDevice
        try shipper.run()
        let nanoseconds = UInt64.random(in: 0...60_000_000, using: &random)
        let takesReceiver = Bool.random(using: &random)
        let start = DispatchTime.now().uptimeNanoseconds
        while shipper.isRunning, DispatchTime.now().uptimeNanoseconds - start < nanoseconds { usleep(500) }
        guard shipper.isRunning else { return .ended }
        var end = End.ended
        if takesReceiver {
            // The shipper must live through this, and send the batch again.
            while shipper.isRunning, end == .ended {
                if Self.killReceiver(ledger + ".pid") { end = .receiver } else { usleep(200) }
            }
            shipper.waitUntilExit()
            #expect(shipper.terminationStatus == 0)
        } else {
            kill(shipper.processIdentifier, SIGKILL)
            shipper.waitUntilExit()
            end = .shipper
        }
        return end
    }

    /// Kills the receiver that is at work, if one is.
    private static func killReceiver(_ pidFile: String) -> Bool {
        guard let text = try? String(contentsOfFile: pidFile, encoding: .utf8), let pid = pid_t(text),
            let name = try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8),
            name.hasPrefix("ReceiverWorker")
        else { return false }
        return kill(pid, SIGKILL) == 0
    }
}
