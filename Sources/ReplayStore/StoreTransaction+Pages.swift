internal import LMDB
internal import Pages
internal import RegionFailover
import ReplayFormat

// LMDB frees the pages of what it removes, and believes the leaf that names them. Where a bit of a leaf is wrong, a block's
// place is another block's, and removing the one would let the next commit write over the other.

extension StoreTransaction {
    /// Refuses to remove anything from a file in which two pairs have the same pages.
    ///
    /// To be called before a pair goes whose value is not what its key says. It reads every leaf, once while the store is open.
    ///
    /// - Throws: `damaged`; the whole transaction goes then.
    func provePages() throws(HoldfastError) {
        guard !core.arePagesProved else { return }
        do throws(HoldfastError) {
            try DataFile.prove(core.space.place.directory + DataFile.name, .trees)
        } catch {
            core.failure = core.failure ?? error
            throw error
        }
        core.arePagesProved = true
    }

    /// Whether `error` says that a pair was not removed since LMDB would have given other pages away, and nothing else has
    /// failed: then the transaction goes on without that.
    func isRefusal(_ error: HoldfastError) -> Bool {
        guard error.code == .damaged, core.failure == error else { return false }
        core.failure = nil
        return true
    }

    /// Removes every pair of a table, in time that grows with its pages.
    ///
    /// It is emptied, not deleted: LMDB would close the handle that readers may be using.
    mutating func empty(_ table: Table) throws(HoldfastError) {
        guard let database = core.databases[table] else { return }
        let hasLargeValues: Bool
        do throws(LMDBError) {
            hasLargeValues = try lmdb.hasLargeValues(database)
        } catch {
            throw failed(error)
        }
        if hasLargeValues, try !isEachOwn(table) { try provePages() }
        do throws(LMDBError) {
            try lmdb.empty(database)
        } catch {
            throw failed(error)
        }
    }

    /// Whether each value of a table says what its key says, so far as that is in its first page.
    private func isEachOwn(_ table: Table) throws(HoldfastError) -> Bool {
        var isEach = true
        try scan(table) { (key, value) throws(HoldfastError) in
            switch table {
            case .queue(let queue): isEach = BlockHeader.claims(value, queue: queue, key: key)
            default: isEach = (try? Row.open(value, key: key, in: table)) != nil
            }
            return isEach
        }
        return isEach
    }
}
