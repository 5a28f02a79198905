#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
import Synchronization
import Testing

extension EtcdCluster {
    /// A log on this cluster.
    func log(
        prefix: String = "holdfast/",
        endpoints: [String]? = nil,
        _ configure: (inout EtcdConfiguration) -> Void = { _ in }
    ) throws -> EtcdLog {
        var configuration = EtcdConfiguration(endpoints: endpoints ?? self.endpoints)
        configuration.prefix = prefix
        if let certificates {
            configuration.tls = .init(
                authorityPath: certificates.authority,
                certificatePath: certificates.certificate,
                privateKeyPath: certificates.key,
                serverName: certificates.name
            )
        }
        configure(&configuration)
        return try EtcdLog(configuration)
    }
}

extension EtcdLog {
    /// The first entries above an index, `count` of them: it waits until they have come.
    func first(_ count: Int, after index: UInt64 = 0) async throws -> [LogEntry] {
        var entries: [LogEntry] = []
        guard count > 0 else { return [] }
        for try await delivery in self.entries(after: index) {
            guard case .entries(let new) = delivery else { throw Unexpected(what: "\(delivery)") }
            entries += new
            if entries.count >= count { return entries }
        }
        throw Unexpected(what: "an end after \(entries.count) entries")
    }

    /// Every entry above an index and up to the barrier of now.
    func all(after index: UInt64 = 0) async throws -> [LogEntry] {
        let barrier = try await barrier()
        var entries: [LogEntry] = []
        guard barrier > index else { return [] }
        for try await delivery in self.entries(after: index) {
            guard case .entries(let new) = delivery else { throw Unexpected(what: "\(delivery)") }
            entries += new
            if let last = new.last, last.index >= barrier { return entries }
        }
        throw Unexpected(what: "an end after \(entries.count) entries")
    }

    /// The first delivery after an index.
    func delivery(after index: UInt64) async throws -> LogDelivery? {
        for try await delivery in self.entries(after: index) { return delivery }
        return nil
    }
}

/// Entries that a test takes one delivery at a time.
struct Reading {
    private var iterator: any AsyncIteratorProtocol<LogDelivery, any Error>

    init(_ log: EtcdLog, after index: UInt64) { iterator = log.entries(after: index).makeAsyncIterator() }

    mutating func next() async throws -> LogDelivery? { try await iterator.next(isolation: #isolation) }
}

/// A value that tasks share, and whose changes they wait for.
final class Watched<Value: Sendable>: Sendable {
    private struct State {
        var value: Value
        var waiting: [(isDone: @Sendable (Value) -> Bool, waiter: CheckedContinuation<Void, Never>)] = []
    }

    private let state: Mutex<State>

    init(_ value: Value) { state = Mutex(State(value: value)) }

    var value: Value { state.withLock { $0.value } }

    func change(_ body: (inout Value) -> Void) {
        let done = state.withLock { state in
            body(&state.value)
            let done = state.waiting.filter { $0.isDone(state.value) }
            state.waiting.removeAll { $0.isDone(state.value) }
            return done.map(\.waiter)
        }
        for waiter in done { waiter.resume() }
    }

    func wait(until isDone: @escaping @Sendable (Value) -> Bool) async {
        await withCheckedContinuation { waiter in
            let isThere = state.withLock { state in
                let isThere = isDone(state.value)
                if !isThere { state.waiting.append((isDone, waiter)) }
                return isThere
            }
            if isThere { waiter.resume() }
        }
    }
}

/// Something that a test did not wait for.
struct Unexpected: Error {
    var what: String
}

/// The code of the error that `body` throws.
func code(_ body: () async throws -> Void) async -> HoldfastError.Code? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? HoldfastError)?.code
    }
}

extension ProposalID {
    /// A proposal of a session that a number names.
    init(_ session: UInt64, _ sequence: UInt64, part: UInt32 = 0) {
        self.init(session: SessionID(index: 7, nonce: session), sequence: sequence, part: part)
    }
}

/// Bytes that tell whose they are.
func command(_ id: ProposalID, size: Int = 64) -> [UInt8] {
    var bytes = Array("\(id)".utf8)
    while bytes.count < size { bytes.append(UInt8(truncatingIfNeeded: bytes.count)) }
    return bytes
}
#endif
