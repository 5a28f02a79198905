private import Foundation
private import Glibc
internal import HoldfastTesting
private import Platform
private import Synchronization

/// One etcd process, which can end and be started again.
final class EtcdMember: Sendable {
    /// Where it listens.
    struct Address: Sendable {
        var number: Int
        var client: UInt16
        var peer: UInt16

        var name: String { "m\(number)" }
    }

    static let program = "/usr/bin/etcd"

    let address: Address
    private let directory: TemporaryDirectory
    private let arguments: [String]
    private let process = Mutex<ChildProcess?>(nil)

    init(
        _ address: Address,
        among all: [Address],
        in directory: TemporaryDirectory,
        _ certificates: EtcdCertificates?,
        _ more: [String]
    ) {
        self.address = address
        self.directory = directory
        let client = "\(certificates == nil ? "http" : "https")://127.0.0.1:\(address.client)"
        var arguments = [
            "--name", address.name, "--data-dir", directory.appending(address.name),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", "http://127.0.0.1:\(address.peer)",
            "--initial-advertise-peer-urls", "http://127.0.0.1:\(address.peer)",
            "--initial-cluster", all.map { "\($0.name)=http://127.0.0.1:\($0.peer)" }.joined(separator: ","),
            "--initial-cluster-token", "holdfast", "--initial-cluster-state", "new", "--logger", "zap",
            "--log-outputs", "stderr",
        ]
        if let certificates {
            arguments += [
                "--cert-file", certificates.serverCertificate, "--key-file", certificates.serverKey,
                "--trusted-ca-file", certificates.authority, "--client-cert-auth",
            ]
        }
        self.arguments = arguments + more
    }

    private var log: String { directory.appending("\(address.name).log") }
    private var data: String { directory.appending(address.name) }
    private var saved: String { directory.appending("\(address.name).saved") }

    /// The end of what it has logged.
    var lastWords: String {
        let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(5).joined(separator: "\n")
    }

    func start(_ more: [String]) throws {
        let output = try File(appendingTo: log)
        let environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("ETCD") }
        let child = try ChildProcess(
            Self.program,
            arguments + more,
            environment: environment,
            standardOutput: output,
            standardError: output,
            isGroup: false
        )
        process.withLock { $0 = child }
    }

    func signal(_ signal: Int32) {
        process.withLock { process in
            if let process { _ = kill(process.process, signal) }
        }
    }

    /// Ends it, and waits until it has gone; one that is halted ends by SIGKILL only.
    func end(by signal: Int32) {
        process.withLock { process in
            guard let child = process else { return }
            _ = kill(child.process, signal)
            _ = try? child.wait()
            process = nil
        }
    }

    func wipe() throws { try FileManager.default.removeItem(atPath: data) }

    func saveData() throws { try FileManager.default.copyItem(atPath: data, toPath: saved) }

    func restoreData() throws {
        try wipe()
        try FileManager.default.copyItem(atPath: saved, toPath: data)
    }
}
