import Dispatch
import Foundation
import Glibc
import Platform

/// How far the heap of this process has grown: without maps, and without giving back, its end is its peak.
enum Heap {

    private typealias Option = @convention(c) (CInt, CInt) -> CInt
    private typealias Trim = @convention(c) (Int) -> CInt

    private static func function<Function>(_ name: String, as type: Function.Type) -> Function {
        guard let symbol = unsafe dlsym(nil, name) else { preconditionFailure("no \(name)") }
        return unsafe unsafeBitCast(symbol, to: type)
    }

    /// The end of the heap.
    static var end: Int { Int(bitPattern: unsafe sbrk(0)) }

    /// Gives back what is free at the end.
    static func trim() { _ = function("malloc_trim", as: Trim.self)(0) }

    /// Makes the processes that are started from now on take the memory of all their threads from the heap's end.
    ///
    /// Malloc reads it before the first thread is there; later a thread keeps the arena that it has.
    static func prepare() { unsafe setenv("MALLOC_ARENA_MAX", "1", 1) }

    /// Runs `body` on a thread of its own, in a process that was prepared, and does not return.
    static func run(_ body: @escaping @Sendable () -> Never) -> Never {
        let option = function("mallopt", as: Option.self)
        let (trimThreshold, mapsMax): (CInt, CInt) = (-1, -4)
        for (name, value) in [(mapsMax, 0), (trimThreshold, .max)] as [(CInt, CInt)] {
            precondition(option(name, value) == 1, "mallopt \(name)")
        }
        let thread = Thread {
            precondition(isMeasured(), "the memory of a thread is not measured")
            let inTask = Lock(false)
            let done = DispatchSemaphore(value: 0)
            Task.detached {
                inTask.withLock { $0 = isMeasured() }
                done.signal()
            }
            done.wait()
            precondition(inTask.withLock { $0 }, "the memory of a task is not measured")
            body()
        }
        thread.stackSize = 16 << 20
        thread.start()
        while true { pause() }
    }

    /// Whether what this thread takes comes from the heap's end, and goes back: a piece that an arena of its own could hold.
    private static func isMeasured() -> Bool {
        trim()
        let before = end
        let piece = unsafe malloc(32 << 20)
        let grown = end - before
        unsafe free(piece)
        trim()
        return grown >= 32 << 20 && end - before < 1 << 20
    }
}
