package import Platform

/// The data file of an open store or ledger and the LOCK beside it: where they were when they were opened.
///
/// Where a LOCK is removed, a second process takes another one. Both go by what they have in memory, so the first must not
/// write any more. This sees it as long as the files are not put back; ``foreignWriter`` is for what was in between.
package struct OpenFiles: Sendable {
    /// The data file, from the root.
    package let path: String
    /// The directory of both, with a slash behind it.
    package let directory: String
    private let identity: FileIdentity?
    private let lockIdentity: FileIdentity?
    private let words: (what: String, kept: String)

    /// `what`: The thing that is open, and `kept` what it has done with the writes that it keeps: for people.
    package init(_ file: File, of what: String, kept: String) {
        let path = FileSystem.realPath(file.path)
        self.path = path
        directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "./"
        identity = try? file.identity()
        lockIdentity = try? FileSystem.identity(of: directory + "LOCK")
        words = (what, kept)
    }

    /// Whether the data file is not where it was opened: its directory was removed, renamed, or replaced.
    package var hasLeft: Bool { identity.map { FileSystem.hasLeft(path, $0) } ?? false }

    /// Whether LOCK is not the one that was taken: where the data file is, another process can have taken another one.
    package var lockHasLeft: Bool { lockIdentity.map { FileSystem.hasLeft(directory + "LOCK", $0) } ?? false }

    /// Why nothing may be changed any more: what would be written is where nobody looks for it, or is removed already.
    package var gone: HoldfastError? {
        let (what, kept) = words
        if hasLeft {
            return HoldfastError(
                code: .notFound,
                message:
                    "The \(what) is not at '\(directory)' any more: its directory was removed, renamed or replaced while it was "
                    + "open. Nothing was changed. Close the \(what). If the directory was renamed, everything \(kept) is in "
                    + "it: put it back, or open it where it is now."
            )
        }
        guard lockHasLeft else { return nil }
        return HoldfastError(
            code: .inUse,
            message:
                "The LOCK in '\(directory)' was removed or replaced while the \(what) was open, so another process may have it "
                + "too. Nothing was changed. Close the \(what), and open it again when no other has it; a LOCK is never to be "
                + "removed: it means nothing while nobody holds it."
        )
    }

    /// What a transaction means whose number is not the one behind the last.
    package var foreignWriter: HoldfastError {
        HoldfastError(
            code: .inUse,
            message:
                "Another process has changed the \(words.what) while this one had it open, so its LOCK was removed or "
                + "replaced meanwhile. Find that process and stop it; a LOCK is never to be removed."
        )
    }
}
