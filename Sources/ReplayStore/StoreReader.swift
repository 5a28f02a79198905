private import Glibc
internal import LMDB
internal import Platform
package import Zstd

/// A store opened for reading only, by a process that need not be the one that writes it.
package final class StoreReader {
    package let path: String
    /// Decompresses blocks.
    package let codec = FrameCodec()
    private let environment: Environment
    /// Held where the reader cannot enter itself in `lock.mdb`, so that no writer begins beside it.
    private let lock: DirectoryLock?

    private let isComplete: Bool

    private init(path: String, _ opened: (Environment, DirectoryLock?), _ isComplete: Bool) {
        self.path = path
        self.isComplete = isComplete
        (self.environment, self.lock) = opened
    }

    /// Opens the store at `path`.
    ///
    /// `beside`: Whether another process may be writing. Without it `lock.mdb` is left alone: for who holds the lock.
    /// `file`: The data file's name, where it is not the usual one.
    /// `isComplete`: Whether a store is refused that is still being written from a dump or another store.
    package static func open(
        _ path: String,
        beside: Bool = true,
        file: String = DataFile.name,
        isComplete: Bool = true
    ) throws(HoldfastError) -> StoreReader {
        let data = path + "/" + file
        do throws(HoldfastError) {
            try DataFile.inspect(data)
            if beside { try StoreDirectory.checkNotOpenHere(path) }
            let opened = try openEnvironment(path, file, beside ? .readOnly : .readOnlyUnlocked)
            let reader = StoreReader(path: path, opened, isComplete)
            let codec = reader.codec
            try reader.look { (view) throws(HoldfastError) in try view.loadDictionaries(into: codec) }
            return reader
        } catch {
            throw error.at(path)
        }
    }

    private static func openEnvironment(
        _ path: String,
        _ file: String,
        _ access: Environment.Access
    ) throws(HoldfastError) -> (Environment, DirectoryLock?) {
        if case .readOnly = access, file == DataFile.name, (try? StoreDirectory.makeLockFile(path)) == nil {
            return try openAlone(path, file)
        }
        do throws(LMDBError) {
            let environment = try Environment(
                path: file == DataFile.name ? path : path + "/" + file,
                isDirectory: file == DataFile.name,
                access: access,
                mapSizeBytes: nil,
                databasesMax: StoreLimits.databasesMax,
                readersMax: StoreLimits.readersMax
            )
            return (environment, nil)
        } catch {
            guard case .readOnly = access, error.status == EACCES || error.status == EROFS else {
                throw HoldfastError(error)
            }
            return try openAlone(path, file)
        }
    }

    /// Opens the store without `lock.mdb`, for who cannot enter himself there.
    ///
    /// That is safe while nobody writes, so it holds the lock meanwhile.
    private static func openAlone(_ path: String, _ file: String) throws(HoldfastError) -> (Environment, DirectoryLock?)
    {
        switch try system({ () throws(SystemError) in try DirectoryLock.attemptShared(path) }) {
        case .held(let lock): return (try openEnvironment(path, file, .readOnlyUnlocked).0, lock)
        case .busy(let lastWriter):
            throw HoldfastError(
                code: .inUse,
                message:
                    "A process is writing to the store (its LOCK was last written by \(lastWriter)), and 'lock.mdb', "
                    + "where readers enter themselves, cannot be written. Read as the store's owner, or stop the writer."
            )
        }
    }

    /// Looks at the store as of the last commit.
    package func look<Value>(
        _ body: (borrowing StoreView) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        do throws(HoldfastError) {
            let lmdb = try ReplayStore.beginRead(environment)
            return try body(try StoreView.open(lmdb, with: nil, isComplete: isComplete))
        } catch {
            throw error.at(path)
        }
    }

    /// The size of the data file in bytes.
    package func fileSize(_ file: String = DataFile.name) throws(HoldfastError) -> Int64 {
        try system { () throws(SystemError) in try File(path + "/" + file, O_RDONLY).size() }
    }
}
