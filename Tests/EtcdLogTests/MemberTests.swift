#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
import Testing

@Suite("What members tell one another through etcd", .timeLimit(.minutes(5)))
struct MemberTests {
    private func manifest(_ index: UInt64, member: String = "a") -> SnapshotManifest {
        SnapshotManifest(
            cluster: "00",
            index: index,
            term: 0,
            digest: "d\(index)",
            bytes: index * 10,
            checksum: "c",
            member: member,
            location: "file:\(index)"
        )
    }

    @Test("are their last reports, until a member is forgotten")
    func reports() async throws {
        let cluster = try await EtcdCluster()
        let (log, other) = (try cluster.log(), try cluster.log())
        #expect(try await log.members().isEmpty)
        let a = MemberReport(member: "a", syncedIndex: 5, digestIndex: 4, digest: "ab", at: -7)
        let b = MemberReport(member: "b-2.example_3", syncedIndex: .max, digest: "\"\u{e9}\"", missingSnapshot: 0)
        try await log.report(MemberReport(member: "a", syncedIndex: 1))
        try await log.report(a)
        try await other.report(b)
        #expect(try await other.members() == [a, b])
        try await log.forget(member: "a")
        try await log.forget(member: "a")
        #expect(try await other.members() == [b])
        for name in ["", "a/b", "\u{e9}", String(repeating: "a", count: 64)] {
            #expect(
                await code { try await log.report(MemberReport(member: name, syncedIndex: 1)) } == .invalidConfiguration
            )
            #expect(await code { try await log.forget(member: name) } == .invalidConfiguration)
        }
        // Whoever cannot read how far a member is must not think that there is none.
        try await cluster.control(["put", "holdfast/member/c", "{}"])
        #expect(await code { _ = try await log.members() } == .damaged)
        await log.close()
        await other.close()
    }

    @Test("is the newest snapshot, which no older one replaces", arguments: [1 as UInt64, 2, 3])
    func snapshots(seed: UInt64) async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        #expect(try await log.newestSnapshot() == nil)
        var generator = SplitMix64(seed: seed)
        let indices = (1...40 as ClosedRange<UInt64>).shuffled(using: &generator)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in indices {
                group.addTask {
                    try await log.publish(manifest(index))
                    let newest = try await log.newestSnapshot()
                    #expect((newest?.index ?? 0) >= index, "seed \(seed)")
                }
            }
            try await group.waitForAll()
        }
        try await log.publish(manifest(40, member: "later, with the same index"))
        #expect(try await log.newestSnapshot() == manifest(40))
        await log.close()
    }

    @Test("is which log it is: the same for all, and another one after the cluster was made anew")
    func identity() async throws {
        let cluster = try await EtcdCluster()
        let logs = try (0..<4).map { _ in try cluster.log() }
        let identities = try await withThrowingTaskGroup(of: LogIdentity.self) { group in
            for log in logs { group.addTask { try await log.identity() } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(identities.map(\.cluster)).count == 1)
        #expect(identities[0].cluster.count == 24)
        let index = try await logs[0].propose([1], as: ProposalID(1, 1))
        #expect(try await logs[1].identity().lastIndex >= index)
        try await cluster.makeAnew()
        // etcd's own number is the same again: same names, same addresses.
        let after = try await logs[0].identity()
        #expect(after.cluster != identities[0].cluster)
        #expect(after.cluster.prefix(8) == identities[0].cluster.prefix(8))
        for log in logs { await log.close() }
    }

    @Test("is that the log went back, where it ends before what was applied")
    func wentBack() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let first = try await log.propose([1], as: ProposalID(1, 1))
        #expect(await code { _ = try await log.delivery(after: first + 1000) } == .logWentBack)
        #expect(await code { _ = try await log.delivery(after: .max) } == .logWentBack)
        // Also for a reader that is there when it happens.
        cluster.stop(0)
        try cluster.saveData()
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        var last: UInt64 = 0
        for sequence in 2...9 {
            last = try await log.propose([2], as: ProposalID(1, UInt64(sequence)))
        }
        var reading = Reading(log, after: first)
        var read: UInt64 = 0
        while read < last {
            guard case .entries(let entries) = try await reading.next() else { break }
            read = entries.last?.index ?? read
        }
        cluster.kill(0)
        try cluster.restoreData()
        try cluster.start(0)
        await #expect(throws: HoldfastError.self) { while try await reading.next() != nil {} }
        #expect(await code { _ = try await reading.next() } == .logWentBack)
        await log.close()
    }

    @Test("is that the log went back, for a reader that is there, however long it has become since")
    func wentBackAndOn() async throws {
        let cluster = try await EtcdCluster()
        let (log, other) = (try cluster.log(), try cluster.log())
        _ = try await log.propose([1], as: ProposalID(1, 1))
        cluster.stop(0)
        try cluster.saveData()
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        let last = try await log.propose([2], as: ProposalID(1, 2))
        var reading = Reading(log, after: 0)
        var read: UInt64 = 0
        while read < last {
            guard case .entries(let entries) = try await reading.next() else { break }
            read = entries.last?.index ?? read
        }
        cluster.stop(0)
        try cluster.restoreData()
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        for sequence in 3...9 { _ = try await other.propose([3], as: ProposalID(2, UInt64(sequence))) }
        #expect(try await other.barrier() > last)
        await #expect(throws: HoldfastError.self) { while try await reading.next() != nil {} }
        #expect(await code { _ = try await reading.next() } == .logWentBack)
        await log.close()
        await other.close()
    }
}
#endif
