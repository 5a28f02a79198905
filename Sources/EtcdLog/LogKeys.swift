#if Etcd
internal import RaftApply

/// The keys of a log, all below its prefix.
///
/// `log/<session>/<sequence>/<part>` is an entry, with fixed numbers of hexadecimal digits; `head` is put with each; `trimmed`
/// says up to where entries may be gone; `log-id` was drawn when the log began. `member/<name>`, `snapshot` and `leader` are
/// what their names say.
struct LogKeys: Sendable {
    private let prefix: String

    init(prefix: String) { self.prefix = prefix }

    /// Put with each entry: its `mod_revision` is the last entry's index.
    var head: Key { key("head") }
    /// The greatest index whose entries may have been deleted.
    var trimmed: Key { key("trimmed") }
    /// Tells this log from one that was made anew under the same names.
    var logID: Key { key("log-id") }
    /// The newest snapshot's manifest.
    var snapshot: Key { key("snapshot") }
    /// Who leads; it goes with its lease.
    var leader: Key { key("leader") }
    /// Where every entry is.
    var entries: KeyRange { range("log/") }
    /// Where every report is.
    var members: KeyRange { range("member/") }

    func entry(_ id: ProposalID) -> Key {
        key("log/\(id.session)/\(Self.digits(id.sequence, 16))/\(Self.digits(UInt64(id.part), 8))")
    }

    func member(_ name: String) -> Key { key("member/\(name)") }

    private func key(_ name: String) -> Key { Key(bytes: Array("\(prefix)\(name)".utf8)) }

    /// Everything that begins with `name`, which ends in a slash; the end is the byte after it.
    private func range(_ name: String) -> KeyRange {
        let start = key(name)
        return KeyRange(start: start, end: Key(bytes: start.bytes.dropLast() + [UInt8(ascii: "/") + 1]))
    }

    static func digits(_ value: UInt64, _ count: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
}

/// A key of etcd's.
struct Key: Sendable, Hashable, CustomStringConvertible {
    let bytes: [UInt8]

    /// The first key behind this one.
    var next: Key { Key(bytes: bytes + [0]) }
    var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// The keys from `start` up to but not including `end`.
struct KeyRange: Sendable, Hashable {
    var start: Key
    var end: Key
}
#endif
