private import Foundation
private import Glibc
public import HoldfastTesting
private import Platform
private import Synchronization

/// A real etcd cluster of this test's own: processes on loopback, their data in a temporary directory.
///
/// Everything ends and goes with the last reference.
public final class EtcdCluster: Sendable {
    /// How to start one.
    public struct Options: Sendable {
        /// How many members: 1, 3 or 5.
        public var members = 1
        /// The most bytes of a member's database, by `--quota-backend-bytes`; etcd's own 2 GiB when nil.
        public var quotaBytes: Int?
        /// Whether clients and members speak TLS, and clients must show a certificate.
        public var isEncrypted = false
        /// Further arguments of each member.
        public var arguments: [String] = []

        /// Creates options for a cluster of `members`.
        public init(members: Int = 1) { self.members = members }
    }

    /// What went wrong with a cluster, or with what it was asked to do.
    public struct Failure: Error, CustomStringConvertible {
        /// What went wrong.
        public var description: String
    }

    /// Where the data, the logs and the certificates are.
    public let directory: TemporaryDirectory
    /// The certificates, where there are any.
    public let certificates: EtcdCertificates?
    private let members: [EtcdMember]
    private let user = Mutex<String?>(nil)

    /// Starts a cluster, and returns when every member takes part in it.
    ///
    /// - Throws: ``Failure``, when etcd is not installed, or does not start.
    public init(_ options: Options = Options()) async throws {
        guard FileManager.default.isExecutableFile(atPath: EtcdMember.program) else {
            throw Failure(description: "\(EtcdMember.program) is missing: install etcd-server and etcd-client")
        }
        let directory = try TemporaryDirectory()
        let certificates = options.isEncrypted ? try EtcdCertificates(in: directory.appending("certificates")) : nil
        let addresses = try (0..<options.members).map { number in
            EtcdMember.Address(number: number, client: try LoopbackPort.free(), peer: try LoopbackPort.free())
        }
        var arguments = options.arguments
        if let quota = options.quotaBytes { arguments += ["--quota-backend-bytes", "\(quota)"] }
        self.directory = directory
        self.certificates = certificates
        members = addresses.map { address in
            EtcdMember(address, among: addresses, in: directory, certificates, arguments)
        }
        for number in members.indices { try start(number) }
        try await waitUntilHealthy()
    }

    /// The members' client addresses, `HOST:PORT`.
    public var endpoints: [String] { members.map { "127.0.0.1:\($0.address.client)" } }
    /// How many members there are.
    public var count: Int { members.count }

    /// Starts a member that has ended, or has not begun.
    ///
    /// - Parameters:
    ///   - member: Which one.
    ///   - arguments: Further arguments, behind those of the options: the last of two counts.
    /// - Throws: What the system says.
    public func start(_ member: Int, arguments: [String] = []) throws { try members[member].start(arguments) }

    /// Ends a member with SIGKILL, and returns when it has gone.
    public func kill(_ member: Int) { members[member].end(by: SIGKILL) }

    /// Ends a member with SIGTERM, and returns when it has gone.
    public func stop(_ member: Int) { members[member].end(by: SIGTERM) }

    /// Halts a member with SIGSTOP: it keeps its connections and answers nobody.
    public func pause(_ member: Int) { members[member].signal(SIGSTOP) }

    /// Lets a halted member go on.
    public func resume(_ member: Int) { members[member].signal(SIGCONT) }

    /// Makes the cluster anew: the same members at the same addresses, and nothing of their data.
    ///
    /// - Throws: ``Failure``.
    public func makeAnew() async throws {
        for member in members {
            member.end(by: SIGKILL)
            try member.wipe()
        }
        for member in members { try member.start([]) }
        try await waitUntilHealthy()
    }

    /// Copies the data of a cluster of one member, while it is stopped.
    ///
    /// - Throws: What the system says.
    public func saveData() throws { try members[0].saveData() }

    /// Puts the data that was saved back in place of what there is, while the member is stopped.
    ///
    /// - Throws: What the system says.
    public func restoreData() throws { try members[0].restoreData() }

    /// Returns when each of some members answers as one that takes part; all when nil.
    ///
    /// - Throws: ``Failure`` with what the members have said, when one still does not after many tries.
    public func waitUntilHealthy(_ which: [Int]? = nil) async throws {
        for member in which ?? Array(members.indices) {
            var said = ""
            var isHealthy = false
            // Each try waits itself, for up to two seconds.
            for _ in 0..<60 where !isHealthy {
                let outcome = try await run(["endpoint", "health", "--command-timeout=2s"], members: [member])
                said = outcome.output
                isHealthy = outcome.status == 0
            }
            guard isHealthy else {
                throw Failure(description: "Member \(member) is not healthy: \(said)\n\(members[member].lastWords)")
            }
        }
    }

    /// Switches authentication on: only `root` and its password get in from now on.
    ///
    /// - Throws: ``Failure``.
    public func enableAuthentication(password: String) async throws {
        try await control(["user", "add", "root:\(password)"])
        try await control(["auth", "enable"])
        user.withLock { $0 = "root:\(password)" }
    }

    /// Runs `etcdctl` against all members.
    ///
    /// - Returns: What it printed.
    /// - Throws: ``Failure`` when it ended with another code than 0.
    @discardableResult
    public func control(_ arguments: [String]) async throws -> String {
        let outcome = try await run(arguments, members: Array(members.indices))
        guard outcome.status == 0 else {
            throw Failure(description: "etcdctl \(arguments.joined(separator: " ")): \(outcome.output)")
        }
        return outcome.output
    }

    private func run(_ arguments: [String], members which: [Int]) async throws -> (status: Int32, output: String) {
        let scheme = certificates == nil ? "http" : "https"
        let host = certificates == nil ? "127.0.0.1" : "localhost"
        let addresses = which.map { "\(scheme)://\(host):\(members[$0].address.client)" }
        var words = ["--endpoints", addresses.joined(separator: ",")]
        if let certificates {
            words += [
                "--cacert", certificates.authority, "--cert", certificates.certificate, "--key", certificates.key,
            ]
        }
        if let user = user.withLock({ $0 }) { words += ["--user", user] }
        return try await Command.run("/usr/bin/etcdctl", words + arguments, environment: ["ETCDCTL_API": "3"])
    }
}

/// Ports that nobody listens on, below those that the system gives to connections: a member that was killed finds its own
/// again.
public enum LoopbackPort {
    private static let given = Mutex<Set<UInt16>>([])

    /// A port that nobody in this process was given before.
    ///
    /// - Throws: ``EtcdCluster/Failure`` when none is free.
    public static func free() throws -> UInt16 {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 20_000..<32_000)
            if Loopback.isFree(port), Self.given.withLock({ $0.insert(port).inserted }) { return port }
        }
        throw EtcdCluster.Failure(description: "No port of loopback is free between 20,000 and 32,000")
    }
}
