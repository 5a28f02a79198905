#if Etcd
import EtcdLog
import EtcdSupport
import Foundation
import HoldfastTesting
import Platform
import RaftApply
import ReplayStore

/// Measures how long a replica takes to apply what comes, while another one that was wiped takes a snapshot of it.
///
/// A replica of `ENTRIES` entries in one queue, and four callers that append all the time. A round is five seconds of that;
/// then a snapshot is made and published, and the second replica, a process of its own, begins with an empty directory, until
/// it has all that was committed then. It prints the latencies of applying in both parts, and their ratio.
func measureSnapshot(_ arguments: [String]) async throws {
    guard arguments.count == 2, let entries = UInt64(arguments[0]), let rounds = Int(arguments[1]), rounds > 0 else {
        exit(64)
    }
    let etcd = try await EtcdCluster(EtcdCluster.Options(members: 3))
    let applied = Lock<[Double]>([])
    let snapshots = etcd.directory.appending("snapshots")
    let replica = try await LiveReplica("r1", at: etcd.directory.appending("r1"), etcd.endpoints, snapshots: snapshots)
    {
        let milliseconds = $0 / .milliseconds(1)
        applied.withLock { $0.append(milliseconds) }
    }
    try await replica.controller.configure(LiveReplica.deployment)
    var left = entries
    while left > 0 {
        let count = min(left, 4096)
        try await replica.append(count)
        left -= count
    }
    func taken() -> [Double] {
        applied.withLock { applied in
            defer { applied = [] }
            return applied.sorted()
        }
    }
    let bench = try SnapshotBench(replica, etcd, snapshots)
    let load = Task {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { while !Task.isCancelled { try await replica.append(1) } } }
            try await group.waitForAll()
        }
    }
    var second = try await bench.startSecond()
    print(
        "          applied    p50 ms    p99 ms   applied, with snapshot    p50 ms    p99 ms   caught up, s   p99 to p99"
    )
    var ratios: [Double] = []
    for round in 0...rounds {
        _ = taken()
        try await Task.sleep(for: .seconds(5))
        let quiet = taken()
        second.end()
        let start = ContinuousClock.now
        second = try await bench.startSecond()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        let busy = taken()
        let (before, after) = (Turn(latencies: quiet, seconds: 5), Turn(latencies: busy, seconds: seconds))
        let ratio = after.latency(0.99) / before.latency(0.99)
        if round > 0 { ratios.append(ratio) }
        print(
            round == 0 ? "warm up" : "round \(round)",
            pad("\(quiet.count)", 9),
            pad(text(before.latency(0.5)), 9),
            pad(text(before.latency(0.99)), 9),
            pad("\(busy.count)", 24),
            pad(text(after.latency(0.5)), 9),
            pad(text(after.latency(0.99)), 9),
            pad(text(seconds, 1), 14),
            pad(text(ratio), 12)
        )
    }
    print("the median ratio is \(text(median(ratios)))")
    load.cancel()
    _ = await load.result
    second.end()
    try await replica.close()
}

/// The second replica, and what is between the two.
private struct SnapshotBench {
    private let replica: LiveReplica
    private let etcd: EtcdCluster
    private let snapshots: String
    private let log: EtcdLog

    init(_ replica: LiveReplica, _ etcd: EtcdCluster, _ snapshots: String) throws {
        (self.replica, self.etcd, self.snapshots) = (replica, etcd, snapshots)
        log = try EtcdLog(EtcdConfiguration(endpoints: etcd.endpoints))
    }

    /// Publishes a snapshot, lets the log forget everything before it, starts the second replica with nothing, and returns when
    /// that has applied all that was committed at that moment.
    func startSecond() async throws -> SecondReplica {
        try await replica.controller.replica.publishSnapshot(through: DirectoryTransport(path: snapshots))
        guard let manifest = try await log.newestSnapshot() else { throw BenchFailure(what: "no snapshot") }
        try await log.trim(through: manifest.index)
        let second = try SecondReplica("r2", etcd.directory.appending("r2"), snapshots, etcd.endpoints)
        // Beyond what an earlier life of it has told.
        let index = try await log.barrier()
        while try await log.members().first(where: { $0.member == "r2" })?.syncedIndex ?? 0 < index {
            try second.check()
            try await Task.sleep(for: .milliseconds(50))
        }
        return second
    }
}

/// A replica in a process of its own, which is wiped when it ends.
private final class SecondReplica {
    private let child: ChildProcess
    private let path: String

    init(_ name: String, _ path: String, _ snapshots: String, _ endpoints: [String]) throws {
        self.path = path
        child = try ChildProcess(
            CommandLine.arguments[0],
            ["replica", name, path, snapshots] + endpoints,
            environment: ProcessInfo.processInfo.environment,
            isGroup: false
        )
    }

    /// Whether it still runs.
    func check() throws {
        guard kill(child.process, 0) == 0 else { throw BenchFailure(what: "the second replica has ended") }
    }

    func end() {
        kill(child.process, SIGKILL)
        _ = try? child.wait()
        try? FileManager.default.removeItem(atPath: path)
    }
}

/// LogBench replica NAME DIRECTORY SNAPSHOTS ENDPOINT...
func runReplica(_ arguments: [String]) async throws {
    guard arguments.count > 3 else { exit(64) }
    let replica = try await LiveReplica(
        arguments[0],
        at: arguments[1],
        Array(arguments[3...]),
        snapshots: arguments[2]
    )
    try await replica.wait()
}
#endif
