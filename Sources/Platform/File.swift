// Unsafe: read, write, fstat, fcntl, poll and their like take pointers, to memory that lives for the call and has the length
// that they are told.

private import CPlatform
private import Glibc

/// A call to the operating system that failed.
package struct SystemError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The C function, such as `open`.
    package let call: String
    /// The `errno` that it left.
    package let number: CInt
    /// The file it was called for.
    package let path: String

    package init(call: String, number: CInt, path: String) {
        self.call = call
        self.number = number
        self.path = path
    }

    /// The call, the system's own words for the error, and the file.
    package var description: String {
        "\(call): \(errorText(number)) (\(path))"
    }
}

/// The system's own words for an `errno`.
package func errorText(_ number: CInt) -> String {
    var buffer = [CChar](repeating: 0, count: 128)
    guard unsafe strerror_r(number, &buffer, buffer.count) == 0 else { return "errno \(number)" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// What tells one file from another: two paths with the same identity are one file.
package struct FileIdentity: Sendable, Hashable {
    package let device: UInt64
    package let inode: UInt64
}

/// An open file, closed when the last reference goes.
///
/// Every descriptor is opened with `O_CLOEXEC`, so that a program started by this process does not inherit it.
@safe package final class File: Sendable {
    package let descriptor: CInt
    package let path: String

    /// Opens `path`; `flags` as of `open(2)`, `mode` for a file that is made.
    package init(_ path: String, _ flags: CInt, mode: UInt32 = 0o600) throws(SystemError) {
        let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw SystemError(call: "open", number: errno, path: path) }
        self.descriptor = descriptor
        self.path = path
    }

    /// Opens a file of a store: what is no regular file is refused with `EINVAL`, and a pipe is not waited for.
    package init(regular path: String, _ flags: CInt, mode: UInt32 = 0o600) throws(SystemError) {
        let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC | O_NONBLOCK, mode)
        guard descriptor >= 0 else { throw SystemError(call: "open", number: errno, path: path) }
        self.descriptor = descriptor
        self.path = path
        guard try status().st_mode & S_IFMT == S_IFREG else {
            throw SystemError(call: "open", number: EINVAL, path: path)
        }
    }

    /// Opens a file to write at its end; one that is not there is made.
    package convenience init(appendingTo path: String) throws(SystemError) {
        try self.init(path, O_WRONLY | O_CREAT | O_APPEND)
    }

    /// A new file without a name, in memory, that holds `bytes`; its position is their beginning.
    static func memory(_ name: String, holding bytes: [UInt8]) throws(SystemError) -> File {
        let closeOnExec: UInt32 = 1
        let descriptor = unsafe memfd_create(name, closeOnExec)
        guard descriptor >= 0 else { throw SystemError(call: "memfd_create", number: errno, path: name) }
        let file = File(adopting: descriptor, path: name)
        try file.write(bytes)
        try file.check("lseek", Int(lseek(descriptor, 0, SEEK_SET)))
        return file
    }

    /// The two ends of a new pipe.
    static func pipe(_ name: String) throws(SystemError) -> (read: File, write: File) {
        var ends: [CInt] = [-1, -1]
        guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else { throw SystemError(call: "pipe2", number: errno, path: name) }
        return (File(adopting: ends[0], path: name), File(adopting: ends[1], path: name))
    }

    /// Takes over a descriptor that is already open, such as standard input.
    package init(adopting descriptor: CInt, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        if descriptor > 2 { Glibc.close(descriptor) }
    }

    private func check(_ call: String, _ result: Int) throws(SystemError) {
        guard result >= 0 else { throw SystemError(call: call, number: errno, path: path) }
    }

    /// Reads at most `count` bytes at the file's position; none at the end of the file.
    package func read(atMost count: Int) throws(SystemError) -> [UInt8] {
        try unsafe fill(count) { unsafe Glibc.read(descriptor, $0, $1) }
    }

    /// Reads at most `count` bytes at `offset`; fewer at the end of the file.
    package func read(atMost count: Int, at offset: Int64) throws(SystemError) -> [UInt8] {
        try unsafe fill(count) { unsafe Glibc.pread(descriptor, $0, $1, off_t(offset)) }
    }

    private func fill(_ count: Int, with call: (UnsafeMutableRawPointer?, Int) -> Int) throws(SystemError) -> [UInt8] {
        // All empty arrays are one, into which the initializer below would write its length: two threads at once would race.
        guard count > 0 else { return [] }
        var failure: CInt = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while true {
                let got = unsafe call(buffer.baseAddress, count)
                if got < 0, errno == EINTR { continue }
                failure = got < 0 ? errno : 0
                filled = max(got, 0)
                return
            }
        }
        guard failure == 0 else { throw SystemError(call: "read", number: failure, path: path) }
        return bytes
    }

    /// Writes all of `bytes` at the file's position.
    package func write(_ bytes: [UInt8]) throws(SystemError) {
        var written = 0
        while written < bytes.count {
            let got = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress?.advanced(by: written), bytes.count - written)
            }
            if got < 0, errno == EINTR { continue }
            try check("write", got)
            written += got
        }
    }

    /// Waits until one of some files can be read, or has nothing more to come; a negative time stands for ever.
    ///
    /// Nil stands for a file that is not waited for.
    ///
    /// - Returns: Which of them can be read; none when time is up, or when a signal came.
    static func wait(toRead files: [File?], milliseconds: CInt) -> [Bool] {
        var polls = files.map { pollfd(fd: $0?.descriptor ?? -1, events: Int16(POLLIN), revents: 0) }
        let ready = unsafe poll(&polls, nfds_t(polls.count), milliseconds)
        return polls.map { ready > 0 && $0.revents != 0 }
    }

    /// Whether what is written here can be read by nobody any more: the other end of the pipe is closed.
    package var isReaderGone: Bool {
        var descriptors = [pollfd(fd: descriptor, events: 0, revents: 0)]
        guard unsafe poll(&descriptors, 1, 0) > 0 else { return false }
        return descriptors[0].revents & Int16(POLLERR | POLLHUP) != 0
    }

    /// Whether a short write does not have to wait for whoever reads.
    package var takesMore: Bool {
        var descriptors = [pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)]
        return unsafe poll(&descriptors, 1, 0) > 0
    }

    /// Makes the file `size` bytes long.
    package func truncate(to size: Int64) throws(SystemError) {
        try check("ftruncate", Int(ftruncate(descriptor, off_t(size))))
    }

    /// Returns when all that was written is on the disk, the file's size and name with it.
    package func sync() throws(SystemError) {
        try check("fsync", Int(fsync(descriptor)))
    }

    /// The size in bytes.
    package func size() throws(SystemError) -> Int64 {
        Int64(try status().st_size)
    }

    /// The bytes of disk that the file holds, which with preallocation can be more than its size.
    package func allocatedBytes() throws(SystemError) -> Int64 {
        Int64(try status().st_blocks) * 512
    }

    /// The file's device and inode.
    package func identity() throws(SystemError) -> FileIdentity {
        let status = try status()
        return FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    /// The permission bits, such as `0o600`.
    package func permissions() throws(SystemError) -> UInt32 {
        try status().st_mode & 0o7777
    }

    private func status() throws(SystemError) -> stat {
        var status = stat()
        try check("fstat", Int(unsafe fstat(descriptor, &status)))
        return status
    }

    /// Reserves disk space for the bytes below `end`; with `keepingSize` the file does not become longer by it.
    ///
    /// - Throws: `ENOSPC` when the disk cannot give them, `EOPNOTSUPP` where the file system has no such call.
    package func allocate(from start: Int64, to end: Int64, keepingSize: Bool = true) throws(SystemError) {
        guard end > start else { return }
        while true {
            let result = fallocate(descriptor, keepingSize ? FALLOC_FL_KEEP_SIZE : 0, off_t(start), off_t(end - start))
            if result < 0, errno == EINTR { continue }
            return try check("fallocate", Int(result))
        }
    }

    /// A lock of the open file: it goes with the last copy of the descriptor, whoever has it.
    enum OpenFileLock {
        case shared, exclusive, none

        fileprivate var range: flock {
            var range = flock()
            range.l_type = Int16(self == .shared ? CInt(F_RDLCK) : self == .exclusive ? CInt(F_WRLCK) : CInt(F_UNLCK))
            range.l_whence = Int16(SEEK_SET)
            return range
        }
    }

    /// Sets or removes the lock on the whole file; false when another one is in the way.
    ///
    /// It conflicts with ordinary record locks too, so a foreign program's is seen.
    func setLock(_ lock: OpenFileLock) throws(SystemError) -> Bool {
        var range = lock.range
        if unsafe fcntl(descriptor, F_OFD_SETLK, &range) == 0 { return true }
        guard errno == EAGAIN || errno == EACCES else {
            throw SystemError(call: "fcntl(F_OFD_SETLK)", number: errno, path: path)
        }
        return false
    }

    /// Whether somebody else has the file locked exclusively.
    func isLockedExclusively() throws(SystemError) -> Bool {
        var range = OpenFileLock.shared.range
        try check("fcntl(F_OFD_GETLK)", Int(unsafe fcntl(descriptor, F_OFD_GETLK, &range)))
        return range.l_type != Int16(F_UNLCK)
    }

    /// Whether the descriptor is a terminal.
    package var isTerminal: Bool { isatty(descriptor) == 1 }
}

private let FALLOC_FL_KEEP_SIZE: CInt = 1
private let F_OFD_GETLK: CInt = 36
private let F_OFD_SETLK: CInt = 37
