public import Holdfast
public import Logging
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// How a replica runs.
public struct ReplicaOptions: Sendable {
    /// Its name among the members, the same after a restart: 1 to 63 of `A-Z a-z 0-9 . _ -`.
    public var name: String
    /// How long a proposal may take before its outcome is given up as unknown; 10 s by default.
    public var proposalMilliseconds: Int64 = 10_000
    /// The most proposals of this process under way at once, beyond which one is `overloaded`; 512 by default.
    public var windowEntriesMax = 512
    /// The most bytes of them; 64 MiB by default.
    public var windowBytesMax = 64 << 20
    /// How often the replica syncs, tells the others how far it is, and compares digests; 1 s by default.
    public var maintenanceMilliseconds: Int64 = 1000
    /// A snapshot is offered to the others each time that the log has grown by so many bytes; 64 MiB by default.
    ///
    /// With a transport for snapshots the log is never trimmed beyond the newest one, and so keeps about as much.
    public var snapshotEveryBytes: UInt64 = 64 << 20
    /// A member that is so many bytes behind is left to a snapshot, so that the log can be trimmed; 256 MiB by default.
    public var logRetainedBytes: UInt64 = 256 << 20
    /// How many applied entries are kept in the log at least, for members that were away for a moment; 4,096 by default.
    public var logRetainedEntries: UInt64 = 4096
    /// Where the replica logs.
    public var logger = Logger(label: "holdfast.replica")

    /// Creates options; all but the name have defaults.
    public init(name: String) { self.name = name }
}

/// One member of a replicated controller: applies the log to its state machine, and proposes commands.
///
/// ``run()`` does the work; without it nothing is applied and no proposal ends. Any replica proposes; one at a time leads, which
/// means no more than that it looks after the log and the regions' silence.
public final class Replica: Sendable {
    /// The replicated log.
    public let log: any ReplicatedLog
    /// The state machine.
    public let machine: FailoverStateMachine
    /// How it runs.
    public let options: ReplicaOptions
    let transport: (any SnapshotTransport)?
    let clock: LogClock
    let applied: AppliedSignal
    let proposals: ProposalTable
    let growth = Lock(LogGrowth())
    let heard = Lock(HeardRegions())
    let whileLeading: (@Sendable (Replica) async throws -> Void)?
    private let missing = Lock<UInt64?>(nil)

    /// The index of the newest snapshot, while this replica needs it and cannot get it; 0 where none was published.
    ///
    /// Such a replica applies nothing and does not lead. It tells the member that leads, which publishes another snapshot.
    public var missingSnapshot: UInt64? { missing.withLock { $0 } }

    /// Creates a replica; nothing happens before ``run()``.
    ///
    /// - Parameters:
    ///   - machine: The state machine, open. It is not closed by the replica.
    ///   - log: The log whose identity the machine was opened with.
    ///   - transport: How snapshots travel; without it a replica that the log has left behind stops with `needsSnapshot`, and
    ///     the log is trimmed no further than the slowest member.
    ///   - options: How it runs.
    ///   - whileLeading: What one member alone is to do, this one while it leads, such as sending the queues to their regions. Its
    ///     task is cancelled soon after the leadership is lost; when it throws, the leadership is given up, and sought again
    ///     after a moment.
    ///   - time: Where the time of proposals comes from.
    public init(
        _ machine: FailoverStateMachine,
        _ log: any ReplicatedLog,
        transport: (any SnapshotTransport)? = nil,
        options: ReplicaOptions,
        whileLeading: (@Sendable (Replica) async throws -> Void)? = nil,
        time: any TimeSource = SystemTime()
    ) {
        self.whileLeading = whileLeading
        self.machine = machine
        self.log = log
        self.transport = transport
        self.options = options
        clock = LogClock(time, machine.time)
        applied = AppliedSignal(machine.applied.index)
        proposals = ProposalTable(options)
    }

    /// Applies the log, and looks after it, until the task is cancelled or the replica must stop.
    ///
    /// On return everything that was applied is on the disk. It can be run once at a time.
    ///
    /// - Throws: ``HoldfastError``, with the reason why the replica has stopped: `logWentBack`, `logConflict`, `unknownCommand`,
    ///   `digestMismatch`, `needsSnapshot`, `full`, `ioFailed`, `poisoned` or `closed`.
    public func run() async throws {
        let failure = await withTaskGroup(of: HoldfastError?.self) { group in
            group.addTask { await self.follow() }
            group.addTask { await self.maintain() }
            group.addTask { await self.lead() }
            var failure: HoldfastError?
            for await error in group {
                failure = failure ?? error
                group.cancelAll()
            }
            return failure
        }
        proposals.end(with: failure)
        applied.end()
        _ = try? await machine.sync()
        if let failure { throw failure }
    }

