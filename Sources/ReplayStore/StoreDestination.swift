private import Glibc
internal import Platform

/// The directory of a store that is being written anew: held, so that nobody else makes or opens one there meanwhile.
///
/// What it made goes with it, unless the store became whole: its data file, its LOCK and its directory, and nothing else.
final class StoreDestination {
    private let path: String
    private let isNew: Bool
    private var held: StoreDirectory?
    private var hasData = false

    /// Makes the directory, unless it is there and empty, and takes it.
    ///
    /// A LOCK may be in it: somebody was here, and made no store.
    ///
    /// - Throws: `alreadyExists` where there is something, `inUse` where another process makes or has a store there.
    init(_ path: String) throws(HoldfastError) {
        self.path = path
        do throws(HoldfastError) {
            try Self.checkOutside(path)
            let isThere = FileSystem.exists(path)
            // Before anything is made in a directory that is somebody's.
            if isThere { try Self.checkVacant(path) }
            isNew = isThere ? false : try Self.makeDirectory(path)
        } catch {
            throw error.at(path)
        }
        do throws(HoldfastError) {
            let held = try StoreDirectory.hold(path, allowsNetwork: true) { _ in }
            // Again, since only now nobody else can begin.
            try Self.checkVacant(path)
            guard !held.hadStore else {
                throw HoldfastError(
                    code: .alreadyExists,
                    message:
                        "A store was in '\(path)', as its LOCK says, and its data.mdb is gone. Look for the file, or "
                        + "choose a new directory."
                )
            }
            self.held = held
            FaultPoint.reach(.copyLock)
        } catch {
            // Only an empty one goes.
            if isNew { try? FileSystem.removeDirectory(path) }
            guard error.code == .inUse else { throw error.at(path) }
            throw HoldfastError(
                code: .inUse,
                message:
                    "Another process makes a store in '\(path)', or has one open there. Nothing of it was touched. "
                    + "Choose another directory."
            ).at(path)
        }
    }

    deinit {
        guard let held else { return }
        if hasData { try? FileSystem.remove(path + "/" + DataFile.name) }
        if held.isLockNew { try? FileSystem.remove(path + "/LOCK") }
        if isNew { try? FileSystem.removeDirectory(path) }
    }

    /// Makes the data file, which nobody has made before.
    func makeData() throws(HoldfastError) {
        try Self.makeFile(path + "/" + DataFile.name)
        hasData = true
    }

    /// Makes a new file, empty.
    static func makeFile(_ file: String) throws(HoldfastError) {
        do throws(SystemError) {
            _ = try File(file, O_RDWR | O_CREAT | O_EXCL)
        } catch {
            guard error.number == EEXIST else { throw HoldfastError(error) }
            throw HoldfastError(code: .alreadyExists, message: "'\(file)' is there already. Nothing was written to it.")
        }
    }

    /// Leaves the store where it is, and the directory to others: on return anybody can open it.
    func done() throws(HoldfastError) {
        guard let held else { return }
        try held.noteStore()
        held.noteClosed()
        self.held = nil
    }

    /// Refuses a directory in which there is something.
    private static func checkVacant(_ path: String) throws(HoldfastError) {
        let names = try system { () throws(SystemError) in try FileSystem.names(in: path) }
        guard names.allSatisfy({ $0 == "LOCK" }) else {
            throw HoldfastError(
                code: .alreadyExists,
                message: isUnfinished(path, names)
                    ? "In '\(path)' is what was left when the making of a store there was interrupted. Remove the directory, "
                        + "and run this again; or choose a new one."
                    : "'\(path)' is there already, and not empty. Choose a new directory."
            )
        }
    }

    /// Whether all that is there is a store that was never whole, and nobody is making it now.
    private static func isUnfinished(_ path: String, _ names: [String]) -> Bool {
        let own: Set<String> = ["LOCK", DataFile.name, "lock.mdb", SpaceKeeper.reserveName]
        guard names.contains(DataFile.name), names.allSatisfy(own.contains),
            (try? DirectoryLock.user(of: path)) == .some(nil)
        else { return false }
        do throws(HoldfastError) {
            _ = try StoreReader.open(path)
            return false
        } catch {
            return error.code == .notFound || error.code == .incomplete
        }
    }

    /// Refuses a place inside the directory of a store, which nobody but its writer changes.
    private static func checkOutside(_ path: String) throws(HoldfastError) {
        var place = FileSystem.realPath(parent(of: path))
        while true {
            if FileSystem.exists(place + "/" + DataFile.name), FileSystem.exists(place + "/LOCK") {
                throw HoldfastError(
                    code: .alreadyExists,
                    message:
                        "'\(path)' is inside the directory of a store, '\(place)', in which nothing else may be. Choose "
                        + "a directory beside it."
                )
            }
            let next = parent(of: place)
            guard next != place, next != "." else { return }
            place = next
        }
    }

    private static func parent(of path: String) -> String {
        var path = Substring(path)
        while path.hasSuffix("/"), path.count > 1 { path.removeLast() }
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Whether the directory was made; otherwise somebody else has made it meanwhile.
    private static func makeDirectory(_ path: String) throws(HoldfastError) -> Bool {
        do throws(SystemError) {
            try FileSystem.makeDirectory(path)
            return true
        } catch {
            if error.number == EEXIST { return false }
            guard error.number == ENOENT, FileSystem.isDirectory(parent(of: path)) else { throw HoldfastError(error) }
            var refused = HoldfastError(
                code: .notPermitted,
                message:
                    "The directory '\(path)' cannot be made: the file system there takes none. Choose another place."
            )
            refused.systemCall = error.description
            throw refused
        }
    }
}

extension HoldfastError {
    /// The same error, as `full` where the disk is: LMDB calls a write that a full disk cut short an I/O error.
    ///
    /// `message`: What is on the disk now.
    func whereFull(_ path: String, _ message: String) -> HoldfastError {
        let free = (try? FileSystem.freeBytes(at: path)) ?? .max
        guard code == .full && field == "disk" || code == .ioFailed && free < 1 << 20 else { return self }
        var explained = HoldfastError(code: .full, message: message).at(path)
        explained.field = "disk"
        explained.systemCall = systemCall
        return explained
    }
}
