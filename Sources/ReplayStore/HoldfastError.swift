package import LMDB
package import Pages
package import Platform
public import RegionFailover
public import ReplayFormat

/// An error from a controller or its store.
///
/// Act on ``code``; show ``message`` to people. New codes may come in minor releases, so a `switch` over a code needs
/// a `default`. The other properties are set where the code says so.
public struct HoldfastError: Error, Sendable, Hashable {
    /// What a caller can do about an error.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Wrapped: String {
            case unknownRegion, noSecondaryAvailable, illegalTransition, replayPending, needsResync, staleEpoch
            case invalidConfiguration, full, tooLarge, identityBelowFloor, identityConflict, positionOutOfRange
            case replayerActive, staleToken, cancelled, closed, poisoned, alreadyOpen, inUse, forkedChild
            case notFound, alreadyExists, notPermitted, networkFileSystem, formatTooNew, incomplete, backup
            case replicatedStore
            case damaged, ioFailed
            case sessionExpired, overloaded, outcomeUnknown, clockStep, notConfigured, partMissing
            case notLeader, logUnavailable, logWentBack, logConflict, unknownCommand, digestMismatch, needsSnapshot
        }
        private let wrapped: Wrapped
        private init(_ wrapped: Wrapped) { self.wrapped = wrapped }

        /// No such region in the deployment; see ``HoldfastError/region``.
        ///
        /// Nothing changed.
        public static var unknownRegion: Self { Self(.unknownRegion) }
        /// No secondary can take over from ``HoldfastError/region``.
        ///
        /// Nothing changed: it stays the acting primary.
        public static var noSecondaryAvailable: Self { Self(.noSecondaryAvailable) }
        /// The region's role or state does not allow it; ``HoldfastError/role``, ``HoldfastError/state`` and
        /// ``HoldfastError/attempted`` say what was met.
        ///
        /// Nothing changed.
        public static var illegalTransition: Self { Self(.illegalTransition) }
        /// The region has not received ``HoldfastError/count`` writes.
        ///
        /// Nothing changed; replay them first.
        public static var replayPending: Self { Self(.replayPending) }
        /// Writes for the region were dropped or damaged.
        ///
        /// Nothing changed; copy the data, then clear the mark.
        public static var needsResync: Self { Self(.needsResync) }
        /// The acting primary has changed; ``HoldfastError/count`` is the epoch now.
        ///
        /// Nothing changed.
        public static var staleEpoch: Self { Self(.staleEpoch) }
        /// A configuration or a name is not valid; ``HoldfastError/field`` names the part.
        ///
        /// Nothing changed.
        public static var invalidConfiguration: Self { Self(.invalidConfiguration) }
        /// The limit that ``HoldfastError/field`` names would be passed.
        ///
        /// Nothing of the call was queued.
        ///
        /// Replay and acknowledge, raise the limit, or free the disk; then append again.
        public static var full: Self { Self(.full) }
        /// A key, a value, a clock or the whole call is over its size limit.
        ///
        /// Nothing of the call was queued.
        public static var tooLarge: Self { Self(.tooLarge) }
        /// The write at ``HoldfastError/index`` has an identity so old that nobody can know whether it was accepted.
        ///
        /// Nothing of the call was queued. Number new writes above the floor, or in a greater incarnation.
        public static var identityBelowFloor: Self { Self(.identityBelowFloor) }
        /// Two different writes of one call have the same identity; ``HoldfastError/index`` is the second one.
        ///
        /// Nothing of the call was queued.
        public static var identityConflict: Self { Self(.identityConflict) }
        /// Nothing has been queued at that position yet.
        ///
        /// Nothing changed.
        public static var positionOutOfRange: Self { Self(.positionOutOfRange) }
        /// Another replayer has the region.
        ///
        /// Nothing changed; end that one first.
        public static var replayerActive: Self { Self(.replayerActive) }
        /// The batch is from a queue that is not there any more.
        ///
        /// Nothing changed.
        public static var staleToken: Self { Self(.staleToken) }
        /// The task was cancelled before the call's transaction began.
        ///
        /// Nothing of the call was queued.
        public static var cancelled: Self { Self(.cancelled) }
        /// The store has been closed.
        ///
        /// Nothing changed.
        public static var closed: Self { Self(.closed) }
        /// An earlier failure left unknown what is on disk, so this handle does nothing any more.
        ///
        /// Everything acknowledged before is durable. Open the store again; append again what was not acknowledged:
        /// the identity of a write makes that safe. Where ``HoldfastError/cause`` is `damaged`, look at the store first.
        public static var poisoned: Self { Self(.poisoned) }
        /// This process has the store open already.
        ///
        /// Use that handle.
        public static var alreadyOpen: Self { Self(.alreadyOpen) }
        /// Another process has the store.
        ///
        /// Nothing was touched.
        public static var inUse: Self { Self(.inUse) }
        /// The process is a `fork` of the one that opened the store.
        ///
        /// Open it in one process only. Nothing changed.
        public static var forkedChild: Self { Self(.forkedChild) }
        /// There is no store at the path, or not any more: its directory was removed, renamed or replaced while it was open.
        ///
        /// Nothing was made or changed.
        public static var notFound: Self { Self(.notFound) }
        /// There is something at the path already.
        ///
        /// Nothing was touched.
        public static var alreadyExists: Self { Self(.alreadyExists) }
        /// The system does not permit it.
        ///
        /// Nothing was touched.
        public static var notPermitted: Self { Self(.notPermitted) }
        /// The path is on a network file system, where locks and mapped memory cannot be trusted.
        ///
        /// Nothing was touched.
        public static var networkFileSystem: Self { Self(.networkFileSystem) }
        /// A newer version wrote the store; the message names both.
        ///
        /// Nothing was touched.
        public static var formatTooNew: Self { Self(.formatTooNew) }
        /// A load into the store did not end.
        ///
        /// Load again into a new directory.
        public static var incomplete: Self { Self(.incomplete) }
        /// The directory holds a backup, which is never changed.
        ///
        /// Nothing was touched; restore it to a new store, with `holdfast restore`.
        public static var backup: Self { Self(.backup) }
        /// Only its replicated log may change this store.
        ///
        /// Nothing changed.
        public static var replicatedStore: Self { Self(.replicatedStore) }
        /// Bytes on disk are not what was written.
        ///
        /// Nothing was repaired or removed.
        public static var damaged: Self { Self(.damaged) }
        /// The system refused a read or a write.
        ///
        /// What was acknowledged before is durable.
        public static var ioFailed: Self { Self(.ioFailed) }

        // Replication:

        /// The session of the proposal is not known any more, or has its outcome no longer.
        ///
        /// Nothing changed by this call; whether the command was executed before is not known here. Open a new session; an
        /// append may be made again, since writes carry their identity.
        public static var sessionExpired: Self { Self(.sessionExpired) }
        /// Too much is under way.
        ///
        /// Nothing was proposed, or it was not executed; wait for what is under way, then call again.
        public static var overloaded: Self { Self(.overloaded) }
        /// The command may have been executed, or may be executed yet.
        ///
        /// Propose it again under the same identity: it is executed once.
        public static var outcomeUnknown: Self { Self(.outcomeUnknown) }
        /// The time of the command is too far ahead of the log's.
        ///
        /// Nothing changed; look at the proposer's clock.
        public static var clockStep: Self { Self(.clockStep) }
        /// The log has no deployment yet.
        ///
        /// Nothing changed; configure it first.
        public static var notConfigured: Self { Self(.notConfigured) }
        /// The last part of a command came before the others.
        ///
        /// Nothing was executed; propose all parts again under the same identity.
        public static var partMissing: Self { Self(.partMissing) }
        /// Another member leads.
        ///
        /// Nothing was proposed.
        public static var notLeader: Self { Self(.notLeader) }
        /// The engine of the log cannot be reached.
        ///
        /// Nothing was proposed, and nothing will be; try again later.
        public static var logUnavailable: Self { Self(.logUnavailable) }
        /// The log is another one, or ends before what this replica has applied: the engine was restored from an older state.
        ///
        /// The replica has stopped; nothing of its store changed. Decide which of the two is right.
        public static var logWentBack: Self { Self(.logWentBack) }
        /// One index of the log has had two commands.
        ///
        /// The replica has stopped; nothing of its store changed.
        public static var logConflict: Self { Self(.logConflict) }
        /// The log has a command that this version does not know.
        ///
        /// The replica has stopped before it; nothing of its store changed. Use a newer version.
        public static var unknownCommand: Self { Self(.unknownCommand) }
        /// The replica's state is another one than that of most members, or there is no majority for any.
        ///
        /// The replica has stopped. Let it take a snapshot of a member that is right.
        public static var digestMismatch: Self { Self(.digestMismatch) }
        /// The replica's store has lost something, or the log no longer has what it needs.
        ///
        /// The replica has stopped; a snapshot of another member makes it whole.
        public static var needsSnapshot: Self { Self(.needsSnapshot) }

        /// The code with a name; nil when there is none.
        package init?(name: String) {
            guard let wrapped = Wrapped(rawValue: name) else { return nil }
            self.init(wrapped)
        }

        /// The code's name, fit for a log field.
        public var description: String { wrapped.rawValue }
    }

    /// What a caller can do about it.
    public var code: Code
    /// What happened, to which region and position, and what to do; for people.
    public var message: String
    /// The region it is about.
    public var region: RegionID?
    /// The region's role, for ``Code/illegalTransition``.
    public var role: RegionRole?
    /// The region's state, for ``Code/illegalTransition``.
    public var state: RegionState?
    /// What was attempted, for ``Code/illegalTransition``.
    public var attempted: String?
    /// How many writes, or the epoch now.
    public var count: UInt64?
    /// The part of the configuration, or the limit.
    public var field: String?
    /// Which write of the call, counted from 0.
    public var index: Int?
    /// The identity of that write, for ``Code/identityBelowFloor`` and ``Code/identityConflict``.
    public var identity: WriteIdentity?
    /// The identity up to which all were forgotten, for ``Code/identityBelowFloor``.
    public var floor: WriteIdentity?
    /// What the earlier failure was, for ``Code/poisoned``.
    public package(set) var cause: Code?
    /// Whether the call is larger than the limit, for ``Code/full``: then it waits for room in vain.
    public package(set) var neverFits = false
    /// The store's directory.
    public var path: String?
    /// The C call and what it said, if one failed.
    public var systemCall: String?

    /// Creates an error.
    public init(code: Code, message: String, region: RegionID? = nil) {
        self.code = code
        self.message = message
        self.region = region
    }
}

