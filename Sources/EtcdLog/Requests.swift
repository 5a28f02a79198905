#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
internal import SwiftProtobuf

extension Cluster {
    /// A linearizable read of one key.
    func get(
        _ key: Key,
        keysOnly: Bool = false,
        isUrgent: Bool = false
    ) async throws(Unanswered) -> WireRangeResponse {
        let request = WireRangeRequest.with {
            $0.key = Data(key.bytes)
            $0.keysOnly = keysOnly
        }
        return try await range(request, isUrgent: isUrgent)
    }

    /// A linearizable read of a range.
    func range(_ request: WireRangeRequest, isUrgent: Bool = false) async throws(Unanswered) -> WireRangeResponse {
        let reply = try await ask(isUrgent: isUrgent) { connection, call -> WireRangeResponse in
            try await connection.call(WireKV.Method.Range.descriptor, request, call)
        }
        saw(reply.header)
        return reply
    }

    /// Every key of a range, a page at a time, as they are while it goes on: linearizable each, not of one moment.
    func pages(
        of keys: KeyRange,
        limit: Int64,
        keysOnly: Bool,
        _ body: ([WireKeyValue], WireResponseHeader) async throws -> Void
    ) async throws {
        var start = keys.start
        while true {
            let page = try await range(
                .with {
                    $0.key = Data(start.bytes)
                    $0.rangeEnd = Data(keys.end.bytes)
                    $0.limit = limit
                    $0.keysOnly = keysOnly
                }
            )
            try await body(page.kvs, page.header)
            guard page.more, let last = page.kvs.last else { return }
            start = Key(bytes: Array(last.key)).next
        }
    }

    /// A transaction.
    func transact(_ request: WireTxnRequest, isUrgent: Bool = false) async throws(Unanswered) -> WireTxnResponse {
        let reply = try await ask(isUrgent: isUrgent) { connection, call -> WireTxnResponse in
            try await connection.call(WireKV.Method.Txn.descriptor, request, call)
        }
        saw(reply.header)
        return reply
    }
}

extension WireCompare {
    /// That a key was created at a revision; 0 where it must not be there.
    static func created(_ key: Key, at revision: Int64) -> Self {
        .with {
            $0.result = .equal
            $0.target = .create
            $0.key = Data(key.bytes)
            $0.createRevision = revision
        }
    }

    /// That a key was put last at a revision; 0 where it must not be there.
    static func modified(_ key: Key, at revision: Int64) -> Self {
        .with {
            $0.result = .equal
            $0.target = .mod
            $0.key = Data(key.bytes)
            $0.modRevision = revision
        }
    }
}

extension WireRequestOp {
    static func put(_ key: Key, _ value: [UInt8], lease: Int64 = 0) -> Self {
        .with {
            $0.requestPut.key = Data(key.bytes)
            $0.requestPut.value = Data(value)
            $0.requestPut.lease = lease
        }
    }

    static func get(_ key: Key, keysOnly: Bool = false) -> Self {
        .with {
            $0.requestRange.key = Data(key.bytes)
            $0.requestRange.keysOnly = keysOnly
        }
    }

    static func delete(_ key: Key) -> Self { .with { $0.requestDeleteRange.key = Data(key.bytes) } }
}
#endif
