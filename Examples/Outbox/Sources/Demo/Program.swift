import Dispatch
import Foundation
import Glibc

/// What went wrong with the demonstration; its text says what to look at.
struct DemoError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

enum Program {
    /// Runs a program to its end.
    ///
    /// - Returns: What it printed.
    /// - Throws: ``DemoError`` with what it said when its exit code is not 0.
    @discardableResult
    static func run(_ command: String...) async throws -> String {
        try await withCheckedThrowingContinuation { waiting in
            // It waits for the program, which no cooperative thread must do.
            DispatchQueue.global().async { waiting.resume(with: Result { try runNow(command) }) }
        }
    }

    /// Runs a program without the descriptors above 2.
    ///
    /// Foundation on Linux takes a process for running as long as anybody holds a socket that it has inherited, and a server
    /// that `pg_ctl` has started would hold it.
    private static let closing = """
        (
            for path in /proc/$BASHPID/fd/*; do
                [ "${path##*/}" -le 2 ] || eval "exec ${path##*/}>&-"
            done
            exec "$@"
        )
        exit $?
        """

    private static func runNow(_ command: [String]) throws -> String {
        let process = Process()
        let output = Pipe.ours()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", closing, "bash"] + command
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw DemoError("'\(command.joined(separator: " "))' ended with \(process.terminationStatus):\n\(text)")
        }
        return text
    }
}

extension Pipe {
    /// A pipe that no other program inherits: a server that held one open would keep its reader waiting.
    static func ours() -> Pipe {
        let pipe = Pipe()
        for end in [pipe.fileHandleForReading, pipe.fileHandleForWriting] {
            _ = fcntl(end.fileDescriptor, F_SETFD, FD_CLOEXEC)
        }
        return pipe
    }
}

/// Looks every 20 ms until `condition` holds.
///
/// - Throws: ``DemoError`` that names `what` after two minutes; what `condition` throws.
func wait(for what: String, until condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(120)
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw DemoError("Waited two minutes in vain: \(what).") }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Prints, at once also where the output is no terminal.
func say(_ text: String, terminator: String = "\n") {
    print(text, terminator: terminator)
    fflush(nil)
}
