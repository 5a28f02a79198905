private import Glibc
private import Synchronization

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
    private let slot: Int?
    /// Whether a store was whole in the directory once: where its data is missing now, it has been lost.
    package let hadStore: Bool

    private init(file: File, hadStore: Bool = true) {
        self.file = file
        self.hadStore = hadStore
        self.slot = ForkTable.enter(file.descriptor)
    }

    deinit {
        if let slot { ForkTable.leave(slot) }
    }

    /// Tries to lock `directory`, without waiting.
    ///
    /// The file is made when it is missing, and never removed: removing it would let two processes lock two files.
    package static func attempt(_ directory: String) throws(SystemError) -> Attempt {
        let file = try File(directory + "/LOCK", O_RDWR | O_CREAT | O_NOFOLLOW)
        guard try set(CInt(F_WRLCK), on: file) else {
            return .busy(lastWriter: printable(try file.read(atMost: 256, at: 0)))
        }
        let hadStore = String(decoding: try file.read(atMost: 1024, at: 0), as: UTF8.self).hasSuffix(storeLine)
        try file.truncate(to: 0)
        try file.write(Array((ownerLine() + (hadStore ? storeLine : "")).utf8))
        return .held(DirectoryLock(file: file, hadStore: hadStore))
    }

    private static let storeLine = "a store is here\n"

    /// Notes that a store is whole in the directory.
    package func noteStore() throws(SystemError) {
        if !hadStore { try file.write(Array(Self.storeLine.utf8)) }
    }

    /// Tries to lock `directory` against a writer, beside others that do the same, without writing to it.
    package static func attemptShared(_ directory: String) throws(SystemError) -> Attempt {
        let file = try File(directory + "/LOCK", O_RDONLY | O_NOFOLLOW)
        guard try set(CInt(F_RDLCK), on: file) else {
            return .busy(lastWriter: printable(try file.read(atMost: 256, at: 0)))
        }
        return .held(DirectoryLock(file: file))
    }

    /// What the file says of who holds the lock of `directory` for writing; nil when nobody does.
    ///
    /// It takes no lock itself, and those who share one do not count.
    package static func user(of directory: String) throws(SystemError) -> String? {
        guard FileSystem.exists(directory + "/LOCK") else { return nil }
        let file = try File(directory + "/LOCK", O_RDONLY | O_NOFOLLOW)
        var range = flock()
        range.l_type = Int16(F_RDLCK)
        range.l_whence = Int16(SEEK_SET)
        guard unsafe fcntl(file.descriptor, F_OFD_GETLK, &range) == 0 else {
            throw SystemError(call: "fcntl(F_OFD_GETLK)", number: errno, path: file.path)
        }
        guard range.l_type != Int16(F_UNLCK) else { return nil }
        return printable(try file.read(atMost: 256, at: 0))
    }

    /// Whether the lock could be had. It conflicts with ordinary record locks too, so a foreign program's is seen.
    private static func set(_ type: CInt, on file: File) throws(SystemError) -> Bool {
        var range = flock()
        range.l_type = Int16(type)
        range.l_whence = Int16(SEEK_SET)
        if unsafe fcntl(file.descriptor, F_OFD_SETLK, &range) == 0 { return true }
        guard errno == EAGAIN || errno == EACCES else {
            throw SystemError(call: "fcntl(F_OFD_SETLK)", number: errno, path: file.path)
        }
        return false
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

private let F_OFD_GETLK: CInt = 36
private let F_OFD_SETLK: CInt = 37

/// The descriptors that a child made by `fork` must close.
///
/// A table of atomics, since nothing that locks or allocates may run between `fork` and `exec`. A lock beyond its size
/// is held all the same; only a child's copy then stays open until the child ends.
private enum ForkTable {
    private static let slots = Slots()

    static func enter(_ descriptor: CInt) -> Int? {
        slots.handlerInstalled
        for index in Slots.indices where slots.exchange(index, from: -1, to: descriptor) { return index }
        return nil
    }

    static func leave(_ index: Int) { slots.clear(index) }

    fileprivate static func closeAll() {
        for index in Slots.indices {
            let descriptor = slots.take(index)
            if descriptor >= 0 { Glibc.close(descriptor) }
        }
    }

    private final class Slots: Sendable {
        static let indices = 0..<64
        private let values: [Slot]

        init() {
            values = Self.indices.map { _ in Slot() }
            _ = pthread_atfork(nil, nil, { ForkTable.closeAll() })
        }

        /// Nothing to do: making the table installed the handler.
        var handlerInstalled: Void {}

        func exchange(_ index: Int, from: CInt, to: CInt) -> Bool {
            values[index].value.compareExchange(expected: from, desired: to, ordering: .sequentiallyConsistent).exchanged
        }

        func clear(_ index: Int) { values[index].value.store(-1, ordering: .sequentiallyConsistent) }

        func take(_ index: Int) -> CInt { values[index].value.exchange(-1, ordering: .sequentiallyConsistent) }
    }

    private final class Slot: Sendable {
        let value = Atomic<CInt>(-1)
    }
}
