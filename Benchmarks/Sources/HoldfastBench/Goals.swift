/// What Holdfast is to reach against a peer, as the ratio of its figure to the peer's; nil where nothing was set.
struct Goal: Sendable {
    var raw: Double?
    var zstd: Double?

    /// The goals of one kind of work.
    ///
    /// `against`: The peer's name, or ``ownEmpty`` and ``payload``.
    static func of(_ work: Work, against peer: String) -> Goal? {
        goals.first { work.name.hasPrefix($0.work) && (peer == $0.peer || peer == $0.peer + "-plain") }?.goal
    }

    /// Holdfast's own figure with nothing pending.
    static let ownEmpty = "itself, empty"
    /// The bytes of keys and values.
    static let payload = "payload"

    private static func row(
        _ work: String,
        _ peer: String,
        _ raw: Double?,
        _ zstd: Double?
    ) -> (work: String, peer: String, goal: Goal) {
        (work, peer, Goal(raw: raw, zstd: zstd))
    }

    private static let goals = [
        row("append-1-128-json", "lmdb-blocks", 0.95, nil),
        row("append-1-128-json", "lmdb-blocks-zstd", nil, 0.95),
        row("append-1-128-json", "sqlite", 0.65, 0.65),
        row("append-256-128-json", "lmdb-blocks", 0.95, nil),
        row("append-256-128-json", "lmdb-blocks-zstd", nil, 0.95),
        row("append-256-128-json", "sqlite", 2.0, 1.8),
        row("append-256-128-json", "rocksdb", 2.0, 1.8),
        row("append-256-128-json", "leveldb", 1.15, 1.0),
        row("append-4096-128-json", "sqlite", 7, 3.3),
        row("append-4096-128-json", "rocksdb", 7, 3.3),
        row("append-4096-128-json", "raw-file", 0.7, 0.35),
        row("append-256-1024-json", "sqlite", 9, 6),
        row("append-256-1024-json", "rocksdb", 2, 1.4),
        row("callers-64-", "lmdb-blocks", 1.0, nil),
        row("callers-64-", "lmdb-blocks-zstd", nil, 0.95),
        row("callers-256-", "lmdb-blocks", 1.0, nil),
        row("callers-256-", "lmdb-blocks-zstd", nil, 0.95),
        row("callers-1024-", "lmdb-blocks", 0.8, nil),
        row("callers-1024-", "lmdb-blocks-zstd", nil, 0.8),
        row("drain-128-json", "lmdb-blocks", 0.95, nil),
        row("drain-128-json", "lmdb-blocks-zstd", nil, 0.95),
        row("drain-128-json", "sqlite", 8, 5),
        row("drain-1024-json", "lmdb-blocks", 0.95, nil),
        row("drain-1024-json", "lmdb-blocks-zstd", nil, 0.95),
        row("drain-1024-json", "sqlite", 8, 5),
        row("replay-128-json", "lmdb-blocks", 0.9, nil),
        row("replay-128-json", "lmdb-blocks-zstd", nil, 0.9),
        row("replay-128-json", "sqlite", 2, 1.8),
        row("replay-128-json", "rocksdb", 3, 2.5),
        row("acknowledge-", "sqlite", 10, 10),
        row("disk-128-json", payload, 1.3, 0.5),
        // At most twice the time.
        row("open-", ownEmpty, 0.5, 0.5),
    ]
}