    // MARK: Following the log

    /// Applies the log until the task is cancelled; the error says why it cannot go on.
    private func follow() async -> HoldfastError? {
        var wait = Backoff()
        while !Task.isCancelled {
            do throws(HoldfastError) {
                try await checkLog()
                try await reading {
                    try await self.checkLast()
                    try await self.applyEntries()
                }
                wait = Backoff()
            } catch {
                guard error.code == .logUnavailable || error.code == .outcomeUnknown else { return machine.stop(error) }
                options.logger.warning("The log cannot be reached", metadata: ["holdfast.error": "\(error)"])
                await wait.pause(clock.source)
            }
        }
        return nil
    }

    /// Refuses a log that is another one, or that ends before what this replica has applied.
    private func checkLog() async throws(HoldfastError) {
        let identity = try await log.identity()
        guard identity.cluster == machine.cluster else {
            throw HoldfastError(
                code: .logWentBack,
                message:
                    "The log is \(identity.cluster.hex), and this replica's is \(machine.cluster.hex): the engine was made anew. "
                    + "Nothing was applied. Point the replica to its log, or begin with a new directory."
            )
        }
        let index = machine.applied.index
        guard identity.lastIndex >= index else {
            throw HoldfastError(
                code: .logWentBack,
                message:
                    "The log ends at index \(identity.lastIndex), and this replica has applied \(index): the engine was "
                    + "restored from an older state, and has forgotten commands that were acknowledged. Nothing was changed. "
                    + "Keep this replica's directory: it has what the log has not."
            )
        }
    }

    /// Refuses a log that has another command where this replica's last one was, or none: one that was restored from an older
    /// state, and has grown since.
    ///
    /// Where the log has forgotten that place, nobody can tell.
    private func checkLast() async throws {
        let index = machine.applied.index
        guard index > 0 else { return }
        for try await delivery in log.entries(after: index - 1) {
            guard case .entries(let entries) = delivery else { return }
            guard let entry = entries.first(where: { $0.index >= index }) else { continue }
            guard entry.index == index else {
                throw HoldfastError(
                    code: .logWentBack,
                    message:
                        "This replica has applied a command at index \(index), and the log has none there: the engine was "
                        + "restored from an older state, and has gone on since. Nothing was changed. Keep this replica's "
                        + "directory: it has what the log has not."
                )
            }
            // It compares the command with the one that was applied.
            _ = try await machine.apply([entry])
            return
        }
    }

    private func applyEntries() async throws {
        for try await delivery in log.entries(after: machine.applied.index) {
            if let failure = machine.failure { throw failure }
            switch delivery {
            case .entries(let entries): try await apply(entries)
            case .compacted(let index): return try await takeSnapshot(beyond: index)
            }
        }
    }

    /// Reads entries, and says of every error what it means.
    private func reading(_ body: () async throws -> Void) async throws(HoldfastError) {
        do {
            try await body()
        } catch let error as HoldfastError {
            throw error
        } catch is CancellationError {
            return
        } catch {
            throw HoldfastError(code: .logUnavailable, message: "The log's entries have ended: \(error).")
        }
    }

    private func apply(_ entries: [LogEntry]) async throws(HoldfastError) {
        let results = try await machine.apply(entries)
        clock.applied(machine.time)
        growth.withLock { $0.add(entries) }
        for result in results { proposals.resolve(result) }
        applied.reach(machine.applied.index)
    }

    /// Takes the newest snapshot, where the log has forgotten what comes next.
    private func takeSnapshot(beyond index: UInt64) async throws(HoldfastError) {
        guard let transport else {
            throw HoldfastError(
                code: .needsSnapshot,
                message:
                    "The log has forgotten everything up to index \(index), and this replica has applied "
                    + "\(machine.applied.index). It has no way to fetch a snapshot: give it a transport, or a copy of another "
                    + "member's directory."
            )
        }
        let newest = try await log.newestSnapshot()
        do throws(HoldfastError) {
            try await take(newest, beyond: index, from: transport)
        } catch {
            missing.withLock { $0 = newest?.index ?? 0 }
            throw error
        }
        missing.withLock { $0 = nil }
        clock.applied(machine.time)
        // What was proposed and is in the snapshot is asked for again: its outcome is kept.
        proposals.askAgain()
        applied.reach(machine.applied.index)
    }

