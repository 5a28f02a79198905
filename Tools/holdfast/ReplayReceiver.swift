import FoundationEssentials
import Holdfast
import Lines
import Platform

/// What is told of a replay on standard error while it runs.
struct ReplayTelling: Sendable {
    /// Whether every batch is told, and what the command says.
    var isVerbose: Bool
    /// Whether it is told as JSON, an object a line.
    var asJSON: Bool
    /// How many entries wait at the beginning, for the line of progress.
    var entries: UInt64
}

/// A receiver that is a shell command, started once for each batch.
final class ReplayReceiver: Sendable {
    /// A send that the region did not take.
    struct Failed: Sendable {
        var positions: ClosedRange<UInt64>
        var outcome: String
        var reason: String

        var text: String {
            "positions \(positions.lowerBound)-\(positions.upperBound), \(outcome): \(printable(reason))"
        }

        var json: JSON {
            .object([
                ("first", .unsigned(positions.lowerBound)), ("through", .unsigned(positions.upperBound)),
                ("outcome", .string(outcome)), ("reason", .string(reason)),
            ])
        }
    }

    /// How the batches ended.
    struct Tally: Sendable {
        var received: UInt64 = 0
        var refused: UInt64 = 0
        var unavailable: UInt64 = 0
        var lastFailure: Failed?
    }

    private struct State: Sendable {
        var tally = Tally()
        var progress: Progress?
        var entries: UInt64 = 0
        /// Whether a command that is killed from now on is killed because the replay ends.
        var isEnding = false
        var isOutputClosed = false
        /// Failed sends, and those since one that did not fail.
        var failures: UInt64 = 0
        var failuresInRow: UInt64 = 0
        var toldNanoseconds: UInt64 = 0

        /// Whether a failure is told: a region that is down for hours says so once in a while, not each time.
        mutating func countFailure() -> Bool {
            failures += 1
            failuresInRow += 1
            let now = System.monotonicNanoseconds
            let minute: UInt64 = 60_000_000_000
            let isTold =
                failures & (failures - 1) == 0
                || failuresInRow & (failuresInRow - 1) == 0 && now - toldNanoseconds >= minute
            if isTold { toldNanoseconds = now }
            return isTold
        }
    }

    private let command: String
    private let controller: RegionFailoverController
    private let region: RegionID
    private let values: ValueForm
    private let telling: ReplayTelling
    private let environment = ProcessInfo.processInfo.environment
    private let state: Lock<State>

    init(
        _ command: String,
        _ controller: RegionFailoverController,
        _ region: RegionID,
        _ values: ValueForm,
        _ telling: ReplayTelling
    ) {
        self.command = command
        self.controller = controller
        self.region = region
        self.values = values
        self.telling = telling
        var state = State()
        if !telling.isVerbose { state.progress = Progress("entries", total: Int64(clamping: telling.entries)) }
        self.state = Lock(state)
    }

    /// How the batches ended so far.
    var tally: Tally { state.withLock(\.tally) }

    /// Whether a send failed, and nobody reads standard output any more.
    var isOutputClosed: Bool { state.withLock(\.isOutputClosed) }

    /// Takes the line of progress away.
    func endProgress() { state.withLock { $0.progress?.end() } }

    /// Notes that the replay ends: a command that is killed now did not take too long.
    func noteEnd() { state.withLock { $0.isEnding = true } }

    /// Gives a batch to the command; returns when it says that the region has received it.
    func receive(_ batch: ReplayBatch) async throws {
        if isOutputClosed { throw RegionUnavailable(Self.closedText) }
        let started = System.monotonicNanoseconds
        let outcome = await send(batch)
        let milliseconds = (System.monotonicNanoseconds - started) / 1_000_000
        if let failure = failure(outcome) { throw fail(batch, failure, milliseconds) }
        state.withLock { state in
            state.tally.received += 1
            state.entries += UInt64(batch.entries.count)
            state.failuresInRow = 0
            let (entries, total) = (state.entries, telling.entries)
            state.progress?.noteStep(entries, done: Int64(clamping: entries), of: Int64(clamping: total))
        }
        if telling.isVerbose { tell(batch, "received", milliseconds) }
    }

    /// A word for what went wrong, why, and what the service is told; nil where nothing did.
    private func failure(_ outcome: Outcome) -> (word: String, reason: String, error: any Error)? {
        let isEnding = state.withLock(\.isEnding)
        return switch outcome {
        case .received: nil
        case .refused(let reason): ("refused", reason, Refused(description: reason))
        case .unavailable(let reason): ("unavailable", reason, RegionUnavailable(reason))
        case .killed where isEnding: ("killed", "the replay was cancelled", CancellationError())
        case .killed: ("killed", "it took longer than 'region replay --timeout' allows", CancellationError())
        }
    }

    /// Counts a failure and tells it; gives what the service is told.
    private func fail(
        _ batch: ReplayBatch,
        _ failure: (word: String, reason: String, error: any Error),
        _ milliseconds: UInt64
    ) -> any Error {
        // Whatever the command made of it, the fault was nobody's.
        if File(adopting: 1, path: "stdout").isReaderGone {
            state.withLock { $0.isOutputClosed = true }
            return RegionUnavailable(Self.closedText)
        }
        let (word, reason) = (failure.word, failure.reason)
        let isRefused = failure.error is Refused
        let (isTold, number) = state.withLock { state in
            if isRefused { state.tally.refused += 1 } else { state.tally.unavailable += 1 }
            state.tally.lastFailure = Failed(positions: batch.first...batch.through, outcome: word, reason: reason)
            let isTold = state.countFailure()
            if isTold { state.progress?.end() }
            return (isTold, state.failures)
        }
        if telling.isVerbose || isTold { tell(batch, word, milliseconds, reason, failure: number) }
        return failure.error
    }

