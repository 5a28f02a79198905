import FoundationEssentials
import Holdfast
import Platform

/// A receiver that is a shell command, started once for each batch.
final class ReplayReceiver: Sendable {
    /// How the batches ended.
    struct Tally: Sendable {
        var received: UInt64 = 0
        var refused: UInt64 = 0
        var unavailable: UInt64 = 0
    }

    /// What is told on standard error.
    enum Telling: Sendable {
        /// How far it is, on a terminal, of so many entries.
        case progress(of: UInt64)
        /// A line for each batch, and what the command says.
        case text
        /// A JSON object for each batch.
        case json
    }

    private struct State: Sendable {
        var tally = Tally()
        var progress: Progress?
        var entries: UInt64 = 0
    }

    private let command: String
    private let controller: RegionFailoverController
    private let region: RegionID
    private let values: ValueForm
    private let telling: Telling
    private let environment = ProcessInfo.processInfo.environment
    private let total: Int64
    private let state: Lock<State>

    init(
        _ command: String,
        _ controller: RegionFailoverController,
        _ region: RegionID,
        _ values: ValueForm,
        _ telling: Telling
    ) {
        self.command = command
        self.controller = controller
        self.region = region
        self.values = values
        self.telling = telling
        var state = State()
        if case .progress(let entries) = telling {
            total = Int64(clamping: entries)
            state.progress = Progress("entries", total: total)
        } else {
            total = 0
        }
        self.state = Lock(state)
    }

    /// How the batches ended so far.
    var tally: Tally { state.withLock(\.tally) }

    /// Takes the line of progress away.
    func endProgress() { state.withLock { $0.progress?.end() } }

    /// Gives a batch to the command; returns when it says that the region has received it.
    func receive(_ batch: ReplayBatch) async throws {
        let started = System.monotonicNanoseconds
        let outcome = await send(batch)
        let milliseconds = (System.monotonicNanoseconds - started) / 1_000_000
        state.withLock { state in
            switch outcome {
            case .received:
                state.tally.received += 1
                state.entries += UInt64(batch.entries.count)
                let (entries, total) = (state.entries, total)
                state.progress?.noteStep(entries, done: Int64(clamping: entries), of: total)
            case .refused: state.tally.refused += 1
            case .unavailable, .killed: state.tally.unavailable += 1
            }
        }
        tell(batch, outcome, milliseconds)
        switch outcome {
        case .received: return
        case .refused(let reason): throw Refused(description: reason)
        case .unavailable(let reason): throw RegionUnavailable(reason)
        case .killed: throw CancellationError()
        }
    }

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
            let ending = try await command.run { [telling] bytes in
                if case .text = telling { try? File(adopting: 2, path: "stderr").write(bytes) }
            }
            return outcome(ending)
        } catch {
            return .unavailable("the command could not be started: \(error.description)")
        }
    }

    private func outcome(_ ending: ShellCommand.Ending) -> Outcome {
        let line = Self.text(ending.lastLine)
        let said = line.isEmpty ? "" : ": \(line)"
        guard let code = ending.exitCode else {
            let isKilled = Task.isCancelled && ending.signal == 9
            return isKilled ? .killed : .unavailable("signal \(ending.signal ?? 0) ended the command\(said)")
        }
        switch code {
        case 0: return .received
        // EX_TEMPFAIL; the shell's own codes for what cannot be run; and for a signal that ended it, 128 beyond its number.
        case 75, 126, 127, 129...192: return .unavailable("the command ended with exit \(code)\(said)")
        default: return .refused(line.isEmpty ? "the command ended with exit \(code)" : line)
        }
    }

    /// Bytes as text that is not longer than they may be.
    private static func text(_ bytes: [UInt8]) -> String {
        var text = String(decoding: bytes, as: UTF8.self)
        while text.utf8.count > ShellCommand.lineMax { text.removeLast() }
        return text
    }

    // MARK: Telling

    private func tell(_ batch: ReplayBatch, _ outcome: Outcome, _ milliseconds: UInt64) {
        let (word, reason): (String, String?) =
            switch outcome {
            case .received: ("received", nil)
            case .refused(let reason): ("refused", reason)
            case .unavailable(let reason): ("unavailable", reason)
            case .killed: ("killed", "it took too long, or the replay was cancelled")
            }
        switch telling {
        case .progress: return
        case .text:
            let why = reason.map { ": \(printable($0))" } ?? ""
            let attempt = batch.attempt > 1 ? ", attempt \(batch.attempt)" : ""
            talk(
                "holdfast: \(region) \(batch.first)-\(batch.through)\(attempt): \(word) after \(milliseconds) ms\(why)"
            )
        case .json:
            var members: [(String, JSON)] = [
                ("region", .string(region.rawValue)), ("first", .unsigned(batch.first)),
                ("through", .unsigned(batch.through)), ("attempt", .unsigned(UInt64(batch.attempt))),
                ("outcome", .string(word)), ("milliseconds", .unsigned(milliseconds)),
            ]
            if let reason { members.append(("reason", .string(reason))) }
            talk(JSON.object(members).line)
        }
    }
}