    /// Fetches a snapshot, and lets it take the place of the state.
    private func take(
        _ newest: SnapshotManifest?,
        beyond index: UInt64,
        from transport: any SnapshotTransport
    ) async throws(HoldfastError) {
        guard let manifest = newest, manifest.index >= index else {
            throw HoldfastError(
                code: .logUnavailable,
                message:
                    "The log has forgotten everything up to index \(index), and no snapshot was published that reaches it. "
                    + "The member that leads is asked for one; this one waits."
            )
        }
        options.logger.notice("A snapshot is fetched", metadata: ["holdfast.index": "\(manifest.index)"])
        let scratch = try machine.directory.scratch("fetched")
        try onDisk { () throws(SystemError) in try FileSystem.makeDirectory(scratch) }
        defer { try? FileSystem.removeTree(scratch) }
        try await transport.fetch(manifest, to: scratch + "/snapshot")
        do throws(HoldfastError) {
            try await machine.installSnapshot(from: scratch + "/snapshot", manifest)
        } catch {
            // What was fetched is wrong; the state is as it was, and the next one may be right.
            guard error.code == .damaged else { throw error }
            throw HoldfastError(code: .logUnavailable, message: error.message)
        }
    }
}

/// Waits that grow, with a random part, while something cannot be reached.
struct Backoff: Sendable {
    private var milliseconds: Int64 = 50

    /// Waits; returns at once when the task is cancelled.
    mutating func pause(_ source: any TimeSource) async {
        try? await source.sleep(milliseconds: Int64.random(in: milliseconds / 2...milliseconds))
        milliseconds = min(milliseconds * 2, 2000)
    }
}

/// The time of proposals: the log's, and what has passed here since its last command.
///
/// The wall clock enters as far as one command may move the log's time on.
final class LogClock: Sendable {
    let source: any TimeSource
    private let last: Lock<(time: Timestamp, elapsed: Int64)>

    init(_ source: any TimeSource, _ time: Timestamp) {
        self.source = source
        last = Lock((time, source.elapsedMilliseconds))
    }

    /// Notes the time of the log after entries were applied.
    func applied(_ time: Timestamp) {
        let elapsed = source.elapsedMilliseconds
        last.withLock { $0 = (time, elapsed) }
    }

    /// The time for a proposal, and how long ago the last entry was applied.
    var now: (time: Timestamp, elapsedMilliseconds: Int64) {
        let (time, since) = last.withLock { $0 }
        let elapsed = max(0, source.elapsedMilliseconds - since)
        let passed = time.advanced(by: elapsed)
        let wall = Timestamp(milliseconds: source.wallMilliseconds)
        // A log without a time takes any.
        guard time.milliseconds != 0 else { return (wall, elapsed) }
        // Half of the step, so that what is proposed at once by others does not make it too far.
        let most = passed.advanced(by: ReplicationLimits.clockStepMilliseconds / 2)
        return (max(passed, min(wall, most)), elapsed)
    }
}

/// Tells who waits for an index that it is applied.
final class AppliedSignal: Sendable {
    private struct State: Sendable {
        var index: UInt64
        var isEnded = false
        var waiting: [(index: UInt64, number: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
        var next: UInt64 = 0
    }

    private let state: Lock<State>

    init(_ index: UInt64) { state = Lock(State(index: index)) }

    func reach(_ index: UInt64) {
        let ready = state.withLock { state -> [CheckedContinuation<Bool, Never>] in
            state.index = max(state.index, index)
            let ready = state.waiting.filter { $0.index <= state.index }
            state.waiting.removeAll { $0.index <= state.index }
            return ready.map(\.continuation)
        }
        for continuation in ready { continuation.resume(returning: true) }
    }

    func end() {
        let waiting = state.withLock { state in
            state.isEnded = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for waiter in waiting { waiter.continuation.resume(returning: false) }
    }

    /// Returns true once `index` is applied; false when the replica has ended or the task is cancelled.
    func wait(for index: UInt64) async -> Bool {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now = state.withLock { state -> Bool? in
                    if state.index >= index { return true }
                    if state.isEnded || Task.isCancelled { return false }
                    state.waiting.append((index, number, continuation))
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
                guard let place = state.waiting.firstIndex(where: { $0.number == number }) else { return nil }
                return state.waiting.remove(at: place).continuation
            }
            waiter?.resume(returning: false)
        }
    }
}
