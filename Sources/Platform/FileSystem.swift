// Unsafe: paths, directory streams and stat buffers go to C as pointers, each for the length of one call or one loop.

private import CPlatform
private import Glibc

/// What the directory's file system promises, as far as `statfs` tells.
package enum FileSystemKind: Sendable, Hashable {
    /// A local disk, or memory.
    case local
    /// Layers over another file system: a copy-up can change a file's identity under its users.
    case overlay(String)
    /// Files of another machine: locks and mapped memory do not mean there what they mean here.
    case network(String)
}

/// Reads and changes of directory entries.
package enum FileSystem {
    /// Makes a directory that only its owner can enter.
    package static func makeDirectory(_ path: String) throws(SystemError) {
        try check("mkdir", path, unsafe mkdir(path, 0o700))
    }

    /// Renames `old` to `new`, replacing what is there in one step.
    package static func rename(_ old: String, to new: String) throws(SystemError) {
        try check("rename", old, unsafe Glibc.rename(old, new))
    }

    /// Removes a file.
    package static func remove(_ path: String) throws(SystemError) {
        try check("unlink", path, unsafe unlink(path))
    }

    /// Removes an empty directory.
    package static func removeDirectory(_ path: String) throws(SystemError) {
        try check("rmdir", path, unsafe rmdir(path))
    }

    /// Removes a directory and everything in it; links are removed, not followed.
    package static func removeTree(_ path: String) throws(SystemError) {
        for name in try names(in: path) {
            let child = "\(path)/\(name)"
            if isLink(child) || !isDirectory(child) { try remove(child) } else { try removeTree(child) }
        }
        try removeDirectory(path)
    }

    /// Whether a symbolic link is at `path`.
    package static func isLink(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    /// Whether there is anything at `path`, a dangling link included.
    package static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0
    }

    /// Whether a directory is at `path`.
    package static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The names in a directory, in byte order, without `.` and `..`.
    package static func names(in path: String) throws(SystemError) -> [String] {
        guard let stream = unsafe opendir(path) else { throw SystemError(call: "opendir", number: errno, path: path) }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Returns when the names in the directory at `path` are on the disk.
    package static func syncDirectory(_ path: String) throws(SystemError) {
        try File(path, O_RDONLY | O_DIRECTORY).sync()
    }

    /// The directory's device and inode.
    package static func identity(of path: String) throws(SystemError) -> FileIdentity {
        try File(path, O_RDONLY).identity()
    }

    /// The path of `path` from the root, without links; `path` itself where there is none.
    package static func realPath(_ path: String) -> String {
        guard let real = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    /// Whether nothing is at `path` any more, or another file than that one; false where the system does not let it see.
    package static func hasLeft(_ path: String, _ identity: FileIdentity) -> Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return errno == ENOENT || errno == ENOTDIR }
        return FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)) != identity
    }

    /// The bytes that an ordinary user may still write to the file system that holds `path`.
    package static func freeBytes(at path: String) throws(SystemError) -> UInt64 {
        var status = statvfs()
        try check("statvfs", path, unsafe statvfs(path, &status))
        return UInt64(status.f_bavail) &* UInt64(status.f_frsize)
    }

    /// What kind of file system holds `path`, by the magic number that `statfs` gives.
    package static func kind(at path: String) throws(SystemError) -> FileSystemKind {
        var status = statfs()
        try check("statfs", path, unsafe statfs(path, &status))
        return switch UInt32(truncatingIfNeeded: status.f_type) {
        case 0x6969: .network("NFS")
        case 0xFF53_4D42, 0xFE53_4D42, 0x517B: .network("SMB")
        case 0x0102_1997: .network("9P")
        case 0x5346_414F: .network("AFS")
        case 0x00C3_6400: .network("Ceph")
        case 0x0116_1970: .network("GFS2")
        case 0x7461_636F: .network("OCFS2")
        case 0x794C_7630: .overlay("overlayfs")
        default: .local
        }
    }

    private static func check(_ call: String, _ path: String, _ result: CInt) throws(SystemError) {
        guard result == 0 else { throw SystemError(call: call, number: errno, path: path) }
    }
}
