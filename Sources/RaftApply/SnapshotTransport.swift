public import ReplayStore

/// Brings snapshots from one member to another; the log itself holds no more than their manifests.
public protocol SnapshotTransport: Sendable {
    /// Makes a snapshot's file available to the other members.
    ///
    /// On return it can be fetched, also after this member has restarted. Older ones may go.
    ///
    /// - Parameters:
    ///   - path: The file; it stays the caller's.
    ///   - manifest: What it is.
    /// - Returns: The manifest with the location where it can be fetched.
    /// - Throws: ``HoldfastError``; nothing was offered then.
    func offer(_ path: String, _ manifest: SnapshotManifest) async throws(HoldfastError) -> SnapshotManifest

    /// Fetches a snapshot into a file.
    ///
    /// What arrives is proved by the caller.
    ///
    /// - Parameters:
    ///   - manifest: What was published.
    ///   - path: The file to write; it is not there before.
    /// - Throws: ``HoldfastError``; what is at `path` means nothing then.
    func fetch(_ manifest: SnapshotManifest, to path: String) async throws(HoldfastError)
}
