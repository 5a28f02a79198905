private import Glibc
internal import Platform

/// The file `data.mdb`, looked at before LMDB does, and kept ahead of it with reserved space.
package enum DataFile {
    package static let name = "data.mdb"
    /// Where a compaction in place writes, before it takes the place of the data file.
    package static let compactName = "data.mdb.compact"

    private struct Meta {
        var lastPage: UInt64
        var transaction: UInt64
    }

    /// Reads both meta pages and refuses a file that LMDB would stumble over.
    ///
    /// LMDB maps the file and trusts it: a file that is shorter than its own account of itself ends the process with
    /// SIGBUS on the first touch of a missing page. The layout is that of LMDB 0.9: a page header of 16 bytes, then
    /// magic, version, address, map size, two database records of 48 bytes, last page, transaction.
    ///
    /// - Throws: `notFound` when there is no file, or an empty one; `damaged` when a meta page is no meta page, or the file is too short.
    package static func inspect(_ path: String) throws(HoldfastError) {
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
        guard try system({ () throws(SystemError) in try file.size() }) > 0 else {
            throw HoldfastError(
                code: .notFound,
                message: "The data file '\(path)' is empty: making a store was interrupted. Run 'holdfast init' again."
            )
        }
        func page(at offset: Int) throws(HoldfastError) -> [UInt8] {
            try system { () throws(SystemError) in try file.read(atMost: 512, at: Int64(offset)) }
        }
        let first = try page(at: 0)
        guard let pageSize = pageSize(first), let meta0 = meta(first) else {
            throw damaged("its first meta page is not one", path)
        }
        guard let meta1 = meta(try page(at: pageSize)) else { throw damaged("its second meta page is not one", path) }
        // After the metas: a writer makes the file longer before it writes a meta page that says so.
        let size = try system { () throws(SystemError) in try file.size() }
        let newest = meta0.transaction >= meta1.transaction ? meta0 : meta1
        let (bytes, overflow) = (newest.lastPage &+ 1).multipliedReportingOverflow(by: UInt64(pageSize))
        guard !overflow, newest.lastPage < 1 << 48, UInt64(size) >= bytes else {
            throw damaged("it has \(size) bytes, and should have \(newest.lastPage &+ 1) pages of \(pageSize)", path)
        }
    }

    private static func damaged(_ what: String, _ path: String) -> HoldfastError {
        HoldfastError(
            code: .damaged,
            message: "The data file \(path) cannot be opened: \(what). Nothing was touched. Keep a copy of the "
                + "directory: what its pages hold can be carved out by 'holdfast recover STORE --to NEW', which comes with a "
                + "later version. Until then restore a backup, or append again from the origins into a new store."
        )
    }

    private static let magic: UInt32 = 0xBEEF_C0DE

    private static func pageSize(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 48 else { return nil }
        let size = Int(little32(bytes, 40))
        return size >= 512 && size <= 65_536 && size & (size - 1) == 0 ? size : nil
    }

    private static func meta(_ bytes: [UInt8]) -> Meta? {
        let isMetaPage: UInt16 = 0x08
        guard bytes.count >= 152, UInt16(truncatingIfNeeded: little32(bytes, 10)) & isMetaPage != 0 else { return nil }
        guard little32(bytes, 16) == magic, little32(bytes, 20) == 1 else { return nil }
        return Meta(lastPage: little64(bytes, 136), transaction: little64(bytes, 144))
    }

    private static func little32(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes[offset..<(offset + 4)].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func little64(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
        bytes[offset..<(offset + 8)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
