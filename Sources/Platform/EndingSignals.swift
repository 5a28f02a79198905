// Unsafe: the action of a signal is a C union, read right after the call that fills it.

private import Glibc

extension System {
    /// Whether who started this process has it ignore the signal `number`, as `nohup` does.
    package static func isIgnored(signal number: CInt) -> Bool {
        var action = sigaction()
        guard unsafe sigaction(number, nil, &action) == 0 else { return false }
        return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// Lets the next signal `number` end the process, whatever it does then.
    package static func letThrough(signal number: CInt) { _ = signal(number, SIG_DFL) }
}
