private import Glibc
internal import LMDB
internal import Pages
internal import Platform
package import Zstd

/// A store opened for reading only, by a process that need not be the one that writes it.
package final class StoreReader {
    /// How a reader reads.
    package enum Access: Sendable {
        /// The pages of the file, without LMDB: it needs no permission to write, is not noticed by a writer, holds no page
        /// back, and no damage can do more than make it throw. Looks are short, and are made again when commits overtake
        /// them.
        case pages
        /// A look is a read transaction of LMDB: one moment, however long it lasts, beside a writer whose file can grow
        /// meanwhile.
        case transaction
    }

    private enum Source {
        case pages(PageFile)
        case transaction(Environment)
    }

    package let path: String
    /// Decompresses blocks.
    package let codec = FrameCodec()
    private let source: Source
    /// Held where the reader must have a writer kept out.
    private let lock: DirectoryLock?
    private let isComplete: Bool
    /// The data file's name.
    let file: String
    /// Tells how long a look has been tried.
    private let clock: () -> Int64

    private init(
        _ path: String,
        _ source: Source,
        _ lock: DirectoryLock?,
        file: String = DataFile.name,
        isComplete: Bool,
        clock: @escaping () -> Int64 = { System.elapsedMilliseconds }
    ) throws(HoldfastError) {
        self.path = path
        self.file = file
        self.source = source
        self.lock = lock
        self.isComplete = isComplete
        self.clock = clock
        let codec = codec
        try look { (view) throws(HoldfastError) in try view.loadDictionaries(into: codec) }
    }

    /// Opens the store at `path`.
    ///
    /// `file`: The data file's name, where it is not the usual one.
    /// `isComplete`: Whether a store is refused that is still being written from a dump or another store.
    /// `clock`: Milliseconds by which looks at pages end, where they are not those of the system.
    package static func open(
        _ path: String,
        by access: Access = .pages,
        file: String = DataFile.name,
        isComplete: Bool = true,
        clock: (() -> Int64)? = nil
    ) throws(HoldfastError) -> StoreReader {
        let clock = clock ?? { System.elapsedMilliseconds }
        do throws(HoldfastError) {
            let data = try DataFile.inspect(path + "/" + file)
            switch access {
            case .pages:
                return try StoreReader(path, .pages(data), nil, file: file, isComplete: isComplete, clock: clock)
            case .transaction: return try openTransactions(path, data, isComplete: isComplete)
            }
        } catch {
            throw error.at(path)
        }
    }

    private static func openTransactions(
        _ path: String,
        _ data: PageFile,
        isComplete: Bool
    ) throws(HoldfastError) -> StoreReader {
        try StoreDirectory.checkNotOpenHere(path)
        try checkOneName(path)
        guard (try? StoreDirectory.makeLockFile(path + "/lock.mdb")) != nil else {
            return try openAlone(path, data, isComplete: isComplete)
        }
        // A page that is damaged could end the process, here as in who writes.
        try DataFile.prove(path + "/" + DataFile.name, .trees)
        let environment = try engine { () throws(LMDBError) in
            try Environment(
                path: path,
                access: .readOnly,
                mapSizeBytes: nil,
                databasesMax: StoreLimits.databasesMax,
                readersMax: StoreLimits.readersMax
            )
        }
        return try StoreReader(path, .transaction(environment), nil, isComplete: isComplete)
    }

    /// Refuses a data file that has a writer by another name: that one looks for readers in another `lock.mdb`, and would
    /// write over what is read here.
    private static func checkOneName(_ path: String) throws(HoldfastError) {
        let data = path + "/" + DataFile.name
        guard !FileSystem.isLink(data) else { throw .isLink(data) }
        // Twice, since a writer of this directory can end between the two questions.
        for _ in 0..<2 {
            let isElsewhere = try system { () throws(SystemError) in
                let isHeld = try FileLock.isHeld(data)
                let user = try DirectoryLock.user(of: path)
                return isHeld && user == nil
            }
            guard isElsewhere else { return }
        }
        throw HoldfastError(
            code: .inUse,
            message:
                "A process has the data file '\(data)' open by another name, in another directory. Give that directory, and "
                + "keep the file in one only."
        )
    }

    /// Opens the store's pages for who cannot enter himself in `lock.mdb`, and keeps writers out meanwhile.
    private static func openAlone(
        _ path: String,
        _ data: PageFile,
        isComplete: Bool
    ) throws(HoldfastError) -> StoreReader {
        switch try system({ () throws(SystemError) in try DirectoryLock.attemptShared(path) }) {
        case nil: return try StoreReader(path, .pages(data), nil, isComplete: isComplete)
        case .held(let lock): return try StoreReader(path, .pages(data), lock, isComplete: isComplete)
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
    ///
    /// Beside a writer `body` can run several times, with less ``StoreView/lookBytes`` each time: only what the last run
    /// gives counts, so it changes nothing else.
    package func look<Value>(
        _ body: (borrowing StoreView) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        do throws(HoldfastError) {
            switch source {
            case .transaction(let environment):
                return try body(try StoreView.open(try ReplayStore.beginRead(environment), with: nil))
            case .pages(let file): return try look(file, body)
            }
        } catch {
            throw error.at(path)
        }
    }

    private func look<Value>(
        _ file: PageFile,
        _ body: (borrowing StoreView) throws(HoldfastError) -> Value
    ) throws(HoldfastError) -> Value {
        let start = clock()
        var lookBytes = StoreView.lookBytesMax
        while true {
            let meta = try pages { () throws(PageError) in try file.newestMeta() }
            let result: Result<Value, HoldfastError>
            do throws(HoldfastError) {
                let snapshot = try pages { () throws(PageError) in try PageSnapshot(file, meta) }
                let view = try StoreView.open(snapshot, isComplete: isComplete, lookBytes: lookBytes)
                result = .success(try body(view))
            } catch {
                result = .failure(error)
            }
            // Also what seems to be damage may be a page that was written anew meanwhile.
            if try pages({ () throws(PageError) in try file.isCurrent(meta) }) { return try result.get() }
            lookBytes = max(1, lookBytes / 2)
            guard clock() - start < Self.lookMilliseconds else {
                throw HoldfastError(
                    code: .inUse,
                    message:
                        "A process commits to the store faster than this can be read at one moment. Try again when "
                        + "it is quieter, stop it, or read a copy made by 'holdfast backup'."
                )
            }
        }
    }

    /// How long a look is tried again.
    private static let lookMilliseconds: Int64 = 10_000

    /// The size of the data file in bytes.
    package func fileSize() throws(HoldfastError) -> Int64 {
        try system { () throws(SystemError) in try File(path + "/" + file, O_RDONLY).size() }
    }
}
