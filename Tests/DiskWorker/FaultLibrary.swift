import Glibc

/// The library `faults.c`, which the test has loaded before everything else.
struct FaultLibrary: Sendable {
    /// The calls that can fail: bits, as in `faults.c`; `other` is all but the synchronous writes, which are those of meta pages.
    enum Calls: String, CaseIterable, Sendable {
        case write, sync, durable, other

        var bits: Int32 {
            switch self {
            case .write: 1
            case .sync: 2
            case .durable: 4
            case .other: 31 & ~4
            }
        }
    }

    /// What a call does that fails.
    enum Manner: String, CaseIterable, Sendable {
        case notDone, done, half

        var number: Int32 { self == .notDone ? 0 : self == .done ? 1 : 2 }
    }

    private let armFunction: @convention(c) (Int32, Int, Int32, Int32, Int32) -> Void
    private let disarmFunction: @convention(c) () -> Int
    private let settleFunction: @convention(c) () -> Int

    /// Nil when the library is not loaded.
    init?() {
        guard let arm = unsafe dlsym(nil, "fault_arm"), let disarm = unsafe dlsym(nil, "fault_disarm"),
            let settle = unsafe dlsym(nil, "fault_settle")
        else { return nil }
        armFunction = unsafe unsafeBitCast(arm, to: (@convention(c) (Int32, Int, Int32, Int32, Int32) -> Void).self)
        disarmFunction = unsafe unsafeBitCast(disarm, to: (@convention(c) () -> Int).self)
        settleFunction = unsafe unsafeBitCast(settle, to: (@convention(c) () -> Int).self)
    }

    /// From here on the calls are counted, and the `first`-th fails with `number`; `lasts`: all later ones too.
    func arm(_ calls: Calls, first: Int, number: Int32, _ manner: Manner, lasts: Bool) {
        armFunction(calls.bits, first, number, manner.number, lasts ? 1 : 0)
    }

    /// From here on none fails; gives how many have.
    func disarm() -> Int { disarmFunction() }

    /// Takes back what failed syncs did not bring to the disk, while no handle has the file.
    func settle() -> Int { settleFunction() }
}
