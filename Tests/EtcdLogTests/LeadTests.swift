#if Etcd
import EtcdLog
import EtcdSupport
import RaftApply
import ReplayStore
import Testing

/// Waits in a body until its task is cancelled.
private func waitForCancellation() async throws {
    while true { try await Task.sleep(for: .seconds(3600)) }
}

@Suite("A leadership", .timeLimit(.minutes(5)))
struct LeadTests {
    @Test("is one member's at a time, and the next one's when it ends")
    func one() async throws {
        let cluster = try await EtcdCluster(.init(members: 3))
        let holders = Watched<(now: Int, most: Int, all: [String])>((0, 0, []))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in ["a", "b", "c"] {
                let log = try cluster.log()
                group.addTask {
                    for round in 1...3 {
                        try await log.lead(as: name) { leadership in
                            holders.change {
                                $0.now += 1
                                $0.most = max($0.most, $0.now)
                                $0.all.append(name)
                            }
                            #expect(leadership.member == name)
                            let id = ProposalID(UInt64(name.utf8.first ?? 0), UInt64(round))
                            _ = try await log.propose(command(id), as: id, while: leadership)
                            holders.change { $0.now -= 1 }
                        }
                    }
                    await log.close()
                }
            }
            try await group.waitForAll()
        }
        let (_, most, all) = holders.value
        #expect(most == 1)
        #expect(all.sorted() == ["a", "a", "a", "b", "b", "b", "c", "c", "c"])
    }

    @Test("whose lease is revoked ends its body, and its proposals are not put", arguments: [false, true])
    func revoked(isKeyDeleted: Bool) async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let held = Watched<Leadership?>(nil)
        try await log.lead(as: "a") { leadership in
            held.change { $0 = leadership }
            _ = try await log.propose([1], as: ProposalID(1, 1), while: leadership)
            if isKeyDeleted {
                try await cluster.control(["del", "holdfast/leader"])
            } else {
                let lease = try await cluster.control(["lease", "list"]).split(separator: "\n").last.map(String.init)
                try await cluster.control(["lease", "revoke", lease ?? "none"])
            }
            let refused = await code {
                _ = try await log.propose([2], as: ProposalID(1, 2), while: leadership)
            }
            // Its task may have been cancelled already.
            #expect(refused != nil)
            try await waitForCancellation()
        }
        let old = try #require(held.value)
        #expect(await code { _ = try await log.propose([2], as: ProposalID(1, 2), while: old) } == .notLeader)
        // What was put under it is there, also when it is asked again.
        let index = try await log.barrier()
        #expect(try await log.propose([1], as: ProposalID(1, 1), while: old) == index)
        // Also while the same member leads again.
        try await log.lead(as: "a") { new in
            #expect(new != old)
            #expect(await code { _ = try await log.propose([2], as: ProposalID(1, 2), while: old) } == .notLeader)
            let next = try await log.propose([2], as: ProposalID(1, 2), while: new)
            #expect(next > index)
        }
        #expect(try await log.all().map(\.command) == [[1], [2]])
        await log.close()
    }

    @Test("without an answer for the length of its lease ends its body; the next leads when etcd is back")
    func unreachable() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log {
            $0.leaseSeconds = 2
            $0.attemptTimeout = .seconds(1)
            $0.callTimeout = .seconds(10)
        }
        try await log.lead(as: "a") { _ in
            cluster.pause(0)
            try await waitForCancellation()
        }
        cluster.resume(0)
        try await cluster.waitUntilHealthy()
        let other = try cluster.log { $0.leaseSeconds = 2 }
        let didLead = Watched(false)
        try await other.lead(as: "b") { _ in didLead.change { $0 = true } }
        #expect(didLead.value)
        await log.close()
        await other.close()
    }

    @Test("gives what its body throws, ends with its task, and has no names that are none")
    func ends() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        await #expect(throws: Unexpected.self) { try await log.lead(as: "a") { _ in throw Unexpected(what: "this") } }
        let (started, continuation) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            try await log.lead(as: "a") { _ in
                continuation.finish()
                try await waitForCancellation()
            }
        }
        for await _ in started {}
        // Another one waits, and gives up.
        let waiting = Task { try await log.lead(as: "b") { _ in Issue.record("two lead") } }
        waiting.cancel()
        await #expect(throws: (any Error).self) { try await waiting.value }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        // The lease was given back: nobody waits for its end.
        #expect(try await cluster.control(["lease", "list"]).contains("found 0 leases"))
        #expect(await code { try await log.lead(as: "a/b") { _ in } } == .invalidConfiguration)
        await log.close()
    }
}
#endif
