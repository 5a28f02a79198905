internal import Platform
public import ReplayStore

/// Brings snapshots through a directory that every member reaches, such as a mounted volume.
///
/// The directory holds snapshots alone: no store, which belongs on a local disk.
public struct DirectoryTransport: SnapshotTransport {
    /// The directory, the same on every member.
    public let path: String

    /// Each member keeps so many of its own: one that is being fetched does not go at once.
    private static let kept = 2
    private static let suffix = ".snapshot"

    /// Creates a transport over a directory, which is made when something is first offered.
    public init(path: String) { self.path = path }

    /// Copies the snapshot into the directory, under a name of its own.
    public func offer(_ path: String, _ manifest: SnapshotManifest) async throws(HoldfastError) -> SnapshotManifest {
        if !FileSystem.exists(self.path) {
            try onDisk { () throws(SystemError) in try FileSystem.makeDirectory(self.path) }
        }
        let index = String(manifest.index)
        let name = manifest.member + "-" + String(repeating: "0", count: 20 - index.count) + index + Self.suffix
        let place = self.path + "/" + name
        let scratch = place + ".new"
        if FileSystem.exists(scratch) { try onDisk { () throws(SystemError) in try FileSystem.remove(scratch) } }
        try StoreSnapshot.copy(path, to: scratch)
        try onDisk { () throws(SystemError) in
            try FileSystem.rename(scratch, to: place)
            try FileSystem.syncDirectory(self.path)
        }
        removeOlder(of: manifest.member)
        var offered = manifest
        offered.location = name
        return offered
    }

    /// Copies the snapshot out of the directory.
    public func fetch(_ manifest: SnapshotManifest, to path: String) async throws(HoldfastError) {
        guard !manifest.location.isEmpty, !manifest.location.contains("/") else {
            throw HoldfastError(code: .notFound, message: "The snapshot's manifest names no file of '\(self.path)'.")
        }
        do throws(HoldfastError) {
            try StoreSnapshot.copy(self.path + "/" + manifest.location, to: path)
        } catch {
            guard error.code == .notFound else { throw error }
            throw HoldfastError(
                code: .logUnavailable,
                message:
                    "The snapshot '\(manifest.location)' is not in '\(self.path)'. Is the directory the same on every member? "
                    + "It is tried again."
            )
        }
    }

    private func removeOlder(of member: String) {
        guard let names = try? FileSystem.names(in: path) else { return }
        let own = names.filter { $0.hasPrefix(member + "-") && $0.hasSuffix(Self.suffix) }.sorted()
        // What cannot be removed now goes the next time.
        for name in own.dropLast(Self.kept) { try? FileSystem.remove(path + "/" + name) }
    }
}
