#if Etcd
internal import EtcdProtocol
internal import FoundationEssentials
public import RaftApply
public import ReplayStore
internal import SwiftProtobuf

extension EtcdLog {
    /// Tells the others about this member.
    ///
    /// A read and a transaction. An earlier report that a member of etcd has held back does not come after it.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`; `invalidConfiguration` for a name that is none.
    public func report(_ member: MemberReport) async throws(HoldfastError) {
        let value = try Self.encode(member, "report")
        _ = try await update(keys.member(try Self.checked(member.member))) { _ in value }
    }

    /// What the members have last told, by name.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`; `damaged` where something else wrote a report: who does not know how
    ///   far a member is must not trim.
    public func members() async throws(HoldfastError) -> [MemberReport] {
        var rows: [WireKeyValue] = []
        do {
            try await cluster.pages(of: keys.members, limit: 256, keysOnly: false) { page, _ in rows += page }
        } catch let error as Unanswered {
            throw error.ofRead
        } catch {
            throw HoldfastError(code: .logUnavailable, message: "\(error)")
        }
        var reports: [MemberReport] = []
        for row in rows { reports.append(try Self.decode(MemberReport.self, Array(row.value), row.key)) }
        return reports
    }

    /// Forgets a member that does not come back.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`; `invalidConfiguration` for a name that is none.
    public func forget(member: String) async throws(HoldfastError) {
        let key = keys.member(try Self.checked(member))
        do throws(Unanswered) {
            _ = try await cluster.ask { connection, call -> WireDeleteRangeResponse in
                let request = WireDeleteRangeRequest.with { $0.key = Data(key.bytes) }
                return try await connection.call(WireKV.Method.DeleteRange.descriptor, request, call)
            }
        } catch {
            throw error.ofWrite
        }
    }

    /// Tells where the newest snapshot is; one that is not newer than what is known changes nothing.
    ///
    /// - Throws: ``HoldfastError``, with `logUnavailable` or `outcomeUnknown`; `damaged` where something else wrote a manifest.
    public func publish(_ snapshot: SnapshotManifest) async throws(HoldfastError) {
        let key = keys.snapshot
        let value = try Self.encode(snapshot, "manifest")
        _ = try await update(key) { (current: [UInt8]?) throws(HoldfastError) in
            guard let current else { return value }
            let known = try Self.decode(SnapshotManifest.self, current, Data(key.bytes))
            return known.index < snapshot.index ? value : nil
        }
    }

    /// The newest snapshot that was published; nil when there is none.
    ///
    /// - Throws: ``HoldfastError`` with `logUnavailable`; `damaged` where something else wrote a manifest.
    public func newestSnapshot() async throws(HoldfastError) -> SnapshotManifest? {
        let reply: WireRangeResponse
        do throws(Unanswered) { reply = try await cluster.get(keys.snapshot) } catch { throw error.ofRead }
        guard let row = reply.kvs.first else { return nil }
        return try Self.decode(SnapshotManifest.self, Array(row.value), row.key)
    }

    static func checked(_ name: String) throws(HoldfastError) -> String {
        let isName =
            (1...63).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
        guard isName else {
            throw .configuration("member", "A member's name is 1 to 63 of A-Z a-z 0-9 . _ -; this is none: '\(name)'.")
        }
        return name
    }

    private static func encode(_ row: some Encodable, _ what: String) throws(HoldfastError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        do {
            return Array(try encoder.encode(row))
        } catch {
            throw HoldfastError(code: .damaged, message: "The \(what) cannot be written as JSON: \(error)")
        }
    }

    private static func decode<Row: Decodable>(_: Row.Type, _ bytes: [UInt8], _ key: Data) throws(HoldfastError) -> Row
    {
        do {
            return try JSONDecoder().decode(Row.self, from: Data(bytes))
        } catch {
            throw HoldfastError(
                code: .damaged,
                message:
                    "etcd's key '\(String(decoding: key, as: UTF8.self))' holds something else than this log writes there. "
                    + "Look who has the same prefix; delete the key if it is nobody's."
            )
        }
    }
}
#endif
