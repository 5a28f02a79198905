import Holdfast
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import TestSupport

/// Replicas of one log in this process, each with a directory of its own, running.
final class Replicas {
    static let regions: [RegionID] = ["us", "eu", "ap"]
    /// On a slow machine nobody is suspected meanwhile.
    static let configuration = FailoverConfiguration(local: "us", regions: regions, suspectAfterMilliseconds: 3_600_000)

    let log: MemoryLog
    let directory: TemporaryDirectory
    var names: [String] = []
    var replicas: [Replica] = []
    private var runs: [Task<HoldfastError?, Never>] = []
    let transport: DirectoryTransport
    private let whileLeading: (@Sendable (Replica) async throws -> Void)?

    init(
        _ log: MemoryLog,
        count: Int = 3,
        whileLeading: (@Sendable (Replica) async throws -> Void)? = nil
    ) async throws {
        self.log = log
        self.whileLeading = whileLeading
        directory = try TemporaryDirectory()
        transport = DirectoryTransport(path: directory.appending("snapshots"))
        for number in 0..<count { try await start("r\(number)") }
    }

    /// Starts a replica, or one that was stopped again.
    @discardableResult
    func start(_ name: String, _ change: (inout ReplicaOptions) -> Void = { _ in }) async throws -> Replica {
        let machine = try await FailoverStateMachine.open(
            at: directory.appending(name),
            cluster: try await log.identity().cluster,
            options: .small
        )
        var options = ReplicaOptions(name: name)
        options.maintenanceMilliseconds = 20
        options.proposalMilliseconds = 20_000
        options.logger = .silent
        change(&options)
        let replica = Replica(machine, log, transport: transport, options: options, whileLeading: whileLeading)
        let run = Task { () -> HoldfastError? in
            do {
                try await replica.run()
                return nil
            } catch {
                return error as? HoldfastError
            }
        }
        names.append(name)
        replicas.append(replica)
        runs.append(run)
        return replica
    }

    /// Stops a replica, closes its store, and gives why it had stopped.
    @discardableResult
    func stop(_ name: String) async -> HoldfastError? {
        guard let place = names.firstIndex(of: name) else { return nil }
        let (replica, run) = (replicas[place], runs[place])
        names.remove(at: place)
        replicas.remove(at: place)
        runs.remove(at: place)
        run.cancel()
        let error = await run.value
        await replica.machine.close()
        return error
    }

    /// Waits until a replica has ended by itself, and gives why.
    func failure(of name: String) async -> HoldfastError? {
        guard let place = names.firstIndex(of: name) else { return nil }
        return await runs[place].value
    }

    func stopAll() async { for name in names { await stop(name) } }

    /// Whether all have stored the same digest at an entry that is proposed for it; the log goes on meanwhile.
    var haveOneState: Bool {
        get async throws {
            let index = try await ReplicatedController(replicas[0]).checkDigest()
            var digests: Set<String?> = []
            for replica in replicas {
                try await replica.wait(for: .index(index))
                digests.insert(try await replica.machine.storedDigests()[index])
            }
            return digests.count == 1 && !digests.contains(nil)
        }
    }

    static func write(_ sequence: UInt64, _ bytes: Int = 20) -> OutstandingWrite {
        OutstandingWrite(
            origin: "us",
            incarnation: 1,
            sequence: sequence,
            key: "key \(sequence % 7)",
            value: String(repeating: "v", count: bytes)
        )
    }
}
