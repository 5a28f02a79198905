public import RegionFailover
public import ReplayFormat
public import ReplayStore

/// The queues of a deployment as a controller promises them, for a ``LinearizabilityChecker``: each region's is a
/// partition.
///
/// A write is queued once: an append of an identity that the queue has had is answered as a duplicate, also after the
/// write has left. Positions count from 1 without gaps, in the order of the appends. What is acknowledged or drained
/// has left for good.
///
/// It knows queues without limits, of which nothing is dropped, parked, lost or retried, and drains that take as many
/// entries as were asked for: a replicated controller hands out no more than 768 KiB at once, so let the writes be
/// small. Leave out of the history what was refused for any other reason than `positionOutOfRange`, since it changed
/// nothing; and let `statistics` be read with `linearizable` consistency where a replica answers.
///
/// A state is three numbers, whatever was appended; it means something to the model that made it alone, and to copies
/// of that model. A model remembers every sequence of writes that it was asked about: make a new one for each history.
public struct QueueModel: SequentialModel {
    /// What can be asked of a queue.
    public enum Call: Hashable, Sendable {
        /// An append of writes, by their identities, in the order of the call. A call for several regions is an
        /// operation for each.
        case append([WriteIdentity], to: RegionID)
        /// An acknowledgement of everything up to a position.
        case acknowledge(RegionID, through: UInt64)
        /// A drain of at most so many entries.
        case drain(RegionID, max: Int)
        /// A look at the statistics.
        case read(RegionID)
    }

    /// What can be answered.
    public enum Outcome: Hashable, Sendable {
        /// The first position, how many writes were queued, and which were duplicates, by their index in the call.
        case appended(first: UInt64, accepted: Int, duplicates: [Int])
        /// How many entries left, and how many are queued.
        case acknowledged(UInt64, remaining: UInt64)
        /// The entries that were taken, and how many are queued.
        case drained([Entry], remaining: UInt64)
        /// The first position that is queued, the next that is given, and how many entries are queued.
        case statistics(head: UInt64, next: UInt64, entries: UInt64)
        /// `positionOutOfRange`: the last position that was given.
        case outOfRange(last: UInt64)
    }

    /// An entry that was handed out.
    public struct Entry: Hashable, Sendable {
        /// Its position.
        public var position: UInt64
        /// Which write it is.
        public var identity: WriteIdentity

        /// Creates an entry.
        public init(position: UInt64, identity: WriteIdentity) {
            self.position = position
            self.identity = identity
        }
    }

    /// A queue, and everything that it ever held.
    public struct State: Hashable, Sendable {
        /// The first position that is queued.
        public internal(set) var head: UInt64
        /// The position that the next entry gets.
        public internal(set) var next: UInt64
        /// The sequence of all that was appended.
        var sequence: Int
    }

    private let sequences = QueueSequences()

    /// Creates the model of empty queues.
    public init() {}

    /// A queue that has never held anything.
    public var initial: State { State(head: 1, next: 1, sequence: QueueSequences.root) }

    /// The region whose queue it is.
    public func partition(of call: Call) -> RegionID {
        switch call {
        case .append(_, let region), .acknowledge(let region, _), .drain(let region, _), .read(let region): region
        }
    }

    /// The queue after a call; nil when it does not answer so.
    public func step(_ state: State, _ call: Call, _ outcome: Outcome?) -> State? {
        switch call {
        case .append(let identities, _): append(identities, state, outcome)
        case .acknowledge(_, let position): acknowledge(position, state, outcome)
        case .drain(_, let most): drain(UInt64(max(0, most)), state, outcome)
        case .read: read(state, outcome)
        }
    }

    private func append(_ identities: [WriteIdentity], _ state: State, _ outcome: Outcome?) -> State? {
        if let outcome {
            // What costs nothing comes first: of the calls in flight one alone has the next position.
            guard case .appended(state.next, let accepted, let duplicates) = outcome,
                accepted == identities.count - duplicates.count
            else { return nil }
        }
        let (sequence, found) = sequences.appending(identities, to: state.sequence)
        if case .appended(_, _, let duplicates) = outcome, duplicates != found { return nil }
        var after = state
        after.sequence = sequence
        after.next += UInt64(identities.count - found.count)
        return after
    }

