private import Bytes
private import Glibc
internal import Pages
internal import Platform
package import RegionFailover
package import ReplayFormat
private import Zstd

/// Makes a new store of what can be read in a damaged data file.
///
/// It reads the file's leaves page by page: those that the newest commit leads to; where a meta page is damaged, those of the
/// commit that the free list and the trees themselves prove to be the newest; where its tree is broken, those that are not
/// free; and where nothing tells, every leaf that there is. What it takes is proved by its own checksum.
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
        /// Accepted writes whose identity nothing tells any more: appended again they are taken for new ones.
        package var forgotten: UInt64 = 0
        /// Whether nothing tells whose queue it is: its region is a new one, named after the queue's number.
        package var isNameUnknown = false
    }

    /// What the operator knows, and the damaged rows do not tell any more.
    package struct Knowledge: Sendable, Hashable {
        /// The region to be primary, where the controller's rows cannot be read.
        package var local: RegionID?
        /// The greatest epoch that anybody has seen, where no row speaks of one.
        package var epoch: UInt64?
        /// Whose a queue is, by its number, where the row of its region cannot be read; nil where it is nobody's any more.
        package var queues: [UInt32: RegionID?]

        package init(local: RegionID? = nil, epoch: UInt64? = nil, queues: [UInt32: RegionID?] = [:]) {
            (self.local, self.epoch, self.queues) = (local, epoch, queues)
        }
    }

    /// What came of it.
    package struct Report: Sendable, Hashable {
        package var store: StoreID
        package var regions: [Region] = []
        /// Leaves that were read.
        package var leaves: UInt64 = 0
        /// Pairs whose checksum fits nothing.
        package var damagedPairs = 0
        /// Pairs that the tables of the newest commit held, and that are on no leaf that could be read.
        package var missingPairs: UInt64 = 0
        /// Whether every page of the newest commit could be read, so that only what is in ``Region/lost`` is missing.
        package var isTreeWhole = false
        /// Whether nothing told which pages are of the newest commit: a limit, a pause or another setting can be of an older
        /// one.
        package var isMixed = false
        /// The controller's state could not be read, or is an older one: it was made anew, as the new store's first.
        package var isControllerNew = false
        /// The epoch of the new store.
        package var epoch: UInt64 = 0
        /// Whether the newest events are not there.
        package var isHistoryCut = false
        /// Whether the new store means something else than the damaged one, though no row is known to be missing.
        package var isDifferent = false

        package var isComplete: Bool {
            regions.allSatisfy {
                $0.lost.isEmpty && $0.unaccounted == 0 && !$0.isAcknowledgedUnknown && $0.forgotten == 0
            } && !isControllerNew && !isMixed && !isHistoryCut && !isDifferent && damagedPairs == 0
                && missingPairs == 0
        }
    }

    /// Recovers the store at `path` into a new directory; on return the new store has passed a full check and is on the disk.
    ///
    /// The source is read, and never changed. The new store has an identity of its own.
    ///
    /// - Throws: ``HoldfastError``, with `damaged` also where the rows leave a question open that `knowledge` does not answer:
    ///   nothing was written then.
    package static func run(
        _ path: String,
        to destination: String,
        knowing knowledge: Knowledge = Knowledge(),
        now: Timestamp,
        progress: (Int64, Int64) -> Void = { _, _ in }
    ) throws(HoldfastError) -> Report {
        let data: File
        do throws(HoldfastError) { data = try DataFile.open(path + "/" + DataFile.name) } catch { throw error.at(path) }
        let file = try pages { () throws(PageError) in try PageFile.salvaging(data) }
        var source = try pages { () throws(PageError) in try Source(file) }
        var salvage = try Salvage(file, source.leaves, progress)
        if source.isRebuilt, salvage.rows.damaged > 0 {
            // More is wrong than a torn meta page: then a leaf of an older commit may stand in the place of one that is lost.
            source = try pages { () throws(PageError) in try Source(all: file) }
            salvage = try Salvage(file, source.leaves, progress)
        }
        FaultPoint.reach(.recoverRead)
        var rows = salvage.rows
        // The leaf with the rows of several regions may be what is gone; an older state of it names the queues as well.
        if rows.hasUnnamedQueues {
            for page in stride(from: 2, to: try pages { () throws(PageError) in try file.pages() }, by: 1) {
                for pair in try pages({ () throws(PageError) in
                    try file.pairs(ofLeaf: page, valueMax: Recovery.valueBytesMax)
                }) {
                    rows.takeName(pair)
                }
            }
        }
        // More than the tables hold: leaves of older commits are among them.
        if let held = source.pairs, salvage.pairs > held { source.isTrusted = false }
        if rows.areRowsStale { source.isTrusted = false }
        var report = Report(store: .random(), isTreeWhole: source.isWhole, isMixed: !source.isTrusted)
        report.leaves = salvage.leaves
        report.damagedPairs = rows.damaged
        if let held = source.pairs, salvage.pairs < held { report.missingPairs = held - salvage.pairs }
        guard !rows.regions.isEmpty || !rows.blocks.isEmpty else {
            throw HoldfastError(
                code: .damaged,
                message: "No row and no block of a store was found in the data file: nothing can be recovered. "
                    + "Restore a backup, if there is one."
            ).at(path)
        }
        let recovery = Recovery(file, rows, knowledge, isTrusted: source.isTrusted, now: now)
        let machine = try recovery.machine()
        report.isControllerNew = machine.isNew
        report.epoch = machine.snapshot.epoch
        report.isHistoryCut = recovery.isHistoryCut
        report.regions = try recovery.write(machine.snapshot, to: destination, as: report.store)
        FaultPoint.reach(.recover)
        // A row that this program does not know, or that its rules leave out, is on no list of what is missing.
        if report.isComplete, let meta = source.meta, let before = digest(file, meta) {
            let written = try StoreReader.open(destination)
            let after = try written.look { (view) throws(HoldfastError) in try StoreDigest(view) }
            report.isDifferent = before.whole != after.whole
        }
        return report
    }
}

