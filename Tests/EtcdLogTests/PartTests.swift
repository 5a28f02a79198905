#if Etcd
@testable import EtcdLog
import GRPCCore
import RaftApply
import ReplayStore
import Testing

@Suite("The parts of a log on etcd", .timeLimit(.minutes(1)))
struct PartTests {
    @Test("tell what a member refused from what it may have executed")
    func failures() {
        func effect(_ code: RPCError.Code, _ message: String, wasSent: Bool = true) -> CallFailure.Effect {
            CallFailure(RPCError(code: code, message: message), wasSent: wasSent).effect
        }
        // Not handed to a connection.
        #expect(effect(.unavailable, "Channel isn't ready", wasSent: false) == .unsent)
        #expect(effect(.deadlineExceeded, "RPC timed out before completing", wasSent: false) == .unsent)
        // Refused before anything is proposed, or as a whole.
        #expect(effect(.invalidArgument, "etcdserver: request is too large") == .refused)
        #expect(effect(.resourceExhausted, "etcdserver: too many requests") == .refused)
        #expect(effect(.permissionDenied, "etcdserver: permission denied") == .refused)
        #expect(effect(.unauthenticated, "etcdserver: invalid auth token") == .refused)
        #expect(effect(.outOfRange, "etcdserver: mvcc: required revision has been compacted") == .refused)
        // All else may have been executed, whatever it sounds like.
        #expect(effect(.resourceExhausted, "etcdserver: mvcc: database space exceeded") == .unknown)
        #expect(effect(.unavailable, "etcdserver: request timed out") == .unknown)
        #expect(effect(.unavailable, "etcdserver: leader changed") == .unknown)
        #expect(effect(.unavailable, "etcdserver: no leader") == .unknown)
        #expect(effect(.unavailable, "etcdserver: server stopped") == .unknown)
        #expect(effect(.unavailable, "Stream unexpectedly closed.") == .unknown)
        #expect(effect(.deadlineExceeded, "RPC timed out before completing") == .unknown)
        #expect(effect(.invalidArgument, "not of etcd's own") == .unknown)
        #expect(effect(.resourceExhausted, "Message has exceeded the limit") == .unknown)
        #expect(CallFailure(CancellationError(), wasSent: true).effect == .unknown)
        #expect(CallFailure(CancellationError(), wasSent: false).effect == .unsent)
    }

    @Test("make one unknown try among several an unknown outcome")
    func unanswered() {
        let refused = CallFailure(effect: .refused, reason: .other, isRetryable: false, message: "no")
        let unknown = CallFailure(effect: .unknown, reason: .deadline, isRetryable: true, message: "late")
        #expect(Unanswered(last: refused, mayHaveLandedBefore: false).ofWrite.code == .logUnavailable)
        #expect(Unanswered(last: refused, mayHaveLandedBefore: true).ofWrite.code == .outcomeUnknown)
        #expect(Unanswered(last: unknown, mayHaveLandedBefore: false).ofWrite.code == .outcomeUnknown)
        #expect(Unanswered(last: unknown, mayHaveLandedBefore: true).ofRead.code == .logUnavailable)
    }

    @Test("read endpoints, and say which one is none")
    func endpoints() throws {
        let texts = ["127.0.0.1:1": "127.0.0.1:1", "http://etcd-1.example.com:2379/": "etcd-1.example.com:2379"]
        for (text, expected) in texts.merging(["[::1]:65535": "[::1]:65535"], uniquingKeysWith: { $1 }) {
            #expect(try Endpoint(text, isEncrypted: false).description == expected)
        }
        #expect(try Endpoint("https://a:2379", isEncrypted: true).kind == .name)
        for text in [
            "", "host", "host:", "host:0", "host:65536", ":1", "a b:1", "a/b:1", "https://host:1", "http://:1",
        ] {
            #expect(throws: HoldfastError.self) { _ = try Endpoint(text, isEncrypted: false) }
        }
        #expect(throws: HoldfastError.self) { _ = try Endpoint("http://host:1", isEncrypted: true) }
    }

