private import Glibc
internal import LMDB
private import Logging
internal import Platform
internal import RegionFailover
internal import ReplayFormat

extension ReplayStore {
    /// Opens the environment for the writer, after everything was looked at that can be without it.
    ///
    /// `held`: Keeps the directory locked, also when this throws after that.
    static func prepareCore(
        _ path: String,
        _ opening: Opening,
        _ cluster: [UInt8]?,
        _ options: StoreOptions,
        _ held: inout StoreDirectory?
    ) throws(HoldfastError) -> (StoreCore, StoreDirectory) {
        let data = path + "/" + DataFile.name
        switch opening {
        case .existing: try DataFile.inspect(data)
        case .new:
            if !FileSystem.exists(path) { try system { () throws(SystemError) in try FileSystem.makeDirectory(path) } }
            FaultPoint.reach(.directoryMake)
        }
        let directory = try StoreDirectory.hold(path) { options.logger.notice("\($0)") }
        held = directory
        if case .new = opening {
            guard !directory.hadStore || FileSystem.exists(data) else {
                throw HoldfastError(
                    code: .damaged,
                    message:
                        "A store was in '\(path)', and its data.mdb is gone. Look for the file, or for a mount that is "
                        + "missing. To begin anew, choose another directory."
                )
            }
            try checkVacant(path)
            try emptyUnmade(data)
        }
        // The replicated log has what a loss of power takes from a replica's last commit.
        let environment = try directory.openEnvironment(
            cluster == nil ? .readWrite : .readWriteAhead,
            mapSizeBytes: options.mapSizeBytes
        )
        let file = try system { () throws(SystemError) in try File(data, O_RDWR) }
        // LMDB has written two empty meta pages. They are on the disk before anything else is, so that a making that is
        // interrupted can be told from a store: ``DataFile/isUnmade(_:)``.
        if case .new = opening { try system { () throws(SystemError) in try file.sync() } }
        var superblock = Superblock(store: StoreID(high: 0, low: 0), created: Timestamp(milliseconds: 0))
        if case .new(let identity, let created) = opening {
            superblock = Superblock(store: identity, created: created)
            if let cluster { superblock.mode = .replicated(cluster: cluster) }
        }
        let core = try StoreCore(environment: environment, dataFile: file, options: options, superblock: superblock)
        if case .existing = opening {
            try core.load(proving: true)
            FaultPoint.reach(.storeLoad)
            guard core.superblock.readCompatibleFeatures & ~Superblock.knownReadCompatibleFeatures == 0 else {
                throw HoldfastError(
                    code: .formatTooNew,
                    message:
                        "A newer version wrote the store (features \(core.superblock.readCompatibleFeatures)): this "
                        + "one can read it, but not write to it. Use a newer holdfast."
                )
            }
            guard core.superblock.backedUp == nil else { throw .isBackup }
            try check(core.superblock.mode, isOf: cluster)
        }
        return (core, directory)
    }

    /// Refuses a replica's store where callers are to change it, and any other where the log with the id `cluster` is.
    private static func check(_ mode: Superblock.Mode, isOf cluster: [UInt8]?) throws(HoldfastError) {
        switch (mode, cluster) {
        case (.local, nil): break
        case (.replicated, nil):
            throw HoldfastError(
                code: .replicatedStore,
                message: "The store is a replica's: only its log may change it. Send the change through the log."
            )
        case (.local, .some):
            throw HoldfastError(
                code: .logWentBack,
                message:
                    "The store is no replica's: it was made without a log. Give the replica a directory of its own."
            )
        case (.replicated(let own), .some(let cluster)):
            guard own != cluster else { break }
            throw HoldfastError(
                code: .logWentBack,
                message:
                    "The store is a replica's of the log \(own.hex), and this is the log \(cluster.hex): the engine was made "
                    + "anew, or its address leads to another one. Nothing was touched."
            )
        }
    }

    /// Empties a file whose making was cut off: LMDB takes an empty one, and none with half of its meta pages.
    private static func emptyUnmade(_ data: String) throws(HoldfastError) {
        guard FileSystem.exists(data) else { return }
        let file = try system { () throws(SystemError) in try File(regular: data, O_RDWR) }
        guard try DataFile.isUnmade(file) else { return }
        try system { () throws(SystemError) in try file.truncate(to: 0) }
    }

    /// Refuses a directory in which there is something, unless it is a store whose making was interrupted.
    private static func checkVacant(_ path: String) throws(HoldfastError) {
        let own: Set<String> = ["LOCK", DataFile.name, "lock.mdb", SpaceKeeper.reserveName]
        let names = try system { () throws(SystemError) in try FileSystem.names(in: path) }
        let isForeign = names.contains { !own.contains($0) }
        var isInterrupted = true
        if FileSystem.exists(path + "/" + DataFile.name) {
            do throws(HoldfastError) {
                _ = try StoreReader.open(path)
                isInterrupted = false
            } catch {
                // A file without a commit, or one without a superblock.
                isInterrupted = error.code == .notFound
            }
        }
        guard !isForeign, isInterrupted else {
            throw HoldfastError(
                code: .alreadyExists,
                message: isInterrupted
                    ? "The directory '\(path)' is not empty. Choose a new one."
                    : "There is a store at '\(path)' already. Look at it with 'holdfast info \(path)'."
            )
        }
    }
}

extension [UInt8] {
    /// Two hexadecimal digits for each byte.
    package var hex: String {
        map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
