/// A command for `/bin/sh`, run as a process group of its own.
package struct ShellCommand: Sendable {
    /// What a command left.
    package struct Outcome: Sendable, Hashable {
        /// How its shell ended.
        package var ending: ChildProcess.Ending
        /// The last line that is not empty of what it wrote on standard error, at most ``ShellCommand/lineMax`` bytes.
        package var lastLine: [UInt8]
    }

    /// So many bytes of a line are kept.
    package static let lineMax = 1024

    /// What the shell runs.
    package var text: String
    /// The whole environment.
    package var environment: [String: String]
    /// What it finds on standard input.
    package var input: [UInt8]

    package init(_ text: String, environment: [String: String], input: [UInt8]) {
        self.text = text
        self.environment = environment
        self.input = input
    }

    /// Starts the command, and returns when its shell has ended.
    ///
    /// Its standard input is a file in memory that holds all of `input` before it starts: it need not read it, it may read
    /// it twice, and the end of this process does not cut it off. Standard output is this process's own; no other
    /// descriptor is inherited. When the task is cancelled, every process of the group is killed. What the shell leaves
    /// running in the background is left alone, but nobody reads its standard error any more.
    ///
    /// - Parameter talk: Is given what the command writes on standard error, as it comes, on a thread of its own.
    /// - Returns: What it left.
    /// - Throws: ``SystemError`` when it could not be started or watched.
    package func run(_ talk: @escaping @Sendable ([UInt8]) -> Void = { _ in }) async throws(SystemError) -> Outcome {
        let stop = try File.pipe("stop")
        let outcome: Result<Outcome, SystemError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do throws(SystemError) {
                    try startThread(name: "holdfast-command") {
                        continuation.resume(returning: Result { () throws(SystemError) in try run(stop.read, talk) })
                    }
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        } onCancel: {
            // One byte always fits.
            try? stop.write.write([0])
        }
        return try outcome.get()
    }

    // MARK: On the thread

    private func run(_ stop: File, _ talk: ([UInt8]) -> Void) throws(SystemError) -> Outcome {
        let (process, standardError) = try start()
        var lastLine = LastLine()
        var isStopped = false
        var hasErrors = true
        while true {
            let wanted = [hasErrors ? standardError : nil, isStopped ? nil : stop, process.ended]
            // Where nothing becomes readable at its end, the process is asked.
            let ready = File.wait(toRead: wanted, milliseconds: process.ended == nil ? 20 : -1)
            if ready[1], !isStopped {
                isStopped = true
                process.kill()
            }
            if ready[0] { hasErrors = Self.pass(standardError, &lastLine, talk) }
            guard let ending = try process.look() else { continue }
            // What it wrote before its end is there; those it left behind may go on writing, and are not waited for.
            var left = 64
            while left > 0, hasErrors, File.wait(toRead: [standardError], milliseconds: 0)[0] {
                hasErrors = Self.pass(standardError, &lastLine, talk)
                left -= 1
            }
            return Outcome(ending: ending, lastLine: lastLine.bytes)
        }
    }

    /// Reads what is there; false at the end.
    private static func pass(_ file: File, _ lastLine: inout LastLine, _ talk: ([UInt8]) -> Void) -> Bool {
        guard let bytes = try? file.read(atMost: 16 << 10), !bytes.isEmpty else { return false }
        lastLine.take(bytes)
        talk(bytes)
        return true
    }

    private func start() throws(SystemError) -> (process: ChildProcess, standardError: File) {
        let standardError = try File.pipe("standard error")
        let process = try ChildProcess(
            "/bin/sh",
            ["-c", text],
            environment: environment,
            standardInput: File.memory("batch", holding: input),
            standardError: standardError.write
        )
        return (process, standardError.read)
    }
}

/// The last line of a stream that is not empty.
private struct LastLine {
    private var whole: [UInt8] = []
    private var begun: [UInt8] = []

    var bytes: [UInt8] { begun.isEmpty ? whole : begun }

    mutating func take(_ chunk: [UInt8]) {
        for byte in chunk {
            if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") {
                if !begun.isEmpty { whole = begun }
                begun.removeAll(keepingCapacity: true)
            } else if begun.count < ShellCommand.lineMax {
                begun.append(byte)
            }
        }
    }
}
