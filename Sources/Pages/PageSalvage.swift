package import Platform

/// A pair that was found in a leaf, wherever the leaf stands.
package struct SalvagedPair: Sendable {
    package var key: [UInt8]
    /// The value's bytes, unproved: where it is damaged, so are they.
    package var value: [UInt8]
}

extension PageFile {
    /// Opens a file whose meta pages may be destroyed: what size its pages have, they say themselves by their numbers.
    ///
    /// - Throws: ``PageError`` when no size fits, or the file cannot be read.
    package static func salvaging(_ file: File) throws(PageError) -> PageFile {
        if let whole = try? PageFile(file) { return whole }
        var best: (size: Int, fits: Int)?
        for size in [4096, 8192, 16_384, 32_768, 65_536, 2048, 1024, 512] {
            let candidate = PageFile(file, pageSize: size)
            let pages = try candidate.pages()
            // Up to so many pages, from all over the file.
            let step = max(1, pages / 4096)
            var fits = 0
            for page in stride(from: 2, to: pages, by: Int(step)) {
                let header = try candidate.header(of: page)
                if header.number == page, [1, 2, 4].contains(header.flags) { fits += 1 }
            }
            if fits > (best?.fits ?? 0) { best = (size, fits) }
        }
        guard let best else {
            throw PageError("no page of it says where it stands: it is no data file, or all is gone")
        }
        return PageFile(file, pageSize: best.size)
    }

    /// The pairs of the leaf at `number` that can be read, whatever else is damaged in it; none where no leaf stands there.
    ///
    /// Each node is taken for itself. A large value is taken from where its node says it is, if it has at most `valueMax`
    /// bytes: a size that a flipped bit made would otherwise be read and held.
    ///
    /// `wanted`: The key to take alone; nil for all.
    package func pairs(
        ofLeaf number: UInt64,
        of wanted: [UInt8]? = nil,
        valueMax: Int
    ) throws(PageError) -> [SalvagedPair] {
        let bytes = try bytes(of: number)
        let page = bytes.span
        guard page.count == pageSize, page.little64(at: 0) == number,
            page.little16(at: 10) == PageKind.leaf.rawValue
        else { return [] }
        var pairs: [SalvagedPair] = []
        for node in nodes(ofLeaf: page) {
            let size = Int(page.little32(at: node))
            let flags = page.little16(at: node + 4)
            let start = node + 8 + Int(page.little16(at: node + 6))
            guard start > node + 8, start <= pageSize else { continue }
            let key = Array(bytes[(node + 8)..<start])
            guard wanted == nil || wanted == key else { continue }
            if flags == 0, size <= pageSize - start {
                pairs.append(SalvagedPair(key: key, value: Array(bytes[start..<(start + size)])))
            } else if flags == 1, size <= valueMax, start + 8 <= pageSize,
                let value = try largeValue(page.little64(at: start), size)
            {
                pairs.append(SalvagedPair(key: key, value: value))
            }
        }
        return pairs
    }

    /// Where the nodes of a leaf begin.
    ///
    /// Nodes fill a page from behind its free space to its end, each with its length. Where they do, and are as many as the page
    /// says or those that the pointers name, also the ones behind a number that says fewer, that tells them all. Otherwise the
    /// pointers do: what else is in a page may be of before.
    private func nodes(ofLeaf page: Span<UInt8>) -> [Int] {
        let count = max(0, min(Int(page.little16(at: 12)), pageSize) - Page.headerSize) / 2
        func named(_ count: Int) -> [Int] { (0..<count).map { Int(page.little16(at: Page.headerSize + 2 * $0)) } }
        var (filling, next) = ([Int](), Int(page.little16(at: 14)))
        while next >= Page.headerSize, next & 1 == 0, next + Page.nodeHeaderSize <= pageSize {
            filling.append(next)
            next += Page.nodeSize(page, at: next, isLeaf: true)
        }
        let isFilled = next == pageSize && (filling.first ?? 0) >= Page.headerSize + 2 * filling.count
        if isFilled, filling.count == count || filling == named(filling.count).sorted() { return filling }
        return named(count).filter { $0 >= Page.headerSize + 2 * count && $0 + Page.nodeHeaderSize <= pageSize }
    }

    private func largeValue(_ first: UInt64, _ size: Int) throws(PageError) -> [UInt8]? {
        let count = PageFile.overflowPages(size, pageSize: pageSize)
        let end = try pages()
        guard first >= 2, first < end, UInt64(count) <= end - first else { return nil }
        let bytes = try bytes(of: first, count: count)
        guard bytes.count >= Page.headerSize + size else { return nil }
        return Array(bytes[Page.headerSize..<(Page.headerSize + size)])
    }
}
