import Foundation
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

/// A verb of the tool that writes a whole store, or puts a new file in the place of an old one.
enum PowerVerb: String, CaseIterable, CustomTestStringConvertible {
    case compact
    case backup
    case restore
    case load
    case recover

    var testDescription: String { rawValue }

    /// Where the new store comes; nil where it takes the place of the old one.
    var made: String? { self == .compact ? nil : "/made" }

    func arguments(_ root: String, _ dump: String) -> [String] {
        switch self {
        case .compact: ["compact", root + "/store", "--in-place", "--yes"]
        case .backup: ["backup", root + "/store", "--to", root + "/made"]
        case .restore: ["restore", root + "/store", "--to", root + "/made", "--yes"]
        case .load: ["load", root + "/made", dump]
        case .recover: ["recover", root + "/store", "--to", root + "/made"]
        }
    }
}

@Suite("A loss of power under a verb that writes a store", .serialized) struct PowerVerbTests {
    private static let imagesOfCut = 5
    private static let cuts = max(4, PowerTally.imagesWanted / 40)

    /// A store of a seeded workload, closed, and who records what comes next.
    private static func recorder(seed: UInt64) throws -> Recorder {
        let recorder = try Recorder()
        let made = try Tool.run(
            ["workload", recorder.root + "/store", recorder.marks, "\(seed)", "30"],
            program: Tool.path("CrashWorker")
        )
        try #require(made.status == 0, "\(made.talk)")
        return recorder
    }

    /// What the disk may hold after some cuts, among them some behind the last event.
    static func eachCut(
        _ trace: Trace,
        _ before: Disk,
        _ recorder: Recorder,
        _ random: inout SplitMix64,
        _ tally: inout PowerTally,
        _ body: (
            _ cut: Int,
            _ images: [(remainder: Remainder, directory: TemporaryDirectory)],
            _ tally: inout PowerTally
        ) async throws -> Void
    ) async throws {
        let rebuilt = try PowerLossTests.rebuilt(trace, before)
        #expect(try rebuilt.differences(from: recorder.root) == [], "the trace is not all there is")
        var disk = before
        let points = (0..<cuts).map { index in
            index % 4 == 3 ? trace.events.count : Int.random(in: 1...trace.events.count, using: &random)
        }
        for point in points.sorted() {
            while disk.cut < point { try disk.happen(trace.events[disk.cut]) }
            tally.cuts += 1
            var images: [(remainder: Remainder, directory: TemporaryDirectory)] = []
            for _ in 0..<imagesOfCut {
                let remainder = Remainder.allCases[tally.images % Remainder.allCases.count]
                let scratch = try Recorder.scratch()
                try disk.image(remainder, &random).write(to: scratch.path)
                images.append((remainder, scratch))
                tally.images += 1
            }
            try await body(point, images, &tally)
        }
    }

    @Test("leaves the old store whole, and of the new one all or nothing", arguments: PowerVerb.allCases)
    func leavesAllOrNothing(verb: PowerVerb) async throws {
        let seed = 20_261_123 as UInt64
        var random = SplitMix64(seed: seed)
        let recorder = try Self.recorder(seed: seed)
        let store = recorder.root + "/store"
        let dump = recorder.marks + ".dump"
        try Data(try Tool.run(["dump", store]).output.utf8).write(to: URL(fileURLWithPath: dump))
        let right = "digest \(try Self.digest(store)) clean"
        let before = try Disk(recorder.root)
        let trace = try recorder.record(verb.arguments(recorder.root, dump))
        var tally = PowerTally()
        try await Self.eachCut(trace, before, recorder, &random, &tally) { (cut, images, tally) in
            let isDone = cut == trace.events.count
            let stores = ["/store"] + (verb.made.map { [$0] } ?? [])
            let looked = try Tool.run(
                ["look"] + images.flatMap { image in stores.map { image.directory.path + $0 } },
                program: Tool.path("CrashWorker")
            )
            try #require(looked.lines.count == images.count * stores.count, "\(looked.talk)")
            for (index, image) in images.enumerated() {
                let lines = looked.lines[(index * stores.count)..<((index + 1) * stores.count)]
                let place: Comment =
                    "\(verb), seed \(seed), cut \(cut) of \(trace.events.count), image \(index), \(image.remainder): \(lines)"
                try #require(lines.first == right, place)
                let made = lines.last ?? ""
                let code = made == right ? "whole" : made.split(separator: " ").dropFirst().first.map(String.init) ?? ""
                tally.outcomes[code, default: 0] += 1
                let isRefused = made.hasPrefix("refused") && ["incomplete", "notFound", "damaged"].contains(code)
                try #require(made == right || !isDone && isRefused, place)
                // And it is a store that can be used; a backup is none.
                guard verb != .backup, made == right else { continue }
                try #require(try await FoundStore(image.directory.path + (verb.made ?? "/store")).errors == [], place)
            }
        }
        print("power loss under \(verb): \(tally.images) images of \(tally.cuts) cuts: \(tally.words(tally.outcomes))")
    }

    @Test("leaves an upgrade at a version whose steps are all there, and the next one is not begun")
    func upgrade() async throws {
        let seed = 20_261_123 as UInt64
        var random = SplitMix64(seed: seed)
        let recorder = try Self.recorder(seed: seed)
        let kept = try MarkedUpgrade.pairs(of: recorder.root + "/store")
        let before = try Disk(recorder.root)
        let trace = try recorder.record(["upgrade", recorder.root + "/store"], program: Tool.path("KillWorker"))
        var tally = PowerTally()
        try await Self.eachCut(trace, before, recorder, &random, &tally) { (cut, images, tally) in
            for (index, image) in images.enumerated() {
                let place: Comment =
                    "seed \(seed), cut \(cut) of \(trace.events.count), image \(index), \(image.remainder)"
                let version = try MarkedUpgrade.finish(image.directory.path + "/store", kept, place)
                tally.outcomes["version \(version)", default: 0] += 1
                try #require(cut < trace.events.count || version == 3, place)
            }
        }
        // Each of the three is among what a cut leaves.
        #expect(tally.outcomes.count == 3)
        print("power loss under upgrade: \(tally.images) images of \(tally.cuts) cuts: \(tally.words(tally.outcomes))")
    }

    private static func digest(_ store: String) throws -> String {
        let outcome = try Tool.run(["look", store], program: Tool.path("CrashWorker"))
        return try #require(outcome.lines.first).split(separator: " ").dropFirst().first.map(String.init) ?? ""
    }
}
