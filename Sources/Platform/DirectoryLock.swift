private import Glibc

/// An exclusive lock on a directory, held as an open-file-description lock on a file `LOCK` inside it.
///
/// The lock is this type's own, since LMDB's goes away when somebody else in the process opens and closes the same
/// file. It is released when the process ends, whatever ends it, so a file that is there but not locked means nothing.
/// A child made by `fork` closes its copy of the descriptor at once: otherwise the child would hold the lock on after
/// its parent has gone.
package final class DirectoryLock: Sendable {
    /// What came of an attempt.
    package enum Attempt: Sendable {
        /// This process holds the lock.
        case held(DirectoryLock)
        /// Another one does. `lastWriter` is what the file says, in the form that ``DirectoryLock`` writes.
        case busy(lastWriter: String)
    }

    private let file: File
    private let process = System.processID
    /// Whether a store was whole in the directory once: where its data is missing now, it has been lost.
    package let hadStore: Bool

    /// Whether who had the lock before this said that it was done: otherwise its process was ended meanwhile, or it failed.
    package let wasClosed: Bool

    /// Whether the file was not there before.
    package let isNew: Bool

    private init(file: File, hadStore: Bool = true, wasClosed: Bool = true, isNew: Bool = false) {
        self.file = file
        self.isNew = isNew
        self.hadStore = hadStore
        self.wasClosed = wasClosed
    }

    deinit {
        // Not by closing alone: a program that this process is starting right now has copies of its descriptors until it
        // runs, and the lock would last as long as they do.
        if System.processID == process { _ = try? file.setLock(.none) }
        ForkTable.leave(file.descriptor)
    }

    /// Tries to lock `directory`, without waiting.
    ///
    /// The file is made when it is missing. Who removes it holds it: whoever waited at its door takes the next one.
    package static func attempt(_ directory: String) throws(SystemError) -> Attempt {
        let isNew = !FileSystem.exists(directory + "/LOCK")
        let (file, isHeld) = try lock(directory, O_RDWR, .exclusive)
        var isKept = false
        defer { if !isKept { ForkTable.leave(file.descriptor) } }
        guard isHeld else { return .busy(lastWriter: printable(try file.read(atMost: 256, at: 0))) }
        let before = String(decoding: try file.read(atMost: 1024, at: 0), as: UTF8.self)
        let hadStore = before.contains(storeLine)
        // Information alone: on a full disk the old text stays.
        let text = Array((ownerLine() + (hadStore ? storeLine : "")).utf8)
        try? file.write(text)
        try? file.truncate(to: Int64(text.count))
        let wasClosed = before.isEmpty || before.hasSuffix(closedLine)
        isKept = true
        return .held(DirectoryLock(file: file, hadStore: hadStore, wasClosed: wasClosed, isNew: isNew))
    }

    /// Opens the LOCK of `directory`, which is made when it is missing, and tries to lock it.
    ///
    /// One that was removed before the lock was had is nobody's any more: then the file that has its name is taken.
    private static func lock(
        _ directory: String,
        _ access: CInt,
        _ lock: File.OpenFileLock
    ) throws(SystemError) -> (file: File, isHeld: Bool) {
        var triesLeft = 16
        while true {
            let file = try ForkTable.enter { () throws(SystemError) in
                try File(regular: directory + "/LOCK", access | O_CREAT | O_NOFOLLOW)
            }
            do throws(SystemError) {
                guard try file.setLock(lock) else { return (file, false) }
                triesLeft -= 1
                guard triesLeft > 0, FileSystem.hasLeft(file.path, try file.identity()) else { return (file, true) }
            } catch {
                ForkTable.leave(file.descriptor)
                throw error
            }
            ForkTable.leave(file.descriptor)
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
        if !hadStore { try file.write(Array(Self.storeLine.utf8)) }
    }

    /// Notes that who holds the lock is done, and that nothing went wrong; the next one who takes it is told.
    package func noteClosed() throws(SystemError) { try file.write(Array(Self.closedLine.utf8)) }

    /// Tries to lock `directory` against a writer, beside others that do the same.
    ///
    /// The file is made when no writer has made it yet; what is in it is left alone.
    ///
    /// - Returns: Nil where there is none and none can be made: then no writer has been here, and none can come.
    package static func attemptShared(_ directory: String) throws(SystemError) -> Attempt? {
        let file: File
        let isHeld: Bool
        do throws(SystemError) {
            (file, isHeld) = try lock(directory, O_RDONLY, .shared)
        } catch {
            let isForbidden = error.number == EACCES || error.number == EROFS
            guard isForbidden, FileSystem.exists(directory), !FileSystem.exists(directory + "/LOCK") else {
                throw error
            }
            return nil
        }
        guard isHeld else {
            defer { ForkTable.leave(file.descriptor) }
            return .busy(lastWriter: printable(try file.read(atMost: 256, at: 0)))
        }
        return .held(DirectoryLock(file: file))
    }

    /// What the file says of who holds the lock of `directory` for writing; nil when nobody does.
    ///
    /// It takes no lock itself, and those who share one do not count.
    package static func user(of directory: String) throws(SystemError) -> String? {
        guard FileSystem.exists(directory + "/LOCK") else { return nil }
        let file = try File(regular: directory + "/LOCK", O_RDONLY | O_NOFOLLOW)
        guard try file.isLockedExclusively() else { return nil }
        return printable(try file.read(atMost: 256, at: 0))
    }

    /// The file's text as far as it is fit to print: outside data goes into a message here.
    private static func printable(_ bytes: [UInt8]) -> String {
        let text = bytes.prefix { $0 >= 0x20 && $0 < 0x7F }
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
