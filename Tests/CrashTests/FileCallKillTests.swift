import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

@Suite("A process that is killed at a call that changes a file", .serialized) struct FileCallKillTests {
    private static let kills =
        ProcessInfo.processInfo.environment["HOLDFAST_KILL_CALLS"].flatMap { Int($0) } ?? 24

    /// A store, and a worker with a library that counts its calls.
    private struct Site {
        let directory: TemporaryDirectory
        let seed: UInt64
        var store: String { directory.appending("store") }
        var journal: String { directory.appending("journal") }

        func run(life: UInt64, _ library: String, _ environment: [String: String]) throws -> Tool.Outcome {
            try Tool.run(
                ["work", store, journal, "\(seed)", "\(life)", "20", "leave"],
                program: Tool.path("KillWorker"),
                environment: environment.merging(["LD_PRELOAD": library]) { $1 }
            )
        }
    }

    @Test(
        "keeps what it had promised, also when the call is torn: writes, syncs, lengths, names",
        arguments: [20_261_123 as UInt64]
    )
    func kills(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let tools = try TemporaryDirectory()
        let library = try Tool.library("killer", in: tools.path)
        let counted = Site(directory: try TemporaryDirectory(), seed: seed)
        let count = tools.appending("count")
        try #require(try counted.run(life: 0, library, ["COUNT": count]).status == 0)
        let text = try String(contentsOfFile: count, encoding: .utf8)
        let calls = try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        try #require(calls > 100)
        var killed = 0
        var site = counted
        var verifier = CrashVerifier(store: site.store, journal: site.journal, seed: seed)
        for kill in 0..<Self.kills {
            let life = UInt64(kill % 6)
            if life == 0 {
                site = Site(directory: try TemporaryDirectory(), seed: seed &+ UInt64(kill))
                verifier = CrashVerifier(store: site.store, journal: site.journal, seed: site.seed)
            }
            // A store's first life ends within the calls that make it.
            let number =
                life == 0 ? Int.random(in: 1...14, using: &random) : Int.random(in: 1...(calls / 2), using: &random)
            let isTorn = Bool.random(using: &random)
            let comment: Comment = "kill \(kill), call \(number), torn \(isTorn), life \(life), seed \(seed)"
            let environment = ["KILL_AT": "\(number)"].merging(isTorn ? ["KILL_TORN": "1"] : [:]) { $1 }
            let outcome = try site.run(life: life, library, environment)
            if outcome.isSignalled { killed += 1 }
            #expect(
                outcome.status == (outcome.isSignalled ? SIGKILL : 0),
                "\(comment): \(outcome.output)\(outcome.talk)"
            )
            let violations = try verifier.verify()
            #expect(violations == [], comment)
        }
        print("kills at file calls: \(killed) of \(Self.kills), \(calls) calls in a life, seed \(seed)")
        #expect(killed > Self.kills * 3 / 4)
    }

    @Test("while it makes a store lets the next one make it", arguments: [false, true])
    func making(isTorn: Bool) throws {
        let tools = try TemporaryDirectory()
        let library = try Tool.library("killer", in: tools.path)
        for number in 1...16 {
            let site = Site(directory: try TemporaryDirectory(), seed: 1)
            let environment = ["KILL_AT": "\(number)"].merging(isTorn ? ["KILL_TORN": "1"] : [:]) { $1 }
            #expect(try site.run(life: 0, library, environment).isSignalled)
            let again = try Tool.run(
                ["work", site.store, site.journal, "1", "1", "1", "leave"],
                program: Tool.path("KillWorker")
            )
            #expect(again.status == 0, "call \(number): \(again.output)\(again.talk)")
        }
    }
}
