private import Glibc
internal import LMDB
internal import Pages
package import Platform

/// A store's directory, held: nobody else in this process or in another one can open it until this goes.
package final class StoreDirectory: Sendable {
    package let path: String
    private let identity: FileIdentity
    /// Open, so that no other directory gets the number of this one where it is removed.
    private let directory: File
    // Both are released in `deinit`, the environment first: the lock must outlive every write.
    private let held: Lock<Held>

    private struct Held: Sendable {
        var environment: Environment?
        var data: FileLock?
        var lock: DirectoryLock?
    }

    /// Directories and data files that this process has open, by identity: the path alone can lie.
    private static let open = Lock<Set<FileIdentity>>([])

    private init(path: String, _ directory: File, _ identity: FileIdentity, _ lock: DirectoryLock) {
        self.path = path
        self.directory = directory
        self.identity = identity
        held = Lock(Held(environment: nil, lock: lock))
    }

    deinit {
        held.withLock { held in
            held.environment = nil
            // Before the file is closed: where it has no name any more, its number is another file's at once.
            if let data = held.data?.identity { _ = Self.open.withLock { $0.remove(data) } }
            held.data = nil
            held.lock = nil
        }
        _ = Self.open.withLock { $0.remove(identity) }
    }

    /// Takes the directory, and refuses the file systems where a lock or a map cannot be trusted.
    ///
    /// `allowsNetwork`: Whether it may be on a network file system: so may a copy that nobody writes to afterwards.
    /// `warn`: Called with what is doubtful but not refused.
    package static func hold(
        _ path: String,
        allowsNetwork: Bool = false,
        warn: (String) -> Void
    ) throws(HoldfastError) -> StoreDirectory {
        switch try system({ () throws(SystemError) in try FileSystem.kind(at: path) }) {
        case .local: break
        case .overlay(let name):
            warn("'\(path)' is on \(name): keep it on a volume of its own, so that it outlives the container.")
        case .network where allowsNetwork: break
        case .network(let name):
            throw HoldfastError(
                code: .networkFileSystem,
                message: "The directory is on a network file system (\(name)), where locks and mapped memory do not "
                    + "mean what a store needs. Put it on a local disk."
            ).at(path)
        }
        let (directory, identity) = try system { () throws(SystemError) in
            let directory = try File(path, O_RDONLY | O_DIRECTORY)
            return (directory, try directory.identity())
        }
        guard open.withLock({ $0.insert(identity).inserted }) else {
            throw HoldfastError(
                code: .alreadyOpen,
                message: "This process has the store open already. Use that controller, or close it first."
            ).at(path)
        }
        do throws(HoldfastError) {
            switch try system({ () throws(SystemError) in try DirectoryLock.attempt(path) }) {
            case .held(let lock):
                FaultPoint.reach(.lockTake)
                return StoreDirectory(path: path, directory, identity, lock)
            case .busy(let lastWriter):
                throw HoldfastError(
                    code: .inUse,
                    message: "Another process has the store: its LOCK was last written by \(lastWriter). Stop that "
                        + "one first, or read with it running: info, queues, records, dump."
                )
            }
        } catch {
            _ = open.withLock { $0.remove(identity) }
            throw error.at(path)
        }
    }

    /// Refuses a directory that this process has open: LMDB loses its own lock when one process opens a file twice.
    static func checkNotOpenHere(_ path: String) throws(HoldfastError) {
        let identity = try system { () throws(SystemError) in try FileSystem.identity(of: path) }
        guard !open.withLock({ $0.contains(identity) }) else {
            throw HoldfastError(
                code: .alreadyOpen,
                message: "This process has the store open already. Ask that controller, or close it first."
            )
        }
    }

    /// Whether a store was whole in the directory once.
    package var hadStore: Bool { held.withLock { $0.lock?.hadStore ?? false } }

    /// Whether the directory's LOCK was not there before.
    var isLockNew: Bool { held.withLock { $0.lock?.isNew ?? false } }

    /// Takes the data file itself too, until this goes: it can have other names, in other directories.
    ///
    /// It is made when it is missing.
    ///
    /// - Throws: `inUse` where another process has it, `alreadyOpen` where this one has, and `invalidConfiguration` for a
    ///   symbolic link.
    package func take(_ data: String) throws(HoldfastError) {
        let attempt: FileLock.Attempt
        do throws(SystemError) {
            attempt = try FileLock.attempt(data)
        } catch {
            guard error.number == ELOOP else { throw HoldfastError(error).at(path) }
            throw HoldfastError.isLink(data).at(path)
        }
        switch attempt {
        case .held(let lock):
            _ = Self.open.withLock { $0.insert(lock.identity) }
            held.withLock { $0.data = lock }
        case .busy(let file):
            let identity = try system { () throws(SystemError) in try file.identity() }
            let isHere = Self.open.withLock { $0.contains(identity) }
            throw HoldfastError(
                code: isHere ? .alreadyOpen : .inUse,
                message:
                    "\(isHere ? "This process" : "Another process") has the data file '\(data)' open by another name, "
                    + "in another directory: it is one file, and two writers would undo each other. Stop the other one, and "
                    + "keep the file in one directory only."
            ).at(path)
        }
    }

    /// Notes that a store is whole in the directory.
    package func noteStore() throws(HoldfastError) {
        guard let lock = held.withLock({ $0.lock }) else { return }
        try system { () throws(SystemError) in try lock.noteStore() }
        FaultPoint.reach(.storeNote)
    }

    /// Notes that nothing went wrong while the directory was held, so that who opens it next need not read every leaf.
    package func noteClosed() { held.withLock { try? $0.lock?.noteClosed() } }

    /// Refuses a data file on which LMDB could end the process.
    ///
    /// Every branch is read, and where the last one to hold the directory did not say that it was done, every leaf too: it
    /// may have been ended by one.
    ///
    /// - Throws: `damaged`.
    package func prove(_ data: String) throws(HoldfastError) {
        try DataFile.prove(data, held.withLock { $0.lock?.wasClosed ?? false } ? .branches : .trees)
    }

    /// Opens LMDB's environment in the directory, once the file is proved.
    func openEnvironment(
        _ access: Environment.Access = .readWrite,
        mapSizeBytes: Int
    ) throws(HoldfastError) -> Environment {
        let data = path + "/" + DataFile.name
        if FileSystem.exists(data) {
            let size = try system { () throws(SystemError) in try File(regular: data, O_RDONLY).size() }
            if size > 0 { try prove(data) }
        }
        try take(data)
        try removeLeftovers()
        let reserve = path + "/" + SpaceKeeper.reserveName
        guard !FileSystem.isLink(reserve) else { throw HoldfastError.isLink(beside: reserve).at(path) }
        do throws(SystemError) {
            try Self.makeLockFile(path + "/lock.mdb")
        } catch {
            guard error.number == ELOOP else { throw HoldfastError(error).at(path) }
            throw HoldfastError.isLink(beside: path + "/lock.mdb").at(path)
        }
        FaultPoint.reach(.lockFileMake)
        let environment = try engine { () throws(LMDBError) in
            try Environment(
                path: path,
                access: access,
                mapSizeBytes: mapSizeBytes,
                databasesMax: StoreLimits.databasesMax,
                readersMax: StoreLimits.readersMax
            )
        }
        FaultPoint.reach(.environmentOpen)
        _ = try engine { () throws(LMDBError) in try environment.clearStaleReaders() }
        held.withLock { $0.environment = environment }
        return environment
    }

    /// Gives the lock file of LMDB at `path` its disk space: LMDB maps it, and on a full disk the first touch of a page
    /// without space would end the process.
    ///
    /// - Throws: `ELOOP` for a symbolic link.
    package static func makeLockFile(_ path: String) throws(SystemError) {
        let lock = try File(regular: path, O_RDWR | O_CREAT | O_NOFOLLOW)
        do throws(SystemError) {
            try lock.allocate(from: 0, to: lockFileBytes)
        } catch {
            guard error.number == EOPNOTSUPP else { throw error }
        }
    }

    /// More than LMDB's table of 126 readers takes.
    private static let lockFileBytes: Int64 = 64 << 10

    /// Gives the environment up: it closes when the last read has ended.
    func closeEnvironment() { held.withLock { $0.environment = nil } }

    /// Removes what a compaction left that was killed before its last step.
    func removeLeftovers() throws(HoldfastError) {
        for name in [DataFile.compactName, DataFile.compactName + "-lock"] where FileSystem.exists(path + "/" + name) {
            try system { () throws(SystemError) in try FileSystem.remove(path + "/" + name) }
            FaultPoint.reach(.leftoverRemove)
        }
    }
}

extension HoldfastError {
    /// What a data file is refused with that is a symbolic link, where it would be written, or its readers would be noticed.
    static func isLink(_ data: String) -> Self {
        var error = Self(
            code: .invalidConfiguration,
            message:
                "'\(data)' is a symbolic link, so that two directories lead to one file, and two processes could write "
                + "it at once. Nothing was touched. Give the directory that the file itself is in, or move the file here."
        )
        error.field = "data.mdb"
        return error
    }

    /// What `reserve` or a lock file of LMDB is refused with that is a symbolic link: the file that it leads to would be changed.
    package static func isLink(beside file: String) -> Self {
        let name = file.split(separator: "/").last.map(String.init) ?? file
        var error = Self(
            code: .invalidConfiguration,
            message:
                "'\(file)' is a symbolic link, and what it leads to would be written over. Nothing was touched. Remove the link: "
                + "the file is made anew when the store is opened."
        )
        error.field = name
        return error
    }
}
