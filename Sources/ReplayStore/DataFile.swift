private import Glibc
package import Pages
package import Platform

/// The file `data.mdb`, looked at before LMDB does, and kept ahead of it with reserved space.
package enum DataFile {
    package static let name = "data.mdb"
    /// Where a compaction in place writes, before it takes the place of the data file.
    package static let compactName = "data.mdb.compact"

    /// Reads both meta pages and refuses a file that LMDB would stumble over.
    ///
    /// LMDB maps the file and trusts it: a file that is shorter than its own account of itself ends the process with
    /// SIGBUS on the first touch of a missing page.
    ///
    /// - Returns: The file, to be read page by page.
    /// - Throws: `notFound` when there is no file, or one that was never whole; `damaged` when a meta page is no meta page, or the file is too short.
    @discardableResult
    package static func inspect(_ path: String) throws(HoldfastError) -> PageFile {
        let file: File
        do throws(SystemError) {
            file = try File(regular: path, O_RDONLY)
        } catch {
            guard error.number == ENOENT || error.number == ENOTDIR else { throw HoldfastError(error) }
            let lock = path.dropLast(name.count) + "LOCK"
            guard !FileSystem.exists(String(lock)) else {
                throw HoldfastError(
                    code: .notFound,
                    message:
                        "'\(path)' is gone: the LOCK beside it says that a store was here. Make no new one; look for the "
                        + "file, or for a mount that is missing."
                )
            }
            throw HoldfastError(code: .notFound, message: "There is no store here: '\(path)' is not there.")
        }
        guard try !isBegun(file) else {
            throw HoldfastError(
                code: .notFound,
                message:
                    "The data file '\(path)' was never whole: making a store was interrupted. Run 'holdfast init' again."
            )
        }
        do throws(PageError) {
            let pages = try PageFile(file)
            let newest = try pages.newestMeta()
            // After the metas: a writer makes the file longer before it writes a meta page that says so.
            let count = try pages.pages()
            guard count > newest.lastPage else {
                throw PageError(
                    "it has \(count) pages of \(pages.pageSize) bytes, and should have \(newest.lastPage + 1)"
                )
            }
            return pages
        } catch {
            guard error.system == nil else { throw HoldfastError(error) }
            throw damaged(error.description, path)
        }
    }

    /// Whether the file is empty, or ends before LMDB's two meta pages while LOCK says of no store that it was whole: what
    /// is left where the first write to a new file was interrupted.
    ///
    /// Nothing was ever in it.
    package static func isBegun(_ file: File) throws(HoldfastError) -> Bool {
        let size = try system { () throws(SystemError) in try file.size() }
        guard size > 0 else { return true }
        let directory = file.path.lastIndex(of: "/").map { String(file.path[..<$0]) } ?? "."
        return size < 2 * Int64(getpagesize()) && !DirectoryLock.hadStore(in: directory)
    }

    private static func damaged(_ what: String, _ path: String) -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message: "The data file \(path) cannot be opened: \(what). Nothing was touched. Keep a copy of the "
                + "directory: what its pages hold can be carved out by 'holdfast recover STORE --to NEW', which comes with a "
                + "later version. Until then restore a backup, or append again from the origins into a new store."
        )
    }
}
