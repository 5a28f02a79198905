private import Glibc

/// A lock on a directory, held as a ``FileLock`` of a file `LOCK` inside it.
///
/// It is released when the process ends, whatever ends it, so a file that is there but not locked means nothing.
package final class DirectoryLock: Sendable {
    /// What came of an attempt.
    package enum Attempt: Sendable {
        /// This process holds the lock.
        case held(DirectoryLock)
        /// Another one does. `lastWriter` is what the file says, in the form that ``DirectoryLock`` writes.
        case busy(lastWriter: String)
    }

    private let lock: FileLock
    /// Whether a store was whole in the directory once: where its data is missing now, it has been lost.
    package let hadStore: Bool

    /// Whether who had the lock before this said that it was done: otherwise its process was ended meanwhile, or it failed.
    package let wasClosed: Bool

    /// Whether the file was not there before.
    package let isNew: Bool

    private init(_ lock: FileLock, hadStore: Bool = true, wasClosed: Bool = true, isNew: Bool = false) {
        self.lock = lock
        self.hadStore = hadStore
        self.wasClosed = wasClosed
        self.isNew = isNew
    }

    /// Tries to lock `directory`, without waiting.
    ///
    /// The file is made when it is missing. Who removes it holds it: whoever waited at its door takes the next one.
    package static func attempt(_ directory: String) throws(SystemError) -> Attempt {
        let isNew = !FileSystem.exists(directory + "/LOCK")
        let lock: FileLock
        switch try attempt(directory, O_RDWR, .exclusive) {
        case .held(let held): lock = held
        case .busy(let file): return .busy(lastWriter: try writer(file))
        }
        let file = lock.file
        let before = String(decoding: try file.read(atMost: 1024, at: 0), as: UTF8.self)
        let hadStore = before.contains(storeLine)
        // Information alone: on a full disk the old text stays.
        let text = Array((ownerLine() + (hadStore ? storeLine : "")).utf8)
        try? file.write(text)
        try? file.truncate(to: Int64(text.count))
        let wasClosed = before.isEmpty || before.hasSuffix(closedLine)
        return .held(DirectoryLock(lock, hadStore: hadStore, wasClosed: wasClosed, isNew: isNew))
    }

    /// Opens the LOCK of `directory`, which is made when it is missing, and tries to lock it.
    ///
    /// One that was removed before the lock was had is nobody's any more: then the file that has its name is taken.
    private static func attempt(
        _ directory: String,
        _ access: CInt,
        _ kind: File.OpenFileLock
    ) throws(SystemError) -> FileLock.Attempt {
        var triesLeft = 16
        while true {
            let attempt = try FileLock.attempt(directory + "/LOCK", access, kind)
            triesLeft -= 1
            guard case .held(let lock) = attempt, triesLeft > 0, FileSystem.hasLeft(lock.file.path, lock.identity)
            else {
                return attempt
            }
        }
    }

    private static let storeLine = "a store is here\n"
    private static let closedLine = "closed\n"

    /// Whether a store was whole in `directory` once, as far as its LOCK tells; it takes no lock.
    package static func hadStore(in directory: String) -> Bool {
        let text = try? File(regular: directory + "/LOCK", O_RDONLY | O_NOFOLLOW).read(atMost: 1024, at: 0)
        return String(decoding: text ?? [], as: UTF8.self).contains(storeLine)
    }

    /// Notes that a store is whole in the directory.
    package func noteStore() throws(SystemError) {
        if !hadStore { try lock.file.write(Array(Self.storeLine.utf8)) }
    }

    /// Notes that who holds the lock is done, and that nothing went wrong; the next one who takes it is told.
    package func noteClosed() throws(SystemError) {
        if lock.isOwn { try lock.file.write(Array(Self.closedLine.utf8)) }
    }

    /// Tries to lock `directory` against a writer, beside others that do the same.
    ///
    /// The file is made when no writer has made it yet; what is in it is left alone.
    ///
    /// - Returns: Nil where there is none and none can be made: then no writer has been here, and none can come.
    package static func attemptShared(_ directory: String) throws(SystemError) -> Attempt? {
        do throws(SystemError) {
            switch try attempt(directory, O_RDONLY, .shared) {
            case .held(let lock): return .held(DirectoryLock(lock))
            case .busy(let file): return .busy(lastWriter: try writer(file))
            }
        } catch {
            let isForbidden = error.number == EACCES || error.number == EROFS
            guard isForbidden, FileSystem.exists(directory), !FileSystem.exists(directory + "/LOCK") else {
                throw error
            }
            return nil
        }
    }

    /// What the file says of who holds the lock of `directory` for writing; nil when nobody does.
    ///
    /// It takes no lock itself, and those who share one do not count.
    package static func user(of directory: String) throws(SystemError) -> String? {
        guard FileSystem.exists(directory + "/LOCK") else { return nil }
        let file = try File(regular: directory + "/LOCK", O_RDONLY | O_NOFOLLOW)
        guard try file.isLockedExclusively() else { return nil }
        return try writer(file)
    }

    /// What the file says of who wrote it last, as far as it is fit to print: outside data goes into a message here.
    private static func writer(_ file: File) throws(SystemError) -> String {
        let text = try file.read(atMost: 256, at: 0).prefix { $0 >= 0x20 && $0 < 0x7F }
        return text.isEmpty ? "unknown" : String(decoding: text, as: UTF8.self)
    }

    /// Tells who locks: the kernel does not, for a lock of this kind.
    private static func ownerLine() -> String {
        // The start time tells two processes apart that had the same number, the boot id two runs of the machine.
        let process = (try? File("/proc/self/stat", O_RDONLY).read(atMost: 4096)) ?? []
        let afterName = process.lastIndex(of: UInt8(ascii: ")")).map { process[($0 + 1)...] } ?? []
        let fields = afterName.split(separator: UInt8(ascii: " "))
        let start = fields.count > 19 ? String(decoding: fields[19], as: UTF8.self) : "unknown"
        let boot = firstLine("/proc/sys/kernel/random/boot_id")
        let host = firstLine("/proc/sys/kernel/hostname")
        return "pid \(getpid()), start \(start), boot \(boot), host \(host)\n"
    }

    private static func firstLine(_ path: String) -> String {
        let bytes = (try? File(path, O_RDONLY).read(atMost: 256)) ?? []
        return bytes.isEmpty ? "unknown" : String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }
}
