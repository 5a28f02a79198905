private import Glibc
internal import Platform
internal import ReplayStore

/// A replica's directory: stores side by side, and a file `CURRENT` that names the one that counts.
///
/// Another store takes its place by a rename, so that at every moment one of the two counts, whole.
struct ReplicaDirectory: Sendable {
    let path: String

    static let pointer = "CURRENT"
    private static let nextPointer = pointer + ".new"
    private static let marker = "NEEDS_SNAPSHOT"
    private static let storePrefix = "store-"
    private static let scratchPrefix = "scratch-"
    /// A store that a replica gave up, kept for who wants to know why.
    private static let setAsidePrefix = "set-aside-"

    /// Makes the directory where it is not there.
    init(_ path: String) throws(HoldfastError) {
        self.path = path
        if !FileSystem.exists(path) {
            try onDisk { () throws(SystemError) in
                try FileSystem.makeDirectory(path)
                try FileSystem.syncDirectory(path + "/..")
            }
        }
        let names = try onDisk { () throws(SystemError) in try FileSystem.names(in: path) }
        guard names.contains(Self.pointer) || !names.contains("data.mdb") else {
            throw HoldfastError(
                code: .alreadyExists,
                message: "'\(path)' is the directory of a store, and not of a replica. Give the replica one of its own."
            )
        }
    }

    /// The name of the store that counts; nil where there is none yet.
    func current() throws(HoldfastError) -> String? {
        guard FileSystem.exists(path + "/" + Self.pointer) else { return nil }
        let bytes = try onDisk { () throws(SystemError) in
            try File(regular: path + "/" + Self.pointer, O_RDONLY).read(atMost: 256)
        }
        let name = String(decoding: bytes, as: UTF8.self).filter { $0 != "\n" }
        guard name.hasPrefix(Self.storePrefix), !name.contains("/") else {
            throw HoldfastError(
                code: .damaged,
                message:
                    "'\(path)/\(Self.pointer)' names no store of the replica. Write the name of the store that counts into it, "
                    + "such as 'store-1'; the directory has them."
            )
        }
        return name
    }

    /// Lets a store count: on return that is on the disk.
    func point(to name: String) throws(HoldfastError) {
        let next = path + "/" + Self.nextPointer
        try onDisk { () throws(SystemError) in
            if FileSystem.exists(next) { try FileSystem.remove(next) }
            let file = try File(next, O_RDWR | O_CREAT | O_EXCL)
            try file.write(Array("\(name)\n".utf8))
            try file.sync()
            try FileSystem.rename(next, to: path + "/" + Self.pointer)
            try FileSystem.syncDirectory(path)
        }
    }

    /// A name that no store has had.
    func nextName() throws(HoldfastError) -> String {
        let names = try onDisk { () throws(SystemError) in try FileSystem.names(in: path) }
        let numbers = names.compactMap { name -> UInt64? in
            guard let dash = name.lastIndex(of: "-") else { return nil }
            return UInt64(name[name.index(after: dash)...])
        }
        return Self.storePrefix + String((numbers.max() ?? 0) + 1)
    }

    func store(_ name: String) -> String { path + "/" + name }

    /// A directory for what is being made, empty.
    func scratch(_ name: String) throws(HoldfastError) -> String {
        let scratch = path + "/" + Self.scratchPrefix + name
        if FileSystem.exists(scratch) { try onDisk { () throws(SystemError) in try FileSystem.removeTree(scratch) } }
        return scratch
    }

    /// Removes what does not count any more; for who holds the store that does.
    func removeOthers(than name: String) {
        try? FileSystem.remove(path + "/" + Self.nextPointer)
        guard let names = try? FileSystem.names(in: path) else { return }
        for other in names where other != name {
            guard other.hasPrefix(Self.storePrefix) || other.hasPrefix(Self.scratchPrefix) else { continue }
            // What cannot be removed now goes the next time.
            try? FileSystem.removeTree(path + "/" + other)
        }
    }

    // MARK: A replica that lost something

    /// Why the replica takes a snapshot before it goes on; nil where it need not.
    func reasonForSnapshot() throws(HoldfastError) -> String? {
        guard FileSystem.exists(path + "/" + Self.marker) else { return nil }
        let bytes = try onDisk { () throws(SystemError) in
            try File(regular: path + "/" + Self.marker, O_RDONLY).read(atMost: 4096)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Notes, durably, that the state cannot be trusted.
    func markNeedsSnapshot(_ reason: String) throws(HoldfastError) {
        guard !FileSystem.exists(path + "/" + Self.marker) else { return }
        try onDisk { () throws(SystemError) in
            let file = try File(path + "/" + Self.marker, O_RDWR | O_CREAT)
            try file.write(Array(reason.utf8.prefix(4096)))
            try file.sync()
            try FileSystem.syncDirectory(path)
        }
    }

    /// Sets the store that counted aside, so that a new one begins empty.
    func setAside(_ name: String) throws(HoldfastError) {
        let number = name.dropFirst(Self.storePrefix.count)
        try onDisk { () throws(SystemError) in
            if FileSystem.exists(path + "/" + name) {
                try FileSystem.rename(path + "/" + name, to: path + "/" + Self.setAsidePrefix + number)
            }
            if FileSystem.exists(path + "/" + Self.pointer) { try FileSystem.remove(path + "/" + Self.pointer) }
            try FileSystem.syncDirectory(path)
            // The last: a pointer to what is not there any more, and no marker, would be damage.
            if FileSystem.exists(path + "/" + Self.marker) { try FileSystem.remove(path + "/" + Self.marker) }
            try FileSystem.syncDirectory(path)
        }
    }
}

/// Calls the system, and says what its refusal means.
func onDisk<Value>(_ body: () throws(SystemError) -> Value) throws(HoldfastError) -> Value {
    do throws(SystemError) {
        return try body()
    } catch {
        throw HoldfastError(error)
    }
}
