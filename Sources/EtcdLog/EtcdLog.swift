#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
public import Logging
public import RaftApply
public import ReplayStore

/// A replicated log on an etcd cluster.
///
/// An entry is a key, put in one transaction that also puts the key `head`; its index is the revision of that transaction.
/// So indices rise with gaps: etcd's revision also rises for reports, leases and deletions. There are no terms.
///
/// etcd is trusted: it is not asked to prove that it did what it says. Give the log a user and a prefix of its own where
/// others use the cluster, and ``EtcdConfiguration/tls`` where others can reach the network.
///
/// Nothing is connected before the first call. End a log with ``close()``.
public final class EtcdLog: ReplicatedLog {
    let cluster: Cluster
    let keys: LogKeys

    /// Creates a log; it connects when it is first used.
    ///
    /// - Parameters:
    ///   - configuration: The cluster.
    ///   - logger: Is told when another member is used, and of watches that end.
    /// - Throws: ``HoldfastError`` with `invalidConfiguration`, also for certificates that cannot be read.
    public init(_ configuration: EtcdConfiguration, logger: Logger = Logger(label: "holdfast")) throws(HoldfastError) {
        cluster = try Cluster(configuration, EtcdLogging(logger: logger))
        keys = LogKeys(prefix: configuration.prefix)
    }

    /// Which log this is: the cluster's number, and 16 bytes that were drawn when the log began.
    ///
    /// The number alone would not do: etcd derives it from the members' addresses, so a cluster that is made anew at the
    /// same place has it again. The first call of all members draws the bytes and writes them.
    ///
    /// `lastIndex` is the last entry's: etcd's revision would not do, since it rises with each report, also in a cluster that
    /// was restored from an older state.
    public func identity() async throws(HoldfastError) -> LogIdentity {
        let drawn = SessionID(index: .random(in: 0...(.max)), nonce: .random(in: 0...(.max))).description
        let kept = try await update(keys.logID, isWrite: false) { current in current == nil ? Array(drawn.utf8) : nil }
        // Somebody else's value, of whatever length, is as good as one that was drawn here.
        let id = SessionID(String(decoding: kept.value, as: UTF8.self))
        let bytes = id.map { Election.bytes($0.index) + Election.bytes($0.nonce) } ?? Array(kept.value.prefix(56))
        return LogIdentity(
            cluster: Election.bytes(kept.header.clusterID) + bytes,
            lastIndex: try await barrier()
        )
    }

    /// The index up to which somebody who applies sees everything that was proposed before this call.
    ///
    /// One read, for which the member asks a majority whether it is up to date.
    public func barrier() async throws(HoldfastError) -> UInt64 {
        do throws(Unanswered) {
            let reply = try await cluster.get(keys.head, keysOnly: true)
            return reply.kvs.first.map { UInt64(max($0.modRevision, 0)) } ?? 0
        } catch {
            throw error.ofRead
        }
    }

    /// Ends every connection.
    ///
    /// Calls that wait end with `logUnavailable` or `outcomeUnknown`, and so do the entries.
    public func close() async { await cluster.close() }
}
#endif
