import FoundationEssentials
import Holdfast
import HoldfastTesting
import Platform

/// The rounds of `holdfast crashtest`.
struct CrashRun {
    /// When it ends: after so many rounds, or so long, whichever is first.
    struct End {
        var rounds: UInt64?
        var milliseconds: Int64?
    }

    /// Where one of the stores is.
    struct Place {
        let directory: String
        var store: String { directory + "/store" }
        var journal: String { directory + "/journal" }
        var output: String { directory + "/output" }

        init(_ directory: String) { self.directory = directory }

        /// Whether a run was here.
        var isMade: Bool { FileSystem.exists(journal) || FileSystem.exists(output) }

        private static let operations = 400

        func workload(seed: UInt64, life: UInt64, empties: Bool) -> CrashWorkload {
            CrashWorkload(
                store: store,
                journal: journal,
                seed: seed,
                life: life,
                operations: empties ? 0 : Self.operations,
                empties: empties
            )
        }
    }

    private let directory: String
    private let seed: UInt64
    private let end: End
    private let environment = ProcessInfo.processInfo.environment
    private let started = System.elapsedMilliseconds
    private var random: SplitMix64
    private var verifier: CrashVerifier?
    private var finished = ConservationTally(issued: 0)
    private let isTold = File(adopting: 2, path: "stderr").isTerminal
    private var toldAt: Int64 = 0

    private(set) var place: Place?
    /// Every place that was made.
    private(set) var made: [Place] = []
    private(set) var rounds: UInt64 = 0
    private(set) var kills: UInt64 = 0
    private(set) var killsBeforeWork: UInt64 = 0
    private(set) var stores: UInt64 = 0
    private(set) var violations: [ConservationViolation] = []

    /// A store has so many rounds.
    private static let roundsPerStore: UInt64 = 25
    private static let millisecond: UInt64 = 1_000_000

    init(_ directory: String, seed: UInt64, _ end: End) {
        self.directory = directory
        self.seed = seed
        self.end = end
        random = SplitMix64(seed: seed)
    }

    /// What has happened in all stores.
    var tally: ConservationTally {
        var tally = finished
        if let verifier { tally.add(verifier.oracle.tally) }
        return tally
    }

    var milliseconds: Int64 { System.elapsedMilliseconds - started }

    /// Does rounds until it is time, somebody interrupts, or a store has broken a promise.
    mutating func run(_ isInterrupted: () -> Bool) throws {
        while violations.isEmpty, !isInterrupted(), !isOver {
            if rounds.isMultiple(of: Self.roundsPerStore) { try begin() }
            try round()
            tell()
        }
        if violations.isEmpty { try finishStore() }
        endProgress()
    }

    private var isOver: Bool {
        if let most = end.rounds, rounds >= most { return true }
        return end.milliseconds.map { milliseconds >= $0 } ?? false
    }

    /// Ends a store, if there is one, and begins another.
    private mutating func begin() throws {
        try finishStore()
        guard violations.isEmpty else { return }
        stores += 1
        let fresh = Place("\(directory)/\(stores)")
        try FileSystem.makeDirectory(fresh.directory)
        made.append(fresh)
        place = fresh
        verifier = CrashVerifier(store: fresh.store, journal: fresh.journal, seed: seed &+ stores)
    }

    /// Lets a process deliver everything that is queued, and looks at the store for the last time.
    private mutating func finishStore() throws {
        guard let place else { return }
        let child = try start(place, ["--worker-empties"])
        if let ending = try wait(child) { try note(ending, isKilled: false) }
        if violations.isEmpty { try verify() }
        guard violations.isEmpty else { return }
        finished = tally
        verifier = nil
    }

    private func start(_ place: Place, _ more: [String]) throws -> ChildProcess {
        let arguments = ["crashtest", "--seed", "\(seed &+ stores)", "--worker-life", "\(rounds)"]
        do throws(SystemError) {
            let output = try File(appendingTo: place.output)
            return try ChildProcess(
                "/proc/self/exe",
                arguments + more + ["--", place.directory],
                environment: environment,
                standardInput: File("/dev/null", 0),
                standardOutput: output,
                standardError: output
            )
        } catch {
            throw Failure(.other, code: "ioFailed", "A process could not be started: \(error.description).")
        }
    }

