import Foundation
import Glibc
import HoldfastTesting
import RaftApply
import ReplayStore
import TestSupport
import Testing

@Suite("A snapshot that takes the place of a replica's state", .serialized) struct SnapshotInstallTests {
    private static let seed = 20_261_201 as UInt64

    /// A replica's directory with the first part of a log, a snapshot with the second part too, and what comes after both.
    private struct Site {
        let old: (position: AppliedPosition, digest: String)
        let manifest: SnapshotManifest
        let second: [LogEntry]
        let rest: [LogEntry]
        let last: String

        static func replica(_ directory: String) -> String { directory + "/replica" }
        static func snapshot(_ directory: String) -> String { directory + "/snapshot" }

        /// The arguments that let `LogWorker` put the snapshot in the place of the state.
        static func arguments(_ directory: String) -> [String] { ["install", replica(directory), snapshot(directory)] }

        init(in directory: String) async throws {
            let commands = FailoverConformanceCommands()
            var random = SplitMix64(seed: SnapshotInstallTests.seed)
            var log = ConformanceLog(commands)
            log.addRandom(commands, 200, &random)
            let first = log.take()
            log.addRandom(commands, 200, &random)
            second = log.take()
            log.addRandom(commands, 60, &random)
            rest = log.take()
            let replica = try await Self.open(Self.replica(directory))
            _ = try await replica.apply(first)
            old = try await replica.digest()
            await replica.close()
            let scratch = try TemporaryDirectory()
            let source = try await Self.open(Self.replica(scratch.path))
            _ = try await source.apply(first + second)
            manifest = try await source.writeSnapshot(to: Self.snapshot(directory))
            _ = try await source.apply(rest)
            last = try await source.digest().digest
            await source.close()
            try JSONEncoder().encode(manifest).write(to: URL(fileURLWithPath: Self.snapshot(directory) + ".json"))
        }

        private static func open(_ path: String) async throws -> FailoverStateMachine {
            try await FailoverStateMachine.open(at: path, cluster: Array("log worker".utf8), options: .small)
        }

        /// Opens what is found, which is the old state or the new one, whole, and goes on with the log from there.
        ///
        /// - Returns: Whether it is the new one.
        func judge(_ directory: String, _ place: Comment) async throws -> Bool {
            let replica = try await Self.open(Self.replica(directory))
            let (position, digest) = try await replica.digest()
            let isNew = position.index == manifest.index
            #expect(isNew || position == old.position, place)
            #expect(digest == (isNew ? manifest.digest : old.digest), place)
            _ = try await replica.apply(isNew ? rest : second + rest)
            #expect(try await replica.digest().digest == last, place)
            await replica.close()
            let names = try FileManager.default.contentsOfDirectory(atPath: Self.replica(directory))
            #expect(names.filter { $0 != "CURRENT" }.count == 1, "\(place): \(names)")
            return isNew
        }
    }

    @Test(
        "leaves the old state or the new one, whole, killed at any call that changes a file",
        arguments: [false, true]
    )
    func kills(isTorn: Bool) async throws {
        let (made, tools) = (try TemporaryDirectory(), try TemporaryDirectory())
        let site = try await Site(in: made.path)
        let library = try Tool.library("killer", in: tools.path)
        var found: [Bool: Int] = [:]
        var isKilled = true
        var number = 0
        while isKilled {
            number += 1
            let directory = try TemporaryDirectory()
            for path in [Site.replica, Site.snapshot, { Site.snapshot($0) + ".json" }] {
                try FileManager.default.copyItem(atPath: path(made.path), toPath: path(directory.path))
            }
            let outcome = try Tool.run(
                Site.arguments(directory.path),
                program: Tool.path("LogWorker"),
                environment: ["LD_PRELOAD": library, "KILL_AT": "\(number)"].merging(isTorn ? ["KILL_TORN": "1"] : [:])
                { $1 }
            )
            isKilled = outcome.isSignalled
            let place: Comment = "call \(number), torn \(isTorn): \(outcome.talk)"
            #expect(outcome.status == (isKilled ? SIGKILL : 0), place)
            let isNew = try await site.judge(directory.path, place)
            #expect(isNew || isKilled, place)
            found[isNew, default: 0] += 1
        }
        print(
            "kills of an installation: \(number - 1), old \(found[false] ?? 0), new \(found[true] ?? 0), torn \(isTorn)"
        )
        #expect(found[false] ?? 0 > 10)
        #expect(found[true] ?? 0 > 2)
    }

    @Test(
        "leaves the old state or the new one, whole, when the power goes, and the new one once it is said to be there"
    )
    func power() async throws {
        var random = SplitMix64(seed: Self.seed)
        let recorder = try Recorder()
        let site = try await Site(in: recorder.root)
        let before = try Disk(recorder.root)
        let trace = try recorder.record(Site.arguments(recorder.root), program: Tool.path("LogWorker"))
        var tally = PowerTally()
        try await PowerVerbTests.eachCut(trace, before, recorder, &random, &tally) { (cut, images, tally) in
            for (index, image) in images.enumerated() {
                let place: Comment = "cut \(cut) of \(trace.events.count), image \(index), \(image.remainder)"
                let isNew = try await site.judge(image.directory.path, place)
                #expect(isNew || cut < trace.events.count, place)
                tally.outcomes[isNew ? "new" : "old", default: 0] += 1
            }
        }
        print(
            "power loss under an installation: \(tally.images) images of \(tally.cuts) cuts: \(tally.words(tally.outcomes))"
        )
        #expect(tally.outcomes.count == 2)
    }
}
