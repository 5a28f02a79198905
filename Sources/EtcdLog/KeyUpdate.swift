#if Etcd
internal import EtcdProtocol
internal import ReplayStore
internal import SwiftProtobuf

/// What a key holds after an update, and what the last answer said of the cluster.
struct KeptValue: Sendable {
    let value: [UInt8]
    let header: WireResponseHeader
}

extension EtcdLog {
    /// How often others may change a key between a read and the write that follows.
    private static let roundsMax = 64

    /// Changes a key as what it holds says: read, then a transaction that compares that nobody has put it since.
    ///
    /// So a request that a member has held back for a while changes nothing when it gets through at last.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - isWrite: Whether the caller tells `outcomeUnknown` from `logUnavailable`.
    ///   - change: The new value; nil to leave what there is.
    /// - Returns: What it holds then.
    /// - Throws: ``HoldfastError``, with `logUnavailable`, or `outcomeUnknown` for a write; what `change` throws.
    func update(
        _ key: Key,
        isWrite: Bool = true,
        _ change: ([UInt8]?) throws(HoldfastError) -> [UInt8]?
    ) async throws(HoldfastError) -> KeptValue {
        for _ in 0..<Self.roundsMax {
            let read: WireRangeResponse
            do throws(Unanswered) { read = try await cluster.get(key) } catch { throw error.ofRead }
            let current = read.kvs.first
            guard let value = try change(current.map { Array($0.value) }) else {
                return KeptValue(value: current.map { Array($0.value) } ?? [], header: read.header)
            }
            let request = WireTxnRequest.with {
                $0.compare = [.modified(key, at: current?.modRevision ?? 0)]
                $0.success = [.put(key, value)]
            }
            do throws(Unanswered) {
                let reply = try await cluster.transact(request)
                if reply.succeeded { return KeptValue(value: value, header: reply.header) }
            } catch {
                guard error.last.reason == .noSpace, !error.mayHaveLandedBefore else {
                    throw isWrite ? error.ofWrite : error.ofRead
                }
                // Also the transaction that takes the last of the space is said to have failed.
                let after: WireRangeResponse
                do throws(Unanswered) { after = try await cluster.get(key) } catch { throw error.ofRead }
                guard let kept = after.kvs.first, Array(kept.value) == value else { throw error.last.unavailable }
                return KeptValue(value: value, header: after.header)
            }
        }
        throw HoldfastError(
            code: .logUnavailable,
            message: "Others have changed '\(key)' \(Self.roundsMax) times while it was to be changed. Try again."
        )
    }

    /// The greatest index whose entries may have been deleted; 0 before the first trim.
    func trimmedIndex() async throws(Unanswered) -> UInt64 {
        guard let kept = try await cluster.get(keys.trimmed).kvs.first else { return 0 }
        // Who cannot read it must think that anything may be gone.
        return UInt64(String(decoding: kept.value, as: UTF8.self), radix: 16) ?? .max
    }
}
#endif
