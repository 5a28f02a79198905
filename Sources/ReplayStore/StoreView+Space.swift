internal import LMDB

extension StoreView {
    /// What the data file holds, as of the look.
    package struct Space: Sendable, Hashable {
        /// The number of the last transaction that changed the store.
        package var lastTransaction: UInt64
        /// Bytes of pages that are free inside the file.
        package var freeBytes: UInt64
    }

    /// Counts the free pages: it reads the whole free list.
    package func space() throws(HoldfastError) -> Space {
        do throws(LMDBError) {
            let free = try lmdb.freePages()
            return Space(lastTransaction: lmdb.number, freeBytes: UInt64(max(0, free)) * UInt64(try lmdb.pageSize()))
        } catch {
            throw HoldfastError(error)
        }
    }
}