extension StoreRecover {
    /// The digest of the damaged store, where its rows can still be read as they stand.
    private static func digest(_ file: PageFile, _ meta: Meta) -> StoreDigest? {
        guard let snapshot = try? PageSnapshot(file, meta),
            let view = try? StoreView.open(snapshot, isComplete: false)
        else { return nil }
        return try? StoreDigest(view)
    }
}

/// The leaves to read, and what they are of.
private struct Source {
    let leaves: [UInt64]
    /// The commit that they are of, where its trees lead to all of them.
    var meta: Meta?
    /// Whether the commit's trees lead to them, all of them.
    var isWhole = false
    /// Whether what they hold is of the newest commit alone.
    var isTrusted = false
    /// Whether no meta page says so, but the pages themselves.
    var isRebuilt = false
    /// How many pairs the commit's tables held, where one is known.
    var pairs: UInt64?

    init(_ file: PageFile) throws(PageError) {
        let walk: PageWalk? = if let meta = try? file.newestMeta() { try PageWalk(file, meta, .trees) } else { nil }
        if let walk, walk.isSound {
            self.init(leaves: walk.leaves.map(\.page), isWhole: true, isTrusted: true)
            (pairs, meta) = (walk.entries, walk.meta)
        } else if let walk = try file.rebuiltWalk() {
            self.init(leaves: walk.leaves.map(\.page), isWhole: true, isTrusted: true, isRebuilt: true)
            meta = walk.meta
        } else if let walk, walk.isFreeListWhole, !walk.findings.contains(where: { $0.code == "torn" }) {
            // What is not free is of this commit, whether the tree still leads to it or not.
            let used = (2..<walk.free.end).filter { !walk.free.contains($0) && !walk.listed.contains($0) }
            self.init(leaves: used, isTrusted: true)
            pairs = walk.entries
        } else {
            try self.init(all: file)
        }
    }

    /// Every page there is, of whatever commit.
    init(all file: PageFile) throws(PageError) { self.init(leaves: Array(2..<max(2, try file.pages()))) }

    private init(leaves: [UInt64], isWhole: Bool = false, isTrusted: Bool = false, isRebuilt: Bool = false) {
        (self.leaves, self.isWhole, self.isTrusted, self.isRebuilt) = (leaves, isWhole, isTrusted, isRebuilt)
    }
}

/// What was found in leaves.
private struct Salvage {
    private(set) var rows = SalvagedRows()
    /// Leaves with anything in them.
    private(set) var leaves: UInt64 = 0
    /// The pairs in them.
    private(set) var pairs: UInt64 = 0

    init(_ file: PageFile, _ numbers: [UInt64], _ progress: (Int64, Int64) -> Void) throws(HoldfastError) {
        let total = Int64(clamping: numbers.count)
        for (index, leaf) in numbers.enumerated() {
            let pairs = try pages { () throws(PageError) in
                try file.pairs(ofLeaf: leaf, valueMax: Recovery.valueBytesMax)
            }
            if !pairs.isEmpty { leaves += 1 }
            self.pairs += UInt64(pairs.count)
            rows.take(pairs, page: leaf)
            if index % 256 == 0 { progress(Int64(index), total) }
        }
        rows.settle()
    }
}