    /// One life of a process, and its end.
    private mutating func round() throws {
        guard violations.isEmpty, let place else { return }
        let child = try start(place, [])
        rounds += 1
        // While it begins, or while it works, which is known by what it notes.
        if Int.random(in: 0..<4, using: &random) == 0 {
            _ = try wait(child, UInt64.random(in: 0...(40 * Self.millisecond), using: &random))
        } else {
            let size = Self.size(place.journal)
            while try wait(child, Self.millisecond) == nil, Self.size(place.journal) == size {}
            _ = try wait(child, UInt64.random(in: 0...(400 * Self.millisecond), using: &random))
        }
        child.kill()
        guard let ending = try wait(child) else { return }
        try note(ending, isKilled: true)
        if violations.isEmpty { try verify() }
    }

    private func wait(_ child: ChildProcess, _ nanoseconds: UInt64? = nil) throws -> ChildProcess.Ending? {
        do throws(SystemError) {
            return try child.wait(atMost: nanoseconds)
        } catch {
            throw Failure(.other, code: "ioFailed", "A process could not be waited for: \(error.description).")
        }
    }

    private static func size(_ path: String) -> Int64 { (try? File(path, 0).size()) ?? 0 }

    private mutating func note(_ ending: ChildProcess.Ending, isKilled: Bool) throws {
        let killed: Int32 = 9
        switch ending {
        case .signalled(killed) where isKilled: kills += 1
        case .exited(0): break
        default:
            let bytes = place.flatMap { try? File($0.output, 0).read(atMost: 4096) } ?? []
            let said = String(decoding: bytes, as: UTF8.self)
            if let reason = Self.fullDisk(said, directory) { throw FullDisk(reason: reason) }
            violations.append(
                ConservationViolation(
                    kind: .damaged,
                    region: nil,
                    positions: nil,
                    detail: "a process could not go on with the store (\(ending)): \(said)"
                )
            )
        }
    }

    private mutating func verify() throws {
        guard var verifier else { return }
        let before = verifier.wasOpened
        violations += try verifier.verify()
        if !before, !verifier.wasOpened { killsBeforeWork += 1 }
        self.verifier = verifier
    }

    // MARK: Telling

    private mutating func tell() {
        guard isTold, milliseconds - toldAt > 200 else { return }
        toldAt = milliseconds
        var text = "round \(rounds), \(kills) kills, \(tally.acknowledged) writes acknowledged"
        var left: [Int64] = []
        if let most = end.milliseconds { left.append(most - milliseconds) }
        if let most = end.rounds {
            left.append(milliseconds * Int64(clamping: most - rounds) / Int64(clamping: rounds))
        }
        if let least = left.min() { text += ", \(durationText(max(0, least))) left" }
        show("\r\u{1B}[K" + text)
    }

    /// Takes the line away.
    func endProgress() {
        if toldAt > 0 { show("\r\u{1B}[K") }
    }

    private func show(_ text: String) { try? File(adopting: 2, path: "stderr").write(Array(text.utf8)) }
}

// MARK: A full disk, on which nothing was promised

extension CrashRun {
    /// A process could not go on, for want of room.
    private struct FullDisk: Error { var reason: String }

    /// What a process said that a full disk has ended, on one line; nil where it was something else.
    private static func fullDisk(_ said: String, _ directory: String) -> String? {
        let isSaid = ["disk is full", "No space left", "quota exceeded"].contains { said.contains($0) }
        let free = (try? FileSystem.freeBytes(at: directory)) ?? .max
        guard isSaid || free < 1 << 20 else { return nil }
        let line = said.split(separator: "\n").first.map(String.init) ?? "a process could not go on"
        return printable(line.trimmingPrefix("holdfast: ").trimmingSuffix("."))
    }

    /// Why a run ended, where that was for a full disk; nil where it was something else.
    static func fullDisk(_ error: any Error) -> String? {
        switch error {
        case let full as FullDisk: full.reason
        case let error as HoldfastError where error.code == .full: printable("\(error)")
        case let error as SystemError where HoldfastError(error).code == .full: printable(error.description)
        default: nil
        }
    }

    /// How much room is missing on the disk for a run, in MiB.
    static func mebibytesMissing(in directory: String) -> UInt64 {
        let free = ((try? FileSystem.freeBytes(at: directory)) ?? 0) >> 20
        return mebibytes > free ? mebibytes - free : 1
    }

    /// More than the stores of a run have taken.
    private static let mebibytes: UInt64 = 256
}

extension Substring {
    fileprivate func trimmingSuffix(_ suffix: String) -> String {
        String(hasSuffix(suffix) ? dropLast(suffix.count) : self)
    }
}
