import Holdfast
import Platform
import ReplayStore

/// A store that no process has open for writing, for as long as this value lives.
struct ClosedStore {
    let path: String
    let reader: StoreReader
    private let lock: DirectoryLock?

    /// Opens the store at `path` for reading, and keeps writers out.
    ///
    /// `otherwise`: What else the caller can do while a process has the store open, after "Stop it".
    init(_ path: String, otherwise: String = ".") throws {
        // First, so that a directory without a store is told as such, and gets no LOCK.
        let reader = try StoreReader.open(path)
        (self.path, self.reader, self.lock) = (path, reader, try Self.lock(path, otherwise: otherwise))
    }

    /// Keeps writers out of the store at `path`, for as long as the lock lives; nil where nobody can write it.
    static func lock(_ path: String, otherwise: String = ".") throws -> DirectoryLock? {
        // A directory without a store gets no LOCK.
        guard FileSystem.exists(path + "/" + DataFile.name) else { return nil }
        do {
            switch try DirectoryLock.attemptShared(path) {
            case .held(let lock): return lock
            case nil: return nil
            case .busy(let lastWriter):
                throw HoldfastError(
                    code: .inUse,
                    message: "A process has the store open (its LOCK was last written by \(lastWriter)). Stop it"
                        + otherwise
                ).at(path)
            }
        } catch let error as SystemError {
            throw HoldfastError(error).at(path)
        }
    }

    /// Refuses unless a full check finds no error.
    func checkIsWhole() throws {
        let report = try StoreCheck.run(reader, .full)
        guard let finding = report.findings.first(where: { $0.severity == .error }) else { return }
        throw HoldfastError(
            code: .damaged,
            message: "The store does not pass its check, so nothing is said of it: \(finding.message)"
        ).at(path)
    }
}
