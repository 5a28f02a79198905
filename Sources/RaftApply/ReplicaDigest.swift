internal import Bytes
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

/// What replicas compare: the digest of the store's meaning, the applied index, the log's time and the sessions.
struct ReplicaDigest: Sendable {
    var position: AppliedPosition
    var digest: Hash128

    var text: String { Self.text(digest) }

    static func text(_ digest: Hash128) -> String {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: digest.high)
        bytes.append(bigEndian: digest.low)
        return bytes.hex
    }

    /// The digest of a store as of its last commit.
    static func read(_ store: ReplayStore) async throws(HoldfastError) -> ReplicaDigest {
        try await store.read { (view) throws(HoldfastError) in try ReplicaDigest(view) }
    }

    init(_ view: borrowing StoreView) throws(HoldfastError) {
        var applied = RaftRows.Applied()
        if let fields = try view.row(RaftRows.appliedKey, in: .raft) {
            applied = try format("The applied index") { () throws(FormatError) in
                try RaftRows.Applied(decoding: fields.span)
            }
        }
        let store = try StoreDigest(view).whole
        var bytes: [UInt8] = []
        for hash in [store, applied.sum] {
            bytes.append(bigEndian: hash.high)
            bytes.append(bigEndian: hash.low)
        }
        bytes.append(bigEndian: applied.index)
        bytes.append(bigEndian: applied.time.milliseconds)
        bytes.append(bigEndian: applied.version)
        position = AppliedPosition(index: applied.index, term: applied.term)
        digest = XXH3.hash128(bytes.span)
    }

    /// Proves that the sum over the sessions is that of their rows.
    static func checkSum(_ view: borrowing StoreView) throws(HoldfastError) {
        var (sum, applied) = (Hash128.zero, RaftRows.Applied())
        try view.scan(.raft) { (key, value) throws(HoldfastError) in
            let (subject, fields) = try format("A row of 'raft'") { () throws(FormatError) in
                (try RaftRows.subject(key), try Row.open(value, key: key, in: .raft))
            }
            switch subject {
            case .applied:
                applied = try format("The applied index") { () throws(FormatError) in
                    try RaftRows.Applied(decoding: fields.span)
                }
            case .digest: break
            default: sum = sum &+ SessionTable.hash(key, fields)
            }
            return true
        }
        guard sum == applied.sum else {
            throw HoldfastError(
                code: .damaged,
                message: "The sessions of the replica's clients are not those that its applied index stands for."
            )
        }
    }

    /// The digests that were stored, by the index of the entry that stored them.
    static func stored(_ view: borrowing StoreView) throws(HoldfastError) -> [UInt64: String] {
        var digests: [UInt64: String] = [:]
        try view.scan(.raft) { (key, value) throws(HoldfastError) in
            let (subject, fields) = try format("A row of 'raft'") { () throws(FormatError) in
                (try RaftRows.subject(key), try Row.open(value, key: key, in: .raft))
            }
            if case .digest(let index) = subject { digests[index] = fields.hex }
            return true
        }
        return digests
    }
}
