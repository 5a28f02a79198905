// Unsafe: clocks, limits, signal sets and the environment are C pointers, read within one call; pthread_create takes one
// argument, an object that is retained before it and released by the thread.

internal import CPlatform
internal import Glibc

/// The process and its clocks.
package enum System {
    /// The process's number, which a child made by `fork` does not share.
    @inline(__always) package static var processID: Int32 { getpid() }

    /// Wall time: milliseconds since 1970 UTC.
    package static var wallMilliseconds: Int64 { milliseconds(CLOCK_REALTIME) }

    /// Time since the machine started, sleep included: it only goes forward.
    package static var elapsedMilliseconds: Int64 { milliseconds(CLOCK_BOOTTIME) }

    /// Monotonic nanoseconds, for measuring how long something took.
    package static var monotonicNanoseconds: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Where files of a moment go: `TMPDIR`, or `/tmp` where that says nothing.
    package static var temporaryDirectory: String {
        guard let value = variable("TMPDIR"), !value.isEmpty else { return "/tmp" }
        return value
    }

    /// A variable of the environment.
    static func variable(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// The bytes of a page of memory, which is a page of LMDB's.
    package static var pageSize: Int { Int(sysconf(CInt(_SC_PAGESIZE))) }

    /// The most bytes that this process may give a file, `RLIMIT_FSIZE`: beyond it the system sends a signal.
    package static var fileSizeMax: Int64 {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(UInt32(RLIMIT_FSIZE.rawValue)), &limit) == 0 else { return .max }
        return Int64(clamping: limit.rlim_cur)
    }

    /// Makes a write to a closed pipe an error (`EPIPE`) in place of a signal that ends the process, and one beyond the
    /// limit on the size of files `EFBIG`.
    package static func ignoreSignals() {
        _ = signal(SIGPIPE, SIG_IGN)
        _ = signal(SIGXFSZ, SIG_IGN)
    }

    /// Makes a write of this thread beyond the limit on the size of files `EFBIG`, and no signal that ends the process.
    package static func holdBackFileSizeSignal() {
        var signals = signalSet([SIGXFSZ])
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}

/// The signals of these numbers, as C has them.
func signalSet(_ numbers: [CInt]) -> sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for number in numbers { unsafe sigaddset(&set, number) }
    return set
}

/// Runs `body` on an operating-system thread of its own, named `name` (at most 15 bytes).
///
/// The thread ends when `body` returns. A thread, not a queue: an LMDB write transaction belongs to the thread that
/// began it, and blocking calls must not take a thread of the cooperative pool.
package func startThread(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
    let box = ThreadBody(name: name, body)
    let argument = unsafe Unmanaged.passRetained(box)
    var thread = pthread_t()
    let status = unsafe pthread_create(
        &thread,
        nil,
        { argument in
            guard let argument = unsafe argument else { return nil }
            let box = unsafe Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue()
            unsafe pthread_setname_np(pthread_self(), box.name)
            box.body()
            return nil
        },
        argument.toOpaque()
    )
    guard status == 0 else {
        unsafe argument.release()
        throw SystemError(call: "pthread_create", number: status, path: name)
    }
    pthread_detach(thread)
}

private final class ThreadBody: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, _ body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}
