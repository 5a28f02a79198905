private import Glibc
package import Holdfast
private import Platform

/// The steps of processes that are killed, in a file: what a process has handed to the system outlives it.
///
/// Each step is a line with a dot at its end, in one call to the system. A line without the dot was cut off, and its step has not
/// happened: its process went no further.
package final class CrashJournal: Sendable {
    private let file: File

    /// Opens the journal for adding lines, or makes it.
    package init(_ path: String) throws(HoldfastError) {
        file = try CrashJournal.system { () throws(SystemError) in
            let file = try File(path, O_RDWR | O_CREAT | O_APPEND)
            let size = try file.size()
            if size > 0, try file.read(atMost: 1, at: size - 1) != [UInt8(ascii: "\n")] { try file.write([0x0A]) }
            return file
        }
    }

    /// Adds steps; on return they outlive the process, though not the machine.
    package func note(_ events: [CrashEvent]) throws(HoldfastError) {
        guard !events.isEmpty else { return }
        let text = events.map { $0.line + " .\n" }.joined()
        try Self.system { () throws(SystemError) in try file.write(Array(text.utf8)) }
    }

    /// The steps in the file from a byte on, and the byte after the last whole line; none where there is no file.
    package static func read(_ path: String, from start: Int64 = 0) throws(HoldfastError) -> ([CrashEvent], end: Int64)
    {
        guard FileSystem.exists(path) else { return ([], start) }
        let bytes = try system { () throws(SystemError) in
            let file = try File(path, O_RDONLY)
            return try file.read(atMost: Int(max(0, try file.size() - start)), at: start)
        }
        guard let last = bytes.lastIndex(of: 0x0A) else { return ([], start) }
        let events = bytes[...last].split(separator: 0x0A).compactMap { line -> CrashEvent? in
            let text = String(decoding: line, as: UTF8.self)
            return text.hasSuffix(" .") ? CrashEvent(line: text.dropLast(2)) as CrashEvent? : nil
        }
        return (events, start + Int64(last) + 1)
    }

    private static func system<Value>(_ body: () throws(SystemError) -> Value) throws(HoldfastError) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw HoldfastError(error)
        }
    }
}
