private import Glibc
internal import Platform
internal import ReplayFormat

/// Writes a store anew, without the pages that are free inside its file.
package enum StoreCompact {
    /// What came of it.
    package struct Report: Sendable, Hashable {
        /// The size of the data file before, in bytes.
        package var bytesBefore: Int64
        /// And after.
        package var bytesAfter: Int64
        /// Entries that are queued.
        package var entries: UInt64
        /// Blocks before.
        package var blocksBefore: Int
        /// And after.
        package var blocksAfter: Int
        /// Bytes of the blocks before, with 8 for the key of each.
        package var storedBefore: UInt64
        /// And after.
        package var storedAfter: UInt64
        /// The number of the dictionary that was trained; nil for none.
        package var dictionary: UInt32?
        /// Its bytes.
        package var dictionaryBytes: Int
    }

    /// Copies the store at `source` to a new one at `destination`.
    ///
    /// The source is not touched, and may be in use: the copy is the store as of one commit.
    ///
    /// On return the copy is checked and on the disk. When it throws, nothing is left of it at `destination`.
    ///
    /// `progress`: Called with the pairs done and the pairs in all.
    package static func copy(
        from source: String,
        to destination: String,
        _ rewriting: Rewriting = Rewriting(),
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> Report {
        let reader = try StoreReader.open(source, by: .transaction)
        do throws(HoldfastError) {
            return try write(reader, destination, DataFile.name, rewriting, progress)
        } catch {
            throw explained(error, destination)
        }
    }

    /// The same error, saying what is on the disk now.
    private static func explained(_ error: HoldfastError, _ path: String) -> HoldfastError {
        error.whereFull(
            path,
            "The disk is full: the copy does not fit beside the store, which is as it was. What was written of it has been "
                + "removed. Free space, or copy to another disk with --to."
        )
    }

    /// Writes the store at `path` anew in its own directory, and puts the new file in the place of the old one.
    ///
    /// Killed at any point it leaves the old file or the new one, whole; what is left of a copy is removed when the store
    /// is opened next.
    ///
    /// - Throws: ``HoldfastError``, with `inUse` while a process has the store open, or `backup` for a backup, which is
    ///   never changed.
    package static func inPlace(
        _ path: String,
        _ rewriting: Rewriting = Rewriting(),
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> Report {
        do throws(HoldfastError) {
            try DataFile.inspect(path + "/" + DataFile.name)
        } catch {
            throw error.at(path)
        }
        let held = try StoreDirectory.hold(path) { _ in }
        do throws(HoldfastError) {
            // By a link another directory would keep the old file, and who has it open there would go on with it.
            try held.take(path + "/" + DataFile.name)
            // What is wrong with a meta page would be gone with the old file, and nobody would know.
            try held.prove(path + "/" + DataFile.name)
        } catch {
            throw error.at(path)
        }
        try held.removeLeftovers()
        let report: Report
        do throws(HoldfastError) {
            let reader = try StoreReader.open(path)
            try reader.checkNoBackup()
            report = try write(reader, path, DataFile.compactName, rewriting, progress)
        } catch {
            let failure = explained(error, path)
            try? held.removeLeftovers()
            throw failure
        }
        FaultPoint.reach(.compactCopy)
        try system { () throws(SystemError) in
            try FileSystem.rename(path + "/" + DataFile.compactName, to: path + "/" + DataFile.name)
        }
        FaultPoint.reach(.compactRename)
        try system { () throws(SystemError) in try FileSystem.syncDirectory(path) }
        FaultPoint.reach(.compactSync)
        try held.removeLeftovers()
        FaultPoint.reach(.compactRemove)
        held.noteClosed()
        return report
    }

    private static func write(
        _ reader: StoreReader,
        _ destination: String,
        _ file: String,
        _ rewriting: Rewriting,
        _ progress: (Int64, Int64) -> Void
    ) throws(HoldfastError) -> Report {
        let before = try reader.fileSize()
        let builder = try StoreBuilder(destination, file: file)
        let codec = reader.codec
        let (rewrite, superblock, carried) = try reader.look { (view) throws(HoldfastError) in
            var rewrite = StoreRewrite(rewriting, codec: codec)
            try rewrite.copy(view, to: builder, progress)
            let superblock = rewrite.superblock(of: view)
            try builder.finish(superblock)
            return (rewrite, superblock, try CarriedRows(view))
        }
        try prove(destination, file, superblock, carried)
        FaultPoint.reach(.buildProve)
        try builder.complete()
        let after = try system { () throws(SystemError) in try File(destination + "/" + file, O_RDONLY).size() }
        return Report(
            bytesBefore: before,
            bytesAfter: after,
            entries: rewrite.counts.entries,
            blocksBefore: rewrite.counts.blocksBefore,
            blocksAfter: rewrite.counts.blocksAfter,
            storedBefore: rewrite.counts.storedBefore,
            storedAfter: rewrite.counts.storedAfter,
            dictionary: rewrite.counts.trained?.number,
            dictionaryBytes: rewrite.counts.trained?.bytes ?? 0
        )
    }

    /// Checks a data file that was written anew, and is not complete yet, and compares it with what it was written from.
    ///
    /// `superblock`: What its superblock must say, but that it is incomplete.
    /// `carried`: What its rows must be.
    static func prove(
        _ path: String,
        _ file: String,
        _ superblock: Superblock,
        _ carried: CarriedRows
    ) throws(HoldfastError) {
        let written = try StoreReader.open(path, file: file, isComplete: false)
        let check = try StoreCheck.run(written, .full)
        if let finding = check.findings.first(where: { $0.severity == .error }) {
            throw refused("does not pass its check", finding.message).at(path)
        }
        let (found, rows) = try written.look { (view) throws(HoldfastError) in
            var found = view.superblock
            found.isIncomplete = superblock.isIncomplete
            return (found, try CarriedRows(view))
        }
        guard found == superblock else { throw refused("has another superblock than its source").at(path) }
        guard let table = rows.difference(from: carried) else { return }
        throw refused(
            "has other rows of '\(table.name)' than its source",
            "They are \(rows.rows(of: table)), and \(carried.rows(of: table)) there."
        ).at(path)
    }

    private static func refused(_ what: String, _ more: String = "") -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message: "What was written \(what), so it takes nobody's place. \(more)\(more.isEmpty ? "" : " ")Run "
                + "'holdfast check --level full' on the source."
        )
    }
}
