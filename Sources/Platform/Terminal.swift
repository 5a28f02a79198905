// Unsafe: ioctl, termios and signal sets go to C as pointers, to values that live for the call.

private import CPlatform
private import Glibc

/// How many characters a terminal shows.
package struct TerminalSize: Sendable, Hashable {
    package var rows: Int
    package var columns: Int

    package init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
    }
}

extension File {
    /// The terminal's size as it is now; nil where there is no terminal, or it does not say.
    package var terminalSize: TerminalSize? {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 else {
            return nil
        }
        return TerminalSize(rows: Int(size.ws_row), columns: Int(size.ws_col))
    }
}

/// What somebody at the terminal, or the system, tells a program that draws there.
package enum TerminalEvent: Sendable, Hashable {
    /// Nothing, for as long as was waited.
    case none
    /// The window has another size.
    case resized
    /// The program is to stop for now (Ctrl-Z).
    case suspended
    /// The program is to end, by the signal of this number.
    case ended(CInt)
    /// Bytes that were typed.
    case typed([UInt8])
}

/// The signals and the keyboard of a program that draws on a terminal.
///
/// While it lives, the signals that would end or stop the program wait to be asked for, so that the terminal can be put
/// back first; and what is typed arrives at once, and is not shown. Make it on the main thread, before there are others:
/// each thread that is made later leaves the signals to it.
@safe package final class TerminalEvents: Sendable {
    private let signals: File
    /// The keyboard; nil where standard input is no terminal.
    private let keyboard: File?
    private let settings: termios
    private let mask: sigset_t

    private static let caught = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH]

    /// Takes over the signals and the keyboard.
    ///
    /// - Throws: What the system says where it has no descriptor left.
    package init() throws(SystemError) {
        var wanted = signalSet(Self.caught)
        var before = sigset_t()
        unsafe pthread_sigmask(SIG_BLOCK, &wanted, &before)
        let closeOnExec: CInt = 0x8_0000
        let descriptor = unsafe signalfd(-1, &wanted, closeOnExec)
        guard descriptor >= 0 else {
            let number = errno
            unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
            throw SystemError(call: "signalfd", number: number, path: "signals")
        }
        signals = File(adopting: descriptor, path: "signals")
        mask = before
        var settings = termios()
        let input = File(adopting: 0, path: "standard input")
        keyboard = unsafe tcgetattr(0, &settings) == 0 ? input : nil
        self.settings = settings
        takeKeyboard()
    }

    deinit { end() }

    /// Gives signals and keyboard back.
    package func end() {
        giveBackKeyboard()
        var mask = mask
        unsafe pthread_sigmask(SIG_SETMASK, &mask, nil)
    }

    private func takeKeyboard() {
        guard keyboard != nil else { return }
        var raw = settings
        // Keys one by one and unseen; Ctrl-C and its like are signals still.
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
        unsafe tcsetattr(0, TCSADRAIN, &raw)
    }

    private func giveBackKeyboard() {
        guard keyboard != nil else { return }
        var settings = settings
        unsafe tcsetattr(0, TCSADRAIN, &settings)
    }

    /// Waits for something to happen, for at most so long.
    package func next(within milliseconds: Int64) -> TerminalEvent {
        let ready = File.wait(toRead: [signals, keyboard], milliseconds: CInt(clamping: max(0, milliseconds)))
        guard ready.contains(true) else { return .none }
        if ready[0] {
            let signalRecordBytes = 128
            guard let record = try? signals.read(atMost: signalRecordBytes), record.count >= 4 else { return .none }
            let number = record[..<4].reversed().reduce(CInt(0)) { $0 << 8 | CInt($1) }
            return number == SIGWINCH ? .resized : number == SIGTSTP ? .suspended : .ended(number)
        }
        guard let typed = try? keyboard?.read(atMost: 64), !typed.isEmpty else { return .ended(SIGHUP) }
        return .typed(typed)
    }

    /// Stops the process until it is continued; the keyboard is as it was meanwhile.
    package func suspend() {
        giveBackKeyboard()
        _ = kill(getpid(), SIGSTOP)
        takeKeyboard()
    }
}

extension System {
    /// Ends the process as the signal `number` would have, so that whoever started it sees why.
    package static func end(bySignal number: CInt) -> Never {
        _ = signal(number, SIG_DFL)
        var set = signalSet([number])
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
        _ = kill(getpid(), number)
        // A signal that is ignored by who started the process ends here.
        exit(128 + number)
    }

    /// Does nothing for so long.
    package static func sleep(milliseconds: Int64) {
        _ = poll(nil, 0, CInt(clamping: max(0, milliseconds)))
    }
}