    private func acknowledge(_ position: UInt64, _ state: State, _ outcome: Outcome?) -> State? {
        guard position < state.next else { return answers(outcome, .outOfRange(last: state.next - 1)) ? state : nil }
        var after = state
        after.head = max(state.head, position + 1)
        let expected = Outcome.acknowledged(after.head - state.head, remaining: after.entries)
        return answers(outcome, expected) ? after : nil
    }

    private func drain(_ most: UInt64, _ state: State, _ outcome: Outcome?) -> State? {
        let taken = min(most, state.entries)
        var after = state
        after.head += taken
        guard let outcome else { return after }
        guard case .drained(let entries, after.entries) = outcome, entries.count == Int(taken) else { return nil }
        for (entry, position) in zip(entries, state.head..<after.head) where entry.position != position { return nil }
        let isTheirs = sequences.holds(entries.map(\.identity), at: Int(state.head), in: state.sequence)
        return isTheirs ? after : nil
    }

    private func read(_ state: State, _ outcome: Outcome?) -> State? {
        let expected = Outcome.statistics(head: state.head, next: state.next, entries: state.entries)
        return answers(outcome, expected) ? state : nil
    }

    private func answers(_ outcome: Outcome?, _ expected: Outcome) -> Bool { outcome == nil || outcome == expected }

    /// The positions, in words.
    public func describe(_ state: State) -> String {
        "head position \(state.head), next position \(state.next), \(state.entries) entries"
    }
}

extension QueueModel.State {
    /// How many entries are queued.
    public var entries: UInt64 { next - head }
}

extension QueueModel.Outcome {
    /// What an append to one region came to.
    public init(_ receipt: AppendReceipt) {
        self = .appended(first: receipt.first, accepted: receipt.accepted, duplicates: receipt.duplicates)
    }

    /// What an acknowledgement came to.
    public init(_ receipt: AcknowledgeReceipt) {
        self = .acknowledged(receipt.acknowledged, remaining: receipt.remaining)
    }

    /// What a drain came to.
    public init(_ receipt: DrainReceipt) {
        let entries = receipt.entries.map { QueueModel.Entry(position: $0.position, identity: $0.write.identity) }
        self = .drained(entries, remaining: receipt.remaining)
    }

    /// What was read.
    public init(_ statistics: QueueStatistics) {
        self = .statistics(
            head: statistics.headPosition,
            next: statistics.nextPosition,
            entries: statistics.entries
        )
    }

    /// What a refusal said; nil for one that tells nothing of the queue, and is left out of the history.
    public init?(_ error: HoldfastError) {
        guard error.code == .positionOutOfRange, let last = error.count else { return nil }
        self = .outOfRange(last: last)
    }
}

extension QueueModel.Call: CustomStringConvertible {
    /// The call in words; of many writes the first and the last.
    public var description: String {
        switch self {
        case .append(let identities, let region): "append \(words(identities)) to \(region)"
        case .acknowledge(let region, let position): "acknowledge \(region) through \(position)"
        case .drain(let region, let most): "drain \(region), at most \(most)"
        case .read(let region): "read \(region)"
        }
    }

    private func words(_ identities: [WriteIdentity]) -> String {
        let names = identities.map { "\($0.origin)/\($0.incarnation)/\($0.sequence)" }
        guard names.count > 4 else { return "[\(names.joined(separator: ", "))]" }
        return "\(names.count) writes [\(names[0]) ... \(names[names.count - 1])]"
    }
}

extension QueueModel.Outcome: CustomStringConvertible {
    /// The outcome in words; of many entries the first and the last.
    public var description: String {
        switch self {
        case .appended(let first, let accepted, let duplicates):
            "\(accepted) from position \(first), duplicates \(duplicates)"
        case .acknowledged(let count, let remaining): "\(count) acknowledged, \(remaining) remain"
        case .drained(let entries, let remaining): "\(Self.words(entries)) drained, \(remaining) remain"
        case .statistics(let head, let next, let entries): "head \(head), next \(next), \(entries) entries"
        case .outOfRange(let last): "positionOutOfRange, the last is \(last)"
        }
    }

    private static func words(_ entries: [QueueModel.Entry]) -> String {
        let names = entries.map {
            "\($0.position)=\($0.identity.origin)/\($0.identity.incarnation)/\($0.identity.sequence)"
        }
        guard names.count > 4 else { return "[\(names.joined(separator: ", "))]" }
        return "\(names.count) entries [\(names[0]) ... \(names[names.count - 1])]"
    }
}