extension HoldfastError: CustomStringConvertible {
    /// The code, the message, and the call and the path where there are any, on one line.
    public var description: String {
        let details = [path.map { "store \($0)" }, systemCall].compactMap(\.self)
        return "\(code): \(message)" + (details.isEmpty ? "" : " [\(details.joined(separator: ", "))]")
    }
}

extension HoldfastError {
    /// The machine's refusal, as this door tells it.
    package init(_ error: FailoverError) {
        let code: Code =
            switch error.code {
            case .unknownRegion: .unknownRegion
            case .noSecondaryAvailable: .noSecondaryAvailable
            case .illegalTransition: .illegalTransition
            case .replayPending: .replayPending
            case .needsResync: .needsResync
            case .staleEpoch: .staleEpoch
            case .invalidConfiguration: .invalidConfiguration
            default: .damaged
            }
        self.init(code: code, message: error.message, region: error.region)
        role = error.role
        state = error.state
        attempted = error.attempted
        count = error.count ?? error.currentEpoch
        field = error.field
    }

    /// Maps LMDB's status to the code that says what to do.
    ///
    /// The only such map.
    package init(_ error: LMDBError) {
        if error.isMapFull {
            self.init(
                code: .full,
                message: "The store's address space is used up. Replay and acknowledge, then run 'holdfast compact'."
            )
            field = "map"
        } else if error.isDatabasesFull {
            self.init(
                code: .full,
                message: "Too many regions have come and gone in this store. Close it, and run 'holdfast compact'."
            )
            field = "tables"
        } else if error.isPanic {
            self.init(
                code: .poisoned,
                message: "LMDB does nothing any more after an earlier failure. Close the store and open it again."
            )
        } else if error.isDamage {
            self.init(
                code: .damaged,
                message:
                    "The data file is not what LMDB wrote. Keep a copy of the directory; 'holdfast check STORE --level deep' "
                    + "names the page, and 'holdfast recover STORE --to NEW' makes a new store of what the pages hold."
            )
        } else {
            self.init(SystemError(call: error.call, number: error.status, path: ""))
        }
        systemCall = error.description
    }

