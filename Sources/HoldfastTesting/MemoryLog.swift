private import Platform
public import RaftApply
public import ReplayStore

/// A replicated log in this process's memory, with faults on demand: a test double, which keeps nothing and replicates nothing.
///
/// It gives what ``ReplicatedLog`` promises, and as little more as it can: what an engine may do to a client it does, when it
/// is told to, by a seed. A real engine belongs beside it.
public final class MemoryLog: ReplicatedLog {
    /// What goes wrong, each as a chance from 0 to 1.
    public struct Faults: Sendable, Hashable {
        /// A proposal is put, and its caller told that the outcome is unknown.
        public var unknownButPut = 0.0
        /// A proposal is not put, and its caller told that the outcome is unknown.
        public var unknownAndLost = 0.0
        /// A proposal is put a second time, at another index, some proposals later.
        public var doubled = 0.0
        /// A proposal waits until others, which came later, have been put.
        public var overtaken = 0.0
        /// An entry is delivered again before the next one.
        public var redelivered = 0.0
        /// A delivery ends here, and the next one goes on.
        public var split = 0.3

        /// None of them but that deliveries are split.
        public static var none: Self { Self() }
        /// All of them.
        public static var all: Self {
            var faults = Self()
            faults.unknownButPut = 0.1
            faults.unknownAndLost = 0.1
            faults.doubled = 0.1
            faults.overtaken = 0.2
            faults.redelivered = 0.2
            return faults
        }

        /// Creates faults that never happen.
        public init() {}
    }

    fileprivate struct State: Sendable {
        var entries: [LogEntry] = []
        var nextIndex: UInt64 = 1
        var known: [ProposalID: UInt64] = [:]
        var trimmedThrough: UInt64 = 0
        var members: [String: MemberReport] = [:]
        var snapshot: SnapshotManifest?
        var leader: Leadership?
        var elections: UInt64 = 0
        var random: SplitMix64
        var faults: Faults
        var isReachable = true
        /// Proposals to be put later: after so many others.
        var late: [(after: Int, id: ProposalID, command: [UInt8])] = []
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
        /// Grows with each change, so that none is missed between a look and a wait.
        var version: UInt64 = 0
    }

    private let cluster: [UInt8]
    private let state: Lock<State>
    private let closed = Lock(false)

    /// Creates an empty log.
    public init(cluster: [UInt8] = Array("memory".utf8), seed: UInt64 = 1, faults: Faults = .none) {
        self.cluster = cluster
        state = Lock(State(random: SplitMix64(seed: seed), faults: faults))
    }

    private init(_ cluster: [UInt8], _ state: Lock<State>) {
        self.cluster = cluster
        self.state = state
    }

    /// Another member's way to the same log, which is closed by itself.
    public func connect() -> MemoryLog { MemoryLog(cluster, state) }

    // MARK: What a test does to it

    /// What goes wrong from now on.
    public var faults: Faults {
        get { state.withLock { $0.faults } }
        set { state.withLock { $0.faults = newValue } }
    }

    /// Whether anybody can reach it.
    public var isReachable: Bool {
        get { state.withLock { $0.isReachable } }
        set {
            state.withLock { $0.isReachable = newValue }
            wake()
        }
    }

    /// Every entry that it still has.
    public var entries: [LogEntry] { state.withLock { $0.entries } }
    /// The last index that the log has forgotten; 0 where it has all.
    public var trimmedThrough: UInt64 { state.withLock { $0.trimmedThrough } }

    /// Forgets everything above an index, as an engine does that was restored from an older state.
    public func goBack(to index: UInt64) {
        state.withLock { state in
            state.entries.removeAll { $0.index > index }
            state.nextIndex = index + 1
            state.known = state.known.filter { $0.value <= index }
        }
        wake()
    }

    /// Leaves out so many indices, as an engine does that counts other things, too.
    public func skipIndices(_ count: UInt64) {
        state.withLock { $0.nextIndex += count }
    }

    /// Lets whoever leads lose the leadership.
    public func endLeadership() {
        state.withLock { $0.leader = nil }
        wake()
    }

    // MARK: ReplicatedLog

