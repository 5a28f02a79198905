import Foundation
import Glibc

/// How far the heap of this process has grown: without maps, and without giving back, its end is its peak.
///
/// Only the main thread's memory comes from there.
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

    /// Makes all memory of the main thread come from the heap's end; says why where it does not.
    static func measure() -> String? {
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
        let left = end - before
        guard grown >= 64 << 20, left < 1 << 20 else {
            return "it grew by \(grown) bytes, and kept \(left), in the \(Thread.isMainThread ? "main" : "wrong") thread"
        }
        return nil
    }
}