    /// Maps an `errno` to the code that says what to do.
    ///
    /// The only such map.
    package init(_ error: SystemError) {
        switch error.number {
        case 1, 13, 30:
            self.init(
                code: .notPermitted,
                message: "The system does not permit it. Run as the user who owns the store, or give the permission."
            )
        case 2, 20: self.init(code: .notFound, message: "There is no such file or directory.")
        case 28, 122:
            self.init(code: .full, message: "The disk is full. Free space on it, or replay and acknowledge.")
            field = "disk"
        case 27:
            self.init(
                code: .full,
                message:
                    "The process may not make the file that long. Raise the limit on the size of files ('ulimit -f')."
            )
            field = "fileSize"
        default:
            self.init(
                code: .ioFailed,
                message: "The system refused a read or a write. Look at the disk, then try again."
            )
        }
        systemCall = error.description
    }

    /// A data file that is not as LMDB writes it.
    package init(_ error: PageError) {
        if let system = error.system {
            self.init(system)
        } else {
            self.init(
                code: .damaged,
                message: "The data file is not what LMDB wrote: \(error). Stop, keep a copy of the directory, and run "
                    + "'holdfast check --level deep'."
            )
        }
    }

    /// Bytes that do not follow the format.
    package init(_ error: FormatError, in what: String) {
        self.init(
            code: .damaged,
            message: "\(what): \(error.description). Keep a copy of the store and run 'holdfast check --level full'."
        )
    }

