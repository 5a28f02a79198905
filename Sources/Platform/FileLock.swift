private import Glibc

/// An exclusive lock on a file itself, by whatever name it was reached: a file can have names in several directories.
///
/// Like ``DirectoryLock`` it goes with its process, however that ends, and no child made by `fork` keeps it.
package final class FileLock: Sendable {
    /// What came of an attempt.
    package enum Attempt: Sendable {
        /// This process holds the lock.
        case held(FileLock)
        /// Somebody else does, or this process by another name.
        case busy(FileIdentity)
    }

    private let file: File
    private let process = System.processID
    package let identity: FileIdentity

    private init(_ file: File, _ identity: FileIdentity) { (self.file, self.identity) = (file, identity) }

    deinit {
        // As with the lock of a directory: a program that is being started has a copy of the descriptor until it runs.
        if System.processID == process { _ = try? file.setLock(.none) }
        ForkTable.leave(file.descriptor)
    }

    /// Tries to lock the file at `path`, without waiting; it is made when it is missing.
    ///
    /// - Throws: `ELOOP` for a symbolic link.
    package static func attempt(_ path: String) throws(SystemError) -> Attempt {
        let file = try ForkTable.enter { () throws(SystemError) in
            try File(regular: path, O_RDWR | O_CREAT | O_NOFOLLOW)
        }
        var isHeld = false
        defer { if !isHeld { ForkTable.leave(file.descriptor) } }
        let identity = try file.identity()
        guard try file.setLock(.exclusive) else { return .busy(identity) }
        isHeld = true
        return .held(FileLock(file, identity))
    }

    /// Whether somebody holds the lock of the file at `path`; it takes none itself.
    package static func isHeld(_ path: String) throws(SystemError) -> Bool {
        try File(regular: path, O_RDONLY).isLockedExclusively()
    }
}

/// The descriptors that a child made by `fork` must close.
///
/// `fork` waits for the lock, so that no child begins between the opening of a descriptor and its entry here; the child
/// finds the table whole, and closes what is in it.
enum ForkTable {
    private static let descriptors: Lock<Set<CInt>> = {
        // The child has no other thread, and nothing that allocates may run in it: the set is only read.
        _ = pthread_atfork(
            { descriptors.hold() },
            { descriptors.release() },
            {
                descriptors.release()
                descriptors.withLock { for descriptor in $0 { Glibc.close(descriptor) } }
            }
        )
        return Lock([])
    }()

    /// Opens a descriptor with `body`, and enters it.
    static func enter(_ body: () throws(SystemError) -> File) throws(SystemError) -> File {
        try descriptors.withLock { (descriptors) throws(SystemError) in
            let file = try body()
            descriptors.insert(file.descriptor)
            return file
        }
    }

    static func leave(_ descriptor: CInt) { descriptors.withLock { _ = $0.remove(descriptor) } }
}
