#if Etcd
import EtcdLog
import EtcdSupport
import HoldfastTesting
import RaftApply
import ReplayStore
import Testing

@Suite("Proposals on a real etcd", .timeLimit(.minutes(5)))
struct ProposeTests {
    @Test("come out in order, once for an identity, with rising indices")
    func order() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        #expect(try await log.barrier() == 0)
        var indices: [UInt64] = []
        for sequence in 1...20 {
            let id = ProposalID(1, UInt64(sequence))
            indices.append(try await log.propose(command(id), as: id))
        }
        #expect(zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 })
        let entries = try await log.all()
        #expect(entries.map(\.index) == indices)
        #expect(entries.map(\.command) == (1...20).map { command(ProposalID(1, UInt64($0))) })
        #expect(entries.allSatisfy { $0.term == 0 })
        #expect(try await log.first(5, after: indices[14]).map(\.index) == Array(indices[15...]))
        await log.close()
    }

    @Test("under one identity stay one entry, at one index")
    func retries() async throws {
        let cluster = try await EtcdCluster()
        let (one, other) = (try cluster.log(), try cluster.log())
        let id = ProposalID(1, 1)
        let index = try await one.propose(command(id), as: id)
        let before = try await one.propose(command(ProposalID(1, 2)), as: ProposalID(1, 2))
        #expect(try await one.propose(command(id), as: id) == index)
        #expect(try await other.propose(command(id), as: id) == index)
        #expect(try await other.propose(command(id), as: ProposalID(1, 1, part: 1)) > before)
        #expect(try await one.all().count == 3)
        await one.close()
        await other.close()
    }

    @Test("of many tasks at once are each there once, at the index that each was told", arguments: [1 as UInt64])
    func many(seed: UInt64) async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log { $0.requestsMax = 64 }
        let told = try await withThrowingTaskGroup(of: (UInt64, [UInt8]).self) { group in
            for session in 1...8 {
                for sequence in 1...40 {
                    // Each twice: which comes first is anybody's guess.
                    for _ in 0..<2 {
                        group.addTask {
                            let id = ProposalID(UInt64(session), UInt64(sequence))
                            return (try await log.propose(command(id), as: id), command(id))
                        }
                    }
                }
            }
            var told: [UInt64: [UInt8]] = [:]
            for try await (index, bytes) in group {
                #expect(told[index] == nil || told[index] == bytes)
                told[index] = bytes
            }
            return told
        }
        let entries = try await log.all()
        #expect(entries.count == 320)
        #expect(Dictionary(uniqueKeysWithValues: entries.map { ($0.index, $0.command) }) == told)
        await log.close()
    }

    @Test("may have 1 MiB, and no more")
    func sizes() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        for sequence in 1...6 {
            let id = ProposalID(1, UInt64(sequence))
            _ = try await log.propose(command(id, size: ReplicationLimits.commandBytesMax), as: id)
        }
        let entries = try await log.all()
        #expect(entries.map(\.command.count) == Array(repeating: ReplicationLimits.commandBytesMax, count: 6))
        let id = ProposalID(1, 7)
        let refused = await code {
            _ = try await log.propose(command(id, size: ReplicationLimits.commandBytesMax + 1), as: id)
        }
        #expect(refused == .tooLarge)
        await log.close()
    }

    @Test("of logs with other prefixes are not seen")
    func prefixes() async throws {
        let cluster = try await EtcdCluster()
        let (one, other) = (try cluster.log(prefix: "one/"), try cluster.log(prefix: "other/"))
        let id = ProposalID(1, 1)
        let first = try await one.propose([1], as: id)
        let second = try await other.propose([2], as: id)
        #expect(first < second)
        #expect(try await one.all() == [LogEntry(index: first, command: [1])])
        #expect(try await other.all() == [LogEntry(index: second, command: [2])])
        #expect(try await one.barrier() == first)
        #expect(try await one.identity().cluster != other.identity().cluster)
        await one.close()
        await other.close()
    }

    @Test("end with the log: what waits is told, and so is whoever reads")
    func close() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log()
        let index = try await log.propose([1], as: ProposalID(1, 1))
        let reader = Task { await code { _ = try await log.delivery(after: index) } }
        _ = try await log.barrier()
        await log.close()
        #expect(await reader.value == .logUnavailable)
        #expect(await code { _ = try await log.propose([2], as: ProposalID(1, 2)) } == .logUnavailable)
        #expect(await code { _ = try await log.barrier() } == .logUnavailable)
        await log.close()
    }

    @Test("and entries end soon after their task is cancelled")
    func cancelled() async throws {
        let cluster = try await EtcdCluster()
        let log = try cluster.log { $0.attemptTimeout = .seconds(60) }
        let index = try await log.propose([1], as: ProposalID(1, 1))
        let reader = Task { try await log.delivery(after: index) }
        cluster.pause(0)
        let proposer = Task { await code { _ = try await log.propose([2], as: ProposalID(1, 2)) } }
        let asker = Task { await code { _ = try await log.barrier() } }
        reader.cancel()
        proposer.cancel()
        asker.cancel()
        await #expect(throws: CancellationError.self) { try await reader.value }
        // It may have got to the member's socket, or not.
        #expect([.outcomeUnknown, .logUnavailable].contains(await proposer.value))
        #expect(await asker.value == .logUnavailable)
        cluster.resume(0)
        await log.close()
    }
}
#endif