    package static func unknownRegion(_ region: RegionID) -> Self {
        Self(
            code: .unknownRegion,
            message: "Region '\(region)' is not part of this deployment. Check its spelling, or add it with configure.",
            region: region
        )
    }

    /// `neverFits`: Whether the call is larger than the limit, so that waiting for room is in vain.
    package static func full(
        _ region: RegionID?,
        limit: String,
        _ message: String,
        neverFits: Bool = false
    ) -> Self {
        var error = Self(code: .full, message: message, region: region)
        error.field = limit
        error.neverFits = neverFits
        return error
    }

    package static func tooLarge(_ message: String, index: Int?, limit: String) -> Self {
        var error = Self(code: .tooLarge, message: message)
        error.index = index
        error.field = limit
        return error
    }

    /// Whether there may be room later.
    package var isWantOfRoom: Bool { code == .full && !neverFits }

    /// The same error with the store's path.
    package func at(_ path: String) -> Self {
        var error = self
        error.path = error.path ?? path
        return error
    }
}

/// Reads bytes of the format, and maps the error with `what` they are.
package func format<Result>(
    _ what: @autoclosure () -> String,
    _ body: () throws(FormatError) -> Result
) throws(HoldfastError) -> Result {
    do throws(FormatError) {
        return try body()
    } catch {
        throw HoldfastError(error, in: what())
    }
}
