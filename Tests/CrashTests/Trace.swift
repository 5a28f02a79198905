import Foundation
import HoldfastTesting
import TestSupport
import Testing

/// What a process did to the files below a directory, in order, as `recorder.c` wrote it down.
struct Trace {
    enum Event {
        case write(UInt64, offset: Int, ArraySlice<UInt8>)
        /// The synchronous write of that event has returned.
        case durable(UInt64, write: Int)
        case truncate(UInt64, Int)
        case allocate(UInt64, end: Int)
        /// A sync has returned, which covers the events before that one.
        case sync(UInt64, covers: Int)
        case create(UInt64, String)
        case rename(String, String)
        case unlink(String)
        case makeDirectory(UInt64, String)
        case removeDirectory(String)
        case link(UInt64, String)
        case map(UInt64)
        case hint
        /// What the program said, without the line's end.
        case mark(String)
    }

    private(set) var events: [Event] = []

    private static let headBytes = 32

    init(contentsOf path: String) throws {
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        func number(_ offset: Int, _ count: Int) -> UInt64 {
            bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        var offset = 0
        while offset < bytes.count {
            let length = Int(number(offset + 4, 4))
            let (inode, place) = (number(offset + 8, 8), Int(number(offset + 16, 8)))
            let extra = Int(number(offset + 24, 8))
            let rest = bytes[(offset + Self.headBytes)..<(offset + Self.headBytes + length)]
            var text: String { String(decoding: rest, as: UTF8.self) }
            switch number(offset, 4) {
            case 1: events.append(.write(inode, offset: place, rest))
            case 2: events.append(.durable(inode, write: extra))
            case 3: events.append(.truncate(inode, place))
            case 4: events.append(.allocate(inode, end: extra))
            case 5: events.append(.sync(inode, covers: extra))
            case 6: events.append(.create(inode, text))
            case 7:
                let names = text.split(separator: "\0").map(String.init)
                try #require(names.count == 2)
                events.append(.rename(names[0], names[1]))
            case 8: events.append(.unlink(text))
            case 9: events.append(.makeDirectory(inode, text))
            case 10: events.append(.removeDirectory(text))
            case 11: events.append(.link(inode, text))
            case 12: events.append(.map(inode))
            case 13: events.append(.hint)
            case 14: events.append(.mark(text.split(separator: "\n").joined(separator: "\n")))
            case let kind: Issue.record("a trace has no event \(kind)")
            }
            offset += Self.headBytes + length
        }
    }
}

/// Runs programs with everything on record that they do below one directory.
struct Recorder {
    /// Where the programs work.
    let root: String
    /// Where the program says what it was promised.
    let marks: String
    private let directory: TemporaryDirectory
    private let library: String

    /// Works in memory where the system has a place for that: a sync is a line on record, whatever the disk is.
    init() throws {
        directory = try Self.scratch()
        root = directory.appending("root")
        marks = directory.appending("trace")
        library = try Tool.library("recorder", in: directory.path)
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: false)
    }

    /// A directory in memory, or where `TMPDIR` says.
    static func scratch() throws -> TemporaryDirectory {
        let memory = "/dev/shm"
        return try FileManager.default.isWritableFile(atPath: memory)
            ? TemporaryDirectory(in: memory) : TemporaryDirectory()
    }

    /// Runs a program to its end, which must be a good one.
    func record(_ arguments: [String], program: String = Tool.path()) throws -> Trace {
        try? FileManager.default.removeItem(atPath: marks)
        let outcome = try Tool.run(
            arguments,
            program: program,
            environment: ["LD_PRELOAD": library, "RECORD": marks, "RECORD_ROOT": root]
        )
        try #require(outcome.status == 0, "\(outcome.talk)")
        return try Trace(contentsOf: marks)
    }

    /// Keeps the trace of a failure where it can be looked at.
    func keep(_ name: String) -> String {
        let kept = FileManager.default.temporaryDirectory.appending(path: "\(name).trace").path
        try? FileManager.default.removeItem(atPath: kept)
        try? FileManager.default.copyItem(atPath: marks, toPath: kept)
        return kept
    }
}
