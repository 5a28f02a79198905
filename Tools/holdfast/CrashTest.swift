import ArgumentParser
import FoundationEssentials
import Holdfast
import HoldfastTesting
import Lines
import Platform
import UnixSignals

/// `holdfast crashtest`: kills a process that works on a store, again and again, and looks at what it left.
struct CrashTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crashtest",
        abstract: "Kill a process at work on a store again and again, on this disk, and check what it leaves.",
        discussion: """
            In DIR, which must be empty, the root of a new disk, or not there, a process makes a store of three regions and works on it: appends of one and \
            of many writes, batches with acknowledgements, drains, limits that drop and refuse, dead letters, failovers, regions \
            that come and go. It is killed with SIGKILL at a random moment. Then the store is checked in full, and compared with \
            what the process was told before it died: no write is missing whose append had returned, none is changed, doubled \
            beyond what was in flight, out of order or made up, every counter is what has happened, and epoch, roles, limits, pauses \
            and history are what the controller's calls had promised: each whole, or not at all. The next process goes on \
            with the store; every 25 rounds a new one is begun.

            It ends after --seconds or --rounds, or when it is interrupted. Exit code 0: all is well, and what it made is removed, \
            unless --keep. 65: it is not; the violations are printed, and the store is kept. 74: the disk ran full, so nothing is said.

            SIGKILL is no loss of power: what a process has handed to the system outlives it.

            Examples:
              holdfast crashtest /var/lib/holdfast-test --seconds 600
              holdfast crashtest ./crashtest --rounds 200 --seed 7 --keep
            """
    )

    @Argument(help: ArgumentHelp("A directory on the disk to be tested.", valueName: "dir"), completion: .directory)
    var directory: String
    @Option(help: "How long it takes; 60 when neither this nor --rounds is given.")
    var seconds: UInt32?
    @Option(help: "How often a process is started.")
    var rounds: UInt32?
    @Option(help: "What the work and the moments are made of; a random one when left out.")
    var seed: UInt64?
    @Flag(help: "Leave the stores where they are.")
    var keep = false
    @OptionGroup var format: FormatOption
    /// Which life of the process that is killed: what the verb starts itself with.
    @Option(help: .hidden) var workerLife: UInt64?
    @Flag(help: .hidden) var workerEmpties = false

    func validate() throws {
        guard rounds != 0, seconds != 0 else { throw ValidationError("--rounds and --seconds are at least 1.") }
    }

    func run() async throws {
        if let workerLife {
            return try await CrashRun.Place(directory).workload(
                seed: seed ?? 0,
                life: workerLife,
                empties: workerEmpties
            ).run()
        }
        let isNew = try makeDirectory()
        let isInterrupted = Lock(false)
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        let listener = Task {
            for await _ in signals { isInterrupted.withLock { $0 = true } }
        }
        defer { listener.cancel() }
        let end = CrashRun.End(
            rounds: rounds.map { UInt64($0) },
            milliseconds: seconds.map { Int64($0) * 1000 } ?? (rounds == nil ? 60_000 : nil)
        )
        let chosen = seed ?? UInt64.random(in: 0...UInt64(UInt32.max))
        var run = CrashRun(directory, seed: chosen, end)
        do {
            try run.run { isInterrupted.withLock { $0 } }
        } catch {
            run.endProgress()
            guard let reason = CrashRun.fullDisk(error) else { throw error }
            // What is on a full disk is of no use, and in the way.
            if !keep { remove(run, isNew) }
            throw Failure(
                .inputOutput,
                code: "full",
                "The disk ran full, so the test says nothing: \(reason). Free \(CrashRun.mebibytesMissing(in: directory)) MiB "
                    + "on it, or test on another one."
            )
        }
        if run.violations.isEmpty, !keep { remove(run, isNew) }
        try tell(run, chosen)
    }

    /// Whether the directory had to be made.
    private func makeDirectory() throws -> Bool {
        try checkNewDirectory(directory)
        guard FileSystem.exists(directory) else {
            try FileSystem.makeDirectory(directory)
            return true
        }
        let names = try FileSystem.names(in: directory).filter { $0 != Self.ownOfDisk || !isDirectory($0) }
        let left = names.filter { CrashRun.Place("\(directory)/\($0)").isMade }
        guard names.isEmpty else {
            guard left == names else {
                throw Failure(
                    .cannotCreate,
                    code: "alreadyExists",
                    "'\(directory)' is not empty. Give a directory that is empty, or not there: nothing of yours is touched then."
                )
            }
            throw Failure(
                .cannotCreate,
                code: "alreadyExists",
                "'\(directory)' has what a crashtest made that was killed, was told to keep it, found something, or is still "
                    + "at work. If you need it no more, remove it and try again.",
                next: "rm -r " + left.map { shellQuoted("\(directory)/\($0)") }.joined(separator: " ")
            )
        }
        return false
    }

    /// What a new file system has in its root.
    private static let ownOfDisk = "lost+found"

    private func isDirectory(_ name: String) -> Bool { FileSystem.isDirectory("\(directory)/\(name)") }

    /// Removes what was made, and nothing else.
    private func remove(_ run: CrashRun, _ isNew: Bool) {
        for place in run.made {
            do throws(SystemError) {
                try FileSystem.removeTree(place.directory)
            } catch {
                talk("holdfast: '\(place.directory)' could not be removed: \(error.description)")
            }
        }
        // Unless somebody has put something into it.
        if isNew { try? FileSystem.removeDirectory(directory) }
    }

    private func tell(_ run: CrashRun, _ seed: UInt64) throws {
        let isGood = run.violations.isEmpty
        let again = "holdfast crashtest NEW-DIR --seed \(seed) --rounds \(max(1, run.rounds)) --keep"
        let output = Output()
        if !isGood, format.forObject == .table {
            let style = Style()
            for violation in run.violations { try output.line(style.red("violation: ") + printable("\(violation)")) }
            try output.flush()
        }
        let tally = run.tally
        let numbers: [(String, String, UInt64)] = [
            ("rounds", "rounds", run.rounds), ("kills", "kills", run.kills),
            ("killsBeforeWork", "  before the store was open", run.killsBeforeWork), ("stores", "stores", run.stores),
            ("acknowledged", "writes acknowledged", tally.acknowledged), ("received", "  received", tally.received),
            ("redelivered", "  received again", tally.redelivered), ("drained", "  drained", tally.drained),
            ("dropped", "  dropped or given up", tally.dropped), ("dead", "  dead letters left", tally.dead),
            ("retried", "  dead letters retried", tally.retried),
        ]
        var members = numbers.map { ($0.0, JSON.unsigned($0.2)) }
        members.append(("milliseconds", .integer(run.milliseconds)))
        members.append(("seed", .unsigned(seed)))
        members.append(("violations", .array(run.violations.map(\.json))))
        if !isGood || keep { members.append(("kept", .string(directory))) }
        var facts = numbers.map { ($0.1, "\($0.2)") }
        facts.append(("time", durationText(run.milliseconds)))
        facts.append(("seed", "\(seed)"))
        facts.append(("violations", isGood ? "none" : "\(run.violations.count)"))
        if !isGood || keep { facts.append(("kept", isGood ? directory : run.place?.directory ?? directory)) }
        if !isGood { facts.append(("repeat", again)) }
        try printObject(format.forObject, .object(members), facts)
        guard isGood else {
            talk(
                "holdfast: the store broke its promises: \(counted(UInt64(run.violations.count), "violation")). Please report "
                    + "what was found, with \(directory)."
            )
            throw ExitStatus.damaged.exitCode
        }
    }
}

extension ConservationViolation {
    fileprivate var json: JSON {
        var members: [(String, JSON)] = [("kind", .string(kind.rawValue))]
        if let region { members.append(("region", .string(region.rawValue))) }
        if let positions {
            members.append(("first", .unsigned(positions.lowerBound)))
            members.append(("last", .unsigned(positions.upperBound)))
        }
        return .object(members + [("detail", .string(detail))])
    }
}
