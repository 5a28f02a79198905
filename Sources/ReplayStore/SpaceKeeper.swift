private import Glibc
internal import LMDB
private import Logging
internal import Platform

/// Keeps disk space ahead of the data file, and a reserve beside it that only acknowledgements use.
///
/// LMDB writes copies of pages, so even a removal needs space. The reserve is a file of its own, `reserve`: on a full
/// disk it is given back to the disk before a transaction that makes room, and taken again before the next append, which
/// is refused until that succeeds. So whatever appends do, the space for acknowledgements is there.
///
/// The data file is also made as long as a transaction can make it before LMDB writes to it: LMDB leaves out pages that a
/// transaction took and gave back, and a file that ends before its last page cannot be told from one that was cut off.
///
/// It belongs to the writer thread.
final class SpaceKeeper {
    static let reserveName = "reserve"

    /// What a transaction finds on the disk.
    enum Room {
        /// Its space is reserved.
        case reserved
        /// The disk is full, and free pages in the file may be enough: the commit will tell.
        case tight
        case none(HoldfastError)
    }

    private let file: File
    /// Where the data file was when it was opened.
    let place: OpenFiles
    private let environment: Environment
    private let pageSize: Int
    private let reserveBytesMin: Int64
    private let logger: Logger
    /// How long the file was when it was opened.
    private let sizeAtOpening: Int64
    /// Disk space is reserved for the file's bytes below this one.
    private var reservedEnd: Int64 = 0
    /// Whether the last transaction may have freed pages, which the next one cannot use yet.
    var mayHaveFreed = true
    /// How many bytes the reserve beside the file has now.
    private var reserve: Int64 = 0

    init(_ file: File, _ environment: Environment, pageSize: Int, options: StoreOptions) {
        self.file = file
        self.sizeAtOpening = (try? file.size()) ?? 0
        self.place = OpenFiles(file, of: "store", kept: "acknowledged")
        self.environment = environment
        self.pageSize = pageSize
        self.reserveBytesMin = Int64(Self.reserveBytes(options))
        self.logger = options.logger
        if let held = try? File(regular: place.directory + Self.reserveName, O_RDONLY | O_NOFOLLOW) {
            reserve = min((try? held.allocatedBytes()) ?? 0, (try? held.size()) ?? 0)
        }
    }

    /// The most that is reserved ahead at once: 64 MiB.
    private static let aheadMax: Int64 = 64 << 20
    /// The least: 1 MiB.
    private static let aheadMin: Int64 = 1 << 20

    /// The errors of a disk, a quota, or a limit on the size of files.
    private static let outOfSpace: Set<CInt> = [ENOSPC, EDQUOT, EFBIG]

    /// What is kept for acknowledgements, within reason.
    static func reserveBytes(_ options: StoreOptions) -> Int {
        min(max(options.acknowledgeReserveBytes, 64 << 10), 1 << 40)
    }

    private var used: Int64 {
        guard let information = try? environment.information() else { return 0 }
        return (Int64(information.lastPage) + 1) * Int64(pageSize)
    }

    /// Removing all of a queue at once writes a list of its pages, eight bytes each.
    private func reserveWanted(_ used: Int64) -> Int64 { max(reserveBytesMin, used / 256) }

    // MARK: Before a transaction

    /// Makes room for `appends` and for `controls` that add, beside the reserve.
    func makeRoom(for appends: [StoreWriter.Append], _ controls: [StoreWriter.Control]) -> Room {
        clearReaders()
        let used = used
        let wanted = bytesMax(appends, controls)
        let reserveWanted = reserveWanted(used)
        if let full = beyondLimits(used + wanted + reserveWanted, wanted) { return .none(full) }
        if reserve < reserveWanted, !takeReserve(reserveWanted), reserve < reserveWanted / 2 {
            // The file's own space ahead was the reserve, where a full disk has used that.
            _ = giveBackAhead(used)
            guard takeReserve(reserveWanted) || takeReserve(reserveWanted / 2) else {
                return .none(full("no more is free than acknowledgements need"))
            }
        }
        guard used + wanted > reservedEnd else { return .reserved }
        let ahead = min(max(used / 4, Self.aheadMin), Self.aheadMax)
        if extend(to: used + wanted + ahead) || extend(to: used + wanted) { return .reserved }
        let free = freeInside()
        guard free >= wanted else { return .none(full("the store has \(free) bytes free in its file for \(wanted)")) }
        try? file.truncate(to: max((try? file.size()) ?? 0, used + wanted))
        return .tight
    }