    private static let closedText = "nobody reads standard output any more"

    // MARK: Sending

    private enum Outcome: Sendable {
        case received
        case refused(String)
        case unavailable(String)
        /// It took too long, or nobody waits for it any more.
        case killed
    }

    /// What the region said of a batch that it does not take.
    private struct Refused: Error, CustomStringConvertible {
        var description: String
    }

    private func send(_ batch: ReplayBatch) async -> Outcome {
        var input: [UInt8] = []
        for entry in batch.entries {
            entry.json(region, values).write(into: &input)
            input.append(UInt8(ascii: "\n"))
        }
        let own = [
            "HOLDFAST_REGION": region.rawValue, "HOLDFAST_FIRST": "\(batch.first)",
            "HOLDFAST_THROUGH": "\(batch.through)", "HOLDFAST_ATTEMPT": "\(batch.attempt)",
            "HOLDFAST_EPOCH": "\(controller.epoch)",
        ]
        let command = ShellCommand(command, environment: environment.merging(own) { $1 }, input: input)
        do throws(SystemError) {
            let left = try await command.run { [telling] bytes in
                if telling.isVerbose, !telling.asJSON { try? File(adopting: 2, path: "stderr").write(bytes) }
            }
            return outcome(left)
        } catch {
            return .unavailable("the command could not be started: \(error.description)")
        }
    }

    private func outcome(_ left: ShellCommand.Outcome) -> Outcome {
        let line = Self.text(left.lastLine)
        let said = line.isEmpty ? "" : ": \(line)"
        switch left.ending {
        case .signalled(9) where Task.isCancelled: return .killed
        case .signalled(let number): return .unavailable("signal \(number) ended the command\(said)")
        case .exited(0): return .received
        // EX_TEMPFAIL; the shell's own codes for what cannot be run; and for a signal that ended it, 128 beyond its number.
        case .exited(let code) where [75, 126, 127].contains(code) || (129...192).contains(code):
            return .unavailable("the command ended with exit \(code)\(said)")
        case .exited(let code): return .refused(line.isEmpty ? "the command ended with exit \(code)" : line)
        }
    }

    /// Bytes as text that is not longer than they may be.
    private static func text(_ bytes: [UInt8]) -> String {
        var text = String(decoding: bytes, as: UTF8.self)
        while text.utf8.count > ShellCommand.lineMax { text.removeLast() }
        return text
    }

    // MARK: Telling

    private func tell(
        _ batch: ReplayBatch,
        _ word: String,
        _ milliseconds: UInt64,
        _ reason: String? = nil,
        failure: UInt64 = 0
    ) {
        guard !telling.asJSON else {
            var members: [(String, JSON)] = [
                ("region", .string(region.rawValue)), ("first", .unsigned(batch.first)),
                ("through", .unsigned(batch.through)), ("attempt", .unsigned(UInt64(batch.attempt))),
                ("outcome", .string(word)), ("milliseconds", .unsigned(milliseconds)),
            ]
            if let reason { members.append(("reason", .string(reason))) }
            return talk(JSON.object(members).line)
        }
        let why = reason.map { ": \(printable($0))" } ?? ""
        let attempt = batch.attempt > 1 ? ", attempt \(batch.attempt)" : ""
        let count = telling.isVerbose || failure == 0 ? "" : " (failure \(failure); --verbose tells each)"
        talk(
            "holdfast: \(region) \(batch.first)-\(batch.through)\(attempt): \(word) after \(milliseconds) ms\(why)\(count)"
        )
    }

    /// Says that nothing is sent for now.
    func tell(_ pause: ReplayRun.Pause, _ region: RegionID, _ store: String) {
        endProgress()
        guard !telling.asJSON else {
            var members: [(String, JSON)] = [("region", .string(region.rawValue)), ("paused", .bool(true))]
            if !pause.reason.isEmpty { members.append(("pauseReason", .string(pause.reason))) }
            if let until = pause.until { members.append(("pausedUntilMs", .integer(until.milliseconds))) }
            return talk(JSON.object(members).line)
        }
        let why = pause.reason.isEmpty ? "" : ": \(printable(pause.reason))"
        let then =
            pause.until.map { "It goes on at \(timeText($0))." }
            ?? "To go on, end this process, then run: holdfast region resume \(shellQuoted(store)) \(region)"
        talk("holdfast: \(region) is paused\(why). \(then)")
    }

    /// Says that the store cannot do its part for now.
    func tell(_ error: HoldfastError, _ region: RegionID, _ store: String) {
        endProgress()
        let failure = Failure(error.at(store))
        guard !telling.asJSON else {
            return talk(
                JSON.object([("region", .string(region.rawValue)), ("storeError", .string(failure.message))]).line
            )
        }
        talk("holdfast: \(region) waits for the store, which is asked again: \(printable(failure.message))")
    }
}
