private import Bytes
private import Glibc
internal import Platform
public import ReplayStore

extension FailoverStateMachine {
    /// Writes a snapshot of one moment; see ``OnDiskStateMachine/writeSnapshot(to:)``.
    ///
    /// It holds every table of the store, with the dictionaries that its blocks name. The store's file can grow meanwhile.
    public func writeSnapshot(to path: String) async throws(HoldfastError) -> SnapshotManifest {
        if let failure { throw failure }
        guard !FileSystem.exists(path) else {
            throw HoldfastError(
                code: .alreadyExists,
                message: "'\(path)' is there already. Nothing was written to it; choose a new name."
            )
        }
        // Beside it, since only a name on the same disk takes another one's place in one step.
        let scratch = path + ".scratch-\(UInt64.random(in: 0...(.max)))"
        defer { try? FileSystem.removeTree(scratch) }
        try await store.writeSnapshot(to: scratch)
        let reader = try StoreReader.open(scratch)
        let digest = try reader.look { (view) throws(HoldfastError) in try ReplicaDigest(view) }
        let file = scratch + "/data.mdb"
        let written = try StoreSnapshot.checksum(file)
        try onDisk { () throws(SystemError) in
            try FileSystem.rename(file, to: path)
            try FileSystem.syncDirectory(path.parent)
        }
        return SnapshotManifest(
            cluster: cluster.hex,
            index: digest.position.index,
            term: digest.position.term,
            digest: digest.text,
            bytes: written.bytes,
            checksum: ReplicaDigest.text(written.checksum)
        )
    }

    /// Takes a snapshot in place of the state; see ``OnDiskStateMachine/installSnapshot(from:_:)``.
    @discardableResult
    public func installSnapshot(
        from path: String,
        _ manifest: SnapshotManifest
    ) async throws(HoldfastError) -> Bool {
        if let failure { throw failure }
        guard manifest.version <= SnapshotManifest.currentVersion else {
            throw HoldfastError(
                code: .formatTooNew,
                message:
                    "The snapshot is of version \(manifest.version), and this program knows version "
                    + "\(SnapshotManifest.currentVersion). Nothing was touched. Use a newer one."
            )
        }
        guard manifest.cluster == cluster.hex else {
            throw HoldfastError(
                code: .logWentBack,
                message: "The snapshot is of the log \(manifest.cluster), and this replica of the log \(cluster.hex)."
            )
        }
        guard manifest.index > applied.index else { return false }
        let written = try StoreSnapshot.checksum(path)
        guard written.bytes == manifest.bytes, ReplicaDigest.text(written.checksum) == manifest.checksum else {
            throw Self.wrong("it has \(written.bytes) bytes, and its checksum is another one")
        }
        let name = try directory.nextName()
        let place = directory.store(name)
        do throws(HoldfastError) {
            try onDisk { () throws(SystemError) in try FileSystem.makeDirectory(place) }
            try StoreSnapshot.copy(path, to: place + "/data.mdb")
            try onDisk { () throws(SystemError) in
                try FileSystem.syncDirectory(place)
                try FileSystem.syncDirectory(directory.path)
            }
            try Self.prove(place, manifest)
            try await replace(with: name)
        } catch {
            // It does not count; what is left of it goes with the next one at the latest.
            try? FileSystem.removeTree(place)
            throw error
        }
        return true
    }

    /// Refuses a store that is not what a manifest says, before it counts.
    private static func prove(_ path: String, _ manifest: SnapshotManifest) throws(HoldfastError) {
        let reader = try StoreReader.open(path)
        let check = try StoreCheck.run(reader, .full)
        if let finding = check.findings.first(where: { $0.severity == .error }) { throw wrong(finding.message) }
        let digest = try reader.look { (view) throws(HoldfastError) in
            try ReplicaDigest.checkSum(view)
            return try ReplicaDigest(view)
        }
        guard digest.text == manifest.digest, digest.position.index == manifest.index else {
            throw wrong(
                "its state is \(digest.text) at index \(digest.position.index), and should be \(manifest.digest) at index "
                    + "\(manifest.index)"
            )
        }
    }

    private static func wrong(_ what: String) -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message: "The snapshot is not what its manifest says: \(what). Nothing of it was taken. Fetch it again."
        )
    }
}

extension String {
    /// The directory that a path is in.
    var parent: String {
        guard let slash = lastIndex(of: "/") else { return "." }
        return slash == startIndex ? "/" : String(self[..<slash])
    }
}
