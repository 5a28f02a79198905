private import Platform

/// A new directory for a test, removed with everything in it when the last reference goes.
public final class TemporaryDirectory: Sendable {
    /// Its path.
    public let path: String

    /// Makes a directory below `parent`, or where `TMPDIR` says: `/tmp` where it says nothing.
    ///
    /// - Throws: When the system refuses to make it.
    public init(in parent: String? = nil) throws {
        path = "\(parent ?? System.temporaryDirectory)/holdfast-\(String(UInt64.random(in: 0...(.max)), radix: 36))"
        try FileSystem.makeDirectory(path)
    }

    deinit { try? FileSystem.removeTree(path) }

    /// The path of `name` inside it; nothing is made.
    public func appending(_ name: String) -> String { "\(path)/\(name)" }
}
