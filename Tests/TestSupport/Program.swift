public import Foundation
private import Glibc
private import Platform

/// A program in a process of its own, as `Foundation.Process` has it.
///
/// That reads past a buffer when this process has more than some 1,300 open files, as a test run has.
public final class Program {
    /// How a program ended.
    public enum Reason: Sendable {
        /// By itself, with a code.
        case exit
        /// By a signal.
        case uncaughtSignal
    }

    private let path: String
    private let arguments: [String]
    private let environment: [String: String]
    private var child: ChildProcess?

    /// The directory that it starts in; this process's own when nil.
    public var currentDirectoryURL: URL?
    /// A `FileHandle` or a `Pipe`; this process's own when nil.
    public var standardInput: Any?
    /// A `FileHandle` or a `Pipe`; this process's own when nil.
    public var standardOutput: Any?
    /// A `FileHandle` or a `Pipe`; this process's own when nil.
    public var standardError: Any?

    init(_ path: String, _ arguments: [String], _ environment: [String: String]) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
    }

    /// Starts it; it is killed when the last reference goes.
    ///
    /// - Throws: When it could not be started.
    public func run() throws {
        var given: [FileHandle] = []
        let streams = [standardInput, standardOutput, standardError].enumerated().map { number, stream -> File? in
            let handle: FileHandle
            switch stream {
            case let pipe as Pipe:
                handle = number == 0 ? pipe.fileHandleForReading : pipe.fileHandleForWriting
                given.append(handle)
            case let file as FileHandle: handle = file
            default: return nil
            }
            return File(adopting: fcntl(handle.fileDescriptor, F_DUPFD_CLOEXEC, 3), path: "stream \(number)")
        }
        let place = currentDirectoryURL.map { ["/usr/bin/env", "-C", $0.path] } ?? []
        let words = place + [path] + arguments
        child = try ChildProcess(
            words[0],
            Array(words[1...]),
            environment: environment,
            standardInput: streams[0],
            standardOutput: streams[1],
            standardError: streams[2],
            isGroup: false
        )
        for handle in given { try handle.close() }
    }

    /// Its number; 0 before it has started.
    public var processIdentifier: Int32 { child?.process ?? 0 }

    /// Whether it has started and has not ended.
    public var isRunning: Bool {
        guard let child else { return false }
        return (try? child.look()) == nil
    }

    /// Waits for its end.
    public func waitUntilExit() { _ = ending }

    /// The exit code, or the signal's number where one ended it; waits for its end.
    public var terminationStatus: Int32 {
        switch ending {
        case .exited(let code): code
        case .signalled(let number): number
        }
    }

    /// How it ended; waits for its end.
    public var terminationReason: Reason {
        if case .exited = ending { .exit } else { .uncaughtSignal }
    }

    private var ending: ChildProcess.Ending {
        guard let ending = try? child?.wait() else { fatalError("\(path) was not started, or not by this process") }
        return ending
    }
}
