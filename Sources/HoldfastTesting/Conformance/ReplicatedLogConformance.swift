public import RaftApply
import ReplayStore

/// What a ``ReplicatedLog`` must give, as cases that any engine can be run through.
///
/// ```swift
/// @Test(arguments: conformance.cases) func conforms(case: ConformanceCase) async throws { try await `case`.run() }
/// ```
public struct ReplicatedLogConformance: Sendable {
    private let fresh: @Sendable () async throws -> @Sendable () async throws -> any ReplicatedLog

    /// Creates the suite.
    ///
    /// - Parameter fresh: Makes a log that nobody has used, and gives what connects another member to it. Each case asks for
    ///   one of its own, and closes its connections.
    public init(
        fresh: @escaping @Sendable () async throws -> @Sendable () async throws -> any ReplicatedLog
    ) { self.fresh = fresh }

    /// Every case.
    public var cases: [ConformanceCase] { proposing + following + trimming + members + leading }

    // MARK: Logs

    /// Runs `body` with so many connections to a new log, and closes them.
    func withLogs(_ count: Int = 1, _ body: ([any ReplicatedLog]) async throws -> Void) async throws {
        let connect = try await fresh()
        var logs: [any ReplicatedLog] = []
        for _ in 0..<count { logs.append(try await connect()) }
        do {
            try await body(logs)
        } catch {
            for log in logs { await log.close() }
            throw error
        }
        for log in logs { await log.close() }
    }

    static func id(_ sequence: UInt64, part: UInt32 = 0, session: UInt64 = 1) -> ProposalID {
        ProposalID(session: SessionID(index: session, nonce: 9), sequence: sequence, part: part)
    }

    static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// Proposes so many commands one after another, and gives their indices.
    @discardableResult
    func propose(_ range: ClosedRange<UInt64>, to log: any ReplicatedLog) async throws -> [UInt64] {
        var indices: [UInt64] = []
        for sequence in range {
            indices.append(try await log.propose(Self.bytes("command \(sequence)"), as: Self.id(sequence)))
        }
        return indices
    }

    /// The entries after an index, up to the one at `last`; one that comes again is left out.
    func entries(_ log: any ReplicatedLog, after index: UInt64 = 0, through last: UInt64) async throws
        -> [LogEntry]
    {
        var entries: [LogEntry] = []
        for try await delivery in log.entries(after: index) {
            guard case .entries(let some) = delivery else {
                throw ConformanceFailure("the log has forgotten: \(delivery)")
            }
            try demand(!some.isEmpty, "a delivery is empty")
            for entry in some where entry.index > entries.last?.index ?? index { entries.append(entry) }
            if entries.last?.index ?? 0 >= last { break }
        }
        return entries
    }

    func code(_ body: () async throws -> Void) async throws -> HoldfastError.Code? {
        do {
            try await body()
            return nil
        } catch let error as HoldfastError {
            return error.code
        }
    }

    // MARK: Proposing

