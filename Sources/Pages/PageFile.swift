package import Platform

/// The data file of an LMDB environment, read page by page, without LMDB and without a map: no damage in it can do more
/// than make a read throw.
package final class PageFile: Sendable {
    package let file: File
    package let pageSize: Int

    /// Opens a file by what its meta pages say of the size of a page.
    ///
    /// - Throws: ``PageError`` when neither page is a meta page, or the file cannot be read.
    package init(_ file: File) throws(PageError) {
        self.file = file
        do throws(PageError) {
            pageSize = try Self.meta(file, slot: 0, at: 0).pageSize
        } catch {
            if error.system != nil { throw error }
            // Where the second one stands, only the size of a page tells.
            let sizes = (9...16).map { 1 << $0 }
            let second = sizes.first { (try? Self.meta(file, slot: 1, at: Int64($0)))?.pageSize == $0 }
            guard let second else { throw error }
            pageSize = second
        }
    }

    /// Opens a file whose pages have `pageSize` bytes, whatever it says itself.
    package init(_ file: File, pageSize: Int) {
        self.file = file
        self.pageSize = pageSize
    }

    private static func meta(_ file: File, slot: Int, at offset: Int64) throws(PageError) -> Meta {
        // A commit may be writing it now: two reads that agree have not been torn.
        var bytes = try read(file, Meta.size, at: offset)
        while true {
            let again = try read(file, Meta.size, at: offset)
            if again == bytes { return try Meta(again.span, slot: slot) }
            bytes = again
        }
    }

    private static func read(_ file: File, _ count: Int, at offset: Int64) throws(PageError) -> [UInt8] {
        do throws(SystemError) {
            return try file.read(atMost: count, at: offset)
        } catch {
            throw PageError(error)
        }
    }

    /// The meta page `slot`, which is 0 or 1.
    package func meta(_ slot: Int) throws(PageError) -> Meta {
        let meta = try Self.meta(file, slot: slot, at: Int64(slot * pageSize))
        guard meta.pageSize == pageSize else {
            throw PageError(
                "the meta page says pages have \(meta.pageSize) bytes, and they have \(pageSize)",
                page: UInt64(slot)
            )
        }
        return meta
    }

    /// The state that the last commit left.
    ///
    /// - Throws: ``PageError`` when one of the two meta pages is damaged: which of them is the last one is not known then.
    package func newestMeta() throws(PageError) -> Meta {
        let first = try meta(0)
        let second = try meta(1)
        let newest = first.transaction >= second.transaction ? first : second
        try newest.checkRoots()
        return newest
    }

    /// Whether everything that was read until now is of the commit that `meta` names, and of no later one.
    package func isCurrent(_ meta: Meta) throws(PageError) -> Bool {
        let newest = try newestMeta().transaction
        return newest <= meta.transaction || newest - meta.transaction == 1
    }

    /// The number of whole pages in the file now.
    package func pages() throws(PageError) -> UInt64 {
        do throws(SystemError) {
            return UInt64(try file.size()) / UInt64(pageSize)
        } catch {
            throw PageError(error)
        }
    }

    /// Refuses a file that is shorter than a meta page says.
    ///
    /// The meta page is to be read first: a writer makes the file longer before it writes one that says so.
    package func checkPages(of meta: Meta) throws(PageError) {
        let count = try pages()
        guard count > meta.lastPage else {
            throw PageError("it has \(count) pages of \(pageSize) bytes, and should have \(meta.lastPage + 1)")
        }
    }

    /// The bytes of `count` pages from `number` on; fewer where the file ends.
    package func bytes(of number: UInt64, count: Int = 1) throws(PageError) -> [UInt8] {
        guard number < 1 << 47 else { throw PageError("there is no such page", page: number) }
        return try Self.read(file, count * pageSize, at: Int64(number) * Int64(pageSize))
    }

    /// The number that a page says it has, its flags, and how many pages it says its value takes.
    func header(of number: UInt64) throws(PageError) -> (number: UInt64, flags: UInt16, pages: UInt32) {
        guard number < 1 << 47 else { throw PageError("there is no such page", page: number) }
        let bytes = try Self.read(file, Page.headerSize, at: Int64(number) * Int64(pageSize))
        let span = bytes.span
        guard span.count == Page.headerSize else { throw PageError("the file ends before it", page: number) }
        return (span.little64(at: 0), span.little16(at: 10), span.little32(at: 12))
    }

    /// How many nodes the leaf `number` says it has, from its header alone; it is refused where it is none.
    func leafCount(_ number: UInt64) throws(PageError) -> UInt64 {
        let header = try header(of: number)
        guard header.number == number, header.flags == PageKind.leaf.rawValue else {
            throw PageError("it says that it is page \(header.number), with the flags \(header.flags)", page: number)
        }
        let (lower, upper) = (Int(header.pages & 0xFFFF), Int(header.pages >> 16))
        guard lower > Page.headerSize, lower & 1 == 0, upper & 1 == 0, lower <= upper, upper < pageSize else {
            throw PageError("its free space from \(lower) to \(upper) is not inside it", page: number)
        }
        return UInt64(lower - Page.headerSize) / 2
    }

    /// A branch or leaf page, proved.
    package func page(_ number: UInt64) throws(PageError) -> Page {
        try Page(try bytes(of: number), number: number)
    }

    /// The value that stands in pages of its own from `number` on.
    ///
    /// The page says how many they are: no fewer than its value needs, and more where LMDB put a shorter one in their place.
    ///
    /// `lastPage`: The last page that the file is known to have; no more is asked for.
    package func overflow(_ number: UInt64, size: Int, lastPage: UInt64) throws(PageError) -> [UInt8] {
        let pages = Self.overflowPages(size, pageSize: pageSize)
        guard number >= 2, number <= lastPage, UInt64(pages) <= lastPage - number + 1 else {
            throw PageError("a value of \(size) bytes there is not inside the file", page: number)
        }
        let bytes = try bytes(of: number, count: pages)
        guard bytes.count >= Page.headerSize + size else {
            throw PageError("the file ends inside its value", page: number)
        }
        let header = bytes.span
        guard header.little64(at: 0) == number, header.little16(at: 10) == PageKind.overflow.rawValue else {
            throw PageError("it is not the first page of a large value", page: number)
        }
        try Self.checkPages(UInt64(header.little32(at: 12)), of: number, needed: UInt64(pages), lastPage: lastPage)
        return Array(bytes[Page.headerSize..<(Page.headerSize + size)])
    }

    /// Refuses a number of pages that a large value cannot take: too few for it, or more than there are.
    static func checkPages(
        _ pages: UInt64,
        of number: UInt64,
        needed: UInt64,
        lastPage: UInt64
    ) throws(PageError) {
        guard pages >= needed, pages <= lastPage - number + 1 else {
            throw PageError("it says that its value takes \(pages) pages, and it takes \(needed)", page: number)
        }
    }

    /// How many pages a value of `size` bytes takes that stands in pages of its own.
    static func overflowPages(_ size: Int, pageSize: Int) -> Int { (Page.headerSize - 1 + size) / pageSize + 1 }
}
