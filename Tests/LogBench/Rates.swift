#if Etcd
import EtcdLog
import EtcdSupport
import Foundation
import HoldfastTesting
import Platform
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore

/// Measures proposals on three members of etcd beside a bare client that does the same transaction, in turn.
///
/// For 1, 16 and 256 callers it prints the rate and the latencies of the bare client, of `EtcdLog.propose`, which returns when
/// most members have the entry, and of `ReplicatedController.append`, which returns when this replica has applied it, too;
/// then the writes a second of appends of 256 writes beside those of appends of one.
func measureRates(_ arguments: [String]) async throws {
    guard arguments.count == 2, let rounds = Int(arguments[0]), rounds > 0, let seconds = Double(arguments[1]) else {
        exit(64)
    }
    let etcd = try await EtcdCluster(EtcdCluster.Options(members: 3))
    let bench = try await RatesBench(etcd)
    print("callers  what                           a second    p50 ms    p99 ms   to the bare client")
    for callers in [1, 16, 256] { try await bench.compare(callers: callers, rounds, seconds) }
    print("")
    print("callers  writes an append   writes a second   to appends of one")
    for callers in [1, 16] { try await bench.compareBatches(callers: callers, rounds, seconds) }
    try await bench.close()
}

/// A log, a replica that applies it, and a bare client, all on the same cluster.
private final class RatesBench: Sendable {
    private static let valueBytes = 256

    private let bare: BareClient
    private let proposing: EtcdLog
    private let replica: LiveReplica
    private let turns = Lock(UInt64(0))
    private let value = [UInt8](repeating: 7, count: RatesBench.valueBytes)

    init(_ etcd: EtcdCluster) async throws {
        guard let port = etcd.endpoints[0].split(separator: ":").last.flatMap({ Int($0) }) else {
            throw BenchFailure(what: "no port in \(etcd.endpoints)")
        }
        bare = try BareClient(port: port)
        var configuration = EtcdConfiguration(endpoints: etcd.endpoints)
        configuration.prefix = "proposed/"
        proposing = try EtcdLog(configuration)
        replica = try await LiveReplica("r1", at: etcd.directory.appending("r1"), etcd.endpoints)
        try await replica.controller.configure(LiveReplica.deployment)
    }

    func close() async throws {
        await bare.close()
        await proposing.close()
        try await replica.close()
    }

    func compare(callers: Int, _ rounds: Int, _ seconds: Double) async throws {
        let kinds: [(what: String, turn: () async throws -> Turn)] = [
            ("bare client, committed", { try await self.bareTurn(callers, seconds) }),
            ("EtcdLog, committed", { try await self.logTurn(callers, seconds) }),
            ("append, applied", { try await self.appendTurn(callers, seconds, of: 1) }),
        ]
        var taken = [[Turn]](repeating: [], count: kinds.count)
        // One round first that does not count: it makes connections, and touches memory.
        for round in 0...rounds {
            // Forth and back, so that what grows with time weighs on all alike.
            for number in round % 2 == 0 ? Array(kinds.indices) : kinds.indices.reversed() {
                let turn = try await kinds[number].turn()
                if round > 0 { taken[number].append(turn) }
            }
        }
        for (kind, turns) in zip(kinds, taken) {
            let ratios = zip(turns, taken[0]).map { $0.rate / $1.rate }
            print(
                pad("\(callers)", 7),
                "",
                kind.what + pad(text(median(turns.map(\.rate)), 0), 38 - kind.what.count),
                pad(text(median(turns.map { $0.latency(0.5) })), 9),
                pad(text(median(turns.map { $0.latency(0.99) })), 9),
                pad(text(median(ratios)), 17)
            )
        }
    }

    func compareBatches(callers: Int, _ rounds: Int, _ seconds: Double) async throws {
        var taken: (single: [Turn], batch: [Turn]) = ([], [])
        for _ in 0..<rounds {
            taken.single.append(try await appendTurn(callers, seconds, of: 1))
            taken.batch.append(try await appendTurn(callers, seconds, of: 256))
        }
        let ratios = zip(taken.batch, taken.single).map { 256 * $0.rate / $1.rate }
        for (count, turns, ratio) in [(1, taken.single, 1), (256, taken.batch, median(ratios))] {
            print(
                pad("\(callers)", 7),
                pad("\(count)", 17),
                pad(text(Double(count) * median(turns.map(\.rate)), 0), 17),
                pad(text(ratio, 1), 19)
            )
        }
    }

    private func bareTurn(_ callers: Int, _ seconds: Double) async throws -> Turn {
        let turn = nextTurn()
        return try await Turn.take(callers: callers, seconds: seconds) { [bare, value] number in
            try await bare.put("bare/log/\(turn)/\(number)", value)
        }
    }

    private func logTurn(_ callers: Int, _ seconds: Double) async throws -> Turn {
        let session = SessionID(index: 1, nonce: nextTurn())
        return try await Turn.take(callers: callers, seconds: seconds) { [proposing, value] number in
            _ = try await proposing.propose(value, as: ProposalID(session: session, sequence: number))
        }
    }

    /// Appends of `count` writes each; the queue is emptied behind it.
    private func appendTurn(_ callers: Int, _ seconds: Double, of count: UInt64) async throws -> Turn {
        let turn = try await Turn.take(callers: callers, seconds: seconds) { [replica] _ in
            try await replica.append(count)
        }
        try await replica.acknowledgeAll()
        return turn
    }

    private func nextTurn() -> UInt64 {
        turns.withLock { turns in
            turns += 1
            return turns
        }
    }
}
#endif
