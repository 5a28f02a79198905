#if Etcd
import EtcdLog
import EtcdSupport
import RaftApply
import ReplayStore
import Testing

@Suite("A cluster that asks who comes", .timeLimit(.minutes(5)))
struct SecurityTests {
    @Test("lets in a certificate that its authority signed, and nobody else")
    func certificates() async throws {
        var options = EtcdCluster.Options()
        options.isEncrypted = true
        let cluster = try await EtcdCluster(options)
        let log = try cluster.log()
        let index = try await log.propose([1], as: ProposalID(1, 1))
        #expect(try await log.all() == [LogEntry(index: index, command: [1])])
        let byName = try cluster.log(
            endpoints: cluster.endpoints.map { "https://" + $0.replacing("127.0.0.1", with: "localhost") }
        ) {
            $0.tls?.serverName = nil
        }
        #expect(try await byName.barrier() == index)
        let strangers: [(inout EtcdConfiguration) -> Void] = [
            { $0.tls?.serverName = "other.test" },
            { $0.tls?.serverName = nil },
            { $0.tls?.authorityPath = cluster.certificates?.stranger },
            {
                $0.tls?.certificatePath = nil
                $0.tls?.privateKeyPath = nil
            },
            { $0.tls = nil },
        ]
        for configure in strangers {
            let stranger = try cluster.log {
                configure(&$0)
                $0.attemptTimeout = .milliseconds(500)
                $0.callTimeout = .seconds(1)
            }
            #expect(await code { _ = try await stranger.barrier() } == .logUnavailable)
            #expect(await code { _ = try await stranger.propose([2], as: ProposalID(1, 2)) } != nil)
            await stranger.close()
        }
        #expect(try await log.all().count == 1)
        for log in [log, byName] { await log.close() }
    }

    @Test("knows its user by the password, also after it was started again")
    func password() async throws {
        let cluster = try await EtcdCluster()
        try await cluster.enableAuthentication(password: "right")
        let log = try cluster.log { $0.credentials = .init(user: "root", password: "right") }
        let index = try await log.propose([1], as: ProposalID(1, 1))
        var reading = Reading(log, after: 0)
        #expect(try await reading.next() == .entries([LogEntry(index: index, command: [1])]))
        // The tokens are gone with the process.
        cluster.kill(0)
        try cluster.start(0)
        try await cluster.waitUntilHealthy()
        let second = try await log.propose([2], as: ProposalID(1, 2))
        #expect(try await reading.next() == .entries([LogEntry(index: second, command: [2])]))
        let didLead = Task { try await log.lead(as: "a") { _ in } }
        try await didLead.value
        for credentials in [nil, EtcdConfiguration.Credentials(user: "root", password: "wrong")] {
            let stranger = try cluster.log {
                $0.credentials = credentials
                // A wrong password is tried again: it may be right soon.
                if credentials != nil { $0.callTimeout = .seconds(1) }
            }
            let refused = await code { _ = try await stranger.propose([3], as: ProposalID(1, 3)) }
            #expect(refused == .logUnavailable, "\(String(describing: credentials?.password))")
            #expect(await code { _ = try await stranger.delivery(after: 0) } == .logUnavailable)
            await stranger.close()
        }
        #expect(try await log.all().count == 2)
        await log.close()
    }

    @Test("keeps a user to its prefix: others are told, and nothing of theirs is put")
    func permissions() async throws {
        let cluster = try await EtcdCluster()
        try await cluster.control(["role", "add", "holdfast"])
        try await cluster.control(["role", "grant-permission", "holdfast", "readwrite", "mine/", "--prefix"])
        try await cluster.control(["user", "add", "user:secret"])
        try await cluster.control(["user", "grant-role", "user", "holdfast"])
        try await cluster.enableAuthentication(password: "right")
        let mine = try cluster.log(prefix: "mine/") { $0.credentials = .init(user: "user", password: "secret") }
        let index = try await mine.propose([1], as: ProposalID(1, 1))
        #expect(try await mine.all() == [LogEntry(index: index, command: [1])])
        try await mine.lead(as: "a") { _ in }
        let other = try cluster.log(prefix: "other/") { $0.credentials = .init(user: "user", password: "secret") }
        #expect(await code { _ = try await other.propose([1], as: ProposalID(1, 1)) } == .logUnavailable)
        #expect(await code { _ = try await other.delivery(after: 0) } == .logUnavailable)
        #expect(await code { try await other.report(MemberReport(member: "a", syncedIndex: 1)) } == .logUnavailable)
        // One that may read the head, but not the entries.
        try await cluster.control(["role", "grant-permission", "holdfast", "read", "other/head"])
        #expect(await code { _ = try await other.delivery(after: 0) } == .logUnavailable)
        await mine.close()
        await other.close()
    }

    @Test("by certificates and by password works with both")
    func both() async throws {
        var options = EtcdCluster.Options()
        options.isEncrypted = true
        let cluster = try await EtcdCluster(options)
        try await cluster.enableAuthentication(password: "right")
        let log = try cluster.log { $0.credentials = .init(user: "root", password: "right") }
        let index = try await log.propose([1], as: ProposalID(1, 1))
        #expect(try await log.all() == [LogEntry(index: index, command: [1])])
        await log.close()
    }
}
#endif
