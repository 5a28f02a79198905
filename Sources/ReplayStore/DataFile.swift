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
        let file = try open(path)
        let looked = Result { () throws(PageError) in
            let pages = try PageFile(file)
            let newest = try pages.newestMeta()
            try pages.checkPages(of: newest)
            return (pages: pages, transaction: newest.transaction)
        }
        if case .success(let found) = looked, found.transaction > 0 { return found.pages }
        guard try !isUnmade(file) else {
            throw HoldfastError(
                code: .notFound,
                message:
                    "The data file '\(path)' was never whole: making a store was interrupted. \(makeAgain)"
            )
        }
        switch looked {
        case .success(let found): return found.pages
        case .failure(let error):
            guard error.system == nil else { throw HoldfastError(error) }
            throw damaged(error.description, path)
        }
    }

    /// What to do where the making of a store was interrupted, whoever made it.
    static let makeAgain =
        "Make it again: 'holdfast init' takes the directory over; a load, a restore or a recovery that was interrupted wants "
        + "a new one, or this one removed first."

    /// Opens the file to be read.
    ///
    /// - Throws: `notFound` when there is none, which says whether one was there.
    static func open(_ path: String) throws(HoldfastError) -> File {
        do throws(SystemError) {
            return try File(regular: path, O_RDONLY)
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
    }

    /// Whether the making of the file was cut off before its first commit, by a kill or a loss of power: LOCK says of no store
    /// that it was whole, and the file has at most LMDB's two meta pages, none of them of a commit, and zeros.
    ///
    /// LMDB writes both meta pages in one call, of which a part can be missing. Behind them nothing was written by then, since
    /// they are synced first; space that is kept ahead of the first commit reads as zeros.
    package static func isUnmade(_ file: File) throws(HoldfastError) -> Bool {
        let isVacant = try system { () throws(SystemError) in
            let (size, piece) = (try file.size(), Int64(1 << 20))
            guard size <= 64 << 20 else { return false }
            let pages = try file.read(atMost: 2 * System.pageSize, at: 0)
            let hasCommit = stride(from: 0, to: pages.count, by: System.pageSize).contains { start in
                let page = pages[start..<min(start + System.pageSize, pages.count)]
                guard page.count >= Self.metaEnd, page.contains(where: { $0 != 0 }) else { return false }
                return page[(start + Self.metaEnd - 8)..<(start + Self.metaEnd)].contains { $0 != 0 }
            }
            guard !hasCommit else { return false }
            var offset = Int64(pages.count)
            while offset < size {
                let bytes = try file.read(atMost: Int(piece), at: offset)
                guard !bytes.isEmpty, bytes.allSatisfy({ $0 == 0 }) else { return false }
                offset += Int64(bytes.count)
            }
            return true
        }
        let directory = file.path.lastIndex(of: "/").map { String(file.path[..<$0]) } ?? "."
        return isVacant && !DirectoryLock.hadStore(in: directory)
    }

    /// Where a meta page's last field ends: the number of its transaction, of 8 bytes.
    private static let metaEnd = 152

    /// Refuses a file whose newest meta page does not fit what it leads to: a sector that was torn, which LMDB does not see.
    ///
    /// LMDB has no checksum on its meta page. One that mixes two commits can show the store of the older one as the newest,
    /// or let the next commit write over pages in use. The free list, the list of tables and the branches tell, about one page
    /// of a thousand; so do the leaves that are read through LMDB when a store is opened.
    ///
    /// Nor has it one on its other pages. A leaf that says it has fewer rows hides the others from every reader, and the next
    /// put writes over them; a branch whose key is wrong hides what is looked for by its key, such as an identity, and takes a
    /// second row for one. So every count is compared, every key of a branch, and every key of the leaves that are looked into
    /// by key. Of the queues, which are read from the head on and whose blocks say where they are, leaves are counted alone.
    /// At a depth of `trees` all are read, and what would end a process there is refused.
    ///
    /// Keys within a leaf of a queue that do not rise are left to who reads: they hold up that region, or cost a block.
    ///
    /// Where a writer goes on too fast, the file is left to it.
    ///
    /// - Throws: `damaged`.
    package static func prove(_ path: String, _ depth: PageWalk.Depth) throws(HoldfastError) {
        let file = try inspect(path)
        do throws(PageError) {
            for _ in 0..<proofsMax {
                let meta = try file.newestMeta()
                let walk = try PageWalk(file, meta, depth) { name in longTables.contains { name.hasPrefix($0) } }
                // What seems to be damage may be a page that was written anew meanwhile.
                guard try file.isCurrent(meta) else { continue }
                let finding = walk.findings.first { finding in
                    let isContained = finding.code == "order" && finding.table.hasPrefix(queues)
                    return !finding.isWarning && !isContained
                }
                guard let finding else { return }
                throw PageError(finding.what, page: finding.page)
            }
        } catch {
            guard error.system == nil else { throw HoldfastError(error) }
            throw damaged(error.description, path)
        }
    }

    private static let queues = "queue/"
    /// The tables that grow with what is kept, and are not looked into by key where it matters that a row is not there: of
    /// these opening reads the end alone, and counts the rest.
    private static let longTables = [queues, "state"]

    /// So many times a file is looked at that a writer changes meanwhile.
    private static let proofsMax = 4

    private static func damaged(_ what: String, _ path: String) -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message:
                "The data file \(path) is damaged: \(what). Nothing was touched. Keep a copy of the directory; "
                + "'holdfast recover STORE --to NEW' makes a new store of what its pages hold."
        )
    }
}
