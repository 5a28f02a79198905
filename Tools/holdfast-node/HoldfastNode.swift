#if Etcd
import ArgumentParser
import EtcdLog
import Foundation
import Holdfast
import Logging
import RaftApply
import RegionFailover
import ReplayStore
import UnixSignals

/// `holdfast-node`: one replica of a controller on an etcd cluster, with a door for whoever controls it.
@main struct HoldfastNode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast-node",
        abstract: "Run one replica of a failover controller on an etcd cluster.",
        discussion: """
            Its store is in DIR; its door is HTTP with JSON, for whoever may do everything, so bind it to a network that is \
            trusted. The replica that leads sends the queues to the regions that --region names. SIGTERM ends it with \
            everything on the disk.

            Example:
              holdfast-node ./r1 --name r1 --etcd 127.0.0.1:2379 --listen 127.0.0.1:7001 \\
                --region eu=http://127.0.0.1:9001/writes
            """
    )

    @Argument(help: "The replica's directory, made when it is not there.", completion: .directory)
    var directory: String
    @Option(help: "Its name among the members, the same after a restart.")
    var name: String
    @Option(help: "etcd's client addresses, with commas between them.")
    var etcd: String
    @Option(help: "What the log's keys begin with.")
    var prefix = "holdfast/"
    @Option(help: "Where the door listens, an IPv4 address and a port.")
    var listen = "127.0.0.1:7001"
    @Option(help: "Where the other members reach the door; http:// and --listen when left out.")
    var advertise: String?
    @Option(
        name: .customLong("region"),
        help: ArgumentHelp("A region, and where its batches are posted; once for each.", valueName: "name=url")
    )
    var sinks: [String] = []
    @Option(help: "The authority that signed etcd's certificates, as PEM.")
    var authority: String?
    @Option(help: "This process's certificate, as PEM.")
    var certificate: String?
    @Option(help: "Its key, as PEM.")
    var key: String?
    @Option(help: "A user of etcd's; the password is in the environment, as ETCD_PASSWORD.")
    var user: String?
    @Option(help: "A snapshot is offered each time that the log has grown by so many bytes.")
    var snapshotEvery: UInt64 = 64 << 20
    @Option(help: "A member that is so many bytes behind is left to a snapshot.")
    var retainBytes: UInt64 = 256 << 20
    @Option(help: "How many applied entries the log keeps at least.")
    var retainEntries: UInt64 = 4096
    @Option(help: "How often, in milliseconds, the replica syncs, reports and looks after the log.")
    var maintenance: Int64 = 1000

    func run() async throws {
        // From here on a signal waits until somebody looks.
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        var logger = Logger(label: "holdfast-node") { StreamLogHandler.standardError(label: $0) }
        logger[metadataKey: "holdfast.member"] = "\(name)"
        do {
            try await run(signals, logger)
        } catch let error as HoldfastError {
            logger.critical("The replica has ended", metadata: ["holdfast.error": "\(error)"])
            throw ExitCode(error.code == .inUse || error.code == .logUnavailable ? 75 : 65)
        }
    }

    private func run(_ signals: UnixSignalsSequence, _ logger: Logger) async throws {
        let address = try DoorAddress(listen)
        let sinks = try sinks.map(Self.sink)
        let log = try EtcdLog(etcdConfiguration(), logger: logger)
        let ended = try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await signal in signals {
                    logger.notice("Ending", metadata: ["holdfast.signal": "\(signal)"])
                    break
                }
                return true
            }
            group.addTask {
                try await serve(log, address, sinks, logger)
                return false
            }
            defer { group.cancelAll() }
            return try await group.next() ?? true
        }
        await log.close()
        if !ended { throw ExitCode(70) }
    }

    /// Runs the replica and its door until the task is cancelled.
    private func serve(_ log: EtcdLog, _ address: DoorAddress, _ sinks: [(RegionID, URL)], _ logger: Logger)
        async throws
    {
        let cluster = try await Self.cluster(of: log, logger)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        var storeOptions = StoreOptions.standard
        storeOptions.logger = logger
        let machine = try await FailoverStateMachine.open(
            at: directory + "/replica",
            cluster: cluster,
            options: storeOptions
        )
        let snapshots = HTTPSnapshots(
            directory: directory + "/snapshots",
            base: advertise ?? "http://\(address.host):\(address.port)"
        )
        let replica = Replica(machine, log, transport: snapshots, options: options(logger)) { replica in
            try await Self.replay(replica, sinks)
        }
        let door = Door(
            replica: replica,
            controller: ReplicatedController(replica),
            snapshots: snapshots,
            address: address
        )
        logger.notice("Ready", metadata: ["holdfast.door": "\(listen)", "holdfast.index": "\(machine.applied.index)"])
        do {
            try await withThrowingTaskGroup { group in
                group.addTask { try await replica.run() }
                group.addTask { try await door.run() }
                for try await _ in group {}
            }
        } catch {
            await machine.close()
            // Whoever was told to end has ended well.
            guard Task.isCancelled else { throw error }
            return
        }
        await machine.close()
    }

    /// Sends the queues of those regions that are part of the deployment, once there is one.
    private static func replay(_ replica: Replica, _ sinks: [(RegionID, URL)]) async throws {
        let controller = ReplicatedController(replica)
        while !sinks.isEmpty, !Task.isCancelled {
            let regions = Set(replica.machine.machine?.configuration.regions ?? [])
            let known = sinks.filter { regions.contains($0.0) }
            guard !known.isEmpty else {
                try await Task.sleep(for: .milliseconds(200))
                continue
            }
            var senders: [RegionID: ReplaySink] = [:]
            for (region, url) in known {
                let sink = HTTPSink(url: url, member: replica.options.name)
                senders[region] = { batch in
                    try await sink.send(batch, epoch: replica.machine.machine?.epoch ?? 0)
                }
            }
            try await ReplayService(controller, sinks: senders).run()
        }
    }

    /// Which log it is, as soon as etcd answers.
    private static func cluster(of log: EtcdLog, _ logger: Logger) async throws -> [UInt8] {
        while true {
            do throws(HoldfastError) {
                return try await log.identity().cluster
            } catch {
                guard error.code == .logUnavailable || error.code == .outcomeUnknown else { throw error }
                logger.warning("etcd does not answer; it is asked again", metadata: ["holdfast.error": "\(error)"])
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    private func etcdConfiguration() throws -> EtcdConfiguration {
        var configuration = EtcdConfiguration(endpoints: etcd.split(separator: ",").map(String.init))
        configuration.prefix = prefix
        if authority != nil || certificate != nil {
            configuration.tls = EtcdConfiguration.TLS(
                authorityPath: authority,
                certificatePath: certificate,
                privateKeyPath: key
            )
        }
        if let user {
            let password = ProcessInfo.processInfo.environment["ETCD_PASSWORD"] ?? ""
            configuration.credentials = EtcdConfiguration.Credentials(user: user, password: password)
        }
        return configuration
    }

    private func options(_ logger: Logger) -> ReplicaOptions {
        var options = ReplicaOptions(name: name)
        options.snapshotEveryBytes = snapshotEvery
        options.logRetainedBytes = retainBytes
        options.logRetainedEntries = retainEntries
        options.maintenanceMilliseconds = maintenance
        options.logger = logger
        return options
    }

    private static func sink(_ text: String) throws -> (RegionID, URL) {
        let parts = text.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let name = RegionID(utf8: parts[0].utf8), let url = URL(string: String(parts[1])),
            url.host != nil
        else { throw ValidationError("'\(text)' is no NAME=URL, such as eu=http://127.0.0.1:9001/writes.") }
        return (name, url)
    }
}

/// Where the door listens.
struct DoorAddress: Sendable {
    let host: String
    let port: UInt16

    init(_ text: String) throws {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]) else {
            throw ValidationError("'\(text)' is no HOST:PORT, such as 127.0.0.1:7001.")
        }
        (host, self.port) = (String(parts[0]), port)
    }
}
#else
import ArgumentParser

/// Says what is missing.
@main struct HoldfastNode: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast-node",
        abstract: "Run one replica of a failover controller on an etcd cluster."
    )

    func run() throws {
        throw ValidationError(
            "This was built without etcd. Build it with: swift build --traits Etcd,ServiceLifecycleSupport"
        )
    }
}
#endif
