private import Glibc

/// A lock on a file itself, by whatever name it was reached: a file can have names in several directories.
///
/// It is an open-file-description lock, this type's own: LMDB's goes away when somebody else in the process opens and
/// closes the same file. It goes with its process, however that ends. A child made by `fork` closes its copy of the
/// descriptor at once: otherwise the child would hold the lock on after its parent has gone.
package final class FileLock: Sendable {
    /// What came of an attempt.
    package enum Attempt: Sendable {
        /// This process holds the lock.
        case held(FileLock)
        /// Somebody else holds the one of this file, or this process by another name.
        case busy(File)
    }

    let file: File
    package let identity: FileIdentity
    private let process = System.processID

    private init(_ file: File, _ identity: FileIdentity) { (self.file, self.identity) = (file, identity) }

    /// Whether this process took it: a child made by `fork` has neither the lock nor the descriptor.
    var isOwn: Bool { System.processID == process }

    deinit {
        // Not by closing alone: a program that this process is starting right now has copies of its descriptors until it
        // runs, and the lock would last as long as they do.
        if isOwn { _ = try? file.setLock(.none) }
        ForkTable.leave(file.descriptor)
    }

    /// Tries to lock the file at `path` exclusively, without waiting; it is made when it is missing.
    ///
    /// - Throws: `ELOOP` for a symbolic link.
    package static func attempt(_ path: String) throws(SystemError) -> Attempt {
        try attempt(path, O_RDWR, .exclusive)
    }

    /// The same for a descriptor with some `access`, and a lock of some kind.
    static func attempt(
        _ path: String,
        _ access: CInt,
        _ lock: File.OpenFileLock
    ) throws(SystemError) -> Attempt {
        let file = try ForkTable.enter { () throws(SystemError) in
            try File(regular: path, access | O_CREAT | O_NOFOLLOW)
        }
        var isHeld = false
        defer { if !isHeld { ForkTable.leave(file.descriptor) } }
        let identity = try file.identity()
        isHeld = try file.setLock(lock)
        return isHeld ? .held(FileLock(file, identity)) : .busy(file)
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
