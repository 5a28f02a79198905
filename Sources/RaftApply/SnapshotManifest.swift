/// What a snapshot is: enough to fetch it, to prove it, and to go on from it.
public struct SnapshotManifest: Sendable, Hashable, Codable {
    /// The version of what the manifest says; a newer one is refused.
    public var version: Int
    /// The log that it belongs to, as hexadecimal digits.
    public var cluster: String
    /// The last entry whose effects are in it.
    public var index: UInt64
    /// Its term; 0 where the engine gives none.
    public var term: UInt64
    /// The digest of the state, as ``OnDiskStateMachine/digest()`` gives it.
    public var digest: String
    /// The bytes of the file.
    public var bytes: UInt64
    /// XXH3-128 of the file, as 32 hexadecimal digits.
    public var checksum: String
    /// The member that made it.
    public var member: String
    /// Where a ``SnapshotTransport`` finds it.
    public var location: String

    /// The version that this module writes: 1.
    public static let currentVersion = 1

    /// Creates a manifest.
    public init(
        version: Int = currentVersion,
        cluster: String,
        index: UInt64,
        term: UInt64,
        digest: String,
        bytes: UInt64,
        checksum: String,
        member: String = "",
        location: String = ""
    ) {
        self.version = version
        self.cluster = cluster
        self.index = index
        self.term = term
        self.digest = digest
        self.bytes = bytes
        self.checksum = checksum
        self.member = member
        self.location = location
    }
}
