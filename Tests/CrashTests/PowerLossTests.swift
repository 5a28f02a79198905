import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

@Suite("A loss of power", .serialized) struct PowerLossTests {
    private static let imagesOfCut = 5
    private static let imagesOfWorkload = 100

    @Test("takes nothing of what was promised, and adds nothing", arguments: [20_261_123 as UInt64])
    func keepsPromises(seed: UInt64) async throws {
        let workloads = max(1, PowerTally.imagesWanted / Self.imagesOfWorkload)
        var tally = PowerTally()
        for workload in 0..<workloads {
            let recorder = try Recorder()
            let own = seed &+ UInt64(workload)
            let before = try Disk(recorder.root)
            let trace = try Self.record(recorder, seed: own, steps: 40)
            let rebuilt = try Self.rebuilt(trace, before)
            #expect(try rebuilt.differences(from: recorder.root) == [], "the trace of seed \(own) is not all there is")
            let faults = try await Self.cut(trace, before, recorder, seed: own, &tally)
            guard faults.isEmpty else {
                Issue.record("\(faults.joined(separator: "\n"))\nThe trace: \(recorder.keep("power-\(own)"))")
                return
            }
        }
        print(
            "power loss: \(tally.images) images of \(tally.cuts) cuts in \(workloads) workloads, \(tally.promises) promises "
                + "held at them, \(tally.retried) times all was made again, seed \(seed); \(tally.words(tally.kinds)); "
                + tally.words(tally.outcomes)
        )
        #expect(tally.images >= PowerTally.imagesWanted / Self.imagesOfWorkload * Self.imagesOfWorkload)
    }

    static func record(_ recorder: Recorder, seed: UInt64, steps: Int) throws -> Trace {
        try recorder.record(
            ["workload", recorder.root + "/store", recorder.marks, "\(seed)", "\(steps)"],
            program: Tool.path("CrashWorker")
        )
    }

    static func rebuilt(_ trace: Trace, _ before: Disk) throws -> DiskImage {
        var disk = before
        for event in trace.events { try disk.happen(event) }
        var random = SplitMix64(seed: 0)
        return disk.image(.all, &random)
    }

    /// Cuts the power at random points of one trace; gives what is wrong with the first bad image.
    private static func cut(
        _ trace: Trace,
        _ before: Disk,
        _ recorder: Recorder,
        seed: UInt64,
        _ tally: inout PowerTally
    ) async throws -> [String] {
        var random = SplitMix64(seed: seed)
        let timeline = try Timeline(trace)
        var judge = Judge(timeline)
        let points = (0..<(imagesOfWorkload / imagesOfCut)).map { index in
            // One cut of each workload is in the making of the store, and one behind the last call.
            switch index {
            case 0: Int.random(in: 1...timeline.created, using: &random)
            case 1: trace.events.count
            default: Int.random(in: 1...trace.events.count, using: &random)
            }
        }
        var disk = before
        for point in points.sorted() {
            while disk.cut < point { try disk.happen(trace.events[disk.cut]) }
            tally.cuts += 1
            tally.promises += timeline.promises(at: point)
            let offset = Int.random(in: 0..<Remainder.allCases.count, using: &random)
            for index in 0..<imagesOfCut {
                let remainder = Remainder.allCases[(offset + index) % Remainder.allCases.count]
                var image = disk.image(remainder, &random)
                try image.addMapped(from: recorder.root, &random)
                tally.images += 1
                tally.kinds[remainder.rawValue, default: 0] += 1
                let scratch = try Recorder.scratch()
                try image.write(to: scratch.path)
                let again = point > timeline.created && tally.images % 8 == 0
                let faults = try await look(scratch.path + "/store", point, &judge, &tally, again: again)
                guard faults.isEmpty else {
                    return ["seed \(seed), cut \(point) of \(trace.events.count), image \(index), \(remainder):"]
                        + faults
                }
            }
        }
        return []
    }

    /// Opens an image as its service would, and compares it with what was promised.
    private static func look(
        _ store: String,
        _ cut: Int,
        _ judge: inout Judge,
        _ tally: inout PowerTally,
        again: Bool
    ) async throws -> [String] {
        let timeline = judge.timeline
        do {
            let found = try await FoundStore(store)
            tally.outcomes["opened", default: 0] += 1
            guard cut > timeline.created else {
                return found.errors
                    + (found.state == timeline.steps.first?.before ? [] : ["a new store: \(found.state)"])
            }
            var faults = judge.faults(of: found, at: cut)
            if faults.isEmpty, again {
                tally.retried += 1
                faults = try await retry(store, timeline.step(at: cut), cut)
            }
            return faults
        } catch let error as HoldfastError {
            guard cut <= timeline.created else { return ["refused: \(error)"] }
            // Nobody was told that the store is there: it can be made again.
            tally.outcomes["\(error.code) while it was made", default: 0] += 1
            do {
                let controller = try await RegionFailoverController.create(
                    at: store,
                    configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"]),
                    options: .small
                )
                await controller.close()
                return []
            } catch {
                return ["cannot be made again: \(error)"]
            }
        }
    }

    /// Makes the appends of a step again, as callers do that never heard: no write is there twice, and none is missing.
    private static func retry(_ store: String, _ step: Timeline.Step, _ cut: Int) async throws -> [String] {
        var faults: [String] = []
        let controller = try await RegionFailoverController.open(at: store, options: .small)
        for call in step.calls where call.issued < cut {
            guard case .append(_, _, _, let sequences) = call.call else { continue }
            do {
                guard case .appended(let receipts) = try await call.call.append(to: controller) else { continue }
                for receipt in receipts {
                    let accepted = Int(receipt.end - receipt.first)
                    if accepted + receipt.duplicates.count != sequences.count { faults.append("again: \(receipt)") }
                    var wasTaken = false
                    if case .appended = call.answer, call.done < cut { wasTaken = true }
                    if wasTaken, accepted > 0 { faults.append("queued again: \(receipt)") }
                }
            } catch let error as HoldfastError {
                if error.code != .full { faults.append("again: \(error)") }
            }
        }
        await controller.close()
        return faults
            + (try StoreCheck.run(store, level: .deep).findings.filter { $0.severity == .error }.map(\.message))
    }
}
