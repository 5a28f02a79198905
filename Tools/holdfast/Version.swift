import ArgumentParser
import LMDB
import Lines
import ReplayFormat
import Zstd

/// `holdfast version`: what is running.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the versions of the tool, the format and the libraries.",
        discussion: """
            Example:
              holdfast version --format json
            """
    )

    @OptionGroup var format: FormatOption

    func run() throws {
        let compressor = FrameCodec.version
        let facts = [
            ("holdfast", toolVersion), ("format", "\(Superblock.currentVersion)"), ("lmdb", LMDB.Environment.version),
            ("zstd", compressor), ("swift", Self.swift),
        ]
        let members = facts.map { name, value in
            (name, name == "format" ? JSON.unsigned(UInt64(Superblock.currentVersion)) : .string(value))
        }
        try printObject(format.forObject, .object(members), facts)
    }

    /// The compiler, as far as it can be known at build time.
    private static var swift: String {
        #if compiler(>=6.4)
        "6.4 or later"
        #elseif compiler(>=6.3)
        "6.3"
        #else
        "6.2"
        #endif
    }
}
