private import CPlatform
private import Glibc

/// A program that this process has started, in a process group of its own: the terminal's signals pass it by.
@safe package final class ChildProcess: Sendable {
    /// How it ended.
    package enum Ending: Sendable, Hashable {
        case exited(Int32)
        case signalled(Int32)
    }

    /// Its number.
    package let process: Int32
    /// Readable once it has ended; nil where the kernel gives no such descriptor.
    private let ended: File?
    private let ending = Lock<Ending?>(nil)

    /// Starts this process's own program again.
    ///
    /// - Parameters:
    ///   - arguments: What follows its name.
    ///   - environment: The whole environment.
    ///   - output: The file that what it prints is added to.
    /// - Throws: ``SystemError`` when it could not be started.
    package init(own arguments: [String], environment: [String: String], output: String) throws(SystemError) {
        let program = "/proc/self/exe"
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        // Who ignores the end of his children cannot wait for them.
        _ = signal(SIGCHLD, SIG_DFL)
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        for number in [SIGINT, SIGTERM] { unsafe sigaddset(&signals, number) }
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)
        )
        var process: pid_t = 0
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        var words = unsafe ShellCommand.pointers([program] + arguments)
        var values = unsafe ShellCommand.pointers(variables)
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
            for index in unsafe values.indices { unsafe free(values[index]) }
        }
        let status = unsafe posix_spawn(&process, program, &actions, &attributes, &words, &values)
        guard status == 0 else { throw SystemError(call: "posix_spawn", number: status, path: program) }
        self.process = process
        let descriptor = holdfast_pidfd_open(process)
        ended = descriptor >= 0 ? File(adopting: descriptor, path: "process \(process)") : nil
    }

    deinit {
        guard ending.withLock({ $0 }) == nil else { return }
        kill()
        _ = wait()
    }

    /// Kills it with SIGKILL.
    package func kill() {
        // Its number is not used again before it was waited for.
        if ending.withLock({ $0 }) == nil { _ = Glibc.kill(process, SIGKILL) }
    }

    /// Waits until it has ended, for at most so long; nil stands for ever.
    ///
    /// - Returns: How it ended; nil while it runs.
    package func wait(atMost nanoseconds: UInt64? = nil) -> Ending? {
        let start = System.monotonicNanoseconds
        while true {
            if let ending = look() { return ending }
            let left = nanoseconds.map { limit in
                let passed = System.monotonicNanoseconds - start
                return limit > passed ? limit - passed : 0
            }
            if left == 0 { return nil }
            if let ended, left ?? .max >= 1_000_000 {
                var polls = [pollfd(fd: ended.descriptor, events: Int16(POLLIN), revents: 0)]
                _ = unsafe poll(&polls, 1, left.map { CInt(clamping: $0 / 1_000_000) } ?? -1)
            } else {
                var time = timespec(tv_sec: 0, tv_nsec: Int(min(left ?? 1_000_000, 1_000_000)))
                unsafe nanosleep(&time, nil)
            }
        }
    }

    private func look() -> Ending? {
        ending.withLock { ending in
            if let ending { return ending }
            var status: CInt = 0
            guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
            let code = holdfast_exit_status(status)
            ending = code >= 0 ? .exited(code) : .signalled(holdfast_signal(status))
            return ending
        }
    }
}
