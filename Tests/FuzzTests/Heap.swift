import Dispatch
import Foundation
import Glibc

/// How far the heap of this process has grown: without maps, and without giving back, its end is its peak.
///
/// Only the threads of malloc's main arena take their memory from there.
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

    /// Runs `body` on a thread whose memory comes from the heap's end, and does not return.
    ///
    /// A thread cannot choose its arena, but it keeps it: threads are begun until one has the main one.
    static func run(_ body: @escaping @Sendable () -> Never) -> Never {
        let answer = DispatchSemaphore(value: 0)
        for _ in 0..<256 {
            let thread = Thread {
                if isMeasured() { body() }
                answer.signal()
                while true { pause() }
            }
            thread.stackSize = 16 << 20
            thread.start()
            answer.wait()
        }
        preconditionFailure("no thread has the main arena")
    }

    /// Makes all memory of this thread come from the heap's end; false where it cannot.
    private static func isMeasured() -> Bool {
        let option = function("mallopt", as: Option.self)
        let (trimThreshold, mapsMax): (CInt, CInt) = (-1, -4)
        for (name, value) in [(mapsMax, 0), (trimThreshold, .max)] as [(CInt, CInt)] {
            precondition(option(name, value) == 1, "mallopt \(name)")
        }
        trim()
        let before = end
        let piece = unsafe malloc(64 << 20)
        let grown = end - before
        unsafe free(piece)
        trim()
        return grown >= 64 << 20 && end - before < 1 << 20
    }
}
