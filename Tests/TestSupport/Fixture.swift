package import Foundation
private import ReplayFormat
private import Zstd

/// A store or a ledger that some version of the format wrote, as it is kept beside the tests.
///
/// `SIZE` in `data.mdb.SIZE.zst` is that of the file once it is decompressed.
package struct Fixture: Sendable, CustomStringConvertible {
    /// Why one cannot be had or kept.
    package struct Failure: Error, CustomStringConvertible {
        package var description: String
    }

    /// The format that wrote it, such as `version-1`.
    package var version: String
    package var name: String

    package init(version: String = Self.current, name: String) {
        self.version = version
        self.name = name
    }

    package var description: String { "\(version)/\(name)" }
    private var directory: URL { Self.root.appending(path: version).appending(path: name) }
    /// What the read verbs say of it.
    package var expected: URL { directory.appending(path: "expected.txt") }
    /// Whether it is a receiver's ledger.
    package var isLedger: Bool { name.hasPrefix("ledger") }

    package static var root: URL { Tool.source("Tests/Compatibility/Fixtures") }
    /// The set that the program makes which runs.
    package static var current: String { "version-\(Superblock.currentVersion)" }

    /// Every fixture there is, of every version.
    package static var all: [Fixture] {
        names(in: root).flatMap { version in
            names(in: root.appending(path: version)).map { Fixture(version: version, name: $0) }
        }
    }

    private static func names(in directory: URL) -> [String] {
        let found = (try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []
        return found.filter { !$0.hasPrefix(".") && !$0.hasSuffix(".md") }.sorted()
    }

    private static let suffix = ".zst"

    /// The file's name and bytes, decompressed where it is compressed.
    private static func unpack(_ file: URL) throws -> (name: String, bytes: [UInt8]) {
        let bytes = Array(try Data(contentsOf: file))
        let parts = file.lastPathComponent.split(separator: ".")
        guard file.lastPathComponent.hasSuffix(suffix) else { return (file.lastPathComponent, bytes) }
        guard let size = Int(parts[parts.count - 2]) else { throw Failure(description: "\(file.path) says no size") }
        let name = parts.dropLast(2).joined(separator: ".")
        return (name, try FrameCodec().decompress(bytes.span, count: size))
    }

    /// The bytes of its data file.
    package func data() throws -> [UInt8] {
        guard let file = Self.names(in: directory).first(where: { $0.hasSuffix(Self.suffix) }) else {
            throw Failure(description: "\(directory.path) has no data file")
        }
        return try Self.unpack(directory.appending(path: file)).bytes
    }

    /// Makes a copy, as it was when it was kept.
    package func copy(to path: String) throws {
        let manager = FileManager.default
        try manager.createDirectory(
            atPath: path,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700]
        )
        for file in Self.names(in: directory) where file != expected.lastPathComponent {
            let (name, bytes) = try Self.unpack(directory.appending(path: file))
            let isMade = manager.createFile(
                atPath: "\(path)/\(name)",
                contents: Data(bytes),
                attributes: [.posixPermissions: 0o600]
            )
            guard isMade else { throw Failure(description: "\(path)/\(name) cannot be made") }
        }
    }

    /// Keeps the store in a directory; one that is kept already stays as it is.
    package func keep(_ path: String) throws {
        let manager = FileManager.default
        guard !manager.fileExists(atPath: directory.path) else {
            throw Failure(description: "\(directory.path) is there, and never overwritten")
        }
        try manager.createDirectory(at: directory, withIntermediateDirectories: true)
        for name in try manager.contentsOfDirectory(atPath: path).sorted() {
            let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)")))
            if name.hasSuffix(".mdb"), !name.hasPrefix("lock") {
                guard let frame = FrameCodec().compress(bytes.span, level: 19) else {
                    throw Failure(description: "\(name) cannot be compressed")
                }
                try Data(frame).write(to: directory.appending(path: "\(name).\(bytes.count)\(Self.suffix)"))
            } else if name == "LOCK" {
                // Who wrote it is of no matter; that somebody did is.
                let rest = bytes.drop { $0 != UInt8(ascii: "\n") }
                let line = Array("pid 1, start 1, boot none, host none".utf8)
                try Data(line + rest).write(to: directory.appending(path: name))
            }
        }
    }

    /// The bytes of every file in it, by name: what a test must leave as it is.
    package func fingerprint() throws -> [String: Data] {
        var files: [String: Data] = [:]
        for name in Self.names(in: directory) {
            files[name] = try Data(contentsOf: directory.appending(path: name))
        }
        return files
    }
}
