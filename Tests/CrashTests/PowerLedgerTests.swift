import Foundation
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("A loss of power under a receiver's ledger", .serialized) struct PowerLedgerTests {
    private static let imagesOfCut = 5
    /// Few writes: each of them is missing alone in some image.
    private static let imagesOfMaking = 8 * Remainder.allCases.count
    private static let cuts = max(20, PowerTally.imagesWanted / 10)

    /// The calls of a trace, and the events that say so.
    private struct Calls {
        var created = Int.max
        var calls: [(call: LedgerCall, issued: Int, done: Int)] = []
        var end: UInt64 { (calls.flatMap(\.call.sequences).max() ?? 0) + 1 }

        init(_ trace: Trace) throws {
            for (number, event) in trace.events.enumerated() {
                guard case .mark(let text) = event else { continue }
                switch text {
                case "created": created = number
                case "done": calls[calls.count - 1].done = number
                default: calls.append((try JSONDecoder().decode(LedgerCall.self, from: Data(text.utf8)), number, .max))
                }
            }
            try #require(created < .max && !calls.isEmpty)
        }

        /// Those that had been made, with what their callers knew.
        func known(at cut: Int) -> [LedgerCall] {
            calls.filter { $0.issued < cut }.map {
                LedgerCall($0.call.sequences, epoch: $0.call.epoch, $0.done < cut ? .returned : .unknown)
            }
        }
    }

    @Test("forgets nothing that was applied, and leaves no call by half", arguments: [20_261_123 as UInt64])
    func keepsWhatWasApplied(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let recorder = try Recorder()
        var disk = try Disk(recorder.root)
        let trace = try recorder.record(
            ["ledger", recorder.root + "/ledger", recorder.marks, "\(seed)", "40"],
            program: Tool.path("CrashWorker")
        )
        let rebuilt = try PowerLossTests.rebuilt(trace, disk)
        #expect(try rebuilt.differences(from: recorder.root) == [], "the trace is not all there is")
        let calls = try Calls(trace)
        var tally = PowerTally()
        // Each moment of the making of the ledger, and one behind the last call.
        let points =
            Array(1...calls.created) + [trace.events.count]
            + (0..<Self.cuts).map { _ in Int.random(in: 1...trace.events.count, using: &random) }
        for point in points.sorted() {
            while disk.cut < point { try disk.happen(trace.events[disk.cut]) }
            tally.cuts += 1
            let known = calls.known(at: point)
            tally.promises += known.count { $0.fate == .returned }
            let isMade = point > calls.created
            for index in 0..<(isMade ? Self.imagesOfCut : Self.imagesOfMaking) {
                let remainder = Remainder.allCases[tally.images % Remainder.allCases.count]
                var image = disk.image(remainder, &random)
                try image.addMapped(from: recorder.root, &random)
                tally.images += 1
                let scratch = try Recorder.scratch()
                try image.write(to: scratch.path)
                let faults = try await look(scratch.path + "/ledger", known, calls.end, isMade: isMade, &tally)
                try #require(
                    faults.isEmpty,
                    "seed \(seed), cut \(point) of \(trace.events.count), image \(index), \(remainder): \(faults)"
                )
            }
        }
        print(
            "power loss under a ledger: \(tally.images) images of \(tally.cuts) cuts, \(tally.promises) promises held, "
                + "seed \(seed): \(tally.words(tally.outcomes))"
        )
    }

    private func look(
        _ path: String,
        _ known: [LedgerCall],
        _ end: UInt64,
        isMade: Bool,
        _ tally: inout PowerTally
    ) async throws -> [String] {
        do throws(HoldfastError) {
            let ledger = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
            tally.outcomes["opened", default: 0] += 1
            var faults = try await LedgerContents(ledger, before: end).faults(after: known)
            // Callers that never heard call again.
            for call in known { try await LedgerCall(call.sequences, epoch: nil).apply(to: ledger) }
            let all = Set(known.flatMap(\.sequences))
            if try await LedgerContents(ledger, before: end).effects != all { faults.append("not all is there") }
            await ledger.close()
            return faults
        } catch {
            guard !isMade else { return ["refused: \(error)"] }
            // Nobody was told that it is there: it can be made again.
            tally.outcomes["\(error.code) while it was made", default: 0] += 1
            do throws(HoldfastError) {
                await (try await AppliedLedger.create(at: path, mapSizeBytes: 1 << 30)).close()
                return []
            } catch {
                return ["cannot be made again: \(error)"]
            }
        }
    }
}
