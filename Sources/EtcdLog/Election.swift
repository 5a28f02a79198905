#if Etcd
internal import RaftApply
internal import ReplayStore

/// What a leadership's token says: at which revision the election's key was created.
struct Election: Sendable {
    let revision: Int64

    init(revision: Int64) { self.revision = revision }

    init(_ leadership: Leadership, _ keys: LogKeys) throws(HoldfastError) {
        guard leadership.token.count == 8 else {
            throw HoldfastError(code: .notLeader, message: "The leadership is not of this log. Nothing was proposed.")
        }
        revision = Int64(bitPattern: leadership.token.reduce(0) { $0 << 8 | UInt64($1) })
    }

    var token: [UInt8] { Self.bytes(UInt64(bitPattern: revision)) }

    /// The number's bytes, the greatest first.
    static func bytes(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) }
    }
}
#endif
