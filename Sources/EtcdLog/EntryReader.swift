#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
internal import GRPCCore
internal import RaftApply
internal import ReplayStore
internal import SwiftProtobuf
internal import Synchronization

/// Reads entries for one iterator: watch after watch, and from the keys where etcd has compacted.
struct EntryReader: Sendable {
    /// How far it is, for the watch and for who looks after it.
    struct Progress {
        /// Everything at or below it has been handed on.
        var last: UInt64
        /// The last entry that was handed on, and a hash of its command; nil before the first.
        var entry: (index: UInt64, hash: Int)?
        /// Messages of the watch under way.
        var messages = 0
        /// Whether the watch before was not permitted; a token that has run out makes etcd say so, too.
        var wasForbidden = false
        /// The cluster that answered first.
        var clusterID: UInt64?
    }

    /// Why a watch ended.
    private enum Ending {
        case compacted(through: Int64)
        case failed(CallFailure)
    }

    /// A watch from which nothing came for so long is looked after.
    private static let silence = Duration.seconds(2)
    private static let pauses = (first: Duration.milliseconds(50), last: Duration.seconds(1))

    let log: EtcdLog
    let handoff: Handoff<LogDelivery>
    let progress: Shared

    /// What the tasks of a reader share.
    final class Shared: Sendable {
        private let state: Mutex<Progress>

        init(_ index: UInt64) { state = Mutex(Progress(last: index)) }

        func with<Result: Sendable>(_ body: (inout Progress) -> Result) -> Result { state.withLock { body(&$0) } }
    }

    init(log: EtcdLog, index: UInt64, handoff: Handoff<LogDelivery>) {
        self.log = log
        self.handoff = handoff
        progress = Shared(index)
    }

    /// Reads until the task is cancelled or a snapshot must take the entries' place.
    func run() async throws {
        var pause = Self.pauses.first
        while true {
            let before = progress.with { $0.messages }
            let connection = log.cluster.current
            let failure: CallFailure
            do {
                try await look(connection)
                switch try await watch(connection) {
                case .compacted:
                    if try await readKeys() { return }
                    continue
                case .failed(let reason): failure = reason
                }
            } catch let error as CallFailure {
                failure = error
            } catch let error as Unanswered {
                failure = error.last
            }
            try Task.checkCancellation()
            guard !log.cluster.isClosed else {
                throw HoldfastError(code: .logUnavailable, message: "The log has been closed.")
            }
            guard failure.isRetryable else { throw failure.unavailable }
            log.cluster.logging.watchEnded(connection.endpoint, failure.message)
            log.cluster.moveOn(from: connection, failure)
            if progress.with({ $0.messages }) > before { pause = Self.pauses.first }
            try await Task.sleep(for: pause * Double.random(in: 0.5...1))
            pause = min(pause * 2, Self.pauses.last)
        }
    }

    /// Asks a member, and by it a majority, how far the log is.
    ///
    /// - Returns: The index of the last entry.
    /// - Throws: `logWentBack`; ``CallFailure``.
    @discardableResult
    private func look(_ connection: Connection) async throws -> UInt64 {
        let request = WireRangeRequest.with {
            $0.key = Data(log.keys.head.bytes)
            $0.keysOnly = true
        }
        let reply: WireRangeResponse = try await log.cluster.attempt(
            connection,
            log.cluster.configuration.attemptTimeout
        ) { connection, call in
            try await connection.call(WireKV.Method.Range.descriptor, request, call)
        }
        log.cluster.saw(reply.header)
        try check(reply.header, isCurrent: true)
        let head = reply.kvs.first.map { UInt64(max($0.modRevision, 0)) } ?? 0
        // The revision rises with reports, too, and with it may hide that entries are gone.
        if let entry = progress.with({ $0.entry }), head < entry.index {
            throw Self.wentBack("the log ends at entry \(head), but entry \(entry.index) was read")
        }
        return head
    }

    private static func wentBack(_ what: String) -> HoldfastError {
        HoldfastError(
            code: .logWentBack,
            message: "\(what): etcd was restored from an older state, or it is another cluster."
        )
    }

    /// That the log is the one that it was, and not shorter.
    private func check(_ header: WireResponseHeader, isCurrent: Bool) throws {
        let (last, cluster) = progress.with { progress in
            progress.clusterID = progress.clusterID ?? header.clusterID
            return (progress.last, progress.clusterID)
        }
        guard cluster == header.clusterID else {
            throw HoldfastError(
                code: .logWentBack,
                message:
                    "Another etcd cluster answers than before. Look at the endpoints, and for a cluster that was made anew."
            )
        }
        guard !isCurrent || UInt64(max(header.revision, 0)) >= last else {
            throw Self.wentBack("etcd is at revision \(header.revision), but entry \(last) has been applied")
        }
    }