    /// Frees the places of readers that were killed, before each transaction.
    ///
    /// What such a reader holds back LMDB cannot use: it breaks up the free pages that are older, until large blocks find
    /// no room between them and the file grows, for good. Who reads still is asked about by one call to the system.
    private func clearReaders() { _ = try? environment.clearStaleReaders() }

    /// Makes room for a transaction that removes, with the reserve where the disk has nothing else.
    func makeRoomToRemove() {
        mayHaveFreed = true
        clearReaders()
        let used = used
        let end = used + min(reserveWanted(used), Self.aheadMax)
        guard end > reservedEnd else { return }
        let limit = System.fileSizeMax
        if extend(to: min(end + Self.aheadMin, limit)) || extend(to: min(end, limit)) { return }
        trimReserve(to: 0)
        if extend(to: min(end, limit)) { return }
        let size = (try? file.size()) ?? 0
        try? file.truncate(to: max(size, min(end, limit)))
    }

    /// What a commit that failed means for appends on a full disk; nil where nobody knows what it means.
    ///
    /// `transaction`: The number of the last commit before. While it is still that, LMDB wrote no meta page, so nothing of
    /// the failed one is there. Where writing that page has failed, LMDB has put the old one back, and nobody knows which of
    /// them is on the disk; then it does nothing any more. A write of which only a part fits is `EIO` to LMDB.
    func full(_ error: LMDBError, after transaction: UInt64) -> HoldfastError? {
        guard (try? environment.information().lastTransaction) == transaction, !environment.isPanicked else {
            return nil
        }
        let isCut = error.status == EIO && used + Self.aheadMin > System.fileSizeMax
        if error.status == EFBIG || isCut { return fileSize("Nothing of the call is on the disk.") }
        let isPartial = error.status == EIO && ((try? FileSystem.freeBytes(at: place.path)) ?? .max) < Self.aheadMin
        guard Self.outOfSpace.contains(error.status) || isPartial else { return nil }
        return full("free pages inside the file are too scattered")
    }

    /// Gives back the space ahead of the data file; the reserve stays on the disk.
    func close() {
        let hasLeft = place.hasLeft
        // Another process may be using the space.
        guard hasLeft || !place.lockHasLeft else { return }
        let used = used
        let wanted = reserveWanted(used)
        guard giveBackAhead(used), !hasLeft else { return }
        // A store that was compacted needs less of it.
        if reserve > wanted { trimReserve(to: wanted) }
        if reserve < wanted { _ = takeReserve(wanted) || takeReserve(wanted / 2) }
    }

    /// Gives back what was reserved for an opening that is refused: the file is what it was, and as long.
    func undo() {
        guard reservedEnd > sizeAtOpening, let size = try? file.size() else { return }
        // What LMDB has in use stays, and what was there before, used or not, may be wanted by who looks at the damage.
        try? file.truncate(to: min(size, max(sizeAtOpening, used)))
    }

    // MARK: The disk

    private func extend(to end: Int64) -> Bool {
        do throws(SystemError) {
            try file.allocate(from: reservedEnd, to: end, keepingSize: false)
        } catch {
            if Self.outOfSpace.contains(error.number) { return false }
            // A file system without fallocate: go by what it says is free.
            let free = (try? FileSystem.freeBytes(at: place.path)) ?? 0
            guard let size = try? file.size(), free >= UInt64(max(0, end - size)) else { return false }
            if size < end { guard (try? file.truncate(to: end)) != nil else { return false } }
        }
        reservedEnd = end
        FaultPoint.reach(.preallocate)
        return true
    }

