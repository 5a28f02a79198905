private import Glibc
private import Synchronization

/// A step of the store at which a test can kill the process, to see what it finds afterwards.
///
/// The library calls ``reach(_:)`` at each step. Unarmed, which is always but in a test's own worker, that is one relaxed
/// load. Arming takes two things that do not come together by accident: the environment names a point, and the program
/// calls ``arm()``. Only the crash tests' worker does. The function has package access, so that no other package can call
/// it; the tool does not, and a test holds it to that: whatever its environment says, it lives.
///
/// The name says what has just been done when the point is reached.
package enum FaultPoint: String, Sendable, CaseIterable {
    // MARK: A transaction

    /// A write transaction has begun.
    case begin
    /// A value has been put into the transaction.
    case put
    /// A pair has been taken out in the transaction.
    case delete
    /// A block has been put at the end of a queue, and the region's row counts it.
    case blockPut
    /// A block that has left its queue has been taken out.
    case blockDelete
    /// A queue has been emptied at once.
    case queueEmpty
    /// The identities that were taken have been put.
    case seenRows
    /// The regions' rows have been put.
    case regionRows
    /// The superblock has been put.
    case superblock
    /// The failover machine's rows have been put.
    case controllerRow
    /// An event has been put.
    case event
    /// A region's queue has been made.
    case regionAdd
    /// A region's queue has been removed.
    case regionRemove
    /// Everything of the transaction has been put, and nothing has been committed.
    case commitBefore
    /// The transaction is on the disk, and no caller has been told.
    case commitAfter

    // MARK: How entries leave a queue; nothing of it has been committed

    /// Entries have been acknowledged.
    case acknowledge
    /// Entries have been drained.
    case drain
    /// Entries have been dropped for a limit on entries or bytes, with their row of the ledger.
    case drop
    /// Entries have been dropped for their age, with their row of the ledger.
    case expire
    /// Entries have been parked as dead letters.
    case park
    /// Dead letters have been queued again.
    case retry
    /// Dead letters have been given up.
    case discard
    /// A damaged or missing range has been put into the ledger.
    case quarantine

    // MARK: Space

    /// Disk space has been reserved ahead of the data file.
    case preallocate
    /// The reserve for acknowledgements has been taken.
    case reserveTake
    /// The space ahead of the data file has been given back.
    case spaceGiveBack

    // MARK: Making, opening and closing a store

    /// A new store's directory is there.
    case directoryMake
    /// The directory's LOCK is held.
    case lockTake
    /// LMDB's lock file has its space.
    case lockFileMake
    /// What a killed compaction had left has been removed.
    case leftoverRemove
    /// LMDB has the data file open.
    case environmentOpen
    /// The store's rows have been read.
    case storeLoad
    /// The tables of a new store have been made, and nothing has been committed.
    case tablesMake
    /// The names of a new store's files have been synced.
    case namesSync
    /// The name of a new store's directory has been synced.
    case parentSync
    /// LOCK says that a store is here.
    case storeNote
    /// The last transaction of a store that closes has ended.
    case close

    // MARK: Writing a whole store anew: compact, backup, restore, load

    /// The new data file says that it is incomplete.
    case buildBegin
    /// A batch of pairs has been committed to the new file.
    case buildFlush
    /// The superblock has been committed to the new file, which is still incomplete.
    case buildFinish
    /// The new file has been made as long as it says.
    case buildLengthen
    /// LMDB has synced the new file.
    case buildSync
    /// The new file has been synced as a whole.
    case buildFileSync
    /// The new file has passed its check.
    case buildProve
    /// The new file no longer says that it is incomplete.
    case buildComplete
    /// Both of the new file's meta pages lead to a whole store.
    case buildCompleteAgain
    /// The names of the new file and of its directory have been synced.
    case buildNamesSync
    /// The directory of a new store is held, and was empty.
    case copyLock
    /// The copy of a compaction in place is whole, beside the old file.
    case compactCopy
    /// The copy has the old file's name, and the old file is gone.
    case compactRename
    /// That name has been synced.
    case compactSync
    /// What was beside the copy has been removed.
    case compactRemove
    /// A dictionary has been trained, and nothing written with it.
    case dictionaryTrain
    /// A copy of a dictionary has been put.
    case dictionaryPut
    /// A load has made its directory and its file.
    case loadBegin
    /// A load has put a block.
    case loadBlock
    /// A load has put a row.
    case loadRow
    /// A load has put everything, and has not called it complete.
    case loadFinish
    /// A backup is whole.
    case backup
    /// A restored store is whole.
    case restore

    // MARK: Upgrading

    /// An upgrade has read the version.
    case upgradeBegin
    /// A step has made its changes, and nothing of them has been committed.
    case upgradeStep
    /// The file has been made longer for the step.
    case upgradeLengthen
    /// The step is committed, with its version.
    case upgradeCommit
    /// The file has been cut to its length.
    case upgradeCut
    /// The file has been synced.
    case upgradeSync

    // MARK: Recovering a damaged file, which is loaded into a new one

    /// What can be read has been read, and nothing written.
    case recoverRead
    /// A region's queue has been put.
    case recoverQueue
    /// The new store is whole.
    case recover

    /// Says that a step has been done.
    package static func reach(_ point: FaultPoint) {
        if armed.load(ordering: .relaxed) { visit(point) }
    }

    /// Apart, so that the call above stays a load and a branch.
    @inline(never) private static func visit(_ point: FaultPoint) { watch.visit(point) }

    /// Arms the process, if its environment says so.
    ///
    /// `HOLDFAST_FAULT=name:count` kills the process with SIGKILL at the visit of a point with that number, from 1.
    /// `HOLDFAST_FAULT_LOG=file` adds the name of each point that is visited to a file, a line each.
    ///
    /// - Returns: False where a variable is there that is not understood: nothing is armed then.
    package static func arm() -> Bool {
        var kill: (point: FaultPoint, count: Int)?
        if let text = System.variable("HOLDFAST_FAULT") {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let point = FaultPoint(rawValue: String(parts[0])), let count = Int(parts[1]),
                count > 0
            else { return false }
            kill = (point, count)
        }
        var log: File?
        if let path = System.variable("HOLDFAST_FAULT_LOG") {
            guard let file = try? File(appendingTo: path) else { return false }
            log = file
        }
        guard kill != nil || log != nil else { return true }
        watch.set(kill, log)
        armed.store(true, ordering: .releasing)
        return true
    }

    private static let armed = Atomic<Bool>(false)
    private static let watch = FaultWatch()
}

/// What an armed process does at a point.
private final class FaultWatch: Sendable {
    private struct State: Sendable {
        var point: FaultPoint?
        var left = 0
        var log: File?
    }
    private let state = Lock(State())

    func set(_ kill: (point: FaultPoint, count: Int)?, _ log: File?) {
        state.withLock { $0 = State(point: kill?.point, left: kill?.count ?? 0, log: log) }
    }

    func visit(_ point: FaultPoint) {
        state.withLock { state in
            try? state.log?.write(Array((point.rawValue + "\n").utf8))
            guard state.point == point else { return }
            state.left -= 1
            // The thread never comes back from this call.
            if state.left == 0 { _ = kill(getpid(), SIGKILL) }
        }
    }
}
