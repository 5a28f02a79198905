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

    var testDescription: String { rawValue }

    /// Where the new store comes; nil where it takes the place of the old one.
    var made: String? { self == .compact ? nil : "/made" }

    func arguments(_ root: String, _ dump: String) -> [String] {
        switch self {
        case .compact: ["compact", root + "/store", "--in-place", "--yes"]
        case .backup: ["backup", root + "/store", "--to", root + "/made"]
        case .restore: ["restore", root + "/store", "--to", root + "/made", "--yes"]
        case .load: ["load", root + "/made", dump]
        }
    }
}

@Suite("A loss of power under a verb that writes a store", .serialized) struct PowerVerbTests {
    private static let imagesOfCut = 5
    private static let cuts = max(4, PowerTally.imagesWanted / 40)

    @Test("leaves the old store whole, and of the new one all or nothing", arguments: PowerVerb.allCases)
    func leavesAllOrNothing(verb: PowerVerb) async throws {
        let seed = 20_261_123 as UInt64
        var random = SplitMix64(seed: seed)
        let recorder = try Recorder()
        let store = recorder.root + "/store"
        let made = try Tool.run(
            ["workload", store, recorder.marks, "\(seed)", "30"],
            program: Tool.path("CrashWorker")
        )
        try #require(made.status == 0, "\(made.talk)")
        let dump = recorder.marks + ".dump"
        try Data(try Tool.run(["dump", store]).output.utf8).write(to: URL(fileURLWithPath: dump))
        let right = "digest \(try Self.digest(store)) clean"
        let before = try Disk(recorder.root)
        let trace = try recorder.record(verb.arguments(recorder.root, dump))
        let rebuilt = try PowerLossTests.rebuilt(trace, before)
        #expect(try rebuilt.differences(from: recorder.root) == [], "the trace is not all there is")
        var tally = PowerTally()
        var disk = before
        let points = (0..<Self.cuts).map { index in
            index % 4 == 3 ? trace.events.count : Int.random(in: 1...trace.events.count, using: &random)
        }
        for point in points.sorted() {
            while disk.cut < point { try disk.happen(trace.events[disk.cut]) }
            tally.cuts += 1
            let isDone = point == trace.events.count
            var images: [(remainder: Remainder, directory: TemporaryDirectory)] = []
            for _ in 0..<Self.imagesOfCut {
                let remainder = Remainder.allCases[tally.images % Remainder.allCases.count]
                let scratch = try Recorder.scratch()
                try disk.image(remainder, &random).write(to: scratch.path)
                images.append((remainder, scratch))
                tally.images += 1
            }
            let stores = ["/store"] + (verb.made.map { [$0] } ?? [])
            let looked = try Tool.run(
                ["look"] + images.flatMap { image in stores.map { image.directory.path + $0 } },
                program: Tool.path("CrashWorker")
            )
            try #require(looked.lines.count == images.count * stores.count, "\(looked.talk)")
            for (index, image) in images.enumerated() {
                let lines = looked.lines[(index * stores.count)..<((index + 1) * stores.count)]
                let place: Comment =
                    "\(verb), seed \(seed), cut \(point) of \(trace.events.count), image \(index), \(image.remainder): \(lines)"
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

    private static func digest(_ store: String) throws -> String {
        let outcome = try Tool.run(["look", store], program: Tool.path("CrashWorker"))
        return try #require(outcome.lines.first).split(separator: " ").dropFirst().first.map(String.init) ?? ""
    }
}
