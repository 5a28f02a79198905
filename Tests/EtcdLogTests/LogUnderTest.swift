#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
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
                privateKeyPath: certificates.key
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
        for try await delivery in entries_(after: index) {
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
        for try await delivery in entries_(after: index) {
            guard case .entries(let new) = delivery else { throw Unexpected(what: "\(delivery)") }
            entries += new
            if let last = new.last, last.index >= barrier { return entries }
        }
        throw Unexpected(what: "an end after \(entries.count) entries")
    }

    private func entries_(after index: UInt64) -> any AsyncSequence<LogDelivery, any Error> { entries(after: index) }

    /// The first delivery after an index.
    func delivery(after index: UInt64) async throws -> LogDelivery? {
        for try await delivery in entries_(after: index) { return delivery }
        return nil
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
        self.init(session: SessionID(high: 7, low: session), sequence: sequence, part: part)
    }
}

/// Bytes that tell whose they are.
func command(_ id: ProposalID, size: Int = 64) -> [UInt8] {
    var bytes = Array("\(id)".utf8)
    while bytes.count < size { bytes.append(UInt8(truncatingIfNeeded: bytes.count)) }
    return bytes
}
#endif
