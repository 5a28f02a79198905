import Dispatch
import Foundation
import Glibc

/// How far the heap of this process has grown: with one arena, no maps and no giving back, its end is its peak.
///
/// Only a thread that ``run(_:)`` began is in that arena.
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

    /// Runs `body` on a thread whose memory all comes from the heap's end, and waits for it.
    static func run(_ body: @escaping @Sendable () -> Void) {
        let option = function("mallopt", as: Option.self)
        let (trimThreshold, mapsMax, arenasMax): (CInt, CInt, CInt) = (-1, -4, -8)
        for (name, value) in [(arenasMax, 1), (mapsMax, 0), (trimThreshold, .max)] as [(CInt, CInt)] {
            precondition(option(name, value) == 1, "mallopt \(name)")
        }
        let done = DispatchSemaphore(value: 0)
        let thread = Thread {
            body()
            done.signal()
        }
        thread.stackSize = 16 << 20
        thread.start()
        done.wait()
    }

    /// Whether this thread's memory is measured: a piece of it must move the end.
    static var isMeasured: Bool {
        let before = end
        let piece = unsafe malloc(64 << 20)
        defer { unsafe free(piece) }
        return end >= before + 64 << 20
    }
}