    /// Which log this is.
    public func identity() async throws(HoldfastError) -> LogIdentity {
        try check()
        return LogIdentity(cluster: cluster, lastIndex: state.withLock { $0.nextIndex - 1 })
    }

    /// Puts a command, or does with it what the faults say.
    public func propose(
        _ command: [UInt8],
        as id: ProposalID,
        while leadership: Leadership?
    ) async throws(HoldfastError) -> UInt64 {
        try check()
        guard command.count <= ReplicationLimits.commandBytesMax else {
            throw HoldfastError(
                code: .tooLarge,
                message: "An entry has at most 1 MiB; this one has \(command.count) bytes."
            )
        }
        enum Fate {
            case put(UInt64)
            case unknown
            case notLeader
            case late
        }
        let fate = state.withLock { state -> Fate in
            if let leadership, state.leader != leadership { return .notLeader }
            let faults = state.faults
            if Double.random(in: 0..<1, using: &state.random) < faults.unknownAndLost { return .unknown }
            if Double.random(in: 0..<1, using: &state.random) < faults.overtaken {
                state.late.append((Int.random(in: 1...4, using: &state.random), id, command))
                return .late
            }
            let index = state.put(command, id)
            if Double.random(in: 0..<1, using: &state.random) < faults.doubled {
                state.late.append((Int.random(in: 1...8, using: &state.random), id, command))
            }
            return Double.random(in: 0..<1, using: &state.random) < faults.unknownButPut ? .unknown : .put(index)
        }
        wake()
        switch fate {
        case .put(let index): return index
        case .notLeader:
            throw HoldfastError(code: .notLeader, message: "Another member leads. Nothing was proposed.")
        case .unknown, .late:
            throw HoldfastError(code: .outcomeUnknown, message: "The log did not answer in time.")
        }
    }

