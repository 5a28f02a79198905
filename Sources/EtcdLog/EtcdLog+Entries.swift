#if Etcd
internal import EtcdProtocol
public import RaftApply
internal import ReplayStore

extension EtcdLog {
    /// The entries above `index`, in order, as they are committed.
    ///
    /// A watch on the log's keys, opened again behind the last entry that came whenever it ends: when its member dies, when it
    /// knows no leader any more, when it is silent and does not answer, or when it is silent while a majority knows of later
    /// entries. What the caller does not take stays with etcd, but for one delivery.
    ///
    /// Where etcd has compacted what is asked for, the entries are read from their keys; ``LogDelivery/compacted(through:)``
    /// comes only where ``trim(through:)`` may have deleted some of them. So a cluster that compacts by itself does no harm.
    ///
    /// Each iterator is a reader of its own, and it is one task that reads it.
    ///
    /// - Throws: From the iterator: ``HoldfastError`` with `logWentBack` where etcd's revision is below `index` or below an
    ///   entry that has come, or where another cluster answers; `logUnavailable` where etcd refuses the user, and after
    ///   ``close()``; `CancellationError`.
    public func entries(after index: UInt64) -> any AsyncSequence<LogDelivery, any Error> {
        EtcdEntries(log: self, index: index)
    }
}

/// The deliveries of a log; each iterator has a task of its own, which ends when the iterator goes.
private struct EtcdEntries: AsyncSequence, Sendable {
    typealias Element = LogDelivery

    let log: EtcdLog
    let index: UInt64

    func makeAsyncIterator() -> Iterator { Iterator(log: log, index: index) }

    final class Iterator: AsyncIteratorProtocol {
        private let handoff = Handoff<LogDelivery>()
        private let log: EtcdLog
        private let index: UInt64
        private var task: Task<Void, Never>?

        init(log: EtcdLog, index: UInt64) {
            self.log = log
            self.index = index
        }

        deinit { task?.cancel() }

        func next() async throws -> LogDelivery? { try await next(isolation: #isolation) }

        func next(isolation: isolated (any Actor)?) async throws -> LogDelivery? {
            if task == nil {
                task = Task { [log, index, handoff] in
                    do {
                        try await EntryReader(log: log, index: index, handoff: handoff).run()
                        handoff.end()
                    } catch {
                        handoff.end(.failure(error))
                    }
                }
            }
            return try await handoff.take()
        }
    }
}
#endif
