private import Platform
package import RegionFailover
package import ReplayFormat

/// Copies of a store that are kept, and stores that are made of them.
package enum StoreBackup {
    /// Copies the store at `source` into a new directory, while it may be in use.
    ///
    /// The backup is the store as of one commit, in one read transaction: meanwhile the store's file can grow, since no page
    /// of that commit is used again. On return the backup has passed a full check and is on the disk, names and all. Killed at
    /// any moment it leaves nothing that a store could be made of: what is there says that it is incomplete.
    ///
    /// A backup can be read like a store. It is never opened for writing: it has the identity of its store.
    ///
    /// `time`: What the backup says of when it was made.
    /// `progress`: Called with the pairs done and the pairs in all.
    package static func make(
        of source: String,
        at destination: String,
        time: Timestamp,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> StoreCompact.Report {
        let report = try StoreCompact.copy(
            from: source,
            to: destination,
            Rewriting(.backup(time)),
            progress: progress
        )
        FaultPoint.reach(.backup)
        return report
    }

    /// Makes a new store of the backup, or the closed store, at `backup`, with an identity of its own.
    ///
    /// On return it has passed a full check and is on the disk. The backup is not touched.
    package static func restore(
        _ backup: String,
        to destination: String,
        as identity: StoreID,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> StoreCompact.Report {
        let report = try StoreCompact.copy(
            from: backup,
            to: destination,
            Rewriting(.store(identity)),
            progress: progress
        )
        FaultPoint.reach(.restore)
        return report
    }
}

extension StoreReader {
    /// Refuses a backup, where something is to be changed.
    package func checkNoBackup() throws(HoldfastError) {
        let backedUp = try look { (view) throws(HoldfastError) in view.superblock.backedUp }
        guard backedUp == nil else { throw HoldfastError.isBackup.at(path) }
    }
}

extension HoldfastError {
    /// What a writer is refused with where there is a backup.
    static var isBackup: Self {
        Self(
            code: .backup,
            message: "The directory holds a backup, which has the identity of its store and is never changed. Make a "
                + "store of it with 'holdfast restore'."
        )
    }
}
