private import Bytes
private import Glibc
internal import Pages
internal import Platform
package import RegionFailover
package import ReplayFormat
private import Zstd

/// Makes a new store of what can be read in a damaged data file.
///
/// It reads the file's leaves page by page: those that the newest commit leads to; where its tree is broken, those that are
/// not free; and where a meta page is damaged, every leaf that there is. What it takes is proved by its own checksum.
package enum StoreRecover {
    /// What became of one region's queue.
    package struct Region: Sendable, Hashable {
        package var region: RegionID
        /// Entries that are queued in the new store.
        package var recovered: UInt64 = 0
        /// Dead letters that are there again.
        package var dead: UInt64 = 0
        /// Positions that were queued, and could not be read.
        package var lost: [ClosedRange<UInt64>] = []
        /// Entries that left the queue or were dead letters, and that no row accounts for any more.
        package var unaccounted: UInt64 = 0
        /// Whether some of what was recovered may have been acknowledged: the row that would tell could not be read, or is of
        /// an older commit.
        package var isAcknowledgedUnknown = false
    }

    /// What came of it.
    package struct Report: Sendable, Hashable {
        package var store: StoreID
        package var regions: [Region] = []
        /// Leaves that were read.
        package var leaves: UInt64 = 0
        /// Pairs whose checksum fits nothing.
        package var damagedPairs = 0
        /// Whether every page of the newest commit could be read, so that only what is in ``Region/lost`` is missing.
        package var isTreeWhole = false
        /// Whether nothing told which pages are of the newest commit: a limit, a pause or another setting can be of an older
        /// one.
        package var isMixed = false
        /// The controller's state could not be read: it was made anew, as the new store's first.
        package var isControllerNew = false

        package var isComplete: Bool {
            regions.allSatisfy { $0.lost.isEmpty && $0.unaccounted == 0 && !$0.isAcknowledgedUnknown }
                && !isControllerNew && !isMixed
        }
    }

    /// Recovers the store at `source` into a new directory; on return the new store has passed a full check and is on the disk.
    ///
    /// The source is read, and never changed. The new store has an identity of its own.
    ///
    /// `local`: The region to be primary, where the controller's state cannot be read.
    package static func run(
        _ source: String,
        to destination: String,
        local: RegionID?,
        now: Timestamp,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> Report {
        let data = try system { () throws(SystemError) in
            try File(regular: source + "/" + DataFile.name, O_RDONLY)
        }
        let file = try pages { () throws(PageError) in try PageFile.salvaging(data) }
        let (leaves, isWhole, isTrusted) = try pages { () throws(PageError) in try Self.leaves(file) }
        var rows = SalvagedRows()
        var report = Report(store: .random(), isTreeWhole: isWhole, isMixed: !isTrusted)
        let total = Int64(clamping: leaves.count)
        for (index, leaf) in leaves.enumerated() {
            let pairs = try pages { () throws(PageError) in try file.pairs(ofLeaf: leaf) }
            if !pairs.isEmpty { report.leaves += 1 }
            rows.take(pairs, page: leaf)
            if index % 256 == 0 { progress(Int64(index), total) }
        }
        rows.settle()
        report.damagedPairs = rows.damaged
        guard !rows.regions.isEmpty || !rows.blocks.isEmpty else {
            throw HoldfastError(
                code: .damaged,
                message: "No row and no block of a store was found in the data file: nothing can be recovered."
            ).at(source)
        }
        var recovery = Recovery(file, rows, isTrusted: isTrusted, now: now)
        let machine = try recovery.machine(local: local)
        report.isControllerNew = machine.isNew
        report.regions = try recovery.write(machine.snapshot, to: destination, as: report.store)
        return report
    }

    /// The leaves to read, whether the tree is whole, and whether what they hold is of the newest commit alone.
    private static func leaves(_ file: PageFile) throws(PageError) -> ([UInt64], isWhole: Bool, isTrusted: Bool) {
        let all = try file.pages()
        guard all > 2, let meta = try? file.newestMeta() else {
            return (Array(stride(from: 2, to: max(2, all), by: 1)), false, false)
        }
        let walk = try PageWalk(file, meta, .trees)
        if walk.isWhole { return (walk.leaves.map(\.page), true, true) }
        guard walk.isFreeListWhole else { return (Array(2..<all), false, false) }
        // What is not free is of this commit, whether the tree still leads to it or not.
        return ((2..<min(all, meta.lastPage + 1)).filter { !walk.free.contains($0) }, false, true)
    }
}
