import Holdfast
import Lines
import Platform
import UnixSignals

/// A verb that a signal has ended, once it had told what came of it.
struct Interrupted: Error {
    var signal: CInt
    var failure: Failure
}

/// What signals do to a drain, which takes for good and must tell of all that it took.
///
/// Before the first entry is taken a signal ends the process at once. After that the first one ends the drain where what was
/// taken is printed. A second one, where nobody reads what is printed, ends the process: it tells what was taken.
final class DrainSignals: Sendable {
    private struct State {
        var first: (number: CInt, nanoseconds: UInt64)?
        var second: CInt?
        var hasBegun = false
        /// Whether a removal is on its way, of positions that are not known yet.
        var isTaking = false
        var entries: UInt64 = 0
        var last: UInt64 = 0
        var left: UInt64 = 0
        /// What was taken and not all printed.
        var unprinted: ClosedRange<UInt64>?
    }

    private let region: RegionID
    private let state = Lock(State())

    private static let ending: [UnixSignal] = [.sighup, .sigint, .sigterm]
    /// Signals that come so soon after the first are the same one: `timeout` and terminals send to a whole group too.
    private static let sameSignalNanoseconds: UInt64 = 200_000_000

    /// Begins to watch over the signals; one that is ignored, as `nohup` has it, stays ignored.
    init(_ region: RegionID) async {
        self.region = region
        let signals = await UnixSignalsSequence(
            trapping: Self.ending.filter { !System.isIgnored(signal: $0.rawValue) }
        )
        // It goes on until the process ends: the drain may stand still where nobody reads what it prints.
        Task { for await signal in signals { obey(signal.rawValue) } }
    }

    private func obey(_ number: CInt) {
        state.withLock { state in
            guard state.hasBegun else { System.end(bySignal: number) }
            let now = System.monotonicNanoseconds
            guard let first = state.first else {
                state.first = (number, now)
                return
            }
            guard now - first.nanoseconds >= Self.sameSignalNanoseconds else { return }
            state.second = number
            if !state.isTaking { end(number, state) }
        }
    }

    /// Says that entries are about to be taken; false when a signal has come, and none may be.
    func begin() -> Bool {
        state.withLock { state in
            guard state.first == nil else { return false }
            (state.hasBegun, state.isTaking) = (true, true)
            return true
        }
    }

    /// Says that nothing is being taken any more, whatever came of it.
    func ended() { state.withLock { $0.isTaking = false } }

    /// Says what was taken, that it is about to be printed, and how many entries are left.
    func took(_ positions: ClosedRange<UInt64>?, entries: Int, left: UInt64) {
        state.withLock { state in
            state.isTaking = false
            state.entries += UInt64(entries)
            state.last = positions?.upperBound ?? state.last
            state.left = left
            state.unprinted = entries > 0 ? positions : state.unprinted
            if let second = state.second { end(second, state) }
        }
    }

    /// Says that all of it has been printed.
    func printed() { state.withLock { $0.unprinted = nil } }

    /// Throws when a signal has come.
    func check() throws {
        if let interrupted = state.withLock({ state in state.first.map { interrupted($0.number, state) } }) {
            throw interrupted
        }
    }

    /// Tells what became of the entries, and ends the process.
    private func end(_ number: CInt, _ state: State) -> Never {
        // Where nobody reads that either, one more signal ends the process in the middle of it.
        if !Output.takesTalk {
            for signal in Self.ending { System.letThrough(signal: signal.rawValue) }
        }
        HoldfastTool.end(with: interrupted(number, state), asJSON: HoldfastTool.wantsJSON)
    }

    private func interrupted(_ number: CInt, _ state: State) -> Interrupted {
        let rest = state.left == 0 ? "nothing is left" : "\(counted(state.left, "entry stays", "entries stay")) queued"
        let taken = counted(state.entries, "entry was", "entries were")
        let what: String =
            if state.entries == 0 {
                "no entry was taken."
            } else if let lost = state.unprinted {
                "\(taken) taken; \(rest). \(Drain.left(lost))"
            } else {
                "\(taken) taken and printed, the last one at position \(state.last); \(rest)."
            }
        var members: [(String, JSON)] = [("region", .string(region.rawValue)), ("taken", .unsigned(state.entries))]
        if state.entries > 0 { members.append(("last", .unsigned(state.last))) }
        if let lost = state.unprinted {
            members.append(
                ("unprinted", .object([("first", .unsigned(lost.lowerBound)), ("last", .unsigned(lost.upperBound))]))
            )
        }
        return Interrupted(
            signal: number,
            failure: Failure(
                .other,
                code: "interrupted",
                "Interrupted by \(Self.name(number)): \(what)",
                members
            )
        )
    }

    private static func name(_ number: CInt) -> String {
        ending.first { $0.rawValue == number }.map { "\($0)" } ?? "signal \(number)"
    }
}
