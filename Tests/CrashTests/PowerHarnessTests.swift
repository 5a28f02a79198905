import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

/// What becomes of stores whose disk did more harm than a disk does: each is opened in a process of its own.
@Suite("A loss of power beyond what is assumed", .serialized) struct PowerHarnessTests {
    private static let images = max(20, PowerTally.imagesWanted / 10)
    private static let seed = 20_261_124 as UInt64

    /// What opening an image came to.
    private enum Verdict: String {
        /// It opened, and every promise was kept.
        case right
        /// A typed error.
        case refused
        /// A signal.
        case ended
        /// It opened, and its own check, or the promises, tell that it is wrong.
        case wrong
    }

    private static func verdict(_ image: DiskImage, _ cut: Int, _ judge: inout Judge) throws -> (Verdict, [String]) {
        let scratch = try Recorder.scratch()
        try image.write(to: scratch.path)
        let store = scratch.path + "/store"
        let opened = try Tool.run(["open", store], program: Tool.path("CrashWorker"))
        guard !opened.isSignalled, opened.status == 0, let line = opened.lines.first else {
            return (.ended, [opened.talk])
        }
        if line.hasPrefix("refused") { return (.refused, [line]) }
        guard !line.hasPrefix("errors") else { return (.wrong, [line]) }
        var found = FoundStore(state: try JSONDecoder().decode(PowerState.self, from: Data(line.utf8)))
        // Its check is clean, so it can be read here.
        try found.readEntries(store)
        let faults = judge.faults(of: found, at: cut)
        return (faults.isEmpty ? .right : .wrong, faults)
    }

    @Test("images without the syncs do fail: what finds a lost promise works") func syncsMatter() throws {
        let recorder = try Recorder()
        var disk = try Disk(recorder.root)
        let trace = try PowerLossTests.record(recorder, seed: Self.seed, steps: 25)
        let timeline = try Timeline(trace)
        var judge = Judge(timeline)
        disk.syncsIgnoredFrom = timeline.created
        var random = SplitMix64(seed: Self.seed)
        let points = (0..<Self.images).map { _ in
            Int.random(in: (timeline.created + 1)...trace.events.count, using: &random)
        }
        var counts: [String: Int] = [:]
        for point in points.sorted() {
            while disk.cut < point { try disk.happen(trace.events[disk.cut]) }
            let kind = [Remainder.none, .writes, .sectors, .before].randomElement(using: &random) ?? .none
            let (verdict, _) = try Self.verdict(disk.image(kind, &random), point, &judge)
            counts[verdict.rawValue, default: 0] += 1
        }
        print("power loss without the syncs: \(points.count) images: \(PowerTally().words(counts)), seed \(Self.seed)")
        #expect(counts["right", default: 0] < points.count)
        #expect(counts["wrong", default: 0] + counts["refused", default: 0] > 0)
    }

    /// The one assumption that LMDB makes of a write: its meta page lies in one sector, which is whole.
    ///
    /// Here it is torn between words of 8 bytes, in any way. What is refused here is what `holdfast recover` is for.
    @Test("a torn meta page is refused, or the store is right; recover brings back what was promised")
    func tornMeta() async throws {
        let recorder = try Recorder()
        var disk = try Disk(recorder.root)
        let trace = try PowerLossTests.record(recorder, seed: Self.seed, steps: 25)
        let timeline = try Timeline(trace)
        var judge = Judge(timeline)
        var random = SplitMix64(seed: Self.seed)
        let metas = trace.events.indices.dropLast().filter { index in
            guard index > timeline.created, case .durable(_, index) = trace.events[index + 1] else { return false }
            return true
        }
        var counts: [String: Int] = [:]
        for meta in (0..<Self.images).compactMap({ _ in metas.randomElement(using: &random) }).sorted() {
            while disk.cut <= meta { try disk.happen(trace.events[disk.cut]) }
            let image = disk.image(.all, torn: meta, &random)
            let (verdict, faults) = try Self.verdict(image, meta + 1, &judge)
            counts[verdict.rawValue, default: 0] += 1
            if verdict == .wrong || verdict == .ended { print("torn meta page at \(meta): \(verdict) \(faults)") }
            guard verdict == .refused else { continue }
            let (isComplete, missing) = try await Self.recovered(image, meta + 1, &judge)
            counts[isComplete ? "recovered as complete" : "recovered as incomplete", default: 0] += 1
            #expect(missing == [], "torn meta page at \(meta), complete: \(isComplete)")
        }
        print("power loss with a torn meta page: \(PowerTally().words(counts)), seed \(Self.seed)")
        #expect(counts["wrong"] == nil && counts["ended"] == nil)
        // Both happen: an image that is refused is told from one that is right.
        let recovered = counts.filter { $0.key.hasPrefix("recovered") }.values.reduce(0, +)
        #expect(counts["right", default: 0] > 0 && counts["refused", default: 0] > 0)
        #expect(recovered == counts["refused"])
    }

    /// What `recover` makes of an image, and what is wrong with that: where it says that it is complete, anything that was not
    /// promised; otherwise what is missing.
    private static func recovered(
        _ image: DiskImage,
        _ cut: Int,
        _ judge: inout Judge
    ) async throws -> (isComplete: Bool, faults: [String]) {
        let scratch = try Recorder.scratch()
        try image.write(to: scratch.path)
        let new = scratch.path + "/recovered"
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let report = try StoreRecover.run(
            scratch.path + "/store",
            to: new,
            knowing: StoreRecover.Knowledge(local: "us", epoch: 1),
            now: now
        )
        let found = try await FoundStore(new)
        return (
            report.isComplete,
            report.isComplete ? judge.faults(of: found, at: cut) : judge.missing(from: found, at: cut)
        )
    }
}