    /// The entries above an index, cut and repeated as the faults say.
    public func entries(after index: UInt64) -> any AsyncSequence<LogDelivery, any Error> {
        AsyncThrowingStream<LogDelivery, any Error> { continuation in
            let task = Task { await self.deliver(after: index, to: continuation) }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private func deliver(
        after index: UInt64,
        to continuation: AsyncThrowingStream<LogDelivery, any Error>.Continuation
    ) async {
        var last = index
        while !Task.isCancelled {
            let version = state.withLock { $0.version }
            let (delivery, error) = state.withLock { state -> (LogDelivery?, HoldfastError?) in
                if isClosed || !state.isReachable { return (nil, Self.unavailable) }
                if last < state.trimmedThrough { return (.compacted(through: state.trimmedThrough), nil) }
                guard last < state.nextIndex else {
                    return (nil, HoldfastError(code: .logWentBack, message: "The log ends at \(state.nextIndex - 1)."))
                }
                var start = state.entries.firstIndex { $0.index > last } ?? state.entries.count
                guard start < state.entries.count else { return (nil, nil) }
                var end = start + 1
                while end < state.entries.count,
                    Double.random(in: 0..<1, using: &state.random) >= state.faults.split
                {
                    end += 1
                }
                if start > 0, Double.random(in: 0..<1, using: &state.random) < state.faults.redelivered { start -= 1 }
                return (.entries(Array(state.entries[start..<end])), nil)
            }
            if let error { return continuation.finish(throwing: error) }
            guard let delivery else {
                await waitForChange(after: version)
                continue
            }
            continuation.yield(delivery)
            guard case .entries(let entries) = delivery else { return continuation.finish() }
            last = entries.last?.index ?? last
        }
        continuation.finish()
    }

    /// The newest index.
    public func barrier() async throws(HoldfastError) -> UInt64 {
        try check()
        return state.withLock { $0.nextIndex - 1 }
    }

    /// Forgets entries, and with them what was proposed under which identity.
    public func trim(through index: UInt64) async throws(HoldfastError) {
        try check()
        state.withLock { state in
            state.trimmedThrough = max(state.trimmedThrough, min(index, state.nextIndex - 1))
            let through = state.trimmedThrough
            state.entries.removeAll { $0.index <= through }
            // Trimmed entries are forgotten with their identities.
            state.known = state.known.filter { $0.value > through }
        }
    }

    /// Keeps what a member tells.
    public func report(_ member: MemberReport) async throws(HoldfastError) {
        try check()
        state.withLock { $0.members[member.member] = member }
    }

    /// What the members have last told.
    public func members() async throws(HoldfastError) -> [MemberReport] {
        try check()
        return state.withLock { state in state.members.values.sorted { $0.member < $1.member } }
    }

    /// Forgets a member.
    public func forget(member: String) async throws(HoldfastError) {
        try check()
        state.withLock { $0.members[member] = nil }
    }

    /// Keeps a manifest, unless it has a newer one.
    public func publish(_ snapshot: SnapshotManifest) async throws(HoldfastError) {
        try check()
        state.withLock { state in
            if snapshot.index > state.snapshot?.index ?? 0 { state.snapshot = snapshot }
        }
    }

    /// The newest manifest.
    public func newestSnapshot() async throws(HoldfastError) -> SnapshotManifest? {
        try check()
        return state.withLock { $0.snapshot }
    }

    /// Runs `body` while nobody else leads, until ``endLeadership()``.
    public func lead(
        as member: String,
        _ body: @escaping @Sendable (Leadership) async throws -> Void
    ) async throws {
        while !Task.isCancelled {
            try check()
            let version = state.withLock { $0.version }
            let own = state.withLock { state -> Leadership? in
                guard state.leader == nil else { return nil }
                state.elections += 1
                let leadership = Leadership(member: member, token: Array("\(state.elections)".utf8))
                state.leader = leadership
                return leadership
            }
            guard let own else {
                await waitForChange(after: version)
                continue
            }
            defer {
                state.withLock { state in if state.leader == own { state.leader = nil } }
                wake()
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await body(own) }
                group.addTask {
                    while !Task.isCancelled {
                        let (isOwn, version) = self.state.withLock { state in
                            (state.leader == own && state.isReachable && !self.isClosed, state.version)
                        }
                        guard isOwn else { return }
                        await self.waitForChange(after: version)
                    }
                }
                try await group.next()
                group.cancelAll()
            }
            return
        }
    }

    /// Ends every delivery.
    public func close() async {
        closed.withLock { $0 = true }
        wake()
    }

    // MARK: Waiting

    private static let unavailable = HoldfastError(code: .logUnavailable, message: "The log cannot be reached.")

    private var isClosed: Bool { closed.withLock { $0 } }

    private func check() throws(HoldfastError) {
        guard !isClosed, state.withLock({ $0.isReachable }) else { throw Self.unavailable }
    }

    private func wake() {
        let waiting = state.withLock { state in
            state.version += 1
            defer { state.waiting = [:] }
            return state.waiting
        }
        for waiter in waiting.values { waiter.resume() }
    }

    /// Returns once something has changed since `version`, or the task is cancelled.
    private func waitForChange(after version: UInt64) async {
        let number = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isNow = state.withLock { state -> Bool in
                    if state.version != version || Task.isCancelled { return true }
                    state.waiting[number] = continuation
                    return false
                }
                if isNow { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number) }?.resume()
        }
    }
}

extension MemoryLog.State {
    /// Puts a command, unless it is there under its identity; then those that were to come later.
    fileprivate mutating func put(_ command: [UInt8], _ id: ProposalID) -> UInt64 {
        let index = add(command, id, isDouble: false)
        var due: [(id: ProposalID, command: [UInt8])] = []
        for place in late.indices { late[place].after -= 1 }
        for waiting in late where waiting.after <= 0 { due.append((waiting.id, waiting.command)) }
        late.removeAll { $0.after <= 0 }
        for waiting in due { _ = add(waiting.command, waiting.id, isDouble: true) }
        return index
    }

    private mutating func add(_ command: [UInt8], _ id: ProposalID, isDouble: Bool) -> UInt64 {
        if !isDouble, let index = known[id] { return index }
        // Gaps are legal: an engine has entries that are not for the state machine.
        nextIndex += UInt64.random(in: 0...1, using: &random)
        let index = nextIndex
        nextIndex += 1
        entries.append(LogEntry(index: index, term: UInt64(elections), command: command))
        if known[id] == nil { known[id] = index }
        return index
    }
}
