import Foundation
import Glibc
import HoldfastTesting
import Testing

/// A disk at one point of a trace: what is on it for certain, and what may be.
///
/// The model is that of a journaling file system on a disk with sectors of 512 bytes:
/// - A sync of a file that returned covers what was written to it before the sync began, and its size; a synchronous write
///   that returned is there itself.
/// - Of what was written since, any sectors may be there and any not, in whatever order they were written.
/// - The sizes of a file come in order: after a cut it is one that the file had since its last sync. What was never written
///   of it is zeros.
/// - The names of a directory come in order, each directory by itself, and only a sync of that directory makes them certain.
struct Disk {
    static let sector = 512

    enum Change {
        case write(offset: Int, ArraySlice<UInt8>)
        case truncate(Int)
        case allocate(Int)
    }

    struct Pending {
        var event: Int
        var change: Change
        /// It was a synchronous write, and has returned.
        var isCertain = false
    }

    struct File {
        var bytes: [UInt8] = []
        var pending: [Pending] = []
        /// Mapped for writing: what is written there is on no record, and matters to nobody.
        var isMapped = false
    }

    enum Node: Hashable {
        case file(Int)
        case directory(String)
    }

    enum NameChange {
        case set(String, Node)
        case remove(String)
        case rename(String, String)
    }

    struct Directory {
        var names: [String: Node] = [:]
        var pending: [(event: Int, change: NameChange)] = []
    }

    let root: String
    private(set) var files: [File] = []
    private(set) var directories: [String: Directory] = [:]
    /// How many events have happened.
    private(set) var cut = 0
    /// From this event on no sync of a file does anything: a store that forgot to sync.
    var syncsIgnoredFrom = Int.max
    private var fileOfInode: [UInt64: Int] = [:]
    private var directoryOfInode: [UInt64: String] = [:]
    /// As the process sees it: every name that happened.
    private var seen: [String: Node] = [:]

    /// The disk with what is in the directory `root` now, all of it synced.
    init(_ root: String) throws {
        self.root = root
        try load(root)
    }

    private mutating func load(_ path: String) throws {
        directories[path] = Directory()
        directoryOfInode[try Self.inode(path)] = path
        for name in try FileManager.default.contentsOfDirectory(atPath: path).sorted() {
            let child = "\(path)/\(name)"
            var isDirectory: ObjCBool = false
            _ = unsafe FileManager.default.fileExists(atPath: child, isDirectory: &isDirectory)
            var node = Node.directory(child)
            if isDirectory.boolValue {
                try load(child)
            } else {
                node = .file(files.count)
                fileOfInode[try Self.inode(child)] = files.count
                files.append(File(bytes: [UInt8](try Data(contentsOf: URL(fileURLWithPath: child)))))
            }
            directories[path]?.names[name] = node
            seen[child] = node
        }
    }

    private static func inode(_ path: String) throws -> UInt64 {
        var status = stat()
        try #require(unsafe stat(path, &status) == 0, "\(path)")
        return UInt64(status.st_ino)
    }

    // MARK: Events

    /// Lets the next event happen.
    mutating func happen(_ event: Trace.Event) throws {
        let number = cut
        cut += 1
        switch event {
        case .write(let inode, let offset, let bytes): try pend(inode, .write(offset: offset, bytes), number)
        case .truncate(let inode, let size): try pend(inode, .truncate(size), number)
        case .allocate(let inode, let end): try pend(inode, .allocate(end), number)
        case .durable(let inode, let write):
            guard number < syncsIgnoredFrom else { return }
            let file = try #require(fileOfInode[inode])
            let index = try #require(files[file].pending.lastIndex { $0.event == write })
            files[file].pending[index].isCertain = true
        case .sync(let inode, let covers): sync(inode, covers, number)
        case .create(let inode, let path):
            fileOfInode[inode] = files.count
            try name(path, .file(files.count), number)
            files.append(File())
        case .makeDirectory(let inode, let path):
            directoryOfInode[inode] = path
            directories[path] = Directory()
            try name(path, .directory(path), number)
        case .link(let inode, let path): try name(path, .file(try #require(fileOfInode[inode])), number)
        case .unlink(let path), .removeDirectory(let path):
            let (parent, name) = Self.split(path)
            try #require(directories[parent] != nil, "\(path)")
            directories[parent]?.pending.append((number, .remove(name)))
            seen[path] = nil
        case .rename(let old, let new):
            let (from, to) = (Self.split(old), Self.split(new))
            try #require(from.parent == to.parent && directories[from.parent] != nil, "a move between directories")
            directories[from.parent]?.pending.append((number, .rename(from.name, to.name)))
            seen[new] = seen.removeValue(forKey: old)
        case .map(let inode):
            let file = try #require(fileOfInode[inode])
            files[file].isMapped = true
            let names = seen.filter { $0.value == .file(file) }.keys
            #expect(names.allSatisfy(Self.isReaderTable), "written past the record: \(names)")
        case .hint, .mark: break
        }
    }

    /// Whether it is LMDB's table of readers, of a store or of a receiver's ledger: the one file that is mapped for writing.
    static func isReaderTable(_ path: String) -> Bool { path.hasSuffix("/lock.mdb") || path.hasSuffix(".mdb-lock") }

    private static func split(_ path: String) -> (parent: String, name: String) {
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        return (String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    private mutating func pend(_ inode: UInt64, _ change: Change, _ number: Int) throws {
        let file = try #require(fileOfInode[inode], "a file without a name on record")
        files[file].pending.append(Pending(event: number, change: change))
    }

    private mutating func name(_ path: String, _ node: Node, _ number: Int) throws {
        let (parent, name) = Self.split(path)
        try #require(directories[parent] != nil, "\(path)")
        directories[parent]?.pending.append((number, .set(name, node)))
        seen[path] = node
    }

    private mutating func sync(_ inode: UInt64, _ covers: Int, _ number: Int) {
        if let path = directoryOfInode[inode], var directory = directories[path] {
            while let first = directory.pending.first, first.event < covers {
                directory.pending.removeFirst()
                Self.apply(first.change, &directory.names)
            }
            directories[path] = directory
        }
        guard number < syncsIgnoredFrom, let file = fileOfInode[inode] else { return }
        let covered = files[file].pending.prefix { $0.event < covers }
        for pending in covered { Self.apply(pending.change, &files[file].bytes) }
        files[file].pending.removeFirst(covered.count)
    }

    static func apply(_ change: NameChange, _ names: inout [String: Node]) {
        switch change {
        case .set(let name, let node): names[name] = node
        case .remove(let name): names[name] = nil
        case .rename(let old, let new): names[new] = names.removeValue(forKey: old)
        }
    }

    static func apply(_ change: Change, _ bytes: inout [UInt8]) {
        switch change {
        case .write(let offset, let written):
            grow(&bytes, offset + written.count)
            bytes.replaceSubrange(offset..<(offset + written.count), with: written)
        case .truncate(let size): resize(&bytes, size)
        case .allocate(let end): grow(&bytes, end)
        }
    }

    static func grow(_ bytes: inout [UInt8], _ size: Int) { if bytes.count < size { resize(&bytes, size) } }

    static func resize(_ bytes: inout [UInt8], _ size: Int) {
        if bytes.count > size {
            bytes.removeLast(bytes.count - size)
        } else {
            bytes += [UInt8](repeating: 0, count: size - bytes.count)
        }
    }
}
