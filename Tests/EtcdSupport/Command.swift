private import Foundation
private import Glibc
internal import HoldfastTesting
private import Platform

/// Runs a program to its end.
enum Command {
    typealias Outcome = (status: Int32, output: String)

    /// Runs it beside the tasks, of which a blocked one would hold up the others.
    static func run(_ program: String, _ arguments: [String], environment: [String: String]) async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result { try runBlocking(program, arguments, environment: environment) }
                )
            }
        }
    }

    static func runBlocking(
        _ program: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        directory: String = "/"
    ) throws -> Outcome {
        let place = try TemporaryDirectory()
        let path = place.appending("output")
        let output = try File(appendingTo: path)
        let child = try ChildProcess(
            "/usr/bin/env",
            ["-C", directory, program] + arguments,
            environment: ProcessInfo.processInfo.environment.merging(environment) { $1 },
            standardOutput: output,
            standardError: output,
            isGroup: false
        )
        let status: Int32 =
            switch try child.wait() {
            case .exited(let code): code
            case .signalled(let number): 128 + number
            case nil: -1
            }
        return (status, (try? String(contentsOfFile: path, encoding: .utf8)) ?? "")
    }
}

/// The ports of this host.
enum Loopback {
    /// Whether nobody listens on a port of loopback.
    static func isFree(_ port: UInt16) -> Bool {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        var one: Int32 = 1
        unsafe setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe bind(socket, address, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