    private func giveBackAhead(_ used: Int64) -> Bool {
        reservedEnd = used
        defer { FaultPoint.reach(.spaceGiveBack) }
        return (try? file.truncate(to: used)) != nil
    }

    private func takeReserve(_ bytes: Int64) -> Bool {
        guard bytes > reserve else { return true }
        do throws(SystemError) {
            let held = try File(regular: place.directory + Self.reserveName, O_RDWR | O_CREAT | O_NOFOLLOW)
            do throws(SystemError) {
                try held.allocate(from: 0, to: bytes, keepingSize: false)
            } catch {
                guard !Self.outOfSpace.contains(error.number) else {
                    try held.truncate(to: reserve)
                    return false
                }
                // Without fallocate, what is written is there.
                try held.truncate(to: 0)
                let zeros = [UInt8](repeating: 0, count: 64 << 10)
                for _ in 0...(bytes / Int64(zeros.count)) { try held.write(zeros) }
                try held.sync()
            }
            reserve = bytes
            FaultPoint.reach(.reserveTake)
            return true
        } catch {
            if Self.outOfSpace.contains(error.number) { return false }
            logger.warning("The reserve for acknowledgements cannot be kept", metadata: ["holdfast.error": "\(error)"])
            reserve = bytes
            return true
        }
    }

    private func trimReserve(to bytes: Int64) {
        guard let held = try? File(regular: place.directory + Self.reserveName, O_RDWR | O_NOFOLLOW) else { return }
        try? held.truncate(to: bytes)
        reserve = bytes
    }

    /// The bytes of the pages that are free inside the file.
    private func freeInside() -> Int64 {
        guard let transaction = try? environment.beginRead(), let pages = try? transaction.freePages() else { return 0 }
        return Int64(pages) * Int64(pageSize)
    }

    // MARK: Refusals

    private func full(_ why: String) -> HoldfastError {
        .full(
            nil,
            limit: "disk",
            "The disk is full: \(why). Nothing of the call was queued. Free space on the disk, or replay, "
                + "acknowledge, for which \(reserveBytesMin >> 10) KiB are kept, and compact."
        )
    }

    /// A limit of the process, and not the disk, is in the way.
    private func fileSize(_ state: String, _ otherwise: String? = nil) -> HoldfastError {
        .full(
            nil,
            limit: "fileSize",
            "The data file would grow beyond \(System.fileSizeMax) bytes, the process's limit on the size of files. "
                + "\(state) Raise the limit ('ulimit -f')\(otherwise.map { ",\($0)" } ?? ".")"
        )
    }

    /// The address space and the size of files can be limited by the system.
    private func beyondLimits(_ needed: Int64, _ wanted: Int64) -> HoldfastError? {
        if needed > System.fileSizeMax {
            return fileSize("Nothing of the call was queued.", " or replay, acknowledge and compact.")
        }
        // Some of the free pages cannot be used yet, and large blocks need pages that stand together.
        guard needed > Int64(environment.mapSizeBytes), freeInside() / 4 < needed - used else { return nil }
        return .full(
            nil,
            limit: "map",
            "The store's address space of \(environment.mapSizeBytes) bytes is used up. Nothing of the call was "
                + "queued. Raise the process's limit on address space, or replay and acknowledge."
        )
    }

    /// The most that a transaction with these can add to the file: the blocks, a page for each that is begun, and the copies
    /// of the pages on the way to them.
    private func bytesMax(_ appends: [StoreWriter.Append], _ controls: [StoreWriter.Control]) -> Int64 {
        var bytes = 0
        // Small values share pages, which are at least half full, and a large one begins pages of its own.
        for control in controls { bytes += control.puts.reduce(0) { $0 + $1 + $1 / 64 + min($1, 2 * pageSize) } }
        for append in appends {
            let call = append.call
            let blocks = call.frames.reduce(call.single == nil ? 0 : 512) { $0 + $1.storedBytesMax + 2 * pageSize }
            bytes += (blocks + call.rawBytes / 64) * call.regions.count
            if call.single != nil { bytes += call.rawBytes }
        }
        return Int64(bytes + 64 * pageSize)
    }
}
