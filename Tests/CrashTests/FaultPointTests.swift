import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// How long the suite is, by its environment.
private enum Length {
    /// How many seeds each point is killed with.
    static let seeds = number("HOLDFAST_KILL_SEEDS") ?? 1
    /// And with how many at work, which is quick.
    static let workSeeds = max(3, seeds)
    /// The first of them.
    static let seed = UInt64(number("HOLDFAST_KILL_SEED") ?? 20_261_123)

    private static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }
}

/// What all kills came to.
private struct KillTally {
    var killed = 0
    var notReached = 0
    var old = 0
    var new = 0
    /// Calls of the controller that were under way: and had not happened, or had.
    var calls = (old: 0, new: 0)
    var perPoint: [FaultPoint: Int] = [:]

    /// Notes whether a new store was there, at a point where it must be, must not be, or may be.
    mutating func note(isNew: Bool, at point: FaultPoint, of scenario: KillScenario, _ comment: Comment) {
        if let must = Self.isNew(at: point, of: scenario) { #expect(isNew == must, comment) }
        if isNew { new += 1 } else { old += 1 }
    }

    private static func isNew(at point: FaultPoint, of scenario: KillScenario) -> Bool? {
        switch point {
        case .compactRename, .compactSync, .compactRemove, .backup, .restore, .recover: true
        // In place the whole file has not the store's name yet.
        case .buildComplete, .buildCompleteAgain, .buildNamesSync: ![.compact, .train].contains(scenario)
        case .buildBegin, .buildFlush, .buildFinish, .buildProve, .dictionaryTrain, .dictionaryPut, .compactCopy,
            .copyLock, .loadBegin, .loadBlock, .loadRow, .loadFinish, .recoverRead, .recoverQueue:
            false
        default: nil
        }
    }

    mutating func add(_ outcome: Tool.Outcome, _ point: FaultPoint, _ comment: Comment) {
        if outcome.isSignalled {
            #expect(outcome.status == SIGKILL, comment)
            killed += 1
            perPoint[point, default: 0] += 1
        } else {
            #expect(outcome.status == 0, "\(comment): \(outcome.output)\(outcome.talk)")
            notReached += 1
        }
    }
}

@Suite("A process that is killed at a named step", .serialized) struct FaultPointTests {
    @Test("has been at each of them: no name is dead, and at none by accident") func visited() async throws {
        let template = try await KillTemplate.shared(seed: Length.seed)
        var visited: Set<FaultPoint> = []
        // The tests below kill at each of these, and say so where they do not.
        var killed: Set<FaultPoint> = []
        for scenario in KillScenario.allCases {
            let points = try KillSite(scenario, seed: Length.seed, template).visits().keys
            visited.formUnion(points)
            killed.formUnion(points.filter { scenario != .control && Self.isOwn($0, of: scenario) })
        }
        #expect(Set(FaultPoint.allCases).subtracting(visited) == [], "no workload reaches these")
        #expect(Set(FaultPoint.allCases).subtracting(killed) == [], "nothing is killed at these")
        #expect(FaultPoint.allCases.count >= 27)
    }

    @Test("is no other process than a test's own worker") func unarmed() throws {
        let directory = try TemporaryDirectory()
        let log = directory.appending("log")
        let environment = ["HOLDFAST_FAULT": "begin:1", "HOLDFAST_FAULT_LOG": log]
        let made = try Tool.run(
            ["init", directory.appending("store"), "--local", "us", "--regions", "us,eu"],
            environment: environment
        )
        #expect(made.status == 0 && !made.isSignalled)
        #expect(!FileManager.default.fileExists(atPath: log))
        for text in ["begin", "begin:0", "nothing:1", "begin:1:2", ":1", ""] {
            let arguments = [
                "work", directory.appending("other"), directory.appending("journal"), "1", "0", "1", "leave",
            ]
            let refused = try Tool.run(
                arguments,
                program: Tool.path("KillWorker"),
                environment: ["HOLDFAST_FAULT": text]
            )
            #expect(refused.status == 64, "\(text)")
        }
        // Nothing that ships calls it.
        for folder in ["Sources", "Tools"] {
            let files = FileManager.default.enumerator(at: Tool.source(folder), includingPropertiesForKeys: nil)
            while let file = files?.nextObject() as? URL {
                guard file.pathExtension == "swift", file.lastPathComponent != "FaultPoint.swift" else { continue }
                #expect(try !String(contentsOf: file, encoding: .utf8).contains("FaultPoint.arm"), "\(file.path)")
            }
        }
    }

