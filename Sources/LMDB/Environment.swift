private import CLMDB
private import Glibc

/// One open LMDB environment, shared by one writer thread and any readers.
///
/// The pointer is made in `init`, freed in `deinit`, and never leaves this module; it is kept as an address, since the
/// standard library's pointers are not `Sendable`. Each transaction holds the environment, so that it outlives them.
@safe package final class Environment: Sendable {
    private let address: UInt
    /// The bytes of address space that the map took.
    package let mapSizeBytes: Int

    var pointer: OpaquePointer {
        guard let pointer = unsafe OpaquePointer(bitPattern: address) else {
            preconditionFailure("an environment has an address")
        }
        return unsafe pointer
    }

    /// How a process uses the environment.
    package enum Access: Sendable {
        /// One process writes; each commit is on the disk when it returns.
        case readWrite
        /// One process writes; of the last commit the meta page may not be on the disk when it returns, so that a loss of power
        /// leaves the commit before it, whole. ``Environment/sync()`` makes up for it.
        case readWriteAhead
        /// One process writes a file that nobody else knows of, without `lock.mdb`, and syncs once at the end: until then
        /// a loss of power can leave anything.
        case bulk
        /// Reads beside a writer, by way of `lock.mdb`.
        case readOnly
    }

    /// The numbers of the last commit.
    package struct Information: Sendable, Hashable {
        /// The last page that was ever used; pages are counted from 0.
        package let lastPage: Int
        /// The number of the last transaction that committed.
        package let lastTransaction: UInt64
        /// Reader slots in use.
        package let readers: Int
    }

    /// Opens the environment in the file `path`, with its lock file at `path` + `-lock` unless `isDirectory`.
    ///
    /// `mapSizeBytes`: The address space wanted; nil for as much as the writer took. Where the system refuses it, half
    /// is tried, down to 16 MiB.
    /// `databasesMax`: How many named databases may be open.
    /// `readersMax`: How many read transactions may be open at once.
    package init(
        path: String,
        isDirectory: Bool = true,
        access: Access,
        mapSizeBytes: Int?,
        databasesMax: Int,
        readersMax: Int
    ) throws(LMDBError) {
        var flags = UInt32(MDB_NOTLS)
        if !isDirectory { flags |= UInt32(MDB_NOSUBDIR) }
        switch access {
        case .readWrite: break
        case .readWriteAhead: flags |= UInt32(MDB_NOMETASYNC)
        case .bulk: flags |= UInt32(MDB_NOSYNC | MDB_NOLOCK)
        case .readOnly: flags |= UInt32(MDB_RDONLY)
        }
        var size = mapSizeBytes
        while true {
            var pointer: OpaquePointer?
            try check("mdb_env_create", unsafe mdb_env_create(&pointer))
            do throws(LMDBError) {
                if let size { try check("mdb_env_set_mapsize", unsafe mdb_env_set_mapsize(pointer, size)) }
                try check("mdb_env_set_maxdbs", unsafe mdb_env_set_maxdbs(pointer, UInt32(databasesMax)))
                try check("mdb_env_set_maxreaders", unsafe mdb_env_set_maxreaders(pointer, UInt32(readersMax)))
                try check("mdb_env_open", unsafe mdb_env_open(pointer, path, flags, 0o600))
                var info = unsafe MDB_envinfo()
                try check("mdb_env_info", unsafe mdb_env_info(pointer, &info))
                // LMDB sees to its other descriptors itself.
                var descriptor: CInt = -1
                try check("mdb_env_get_fd", unsafe mdb_env_get_fd(pointer, &descriptor))
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
                self.address = UInt(bitPattern: pointer)
                self.mapSizeBytes = unsafe info.me_mapsize
                return
            } catch {
                // An environment that failed to open must be closed, and another made for the next try.
                unsafe mdb_env_close(pointer)
                let next = size.map { $0 / 2 } ?? 1 << 40
                guard error.status == outOfMemory, next > 8 << 20 else { throw error }
                size = next
            }
        }
    }

    deinit { unsafe mdb_env_close(pointer) }

    /// Begins the write transaction, waiting for another process's to end.
    ///
    /// It belongs to the calling thread.
    package func beginWrite() throws(LMDBError) -> Transaction { try Transaction(self, flags: 0) }

    /// Begins a read transaction: the store as of the last commit, however long it lasts.
    package func beginRead() throws(LMDBError) -> Transaction { try Transaction(self, flags: UInt32(MDB_RDONLY)) }

    /// Whether LMDB does nothing any more, since writing a meta page has failed.
    package var isPanicked: Bool {
        do throws(LMDBError) {
            _ = try beginRead()
            return false
        } catch {
            return error.isPanic
        }
    }

    /// From the next commit on, each is on the disk when it returns, also where the environment was opened in bulk.
    package func syncEachCommit() throws(LMDBError) {
        try check("mdb_env_set_flags", unsafe mdb_env_set_flags(pointer, UInt32(MDB_NOSYNC), 0))
    }

    /// Returns when every commit is on the disk.
    package func sync() throws(LMDBError) {
        try check("mdb_env_sync", unsafe mdb_env_sync(pointer, 1))
    }

    /// Frees the slots of readers whose process has gone, and says how many there were.
    @discardableResult package func clearStaleReaders() throws(LMDBError) -> Int {
        var dead: CInt = 0
        try check("mdb_reader_check", unsafe mdb_reader_check(pointer, &dead))
        return Int(dead)
    }

    /// The numbers of the last commit.
    package func information() throws(LMDBError) -> Information {
        var info = unsafe MDB_envinfo()
        try check("mdb_env_info", unsafe mdb_env_info(pointer, &info))
        return Information(
            lastPage: unsafe info.me_last_pgno,
            lastTransaction: UInt64(unsafe info.me_last_txnid),
            readers: Int(unsafe info.me_numreaders)
        )
    }

    /// The size of a page in bytes.
    package func pageSize() throws(LMDBError) -> Int {
        var stat = MDB_stat()
        try check("mdb_env_stat", unsafe mdb_env_stat(pointer, &stat))
        return Int(stat.ms_psize)
    }

    /// The most bytes in a key: 511.
    package static let keySizeMax = 511

    /// The version of the library that runs, such as `0.9.24`.
    package static var version: String {
        var major: CInt = 0
        var minor: CInt = 0
        var patch: CInt = 0
        _ = unsafe mdb_version(&major, &minor, &patch)
        return "\(major).\(minor).\(patch)"
    }
}

/// `ENOMEM`, what `mmap` says where the address space is limited.
private let outOfMemory: CInt = 12
