import Foundation
import Glibc
import HoldfastTesting
import TestSupport
import Testing

/// How much is done: in CI the corpus and a share of new inputs, in a long run as much as there is time for.
private enum Plan {
    private static let environment = ProcessInfo.processInfo.environment
    /// The seconds of a long run, for all decoders together; 0 for the share of CI.
    private static let seconds = environment["HOLDFAST_FUZZ_SECONDS"].flatMap(Double.init) ?? 0
    /// The part of it that one decoder gets.
    static func seconds(_ name: String) -> Double {
        let shares = targets.reduce(0) { $0 + $1.share }
        return seconds * (targets.first { $0.name == name }?.share ?? 0) / shares
    }
    static let seed = environment["HOLDFAST_FUZZ_SEED"].flatMap(UInt64.init) ?? 1
    static let targets = FormatTargets.all + TextTargets.all + StoreTargets.all + LedgerTargets.all + LogTargets.all
    /// Those that make files take longer for each input.
    static func inputs(_ name: String) -> Int {
        ["scenario", "load", "pages", "store", "recover", "ledger"].contains(name) ? 150 : 3000
    }
}

@Suite("A decoder", .serialized) struct FuzzTests {
    @Test(
        "neither traps on a changed input, nor takes more memory than it has bytes for, nor gives what it does not encode",
        arguments: Plan.targets.map(\.name)
    )
    func fuzz(name: String) async throws {
        let directory = try TemporaryDirectory()
        let note = FuzzNote(path: directory.appending("note"))
        Heap.prepare()
        let (seconds, seed, inputs) = (Plan.seconds(name), Plan.seed, Plan.inputs(name))
        await #expect(processExitsWith: .success) {
            [
                name = name as String, path = note.path as String, seconds = seconds as Double, seed = seed as UInt64,
                inputs = inputs as Int
            ] in
            let target = Plan.targets.first { $0.name == name }
            FuzzRun.main(try #require(target), seed: seed, inputs: inputs, seconds: seconds, path)
        }
        guard let report = note.report, !report.hasPrefix("broken") else {
            let input = try #require(note.input, "\(name): the process ended before its first input")
            let line = "\(name)-seed-\(seed) \(Data(input).base64EncodedString())"
            let what = note.report ?? "the process was ended. \(note.talk)"
            Issue.record("\(name): \(what)\nFor Corpus/\(name).txt:\n\(line)")
            return
        }
        print("figure: \(report)")
    }
}
