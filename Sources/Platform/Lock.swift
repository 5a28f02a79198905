// Unsafe: pthread_mutex_lock takes a pointer to a mutex that must never move; it is freed in `deinit`.

private import Glibc

/// A value that one thread at a time may touch, behind a `pthread_mutex_t`.
///
/// The standard library's `Mutex` hands a contended lock over inside the kernel, where the thread sanitizer does not see
/// it: it then reports races that are none, and would hide those that are. It does see this one.
///
/// `@unchecked`, since the compiler cannot know that ``withLock(_:)`` is the only way to the value.
@safe package final class Lock<Value: Sendable>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    package init(_ value: Value) {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        let status = unsafe pthread_mutex_init(mutex, nil)
        precondition(status == 0, "pthread_mutex_init gave \(status)")
        self.value = value
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Takes the lock until ``release()``: for what begins in one call and ends in another, as a fork does.
    func hold() {
        let status = unsafe pthread_mutex_lock(mutex)
        precondition(status == 0, "pthread_mutex_lock gave \(status)")
    }

    /// Gives back what ``hold()`` took, on the same thread; or, in the child of a fork, on the thread that is its copy.
    func release() { unsafe pthread_mutex_unlock(mutex) }

    /// Calls `body` with the value while no other thread has it.
    ///
    /// `body` must not take the same lock again.
    package func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        hold()
        defer { release() }
        return try body(&value)
    }
}
