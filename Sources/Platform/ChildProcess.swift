// Unsafe: posix_spawn and waitpid take pointers, to values that live for the call; the copies of the words are freed behind it.

private import CPlatform
private import Glibc

/// A program that this process has started.
@safe package final class ChildProcess: Sendable {
    /// How it ended.
    package enum Ending: Sendable, Hashable {
        case exited(Int32)
        case signalled(Int32)
    }

    /// Its number.
    package let process: Int32
    /// Readable once it has ended; nil where the kernel gives no such descriptor.
    let ended: File?
    private let isGroup: Bool
    private let ending = Lock<Ending?>(nil)

    /// Starts a program, with no signal blocked, and with those at their default that the tool handles or ignores.
    ///
    /// - Parameters:
    ///   - program: Its path.
    ///   - arguments: What follows its name.
    ///   - environment: The whole environment.
    ///   - standardInput: What it reads; this process's own when nil. No descriptor but these three is inherited.
    ///   - standardOutput: Where it prints; this process's own when nil.
    ///   - standardError: Where its errors go; this process's own when nil.
    ///   - isGroup: Whether it begins a process group: the terminal's signals pass it by, and ``kill()`` ends all of it.
    /// - Throws: ``SystemError`` when it could not be started.
    package init(
        _ program: String,
        _ arguments: [String],
        environment: [String: String],
        standardInput: File? = nil,
        standardOutput: File? = nil,
        standardError: File? = nil,
        isGroup: Bool = true
    ) throws(SystemError) {
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
        // What these refuse for want of memory, the start itself refuses as well.
        let streams = [standardInput, standardOutput, standardError]
        for (number, stream) in zip(CInt(0)..., streams) {
            guard let stream else { continue }
            unsafe posix_spawn_file_actions_adddup2(&actions, stream.descriptor, number)
        }
        unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var none = signalSet([])
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        // A shell's pipeline ends by the last two, which `System.ignoreSignals` has this process ignore.
        var usual = signalSet([SIGINT, SIGTERM, SIGPIPE, SIGXFSZ])
        unsafe posix_spawnattr_setsigdefault(&attributes, &usual)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (isGroup ? POSIX_SPAWN_SETPGROUP : 0)
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        var words = unsafe ([program] + arguments).map { unsafe strdup($0) } + [nil]
        var values = unsafe variables.map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
            for index in unsafe values.indices { unsafe free(values[index]) }
        }
        var process: pid_t = 0
        let status = withExtendedLifetime(streams) {
            unsafe posix_spawn(&process, program, &actions, &attributes, &words, &values)
        }
        guard status == 0 else { throw SystemError(call: "posix_spawn", number: status, path: program) }
        self.process = process
        self.isGroup = isGroup
        let descriptor = holdfast_pidfd_open(process)
        ended = descriptor >= 0 ? File(adopting: descriptor, path: "process \(process)") : nil
    }

    deinit {
        kill()
        _ = try? wait()
    }

    /// Kills it with SIGKILL, if it has not ended.
    package func kill() {
        // No number is used again before its process was waited for.
        ending.withLock { ending in
            if ending == nil { _ = Glibc.kill(isGroup ? -process : process, SIGKILL) }
        }
    }

    /// How it ended; nil while it runs.
    package func look() throws(SystemError) -> Ending? {
        try ending.withLock { (ending) throws(SystemError) in
            if let ending { return ending }
            var status: CInt = 0
            let got = unsafe waitpid(process, &status, WNOHANG)
            guard got == process else {
                if got == 0 || errno == EINTR { return nil }
                throw SystemError(call: "waitpid", number: errno, path: "process \(process)")
            }
            let code = holdfast_exit_status(status)
            ending = code >= 0 ? .exited(code) : .signalled(holdfast_signal(status))
            return ending
        }
    }

    /// Waits until it has ended, for at most so long; nil stands for ever.
    ///
    /// - Returns: How it ended; nil while it runs.
    package func wait(atMost nanoseconds: UInt64? = nil) throws(SystemError) -> Ending? {
        let start = System.monotonicNanoseconds
        while true {
            if let ending = try look() { return ending }
            let left = nanoseconds.map { limit in
                let passed = System.monotonicNanoseconds - start
                return limit > passed ? limit - passed : 0
            }
            if left == 0 { return nil }
            if let ended, left ?? .max >= 1_000_000 {
                _ = File.wait(toRead: [ended], milliseconds: left.map { CInt(clamping: $0 / 1_000_000) } ?? -1)
            } else {
                var time = timespec(tv_sec: 0, tv_nsec: Int(min(left ?? 1_000_000, 1_000_000)))
                unsafe nanosleep(&time, nil)
            }
        }
    }
}
