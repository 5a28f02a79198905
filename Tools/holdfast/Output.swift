import ArgumentParser
import FoundationEssentials
import Lines
import Platform

/// How results are printed.
enum Format: String, CaseIterable, ExpressibleByArgument, Sendable {
    case table, json, jsonl
}

/// The option that every verb with a result has.
struct FormatOption: ParsableArguments {
    @Option(
        help: """
            table, json or jsonl. Left out: a table on a terminal, otherwise JSON, a line for each of a list. With json and \
            jsonl errors are JSON on standard error.
            """
    )
    var format: Format?

    /// For a verb whose result is one object.
    var forObject: Format { format ?? (Output.isTerminal ? .table : .json) }
    /// For a verb whose result is a list.
    var forList: Format { format ?? (Output.isTerminal ? .table : .jsonl) }
}

/// Standard output, in pieces of some size.
final class Output {
    /// Whether standard output is a terminal.
    static var isTerminal: Bool { File(adopting: 1, path: "stdout").isTerminal }

    /// The size of that terminal; nil when it is none, or does not say.
    static var terminalSize: TerminalSize? { File(adopting: 1, path: "stdout").terminalSize }

    /// Whether standard error takes a line at once, and does not wait for a reader.
    static var takesTalk: Bool { File(adopting: 2, path: "stderr").takesMore }

    private let file = File(adopting: 1, path: "standard output")
    private var buffer: [UInt8] = []

    /// Prints a line; it leaves the process with the next ``flush()``, or before.
    func line(_ text: String) throws {
        buffer.append(contentsOf: text.utf8)
        buffer.append(UInt8(ascii: "\n"))
        if buffer.count >= 64 << 10 { try flush() }
    }

    /// Prints a value on a line.
    func line(_ value: JSON) throws {
        value.write(into: &buffer)
        buffer.append(UInt8(ascii: "\n"))
        if buffer.count >= 64 << 10 { try flush() }
    }

    /// Adds text without ending the line.
    func text(_ text: String) { buffer.append(contentsOf: text.utf8) }

    /// Hands over what was printed, in one call to the system where it takes it.
    func flush() throws {
        guard !buffer.isEmpty else { return }
        let bytes = buffer
        buffer.removeAll(keepingCapacity: true)
        try write(bytes)
    }

    private func write(_ bytes: [UInt8]) throws {
        do throws(SystemError) {
            try file.write(bytes)
        } catch {
            let brokenPipe: CInt = 32
            if error.number == brokenPipe { throw ClosedPipe() }
            throw Failure(.inputOutput, code: "ioFailed", "The result could not be written: \(error.description).")
        }
    }
}

/// Prints a line on standard error.
func talk(_ text: String) {
    // Nobody is left to be told when this fails.
    try? File(adopting: 2, path: "stderr").write(Array((text + "\n").utf8))
}

/// `text` without what would move a terminal's cursor or change its colours.
func printable(_ text: String, keepingLines: Bool = false) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0x0A where keepingLines: result.append(scalar)
        case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069:
            result.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
        default: result.append(scalar)
        }
    }
    return String(result)
}

/// When colours are wanted.
enum ColorChoice: String, CaseIterable, ExpressibleByArgument, Sendable {
    case auto, always, never
}

/// Colours, where they are wanted: on a terminal, and without `NO_COLOR`.
struct Style {
    private let isOn: Bool

    init(_ choice: ColorChoice = .auto) {
        let refused = ProcessInfo.processInfo.environment["NO_COLOR"].map { !$0.isEmpty } ?? false
        let isDumb = ProcessInfo.processInfo.environment["TERM"] == "dumb"
        isOn =
            switch choice {
            case .auto: Output.isTerminal && !refused && !isDumb
            case .always: !isDumb
            case .never: false
            }
    }

    init(isOn: Bool) { self.isOn = isOn }

    func bold(_ text: String) -> String { wrap(text, "1") }
    func red(_ text: String) -> String { wrap(text, "31") }
    func magenta(_ text: String) -> String { wrap(text, "35") }
    func yellow(_ text: String) -> String { wrap(text, "33") }
    func green(_ text: String) -> String { wrap(text, "32") }

    private func wrap(_ text: String, _ code: String) -> String { isOn ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text }
}