    @Test("loses nothing that was promised, doubles nothing, and opens again", arguments: 0..<Length.workSeeds)
    func work(share: Int) async throws {
        let seed = Length.seed &+ UInt64(share)
        var random = SplitMix64(seed: seed)
        let visits = try KillSite(empty: seed).visits()
        var tally = KillTally()
        var written = ConservationTally(issued: 0)
        var site: KillSite?
        var verifier: CrashVerifier?
        var life: UInt64 = 0
        func end(_ verifier: CrashVerifier) {
            written.add(verifier.oracle.tally)
            tally.calls.old += verifier.settledCalls.old
            tally.calls.new += verifier.settledCalls.new
        }
        for point in visits.keys.sorted(by: { $0.rawValue < $1.rawValue }).shuffled(using: &random) {
            // A store has some lives; each begins where the one before was killed.
            if life == 8 || site == nil || Self.making.contains(point) {
                if let verifier { end(verifier) }
                let fresh = try KillSite(empty: seed)
                (site, life) = (fresh, 0)
                verifier = CrashVerifier(store: fresh.store, journal: fresh.journal, seed: seed)
            }
            guard let site else { continue }
            let most = Self.making.contains(point) ? 1 : max(1, (visits[point] ?? 1) / 2)
            let count = Int.random(in: 1...most, using: &random)
            let comment: Comment = "point \(point), count \(count), life \(life), seed \(seed)"
            tally.add(try site.run(life: life, killing: (point, count)), point, comment)
            let violations = try verifier?.verify() ?? []
            #expect(violations == [], comment)
            life += 1
            if tally.perPoint[point] == nil { end(try Self.killAtOnce(point, seed: seed, &tally)) }
        }
        if let verifier { end(verifier) }
        print(
            "kill points, at work: \(tally.killed) kills at \(tally.perPoint.count) points, not reached at "
                + "first: \(tally.notReached), writes acknowledged \(written.acknowledged), received \(written.received), again "
                + "\(written.redelivered), drained \(written.drained), dropped \(written.dropped), calls of the controller that had "
                + "not happened \(tally.calls.old), that had \(tally.calls.new), seed \(seed)"
        )
        #expect(tally.killed > tally.notReached * 4)
        #expect(Set(tally.perPoint.keys) == Set(visits.keys), "each point that the work visits is one of a kill")
        #expect(tally.calls.old > 0)
    }

    /// Kills at the first visit of a point, in the life of a store that comes to it.
    private static func killAtOnce(
        _ point: FaultPoint,
        seed: UInt64,
        _ tally: inout KillTally
    ) throws -> CrashVerifier {
        let site = try KillSite(empty: seed)
        var verifier = CrashVerifier(store: site.store, journal: site.journal, seed: seed)
        for life in 0...1 as ClosedRange<UInt64> where tally.perPoint[point] == nil {
            let comment: Comment = "point \(point), at once, life \(life), seed \(seed)"
            tally.add(try site.run(life: life, killing: (point, 1)), point, comment)
            try expectNone(&verifier, comment)
        }
        return verifier
    }

    @Test("leaves of a call of the controller all that it promised, or nothing", arguments: 0..<Length.seeds)
    func control(share: Int) throws {
        let seed = Length.seed &+ UInt64(share)
        var random = SplitMix64(seed: seed)
        let visits = try KillSite(empty: seed, .control).visits()
        let site = try KillSite(empty: seed, .control)
        var verifier = CrashVerifier(store: site.store, journal: site.journal, seed: seed)
        var tally = KillTally()
        let points: [FaultPoint] = [
            .controllerRow, .event, .regionAdd, .regionRemove, .regionRows, .put, .delete, .commitBefore, .commitAfter,
        ]
        for (life, point) in (points + points + [.commitAfter, .commitAfter]).shuffled(using: &random).enumerated() {
            let count = Int.random(in: 1...max(1, (visits[point] ?? 0) / 3), using: &random)
            let comment: Comment = "point \(point), count \(count), life \(life), seed \(seed)"
            tally.add(try site.run(life: UInt64(life), killing: (point, count)), point, comment)
            let violations = try verifier.verify()
            #expect(violations == [], comment)
        }
        let calls = verifier.settledCalls
        print(
            "kill points, calls of the controller: \(tally.killed) kills at \(tally.perPoint.count) points, not reached: "
                + "\(tally.notReached), had not happened \(calls.old), had \(calls.new), seed \(seed)"
        )
        #expect(tally.killed > tally.notReached * 4 && Set(points.map { visits[$0] != nil }) == [true])
        #expect(calls.old > 0 && calls.new > 0)
    }

    /// The steps of making a store, which only a first life takes.
    private static let making: Set<FaultPoint> = [
        .directoryMake, .tablesMake, .namesSync, .parentSync, .storeNote, .lockTake, .lockFileMake, .environmentOpen,
    ]