    private func watch(_ connection: Connection) async throws -> Ending {
        // From the last entry on, where it is known: it must be there still.
        let start = progress.with { $0.entry?.index == $0.last ? $0.last : $0.last + 1 }
        let request = WireWatchRequest.with {
            $0.createRequest.key = Data(log.keys.entries.start.bytes)
            $0.createRequest.rangeEnd = Data(log.keys.entries.end.bytes)
            $0.createRequest.startRevision = Int64(clamping: start)
            $0.createRequest.filters = [.nodelete]
            $0.createRequest.fragment = true
        }
        return try await withThrowingTaskGroup(of: Ending.self) { group in
            group.addTask {
                do {
                    return try await log.cluster.attempt(connection, nil, needsLeader: true) { connection, call in
                        try await connection.stream(WireWatch.Method.Watch.descriptor, request, call) {
                            (messages: RPCAsyncSequence<WireWatchResponse, any Error>) in
                            try await follow(messages)
                        }
                    }
                } catch let error as CallFailure {
                    return .failed(error)
                }
            }
            group.addTask { .failed(try await lookAfter(connection)) }
            defer { group.cancelAll() }
            guard let ending = try await group.next() else { preconditionFailure("a group of two tasks was empty") }
            return ending
        }
    }

    /// Hands on what a watch brings, until it ends.
    private func follow(_ messages: RPCAsyncSequence<WireWatchResponse, any Error>) async throws -> Ending {
        // Another log has entries of its own where this one's were, however long it has become.
        var unproved = progress.with { $0.entry?.index == $0.last ? $0.entry : nil }
        for try await message in messages {
            progress.with { $0.messages += 1 }
            if message.canceled {
                if message.compactRevision > 0 { return .compacted(through: message.compactRevision) }
                throw refusal(message.cancelReason)
            }
            try check(message.header, isCurrent: false)
            let puts = message.events.filter { $0.type == .put }.map { event in
                LogEntry(index: UInt64(max(event.kv.modRevision, 0)), command: Array(event.kv.value))
            }
            if let entry = unproved, let first = puts.first {
                guard first.index == entry.index, first.command.hashValue == entry.hash else {
                    throw Self.wentBack("entry \(entry.index) is not the one that was read")
                }
                unproved = nil
            }
            let last = progress.with { $0.last }
            let entries = puts.filter { $0.index > last }
            try await hand(entries)
            if !entries.isEmpty { progress.with { $0.wasForbidden = false } }
        }
        return .failed(CallFailure(effect: .unknown, reason: .other, isRetryable: true, message: "The watch ended."))
    }

    /// What it means that a member ends a watch.
    private func refusal(_ reason: String) -> CallFailure {
        let isForbidden = reason.hasSuffix("permission denied")
        let wasForbidden = progress.with { progress in
            defer { progress.wasForbidden = isForbidden }
            return progress.wasForbidden
        }
        return CallFailure(
            effect: .refused,
            reason: isForbidden || reason.hasSuffix("invalid auth token") ? .badToken : .other,
            isRetryable: !isForbidden || !wasForbidden,
            message: reason
        )
    }

    func hand(_ entries: [LogEntry]) async throws {
        guard let last = entries.last else { return }
        precondition(zip(entries, entries.dropFirst()).allSatisfy { $0.index < $1.index }, "entries that do not rise")
        try await handoff.give(.entries(entries))
        progress.with { progress in
            progress.last = last.index
            progress.entry = (last.index, last.command.hashValue)
        }
    }

    /// Returns when a silent watch cannot be trusted: its member does not answer, or has been silent about later entries.
    private func lookAfter(_ connection: Connection) async throws -> CallFailure {
        var messages = -1
        var isBehind = false
        while true {
            try await Task.sleep(for: Self.silence)
            let now = progress.with { $0.messages }
            defer { messages = now }
            guard now == messages, !handoff.isFull else {
                isBehind = false
                continue
            }
            let last = progress.with { $0.last }
            let head: UInt64
            do {
                head = try await look(connection)
            } catch let error as CallFailure {
                return error
            }
            // Once may be an entry that is on its way.
            let wasBehind = isBehind
            isBehind = head > last
            if wasBehind, isBehind, progress.with({ $0.messages }) == now, !handoff.isFull {
                return CallFailure(
                    effect: .unknown,
                    reason: .other,
                    isRetryable: true,
                    message: "The watch is silent about entries up to \(head)."
                )
            }
        }
    }

}
#endif
