public import Foundation
import Glibc

/// Programs of this package, run as processes of their own.
public enum Tool {
    /// What a process left when it ended.
    public struct Outcome: Sendable {
        /// The exit code, or the signal's number where one ended it.
        public var status: Int32
        /// Whether a signal ended it.
        public var isSignalled: Bool
        /// What it printed on standard output.
        public var output: String
        /// What it printed on standard error.
        public var talk: String

        /// The lines of standard output, without an empty last one.
        public var lines: [String] {
            output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init).dropLast()
        }
    }

    /// Where the programs of this build are: beside the test's own.
    public static func path(_ name: String = "holdfast") -> String {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: own).deletingLastPathComponent().appending(path: name).path
    }

    /// A process that has not started, with the program's arguments and the environment's additions.
    public static func process(
        _ arguments: [String],
        program: String = path(),
        environment: [String: String] = [:]
    ) -> Program {
        Program(program, arguments, ProcessInfo.processInfo.environment.merging(environment) { $1 })
    }

    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - arguments: What follows its name.
    ///   - input: What it reads; nothing when nil.
    ///   - program: Its path; the tool's when left out.
    ///   - environment: What is added to this process's environment.
    /// - Returns: What it left.
    /// - Throws: When it could not be started.
    public static func run(
        _ arguments: [String],
        input: String? = nil,
        program: String = path(),
        environment: [String: String] = [:]
    ) throws -> Outcome {
        let process = process(arguments, program: program, environment: environment)
        // Files, not pipes: nothing can fill up and wait.
        let directory = FileManager.default.temporaryDirectory.appending(path: "holdfast-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func file(_ name: String, _ text: String) throws -> FileHandle {
            let url = directory.appending(path: name)
            try Data(text.utf8).write(to: url)
            return try FileHandle(forUpdating: url)
        }
        process.standardInput = try file("in", input ?? "")
        process.standardOutput = try file("out", "")
        process.standardError = try file("err", "")
        try process.run()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus,
            isSignalled: process.terminationReason == .uncaughtSignal,
            output: try text(directory.appending(path: "out")),
            talk: try text(directory.appending(path: "err"))
        )
    }

    /// Runs a program that takes long, beside the tasks, of which a blocked one would hold up the others; see
    /// ``run(_:input:program:environment:)``.
    public static func runBeside(
        _ arguments: [String],
        program: String = path(),
        environment: [String: String] = [:]
    ) async throws -> Outcome {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result { try run(arguments, program: program, environment: environment) }
                )
            }
        }
    }

    /// What is in a file; of an empty one nothing is read, since Foundation keeps the buffer then.
    private static func text(_ file: URL) throws -> String {
        let size = try file.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0
        return size == 0 ? "" : String(decoding: try Data(contentsOf: file), as: UTF8.self)
    }

    /// A C file of the crash tests as a library, to be preloaded into a program.
    ///
    /// - Throws: What the compiler says.
    public static func library(_ name: String, in directory: String) throws -> String {
        let library = "\(directory)/\(name).so"
        let source = source("Tests/CrashTests/\(name).c").path
        let compiled = try run(
            ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"],
            program: "/usr/bin/env"
        )
        guard compiled.status == 0 else {
            throw CocoaError(.featureUnsupported, userInfo: [NSLocalizedDescriptionKey: compiled.talk])
        }
        return library
    }

    /// A file of the package's sources, from its root.
    public static func source(_ path: String, from file: String = #filePath) -> URL {
        URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: path)
    }
}