    private var proposing: [ConformanceCase] {
        [
            ConformanceCase(1, "a command comes out at its index, as it went in") {
                try await withLogs { logs in
                    let command = (0...255).map { UInt8($0) }
                    let index = try await logs[0].propose(command, as: Self.id(1))
                    let entries = try await entries(logs[0], through: index)
                    try demand(entries.map(\.command), is: [command], "the command")
                    try demand(entries.map(\.index), is: [index], "the index")
                }
            },
            ConformanceCase(1, "who waits for each proposal finds them in that order, at rising indices") {
                try await withLogs { logs in
                    let indices = try await propose(1...20, to: logs[0])
                    try demand(indices == indices.sorted() && Set(indices).count == 20, "indices: \(indices)")
                    let entries = try await entries(logs[0], through: indices.last ?? 0)
                    try demand(entries.map(\.index), is: indices, "the indices")
                    try demand(
                        entries.map(\.command),
                        is: (1...20).map { Self.bytes("command \($0)") },
                        "the commands"
                    )
                }
            },
            ConformanceCase(1, "of commands proposed at once each comes, once, at an index of its own") {
                try await withLogs(2) { logs in
                    let indices = try await withThrowingTaskGroup(of: UInt64.self) { group in
                        for sequence in 1...64 as ClosedRange<UInt64> {
                            let log = logs[Int(sequence) % 2]
                            group.addTask {
                                try await log.propose(Self.bytes("command \(sequence)"), as: Self.id(sequence))
                            }
                        }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    let entries = try await entries(logs[0], through: indices.max() ?? 0)
                    try demand(entries.map(\.index), is: indices.sorted(), "the indices")
                    try demand(Set(entries.map(\.command)).count, is: 64, "commands")
                }
            },
            ConformanceCase(3, "a command that is proposed again is at the index where it is") {
                try await withLogs(2) { logs in
                    let first = try await logs[0].propose(Self.bytes("once"), as: Self.id(1))
                    let again = try await logs[1].propose(Self.bytes("once"), as: Self.id(1))
                    try demand(again, is: first, "the index")
                    let last = try await logs[0].propose(Self.bytes("next"), as: Self.id(2))
                    try demand(try await entries(logs[1], through: last).count, is: 2, "entries")
                }
            },
            ConformanceCase(10, "parts of one command are entries of their own") {
                try await withLogs { logs in
                    var last: UInt64 = 0
                    for part in 0..<3 as Range<UInt32> {
                        last = try await logs[0].propose(Self.bytes("part \(part)"), as: Self.id(1, part: part))
                    }
                    try demand(try await entries(logs[0], through: last).count, is: 3, "entries")
                }
            },
            ConformanceCase(10, "a command of a mebibyte goes through, and no larger one") {
                try await withLogs { logs in
                    let largest = [UInt8](repeating: 7, count: ReplicationLimits.commandBytesMax)
                    let index = try await logs[0].propose(largest, as: Self.id(1))
                    try demand(
                        try await entries(logs[0], through: index).first?.command == largest,
                        "it is another one"
                    )
                    let code = try await code { _ = try await logs[0].propose(largest + [1], as: Self.id(2)) }
                    try demand(code, is: .tooLarge, "the error")
                }
            },
        ]
    }

    // MARK: Following

    private var following: [ConformanceCase] {
        [
            ConformanceCase(1, "every follower sees the same, whenever it begins") {
                try await withLogs(3) { logs in
                    async let early = entries(logs[1], through: 1)
                    let indices = try await propose(1...30, to: logs[0])
                    let last = indices.last ?? 0
                    let late = try await entries(logs[2], through: last)
                    try demand(try await entries(logs[1], through: last), is: late, "the entries")
                    try demand(
                        late.prefix(try await early.count).elementsEqual(try await early),
                        "the first entries differ"
                    )
                }
            },
            ConformanceCase(2, "after an index only later entries come") {
                try await withLogs { logs in
                    let indices = try await propose(1...10, to: logs[0])
                    let entries = try await entries(logs[0], after: indices[5], through: indices[9])
                    try demand(entries.map(\.index), is: Array(indices[6...]), "the indices")
                }
            },
            ConformanceCase(1, "a follower sees what is proposed while it follows") {
                try await withLogs(2) { logs in
                    let first = try await propose(1...2, to: logs[0])
                    async let followed = entries(logs[1], through: (first.last ?? 0) + 10)
                    let more = try await propose(3...20, to: logs[0])
                    try demand(
                        try await followed.map(\.index).starts(with: first + more.prefix(4)),
                        "entries are missing"
                    )
                }
            },
            ConformanceCase(8, "a barrier is at or above everything that was acknowledged, and is reached") {
                try await withLogs(2) { logs in
                    for round in 0..<5 as Range<UInt64> {
                        let index = try await logs[0].propose(Self.bytes("\(round)"), as: Self.id(round + 1))
                        let barrier = try await logs[1].barrier()
                        try demand(barrier >= index, "the barrier is \(barrier), after \(index) was acknowledged")
                        let entries = try await entries(logs[1], through: index)
                        try demand(entries.last?.index ?? 0 >= barrier, "nothing comes up to the barrier \(barrier)")
                    }
                }
            },
            ConformanceCase(8, "a barrier of an empty log waits for nothing") {
                try await withLogs { logs in
                    let barrier = try await logs[0].barrier()
                    let index = try await logs[0].propose(Self.bytes("first"), as: Self.id(1))
                    try demand(barrier < index, "the barrier was \(barrier), and the first index is \(index)")
                }
            },
            ConformanceCase(13, "its identity is the same for all, and its last index at or above every entry") {
                try await withLogs(2) { logs in
                    let index = try await propose(1...3, to: logs[0]).last ?? 0
                    let (first, second) = (try await logs[0].identity(), try await logs[1].identity())
                    try demand(first.cluster, is: second.cluster, "the cluster")
                    try demand(!first.cluster.isEmpty && first.cluster.count <= 64, "the cluster is \(first.cluster)")
                    try demand(min(first.lastIndex, second.lastIndex) >= index, "the last index is below \(index)")
                }
            },
            ConformanceCase(
                13,
                "who asks for what comes after an index far beyond the end hears that the log went back"
            ) {
                try await withLogs { logs in
                    try await propose(1...2, to: logs[0])
                    let code = try await code {
                        for try await _ in logs[0].entries(after: 1 << 40) { break }
                    }
                    try demand(code, is: .logWentBack, "the error")
                }
            },
            ConformanceCase(1, "a follower whose task is cancelled ends") {
                try await withLogs { logs in
                    let log = logs[0]
                    let last = try await propose(1...2, to: log).last ?? 0
                    let task = Task {
                        for try await delivery in log.entries(after: 0) {
                            if case .entries(let some) = delivery, some.last?.index == last { return true }
                        }
                        return false
                    }
                    _ = try await task.value
                    let waiting = Task { for try await _ in log.entries(after: last) {} }
                    waiting.cancel()
                    // It ends, by itself or by the error that a cancelled task gets.
                    _ = await waiting.result
                }
            },
        ]
    }

    // MARK: Trimming

    private var trimming: [ConformanceCase] {
        [
            ConformanceCase(7, "who asks for what was trimmed is told, and up to where") {
                try await withLogs(2) { logs in
                    let indices = try await propose(1...10, to: logs[0])
                    try await logs[0].trim(through: indices[6])
                    for try await delivery in logs[1].entries(after: indices[2]) {
                        guard case .compacted(let through) = delivery else {
                            throw ConformanceFailure("entries came that were trimmed: \(delivery)")
                        }
                        try demand(through >= indices[6], "it is told \(through), and \(indices[6]) was trimmed")
                        break
                    }
                }
            },
            ConformanceCase(7, "what comes after a trim is not touched by it") {
                try await withLogs(2) { logs in
                    let indices = try await propose(1...10, to: logs[0])
                    try await logs[0].trim(through: indices[6])
                    let entries = try await entries(logs[1], after: indices[6], through: indices[9])
                    try demand(entries.map(\.index), is: Array(indices[7...]), "the indices")
                }
            },
            ConformanceCase(7, "a trim that was done, or is below one, changes nothing") {
                try await withLogs { logs in
                    let indices = try await propose(1...10, to: logs[0])
                    for index in [6, 6, 3] { try await logs[0].trim(through: indices[index]) }
                    let entries = try await entries(logs[0], after: indices[6], through: indices[9])
                    try demand(entries.count, is: 3, "entries")
                }
            },
            ConformanceCase(8, "a barrier goes on after everything was trimmed") {
                try await withLogs { logs in
                    let last = try await propose(1...5, to: logs[0]).last ?? 0
                    try await logs[0].trim(through: last)
                    try demand(try await logs[0].barrier() >= last, "the barrier went back")
                    let next = try await logs[0].propose(Self.bytes("next"), as: Self.id(9))
                    try demand(
                        try await entries(logs[0], after: last, through: next).map(\.index),
                        is: [next],
                        "the index"
                    )
                }
            },
            ConformanceCase(3, "a command whose entry was trimmed may come at another index, and then is delivered") {
                try await withLogs { logs in
                    let first = try await logs[0].propose(Self.bytes("once"), as: Self.id(1))
                    let last = try await propose(2...3, to: logs[0]).last ?? 0
                    try await logs[0].trim(through: last)
                    let again = try await logs[0].propose(Self.bytes("once"), as: Self.id(1))
                    guard again != first else { return }
                    try demand(
                        try await entries(logs[0], after: last, through: again).map(\.index),
                        is: [again],
                        "the index"
                    )
                }
            },
        ]
    }
}
