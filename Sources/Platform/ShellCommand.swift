private import CPlatform
private import Glibc

/// A command for `/bin/sh`, run as a process group of its own.
package struct ShellCommand: Sendable {
    /// How a command ended.
    package struct Ending: Sendable, Hashable {
        /// The shell's exit code; nil when a signal ended it.
        package var exitCode: Int32?
        /// The signal that ended it; nil when it exited.
        package var signal: Int32?
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
    /// - Returns: How it ended.
    /// - Throws: ``SystemError`` when it could not be started or watched.
    package func run(_ talk: @escaping @Sendable ([UInt8]) -> Void = { _ in }) async throws(SystemError) -> Ending {
        let stop = try FilePipe("stop")
        let outcome: Result<Ending, SystemError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do throws(SystemError) {
                    try startThread(name: "holdfast-command") {
                        continuation.resume(returning: Result { () throws(SystemError) in try run(stop, talk) })
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

    private func run(_ stop: FilePipe, _ talk: ([UInt8]) -> Void) throws(SystemError) -> Ending {
        let (process, standardError) = try start()
        let ended = holdfast_pidfd_open(process)
        // Where the kernel gives no such descriptor, the process is asked.
        let exit = ended >= 0 ? File(adopting: ended, path: "process \(process)") : nil
        var lastLine = LastLine()
        var isStopped = false
        var hasErrors = true
        while true {
            var wanted: [(descriptor: CInt, isWanted: Bool)] = [
                (standardError.descriptor, hasErrors), (stop.read.descriptor, !isStopped),
            ]
            if let exit { wanted.append((exit.descriptor, true)) }
            let ready = Self.wait(wanted, milliseconds: exit == nil ? 20 : -1)
            if ready[1], !isStopped {
                isStopped = true
                // The group's number is not used again before its leader was waited for.
                kill(-process, SIGKILL)
            }
            if ready[0] { hasErrors = Self.pass(standardError, &lastLine, talk) }
            guard let status = try Self.status(of: process) else { continue }
            // What it wrote before its end is there; those it left behind may go on writing, and are not waited for.
            var left = 64
            while left > 0, hasErrors, Self.wait([(standardError.descriptor, true)], milliseconds: 0)[0] {
                hasErrors = Self.pass(standardError, &lastLine, talk)
                left -= 1
            }
            let code = holdfast_exit_status(status)
            return Ending(
                exitCode: code >= 0 ? code : nil,
                signal: code >= 0 ? nil : holdfast_signal(status),
                lastLine: lastLine.bytes
            )
        }
    }

    /// Reads what is there; false at the end.
    private static func pass(_ file: File, _ lastLine: inout LastLine, _ talk: ([UInt8]) -> Void) -> Bool {
        guard let bytes = try? file.read(atMost: 16 << 10), !bytes.isEmpty else { return false }
        lastLine.take(bytes)
        talk(bytes)
        return true
    }

    /// Waits until something can be read or has ended; a negative time stands for ever.
    private static func wait(_ wanted: [(descriptor: CInt, isWanted: Bool)], milliseconds: CInt) -> [Bool] {
        var polls = wanted.map { pollfd(fd: $0.isWanted ? $0.descriptor : -1, events: Int16(POLLIN), revents: 0) }
        let ready = unsafe poll(&polls, nfds_t(polls.count), milliseconds)
        // Interrupted: nothing is ready, and the caller asks again.
        return polls.map { ready > 0 && $0.revents != 0 }
    }

    /// How the process ended; nil while it runs.
    private static func status(of process: pid_t) throws(SystemError) -> CInt? {
        var status: CInt = 0
        let got = unsafe waitpid(process, &status, WNOHANG)
        if got == process { return status }
        guard got == 0 || errno == EINTR else {
            throw SystemError(call: "waitpid", number: errno, path: "process \(process)")
        }
        return nil
    }

    // MARK: Starting

    private static let shell = "/bin/sh"

    private func start() throws(SystemError) -> (process: pid_t, standardError: File) {
        let standardInput = try memory()
        let standardError = try FilePipe("standard error")
        // Who ignores the end of his children cannot wait for them.
        _ = signal(SIGCHLD, SIG_DFL)
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        // What these refuse for want of memory, the start itself refuses as well.
        unsafe posix_spawn_file_actions_adddup2(&actions, standardInput.descriptor, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, standardError.write.descriptor, 2)
        unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        // Ignored here, see `System.ignoreSignals`; a shell's pipeline ends by them.
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe sigaddset(&signals, SIGXFSZ)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)
        )
        var process: pid_t = 0
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        var arguments = unsafe Self.pointers([Self.shell, "-c", text])
        var values = unsafe Self.pointers(variables)
        defer {
            for index in unsafe arguments.indices { unsafe free(arguments[index]) }
            for index in unsafe values.indices { unsafe free(values[index]) }
        }
        let status = unsafe posix_spawn(&process, Self.shell, &actions, &attributes, &arguments, &values)
        guard status == 0 else { throw SystemError(call: "posix_spawn", number: status, path: Self.shell) }
        return (process, standardError.read)
    }

    /// Copies of texts for C, to be freed, and the end of the list.
    @unsafe static func pointers(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] {
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe []
        for text in texts { unsafe pointers.append(strdup(text)) }
        unsafe pointers.append(nil)
        return unsafe pointers
    }

    /// A file in memory that holds the input, at its beginning.
    private func memory() throws(SystemError) -> File {
        let closeOnExec: UInt32 = 1
        let descriptor = unsafe memfd_create("holdfast-batch", closeOnExec)
        guard descriptor >= 0 else { throw SystemError(call: "memfd_create", number: errno, path: "batch") }
        let file = File(adopting: descriptor, path: "batch")
        try file.write(input)
        guard lseek(descriptor, 0, SEEK_SET) == 0 else {
            throw SystemError(call: "lseek", number: errno, path: "batch")
        }
        return file
    }
}

/// The two ends of a pipe.
private struct FilePipe: Sendable {
    let read: File
    let write: File

    init(_ name: String) throws(SystemError) {
        var ends: [CInt] = [-1, -1]
        guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else { throw SystemError(call: "pipe2", number: errno, path: name) }
        read = File(adopting: ends[0], path: name)
        write = File(adopting: ends[1], path: name)
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
