private import CPlatform
public import Foundation
private import Glibc

/// A program in a process of its own.
///
/// Foundation's `Process` reads past a buffer when this process has more than some 1,300 open files, as a test run has.
public final class Program: @unchecked Sendable {
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
    private let lock = NSLock()
    private var ending: Int32?

    /// Its number; 0 before it has started.
    public private(set) var processIdentifier: Int32 = 0
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

    /// Starts it.
    ///
    /// - Throws: When it could not be started.
    public func run() throws {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        var given: [FileHandle] = []
        for (number, stream) in [standardInput, standardOutput, standardError].enumerated() {
            let handle: FileHandle
            switch stream {
            case let pipe as Pipe:
                handle = number == 0 ? pipe.fileHandleForReading : pipe.fileHandleForWriting
                given.append(handle)
            case let file as FileHandle: handle = file
            default: continue
            }
            unsafe posix_spawn_file_actions_adddup2(&actions, handle.fileDescriptor, Int32(number))
        }
        unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        var (program, line) = (path, [path] + arguments)
        if let directory = currentDirectoryURL {
            program = "/usr/bin/env"
            line = [program, "-C", directory.path] + line
        }
        var words = unsafe line.map { unsafe strdup($0) } + [nil]
        var values = unsafe variables.map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
            for index in unsafe values.indices { unsafe free(values[index]) }
        }
        let status = unsafe posix_spawn(&processIdentifier, program, &actions, &attributes, &words, &values)
        guard status == 0 else {
            throw CocoaError(
                .executableLoad,
                userInfo: [NSLocalizedDescriptionKey: "posix_spawn of \(path): \(status)"]
            )
        }
        for handle in given { try handle.close() }
    }

    /// Whether it has started and has not ended.
    public var isRunning: Bool { processIdentifier != 0 && status(WNOHANG) == nil }

    /// Waits for its end.
    public func waitUntilExit() { _ = status(0) }

    /// The exit code, or the signal's number where one ended it; waits for its end.
    public var terminationStatus: Int32 {
        let status = status(0) ?? 0
        return terminationReason == .exit ? status >> 8 & 0xff : status & 0x7f
    }

    /// How it ended; waits for its end.
    public var terminationReason: Reason { (status(0) ?? 0) & 0x7f == 0 ? .exit : .uncaughtSignal }

    private func status(_ options: Int32) -> Int32? {
        lock.withLock {
            if let ending { return ending }
            var status: Int32 = 0
            var answer: pid_t
            repeat { answer = unsafe waitpid(processIdentifier, &status, options) } while answer < 0 && errno == EINTR
            guard answer == processIdentifier else { return nil }
            ending = status
            return status
        }
    }
}
