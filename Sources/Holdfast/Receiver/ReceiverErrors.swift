internal import LMDB
internal import Platform
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

// What the receiver's side refuses, in words for those who run it.

extension HoldfastError {
    static func appliedRows(_ origin: RegionID, _ what: String) -> Self {
        Self(
            code: .damaged,
            message: "The rows of what was applied of origin '\(origin)' are not what was stored: \(what). Nothing was "
                + "changed. Restore them, or copy the data of the origin and begin with no rows.",
            region: origin
        )
    }

    static func appliedOrigins(_ limit: Int, index: Int?) -> Self {
        var error = Self.full(
            nil,
            limit: "origins",
            "A set of identities has at most \(limit) origins. Nothing was changed. Load the rows of the origins that "
                + "are needed, or delete the rows of regions that have gone."
        )
        error.index = index
        return error
    }

    static func appliedOriginNotLoaded(_ identity: WriteIdentity, _ index: Int?) -> Self {
        var error = Self(
            code: .invalidConfiguration,
            message: "The rows of origin '\(identity.origin)' were not loaded, so nobody can know what of it was "
                + "applied. Nothing was changed. Load them, and begin again.",
            region: identity.origin
        )
        error.field = "origins"
        error.index = index
        error.identity = identity
        return error
    }

    static func appliedBelowFloor(_ identity: WriteIdentity, floor: SeenRanges.Number, _ index: Int?) -> Self {
        var error = Self(
            code: .identityBelowFloor,
            message: "Nobody can know whether sequence \(identity.sequence) of '\(identity.origin)', incarnation "
                + "\(identity.incarnation), was applied: identities up to sequence \(floor.sequence) of incarnation "
                + "\(floor.incarnation) are forgotten. Nothing was changed. Compare the write with what is there, and "
                + "leave it out of the call.",
            region: identity.origin
        )
        error.index = index
        error.identity = identity
        error.floor = WriteIdentity(
            origin: identity.origin,
            incarnation: floor.incarnation,
            sequence: floor.sequence
        )
        return error
    }

    static func appliedConflict(_ identity: WriteIdentity, index: Int, earlier: Int) -> Self {
        var error = Self(
            code: .identityConflict,
            message: "Writes \(earlier) and \(index) of the call differ, but both are sequence \(identity.sequence) of "
                + "'\(identity.origin)', incarnation \(identity.incarnation). Nothing of the call was applied.",
            region: identity.origin
        )
        error.index = index
        error.identity = identity
        return error
    }

    /// A row of a ledger that is not what was written.
    static func ledgerRow(_ what: String, _ error: FormatError) -> Self {
        Self(
            code: .damaged,
            message: "\(what) of the ledger is not what was written: \(error.description). Nothing was changed. "
                + ledgerAdvice
        )
    }

    static let ledgerAdvice =
        "Keep a copy of the directory. Restore it with the data that it stands for, or copy that data from another "
        + "region, and make a new ledger."

    /// What every later call hears of a ledger that does nothing any more.
    static func ledgerPoisoned(by error: Self) -> Self {
        Self(
            code: .poisoned,
            message:
                "The ledger does nothing any more, since what is on the disk became unknown: \(error.message) Close "
                + "it, open it again, and apply the same writes again: those that did arrive are not new."
        )
    }

    /// The same error in words for the opening of a ledger, where those of a store would mislead.
    func forOpeningLedger(_ path: String) -> Self {
        var error = forLedger(path)
        switch code {
        case .alreadyOpen:
            error.message = "This process has the directory open already. Use that ledger, or close it first."
        case .inUse:
            let user = (try? DirectoryLock.user(of: path)) ?? "unknown"
            error.message =
                "Another process has the ledger: its LOCK was last written by \(user). A ledger is open once; stop "
                + "that process first."
        case .networkFileSystem:
            error.message =
                "The directory is on a network file system, where locks and mapped memory do not mean what a ledger "
                + "needs. Put it on a local disk."
        default: break
        }
        return error
    }

    /// The same error in words for a ledger, where those of a store would mislead.
    func forLedger(_ path: String) -> Self {
        var error = at(path)
        switch code {
        case .full where systemCall != nil:
            error.message =
                "There is no room for the ledger to grow. Nothing of the call is there. Free space on the disk, and apply "
                + "the same writes again."
        case .damaged where systemCall != nil:
            error.message = "The ledger's file is not what LMDB wrote. Nothing was changed. " + Self.ledgerAdvice
        default: break
        }
        return error
    }
}

/// Runs calls to LMDB for a ledger, and maps their error.
func ledgerEngine<Result: ~Copyable>(_ body: () throws(LMDBError) -> Result) throws(HoldfastError) -> Result {
    do throws(LMDBError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}

/// Runs calls to the system for a ledger, and maps their error.
func ledgerSystem<Result>(_ body: () throws(SystemError) -> Result) throws(HoldfastError) -> Result {
    do throws(SystemError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}

/// Reads bytes of a ledger, and maps the error with `what` they are.
func ledgerFormat<Result>(
    _ what: @autoclosure () -> String,
    _ body: () throws(FormatError) -> Result
) throws(HoldfastError) -> Result {
    do throws(FormatError) {
        return try body()
    } catch {
        throw .ledgerRow(what(), error)
    }
}