    @Test("refuse a configuration that cannot be, and name the part")
    func configuration() async {
        func field(_ change: (inout EtcdConfiguration) -> Void) -> String? {
            var configuration = EtcdConfiguration(endpoints: ["127.0.0.1:2379"])
            change(&configuration)
            do throws(HoldfastError) {
                _ = try EtcdLog(configuration)
                return nil
            } catch {
                return error.code == .invalidConfiguration ? error.field : "\(error)"
            }
        }
        #expect(field { _ in } == nil)
        #expect(field { $0.endpoints = [] } == "endpoints")
        #expect(field { $0.endpoints = ["nowhere"] } == "endpoints")
        #expect(field { $0.prefix = "" } == "prefix")
        #expect(field { $0.attemptTimeout = .zero } == "attemptTimeout")
        #expect(field { $0.callTimeout = .seconds(-1) } == "callTimeout")
        #expect(field { $0.leaseSeconds = 1 } == "leaseSeconds")
        #expect(field { $0.requestsMax = 0 } == "requestsMax")
        #expect(field { $0.tls = .init(certificatePath: "/nowhere") } == "tls")
        #expect(field { $0.tls = .init(authorityPath: "/nowhere") } == "tls")
        #expect(field { $0.tls = .init(certificatePath: "/nowhere", privateKeyPath: "/nowhere") } == "tls")
    }

    @Test("order keys as sessions, sequences and parts are ordered, and keep prefixes apart")
    func keys() {
        let keys = LogKeys(prefix: "p/")
        let ids = [
            ProposalID(1, 1), ProposalID(1, 1, part: 1), ProposalID(1, 9), ProposalID(1, 10), ProposalID(1, .max),
            ProposalID(2, 1), ProposalID(.max, .max, part: .max),
        ]
        let bytes = ids.map { keys.entry($0).bytes }
        #expect(bytes == bytes.sorted { $0.lexicographicallyPrecedes($1) })
        #expect(Set(bytes).count == ids.count)
        for key in bytes {
            #expect(keys.entries.start.bytes.lexicographicallyPrecedes(key))
            #expect(key.lexicographicallyPrecedes(keys.entries.end.bytes))
        }
        for other in [keys.head, keys.trimmed, keys.logID, keys.leader, keys.snapshot, keys.member("a")] {
            let isEntry =
                !other.bytes.lexicographicallyPrecedes(keys.entries.start.bytes)
                && other.bytes.lexicographicallyPrecedes(keys.entries.end.bytes)
            #expect(!isEntry, "\(other)")
        }
    }

    @Test("let so many through at a time, in order, and forget who was cancelled")
    func slots() async throws {
        let slots = Slots(2)
        let inside = Watched((now: 0, most: 0))
        let held = Watched(false)
        let holders = (0..<2).map { _ in
            Task {
                try await slots.with {
                    inside.change { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                    await held.wait { $0 }
                    inside.change { $0.now -= 1 }
                }
            }
        }
        await inside.wait { $0.now == 2 }
        let cancelled = (0..<50).map { _ in Task { try await slots.with { Issue.record("it was cancelled") } } }
        for task in cancelled { task.cancel() }
        for task in cancelled { await #expect(throws: CancellationError.self) { try await task.value } }
        held.change { $0 = true }
        for holder in holders { try await holder.value }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<500 {
                group.addTask {
                    try await slots.with {
                        inside.change { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                        await Task.yield()
                        inside.change { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(inside.value.now == 0)
        #expect(inside.value.most == 2)
    }

    @Test("hand on what is taken, one by one, and not what was cancelled")
    func handoff() async throws {
        let handoff = Handoff<Int>()
        let giver = Task {
            for number in 1...1000 { try await handoff.give(number) }
            handoff.end()
        }
        for number in 1...1000 { #expect(try await handoff.take() == number) }
        try await giver.value
        #expect(try await handoff.take() == nil)
        #expect(try await handoff.take() == nil)

        let other = Handoff<Int>()
        let cancelled = Task { try await other.give(1) }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        let taker = Task { try await other.take() }
        try await other.give(2)
        #expect(try await taker.value == 2)
        let late = Task { try await other.take() }
        late.cancel()
        await #expect(throws: CancellationError.self) { try await late.value }
        other.end(.failure(Unexpected(what: "the end")))
        await #expect(throws: Unexpected.self) { try await other.take() }
        await #expect(throws: CancellationError.self) { try await other.give(3) }
    }
}
#endif