    @Test(
        "leaves the old store or the new one, whole",
        arguments: KillScenario.allCases.filter { !$0.makesStore },
        0..<Length.seeds
    )
    func rewriting(scenario: KillScenario, share: Int) async throws {
        let seed = Length.seed &+ UInt64(share)
        var random = SplitMix64(seed: seed)
        let template = try await KillTemplate.shared(seed: seed)
        let visits = try KillSite(scenario, seed: seed, template).visits()
        var tally = KillTally()
        for point in visits.keys.sorted(by: { $0.rawValue < $1.rawValue }) where Self.isOwn(point, of: scenario) {
            var site = try KillSite(scenario, seed: seed, template)
            let most = max(1, visits[point] ?? 1)
            let drawn = Int.random(in: 1...most, using: &random)
            // The last sync of an upgrade leaves the new store, whatever is drawn for the other points.
            let count = point == .upgradeSync ? most : drawn
            let comment: Comment = "\(scenario), point \(point), count \(count), seed \(seed)"
            var outcome = try site.run(life: 1, killing: (point, count))
            // Callers of one moment share commits, more or fewer: a last visit may not come.
            if !outcome.isSignalled, outcome.status == 0 {
                site = try KillSite(scenario, seed: seed, template)
                outcome = try site.run(life: 1, killing: (point, 1))
            }
            tally.add(outcome, point, comment)
            try await verify(site, template, point, comment, &tally)
        }
        print(
            "kill points, \(scenario): \(tally.killed) kills at \(tally.perPoint.count) points, not reached: "
                + "\(tally.notReached), old \(tally.old), new \(tally.new), seed \(seed)"
        )
        #expect(tally.killed > 0 && tally.notReached == 0)
        if ![.damage, .leftover].contains(scenario) { #expect(tally.old > 0 && tally.new > 0) }
    }

    /// What another scenario has shown of a point is not shown again, unless the run is a long one.
    private static func isOwn(_ point: FaultPoint, of scenario: KillScenario) -> Bool {
        guard Length.seeds == 1 else { return true }
        return switch scenario {
        case .damage: [.quarantine, .commitBefore, .commitAfter].contains(point)
        case .leftover: point == .leftoverRemove
        case .train: [.dictionaryTrain, .dictionaryPut, .compactRename].contains(point)
        case .copy: [.copyLock, .buildProve, .buildCompleteAgain].contains(point)
        case .backup: [.backup, .buildFinish].contains(point)
        case .restore: [.restore, .buildProve, .buildComplete].contains(point)
        case .recover: [.recoverRead, .recoverQueue, .recover, .loadRow, .buildComplete].contains(point)
        case .load: [.loadBegin, .loadBlock, .loadRow, .loadFinish, .buildComplete].contains(point)
        case .work, .control, .compact, .upgrade: true
        }
    }

    private func verify(
        _ site: KillSite,
        _ template: KillTemplate,
        _ point: FaultPoint,
        _ comment: Comment,
        _ tally: inout KillTally
    ) async throws {
        if site.scenario == .upgrade {
            let kept = try MarkedUpgrade.pairs(of: template.site(false).store)
            if try MarkedUpgrade.finish(site.store, kept, comment) == 3 { tally.new += 1 } else { tally.old += 1 }
            return
        }
        var verifier = CrashVerifier(store: site.store, journal: site.journal, seed: site.seed)
        if site.scenario != .recover { try Self.expectNone(&verifier, comment) }
        switch site.scenario {
        case .damage, .leftover:
            let again = try site.run(life: 2)
            #expect(again.status == 0, "\(comment): \(again.output)\(again.talk)")
            try Self.expectNone(&verifier, comment)
        case .compact, .train:
            let source = try KillSite.digest(template.site(false).store)
            #expect(try KillSite.digest(site.store).whole == source.whole, comment)
            let isNew = try Self.size(site) != Self.size(template.site(false))
            tally.note(isNew: isNew, at: point, of: site.scenario, comment)
            let again = try site.run(life: 2)
            #expect(again.status == 0, "\(comment): \(again.output)\(again.talk)")
            #expect(try KillSite.digest(site.store).whole == source.whole, comment)
            let names = try FileManager.default.contentsOfDirectory(atPath: site.store)
            #expect(Set(names).isSubset(of: ["LOCK", "data.mdb", "lock.mdb", "reserve"]), comment)
            try Self.expectNone(&verifier, comment)
        default:
            let source = try KillSite.digest(template.site(false).store)
            var isNew = true
            do {
                #expect(try KillSite.digest(site.new).whole == source.whole, comment)
                #expect(try StoreCheck.run(site.new, level: .full).isClean, comment)
            } catch let error as HoldfastError {
                #expect([.notFound, .incomplete].contains(error.code), "\(comment): \(error)")
                isNew = false
            }
            tally.note(isNew: isNew, at: point, of: site.scenario, comment)
            try? FileManager.default.removeItem(atPath: site.new)
            let again = try site.run(life: 2)
            #expect(again.status == 0, "\(comment): \(again.output)\(again.talk)")
            #expect(try KillSite.digest(site.new).whole == source.whole, comment)
        }
    }

    private static func expectNone(_ verifier: inout CrashVerifier, _ comment: Comment) throws {
        let violations = try verifier.verify()
        #expect(violations == [], comment)
    }

    private static func size(_ site: KillSite) throws -> Int {
        try FileManager.default.attributesOfItem(atPath: site.store + "/data.mdb")[.size] as? Int ?? 0
    }
}
