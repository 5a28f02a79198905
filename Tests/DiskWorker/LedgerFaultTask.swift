import Glibc
import Holdfast
import HoldfastTesting
import TestSupport

/// A receiver's ledger on a disk that fails: what ``FaultTask`` does to a store.
struct LedgerFaultTask {
    private let task: FaultTask

    init(_ task: FaultTask) { self.task = task }

    /// What the callers have asked for and heard.
    private struct Run {
        let ledger: AppliedLedger
        var random: SplitMix64
        var calls: [LedgerCall] = []
        var next: UInt64 = 1
        var epoch: UInt64 = 0
        var isPoisoned = false
        var codes: [String: Int] = [:]
        var faults: [String] = []
    }

    private static func open(_ path: String) async throws(HoldfastError) -> AppliedLedger {
        try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
    }

    func site(_ number: Int, _ tally: inout FaultTask.Tally) async throws {
        let place = try TemporaryDirectory(in: task.directory)
        let path = place.appending("ledger")
        func wrong(_ text: String) { tally.faults.append("at call \(number), seed \(task.seed): \(text)") }
        tally.sites += 1
        task.begin(number)
        var isMade = false
        var run: Run
        do throws(HoldfastError) {
            await (try await AppliedLedger.create(at: path, mapSizeBytes: 1 << 30)).close()
            isMade = true
            run = Run(ledger: try await Self.open(path), random: SplitMix64(seed: task.seed))
        } catch {
            tally.failedCalls += task.end()
            if !isMade { tally.notMade += 1 }
            tally.codes[error.code.description, default: 0] += 1
            if !task.allowed.contains(error.code.description) { wrong("opening: \(error)") }
            tally.forgotten += task.settle()
            // Nobody was told that it is there: it can be made. One that was made is there.
            if !isMade { await (try await AppliedLedger.create(at: path, mapSizeBytes: 1 << 30)).close() }
            let ledger = try await Self.open(path)
            if try await LedgerCall([1], epoch: 1).apply(to: ledger) != 1 { wrong("it is not new") }
            await ledger.close()
            return
        }
        for _ in 0..<task.operations { await step(&run) }
        let failed = task.end()
        tally.failedCalls += failed
        // The fault has gone: a handle that is not poisoned goes on without a restart.
        let wasPoisoned = run.isPoisoned
        let goesOn = await apply([run.next], 20, &run)
        run.next += 1
        if goesOn == wasPoisoned { wrong("poisoned \(wasPoisoned), and the next call went through: \(goesOn)") }
        if let survives = task.survives, failed > 0, survives == wasPoisoned {
            wrong("the handle is poisoned: \(wasPoisoned)")
        }
        if wasPoisoned { tally.poisoned += 1 }
        await run.ledger.close()
        tally.forgotten += task.settle()
        try await look(path, run, wrong)
        for fault in run.faults { wrong(fault) }
        tally.codes.merge(run.codes, uniquingKeysWith: +)
        tally.acknowledged += UInt64(run.calls.filter { $0.fate == .returned }.reduce(0) { $0 + $1.sequences.count })
    }

    /// Nothing is forgotten, doubled or half there; and callers that have not heard call again.
    private func look(_ path: String, _ run: Run, _ wrong: (String) -> Void) async throws {
        let again = try await Self.open(path)
        for fault in try await LedgerContents(again, before: run.next).faults(after: run.calls) { wrong(fault) }
        for call in run.calls { try await LedgerCall(call.sequences, epoch: nil).apply(to: again) }
        await again.close()
        let last = try await Self.open(path)
        let all = Set(run.calls.flatMap(\.sequences))
        let contents = try await LedgerContents(last, before: run.next)
        if contents.applied != all || contents.effects != all { wrong("not all is there: \(contents)") }
        await last.close()
    }

    // MARK: Steps

    private func step(_ run: inout Run) async {
        switch Int.random(in: 0..<10, using: &run.random) {
        case 0..<7:
            let count = [1, 1, 2, 8, 40].randomElement(using: &run.random) ?? 1
            var sequences = (0..<count).map { run.next + UInt64($0) }
            // Some leave a gap, and some come again.
            run.next += UInt64(count) + (Int.random(in: 0..<4, using: &run.random) == 0 ? 2 : 0)
            if Bool.random(using: &run.random) {
                sequences += run.calls.randomElement(using: &run.random)?.sequences.prefix(5) ?? []
            }
            let sizes = count > 2 ? [20, 400] : [20, 400, 60_000, 700_000]
            await apply(sequences, sizes.randomElement(using: &run.random) ?? 20, &run)
        case 7: await apply([], 0, &run, raises: true)
        case 8: await filter(&run)
        default: await filter(&run, reads: true)
        }
    }

    /// Whether it returned.
    @discardableResult
    private func apply(_ sequences: [UInt64], _ bytes: Int, _ run: inout Run, raises: Bool = false) async -> Bool {
        if raises || Int.random(in: 0..<5, using: &run.random) == 0 { run.epoch += 1 }
        var call = LedgerCall(sequences, epoch: run.epoch > 0 ? run.epoch : nil)
        let wasPoisoned = run.isPoisoned
        do throws(HoldfastError) {
            try await call.apply(to: run.ledger, bytes: bytes)
            call.fate = .returned
            if wasPoisoned { run.faults.append("a call went through after the handle was poisoned") }
        } catch {
            note(error, &run)
            // Nothing is there unless the handle is poisoned by this call; a poisoned one begins nothing.
            call.fate = error.code == .poisoned && !wasPoisoned ? .unknown : .refused
        }
        run.calls.append(call)
        return call.fate == .returned
    }

    private func filter(_ run: inout Run, reads: Bool = false) async {
        let known = Set(run.calls.filter { $0.fate == .returned }.flatMap(\.sequences))
        let wasPoisoned = run.isPoisoned
        do throws(HoldfastError) {
            if reads {
                _ = try await run.ledger.read { (state) throws(HoldfastError) in try state.value(for: "1") }
            } else {
                let new = try await run.ledger.filter((1...run.next).map(LedgerCall.write))
                let forgotten = new.filter { known.contains($0.sequence) }
                if !forgotten.isEmpty { run.faults.append("said to be new: \(forgotten.map(\.sequence))") }
            }
            if wasPoisoned { run.faults.append("an answer after the handle was poisoned") }
        } catch {
            note(error, &run)
        }
    }

    private func note(_ error: HoldfastError, _ run: inout Run) {
        let code = error.code.description
        run.codes[code, default: 0] += 1
        if run.isPoisoned, error.code != .poisoned { run.faults.append("not poisoned, after it was: \(error)") }
        if !task.allowed.contains(code) { run.faults.append("an error that should not be: \(error)") }
        if error.code == .poisoned { run.isPoisoned = true }
    }
}
