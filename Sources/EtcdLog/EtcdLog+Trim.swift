#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
internal import RaftApply
public import ReplayStore
internal import SwiftProtobuf

extension EtcdLog {
    /// How many keys a transaction deletes at most; etcd reads each to compare it.
    private static let keysAtOnce: Int64 = 128
    /// How long a member may take to defragment.
    private static let defragmentTimeout = Duration.seconds(300)

    /// Lets etcd forget entries up to `index`.
    ///
    /// First it is noted that entries up to there may be gone. Then they are deleted, a page of keys at a time, each page in
    /// transactions that compare that no key in it was put after `index`. At last etcd is told to compact at `index + 1`: not
    /// later, since that is where the watch of somebody begins who has read up to `index`. So what a trim deletes takes its
    /// space until the next trim's compaction; that space is used again, and ``defragment()`` gives it back to the disk.
    ///
    /// It may be called by several members at a time, and again after an error. An index beyond the last entry is taken for
    /// that.
    ///
    /// - Throws: ``HoldfastError``, with `outcomeUnknown`, or `logUnavailable`; also when etcd's space is used up, since the
    ///   note cannot be written then. What earlier trims have deleted is compacted even so, all of it, so that
    ///   ``defragment()`` and the end of the alarm make room for a trim; whoever reads behind that reads the keys.
    public func trim(through index: UInt64) async throws(HoldfastError) {
        let limit = min(index, try await barrier())
        guard limit > 0 else { return }
        let note = Array(LogKeys.digits(limit, 16).utf8)
        do throws(HoldfastError) {
            _ = try await update(keys.trimmed) { current in
                let noted = current.flatMap { UInt64(String(decoding: $0, as: UTF8.self), radix: 16) } ?? 0
                return noted < limit ? note : nil
            }
        } catch {
            if error.code == .logUnavailable { try? await compact(at: UInt64(max(cluster.revisionSeen, 0))) }
            throw error
        }
        do {
            try await delete(through: limit)
            // The note is at a later revision, so this one is there.
            try await compact(at: limit + 1)
        } catch let error as Unanswered {
            throw error.ofWrite
        } catch {
            throw HoldfastError(code: .outcomeUnknown, message: "\(error)")
        }
    }

    private func delete(through index: UInt64) async throws {
        let limit = Int64(clamping: index)
        try await cluster.pages(of: keys.entries, limit: Self.keysAtOnce, keysOnly: true) { page, _ in
            // Keys that stand side by side go at once; those of one session mostly do.
            for run in page.split(whereSeparator: { $0.modRevision > limit }) {
                guard let first = run.first, let last = run.last else { continue }
                let range = KeyRange(start: Key(bytes: Array(first.key)), end: Key(bytes: Array(last.key)).next)
                guard try await !delete(range, limit) else { continue }
                // One was put between them since they were listed.
                for entry in run {
                    let key = Key(bytes: Array(entry.key))
                    _ = try await delete(KeyRange(start: key, end: key.next), limit)
                }
            }
        }
    }

    /// Deletes a range of keys, if none was put after `limit`.
    private func delete(_ range: KeyRange, _ limit: Int64) async throws -> Bool {
        try await cluster.transact(
            .with {
                $0.compare = [
                    .with {
                        $0.result = .less
                        $0.target = .mod
                        $0.key = Data(range.start.bytes)
                        $0.rangeEnd = Data(range.end.bytes)
                        $0.modRevision = limit + 1
                    }
                ]
                $0.success = [
                    .with {
                        $0.requestDeleteRange.key = Data(range.start.bytes)
                        $0.requestDeleteRange.rangeEnd = Data(range.end.bytes)
                    }
                ]
            }
        ).succeeded
    }

    private func compact(at index: UInt64) async throws {
        let request = WireCompactionRequest.with { $0.revision = Int64(clamping: index) }
        do throws(Unanswered) {
            _ = try await cluster.ask { connection, call -> WireCompactionResponse in
                try await connection.call(WireKV.Method.Compact.descriptor, request, call)
            }
        } catch {
            // Somebody has compacted there, or later.
            guard error.last.reason == .compacted else { throw error }
        }
    }

    /// Has each member give the space of what was compacted back to its disk, one after the other.
    ///
    /// A member answers nobody while it does so, for some seconds a GiB. Call it seldom, and never from two places.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`, which names the member; those before it have been done, those behind
    ///   it have not.
    public func defragment() async throws(HoldfastError) {
        for connection in cluster.connections {
            do {
                _ = try await cluster.attempt(connection, Self.defragmentTimeout) { connection, call in
                    try await connection.call(
                        WireMaintenance.Method.Defragment.descriptor,
                        WireDefragmentRequest(),
                        call,
                        of: WireDefragmentResponse.self
                    )
                }
                // The next one begins when this one takes part again: it reads what a majority has.
                let read = WireRangeRequest.with { $0.key = Data(keys.head.bytes) }
                _ = try await cluster.attempt(connection, Self.defragmentTimeout) { connection, call in
                    try await connection.call(
                        WireKV.Method.Range.descriptor,
                        read,
                        call,
                        of: WireRangeResponse.self
                    )
                }
            } catch {
                let reason = (error as? CallFailure)?.message ?? "\(error)"
                throw HoldfastError(
                    code: .logUnavailable,
                    message: "\(connection.endpoint) was not defragmented: \(reason)"
                )
            }
        }
    }
}
#endif
