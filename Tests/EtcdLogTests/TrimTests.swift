#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
import Testing

@Suite("A log that is trimmed", .timeLimit(.minutes(10)))
struct TrimTests {
    private func propose(_ count: Int, _ log: EtcdLog, session: UInt64 = 1, size: Int = 64) async throws -> [UInt64] {
        var indices: [UInt64] = []
        for sequence in 1...count {
            let id = ProposalID(session, UInt64(sequence))
            indices.append(try await log.propose(command(id, size: size), as: id))
        }
        return indices
    }

    @Test("says so to whoever asks for what has gone, and gives the rest to whoever does not")
    func compacted() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let indices = try await propose(300, log)
        try await log.trim(through: indices[199])
        #expect(try await log.delivery(after: 0) == .compacted(through: indices[199]))
        #expect(try await log.delivery(after: indices[100]) == .compacted(through: indices[199]))
        #expect(try await log.all(after: indices[199]).map(\.index) == Array(indices[200...]))
        #expect(try await log.barrier() == indices[299])
        // Again, less far, and farther than there is anything.
        try await log.trim(through: indices[199])
        try await log.trim(through: indices[5])
        #expect(try await log.delivery(after: indices[198]) == .compacted(through: indices[199]))
        try await log.trim(through: .max)
        #expect(try await log.delivery(after: indices[298]) == .compacted(through: indices[299]))
        let next = try await log.propose([9], as: ProposalID(2, 1))
        #expect(try await log.all(after: indices[299]) == [LogEntry(index: next, command: [9])])
        await log.close()
    }

    @Test("has a proposal again that comes again, at a new index")
    func retryAfterTrim() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let indices = try await propose(3, log)
        try await log.trim(through: indices[1])
        let again = try await log.propose(command(ProposalID(1, 1)), as: ProposalID(1, 1))
        #expect(again > indices[2])
        #expect(try await log.propose(command(ProposalID(1, 3)), as: ProposalID(1, 3)) == indices[2])
        #expect(try await log.all(after: indices[1]).map(\.index) == [indices[2], again])
        // The one that came again stays when what was before it goes.
        try await log.trim(through: indices[2])
        #expect(try await log.all(after: indices[2]).map(\.index) == [again])
        await log.close()
    }

    @Test("keeps what is newer between what goes")
    func sessionsInterleaved() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        var indices: [UInt64] = []
        // By key: 1, 2, ..., by index: the even ones first.
        for sequence in Array(stride(from: 2, through: 40, by: 2)) + Array(stride(from: 1, through: 39, by: 2)) {
            let id = ProposalID(1, UInt64(sequence))
            indices.append(try await log.propose(command(id), as: id))
        }
        try await log.trim(through: indices[19])
        // Read from the keys, since everything is compacted.
        try await cluster.control(["compact", "\(log.barrier())"])
        #expect(try await log.all(after: indices[19]).map(\.index) == Array(indices[20...]))
        await log.close()
    }

    @Test("by nobody, but compacted by etcd itself, still gives every entry, and goes on")
    func compactedByOthers() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let indices = try await propose(300, log)
        try await cluster.control(["compact", "\(indices[250])"])
        #expect(try await log.all().map(\.index) == indices)
        #expect(try await log.all(after: indices[100]).map(\.index) == Array(indices[101...]))
        // A reader that is there meanwhile, and what comes after.
        var reading = Reading(log, after: indices[299])
        let first = try await log.propose([1], as: ProposalID(2, 1))
        #expect(try await reading.next() == .entries([LogEntry(index: first, command: [1])]))
        try await cluster.control(["compact", "\(first)"])
        let second = try await log.propose([2], as: ProposalID(2, 2))
        #expect(try await reading.next() == .entries([LogEntry(index: second, command: [2])]))
        await log.close()
    }

    @Test("of five times the quota never raises the alarm")
    func fiveTimesTheQuota() async throws {
        var options = EtcdCluster.Options()
        options.quotaBytes = 24 << 20
        let cluster = try await EtcdCluster(options)
        let log = try cluster.log()
        var last: UInt64 = 0
        for round in 1...40 {
            let indices = try await propose(48, log, session: UInt64(round), size: 64 << 10)
            // One round behind, as a member that has still to sync.
            if last > 0 { try await log.trim(through: last) }
            last = indices[47]
        }
        #expect(try await !cluster.control(["alarm", "list"]).contains("NOSPACE"))
        try await log.trim(through: last)
        try await log.defragment()
        #expect(try await log.barrier() == last)
        await log.close()
    }

    @Test("too late has no space: it says so, nothing that was told is lost, and it goes on when there is space again")
    func noSpace() async throws {
        var options = EtcdCluster.Options()
        options.quotaBytes = 16 << 20
        let cluster = try await EtcdCluster(options)
        let log = try cluster.log()
        let early = try await propose(48, log, session: 9, size: 64 << 10)
        try await log.trim(through: early[47])
        var told: [UInt64: [UInt8]] = [:]
        var refused: [[UInt8]] = []
        for sequence in 1...400 where refused.count < 3 {
            let id = ProposalID(1, UInt64(sequence))
            do {
                told[try await log.propose(command(id, size: 64 << 10), as: id)] = command(id, size: 64 << 10)
            } catch {
                #expect(error.code == .logUnavailable)
                #expect(error.message.contains("NOSPACE"))
                #expect(error.message.contains("alarm disarm"))
                refused.append(command(id, size: 64 << 10))
            }
        }
        #expect(refused.count == 3)
        let entries = try await log.all(after: early[47])
        #expect(Dictionary(uniqueKeysWithValues: entries.map { ($0.index, $0.command) }) == told)
        // A report is no different, and what is read is read.
        let report = await code { try await log.report(MemberReport(member: "a", syncedIndex: 1)) }
        #expect(report == .logUnavailable)
        #expect(try await log.members().isEmpty)
        // A trim cannot be noted, so nothing that may be missed is deleted; but what was deleted makes room.
        #expect(await code { try await log.trim(through: .max) } == .logUnavailable)
        #expect(try await log.all(after: early[47]) == entries)
        #expect(try await log.delivery(after: 0) == .compacted(through: early[47]))
        try await log.defragment()
        try await cluster.control(["alarm", "disarm"])
        try await log.trim(through: .max)
        try await log.report(MemberReport(member: "a", syncedIndex: 1))
        let index = try await log.propose([1], as: ProposalID(2, 1))
        #expect(try await log.all(after: told.keys.max() ?? 0) == [LogEntry(index: index, command: [1])])
        await log.close()
    }
}
#endif
