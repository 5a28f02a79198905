#if Etcd
import Foundation
import Glibc
import Platform
import Synchronization
import TestSupport

/// One `holdfast-node` process, which can end and be started again.
final class Node: Sendable {
    let name: String
    let port: UInt16
    private let directory: String
    private let endpoints: [String]
    private let arguments: [String]
    private let process = Mutex<ChildProcess?>(nil)

    /// `endpoints`: etcd's members, as it reaches them.
    init(_ name: String, port: UInt16, in directory: String, _ endpoints: [String], _ arguments: [String]) {
        self.name = name
        self.port = port
        self.directory = directory
        self.endpoints = endpoints
        self.arguments = arguments
    }

    var path: String { "\(directory)/\(name)" }

    /// What it has logged.
    var log: String { (try? String(contentsOfFile: "\(path).log", encoding: .utf8)) ?? "" }

    func start() throws {
        let output = try File(appendingTo: "\(path).log")
        let words = [
            path, "--name", name, "--etcd", endpoints.joined(separator: ","), "--listen", "127.0.0.1:\(port)",
        ]
        let child = try ChildProcess(
            Tool.path("holdfast-node"),
            words + arguments,
            environment: ProcessInfo.processInfo.environment,
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

    /// Ends it, and returns how it has ended.
    @discardableResult
    func end(by signal: Int32) -> ChildProcess.Ending? {
        process.withLock { process in
            guard let child = process else { return nil }
            _ = kill(child.process, signal)
            defer { process = nil }
            return try? child.wait(atMost: 60_000_000_000)
        }
    }

    /// How it ends by itself; nil when it does not within a minute.
    func ended() -> ChildProcess.Ending? {
        process.withLock { process in
            guard let child = process, let ending = (try? child.wait(atMost: 60_000_000_000)) ?? nil else { return nil }
            process = nil
            return ending
        }
    }

    /// Starts it again where it has ended by itself, as one does that has stopped to take a snapshot.
    func restartIfEnded() throws {
        let hasEnded = process.withLock { process in
            guard let child = process else { return false }
            return ((try? child.look()) ?? nil) != nil
        }
        if hasEnded {
            end(by: SIGKILL)
            try start()
        }
    }

    func wipe() throws { try FileManager.default.removeItem(atPath: path) }
}
#endif
