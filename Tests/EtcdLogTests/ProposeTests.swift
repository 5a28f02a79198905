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
        var indices: [UInt64] = []
        for sequence in 1...20 {
            let id = ProposalID(1, UInt64(sequence))
            indices.append(try await log.propose(command(id), as: id))
        }
        #expect(zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 })
        let entries = try await log.first(20)
        #expect(entries.map(\.index) == indices)
        #expect(entries.map(\.command) == (1...20).map { command(ProposalID(1, UInt64($0))) })
        #expect(try await log.barrier() == indices.last)
        await log.close()
    }
}
#endif
