import ArgumentParser
import Holdfast
import LMDB
import Lines
import Platform
import ReplayFormat
import ReplayStore
import Zstd

/// `holdfast doctor`: what is well, what is not, and what to do.
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at a store and what it stands on, and say what to do.",
        discussion: """
            It changes nothing, takes no lock, and works while another process has the store open. The exit code is 0 \
            unless something fails. Entries that a limit took and dead letters given up with 'dlq drop' both count as \
            dropped; 'lost' tells them apart.

            Example:
              holdfast doctor ./store
            """
    )

    @OptionGroup var argument: StoreArgument
    @OptionGroup var format: FormatOption

    func run() throws {
        let store = argument.store
        guard FileSystem.exists(store + "/data.mdb") else {
            throw HoldfastError(code: .notFound, message: "'\(store)/data.mdb' is not there.").at(store)
        }
        var examination = Examination(store: store)
        examination.lookAround()
        examination.lookInside()
        let columns: [Column] = [.verdict("verdict"), .text("check"), .text("what was found")]
        let printer = ListPrinter(Output(), format.forList, columns)
        for result in examination.results {
            try printer.row(
                .object(
                    [
                        ("check", .string(result.check)), ("verdict", .string(result.verdict.rawValue)),
                        ("message", .string(result.message)),
                    ] + (result.action.map { [("action", .string($0))] } ?? [])
                ),
                [result.verdict.rawValue, result.check, result.message + (result.action.map { " \($0)" } ?? "")]
            )
        }
        try printer.end(empty: "")
        if let failed = examination.results.first(where: { $0.verdict == .fail }) { throw failed.status.exitCode }
    }
}

/// What `doctor` found out so far.
private struct Examination {
    enum Verdict: String {
        case ok, warn, fail
    }

    struct Result {
        var verdict: Verdict
        var check: String
        var message: String
        var action: String?
        var status = ExitStatus.other
    }

    let store: String
    private(set) var results: [Result] = []

    private static let freeBytesLow: UInt64 = 256 << 20
    private static let freeBytesNone: UInt64 = 4 << 20

    init(store: String) { self.store = store }

    private mutating func note(
        _ verdict: Verdict,
        _ check: String,
        _ message: String,
        _ action: String? = nil,
        _ status: ExitStatus = .other
    ) {
        results.append(Result(verdict: verdict, check: check, message: message, action: action, status: status))
    }

    /// Looks at what can be seen without opening the store.
    mutating func lookAround() {
        lookAtFiles()
        lookAtPermissions()
        switch try? FileSystem.kind(at: store) {
        case .local: note(.ok, "file system", "A local disk.")
        case .overlay(let name):
            note(
                .warn,
                "file system",
                "The store is on \(name).",
                "Keep it on a volume of its own, to outlive the container."
            )
        case .network(let name):
            note(
                .fail,
                "file system",
                "The store is on \(name), where locks cannot be trusted.",
                "Move it to a local disk."
            )
        case nil: note(.warn, "file system", "The system does not tell what kind it is.")
        }
        if let free = try? FileSystem.freeBytes(at: store) {
            let text = "\(bytesText(free)) are free."
            if free < Self.freeBytesNone {
                note(.fail, "free space", text, "Free disk space: appends stop, and acknowledging is next.")
            } else if free < Self.freeBytesLow {
                note(.warn, "free space", text, "Free disk space, or acknowledge and compact.")
            } else {
                note(.ok, "free space", text)
            }
        }
        do throws(SystemError) {
            let user = try DirectoryLock.user(of: store)
            note(
                .ok,
                "lock",
                user.map { Advice.withOwner("A process has the store open; LOCK was last written by \($0).") }
                    ?? "Nobody has it open."
            )
        } catch {
            note(.warn, "lock", "LOCK cannot be read: \(error.description).", "Run as the store's owner.")
        }
        lookAtAddressSpace()
        let compressor = FrameCodec.version
        note(.ok, "versions", "holdfast \(toolVersion), LMDB \(LMDB.Environment.version), zstd \(compressor).")
    }

    /// Looks at whether the files beside the data file are files.
    private mutating func lookAtFiles() {
        for name in ["lock.mdb", "reserve"] {
            let file = "\(store)/\(name)"
            if FileSystem.isLink(file) {
                note(
                    .fail,
                    "files",
                    "'\(file)' is a symbolic link: the store is not opened with it.",
                    "Run: rm \(shellQuoted(file))"
                )
            } else if FileSystem.isDirectory(file) {
                let reserve = "so that no space is kept for acknowledgements on a full disk"
                note(
                    name == "reserve" ? .warn : .fail,
                    "files",
                    "'\(file)' is a directory, \(name == "reserve" ? reserve : "so that the store cannot be opened").",
                    "Move it away: the file is made anew when the store is opened."
                )
            }
        }
    }

    private mutating func lookAtPermissions() {
        var open: [String] = []
        for name in ["", "/data.mdb", "/lock.mdb", "/LOCK", "/reserve"]
        where FileSystem.exists(store + name) && (name.isEmpty || !FileSystem.isLink(store + name)) {
            guard let mode = try? File(store + name, 0).permissions() else {
                note(
                    .fail,
                    "permissions",
                    "'\(store + name)' cannot be opened.",
                    "Run as the store's owner.",
                    .notPermitted
                )
                return
            }
            if mode & 0o077 != 0 { open.append("'\(store + name)' has mode \(String(mode, radix: 8))") }
        }
        if open.isEmpty {
            note(.ok, "permissions", "Only the owner can read or write it.")
        } else {
            let path = shellQuoted(store)
            note(.warn, "permissions", open.joined(separator: ", ") + ".", "Run: chmod -R go= \(path)")
        }
    }

    /// LMDB maps the file into address space, which `ulimit -v` can limit.
    private mutating func lookAtAddressSpace() {
        let text =
            (try? File("/proc/self/limits", 0).read(atMost: 16_384)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Max address space") }) else { return }
        let limit = line.split(separator: " ").dropFirst(3).first.map(String.init) ?? "unlimited"
        guard let bytes = UInt64(limit) else { return note(.ok, "address space", "Not limited.") }
        let wanted = UInt64(StoreLimits.mapSizeBytes)
        if bytes > wanted {
            note(.ok, "address space", "\(bytesText(bytes)) may be used.")
        } else {
            note(
                .warn,
                "address space",
                "Limited to \(bytesText(bytes)): the store can grow to half of it at most.",
                "Raise ulimit -v."
            )
        }
    }

    /// Opens the store for reading, and looks at what it says of itself.
    mutating func lookInside() {
        do throws(HoldfastError) {
            let reader = try StoreReader.open(store)
            let size = UInt64(max(0, try reader.fileSize()))
            note(.ok, "data file", "Both meta pages are whole, and its \(bytesText(size)) are all there.")
            let (superblock, machine, rows) = try reader.look { (view) throws(HoldfastError) in
                (view.superblock, try view.machine(), try view.regionRows())
            }
            note(
                .ok,
                "format",
                "Format \(superblock.version), store \(superblock.store), made \(timeText(superblock.created))."
            )
            if superblock.isIncomplete {
                note(.fail, "load", "A load into this store did not end.", "Load again into a new directory.", .damaged)
            }
            if let made = superblock.backedUp {
                let place = shellQuoted(store)
                note(
                    .ok,
                    "backup",
                    "This is a backup, made \(timeText(made)): it is read like a store, and never changed.",
                    "To make a store of it, run: holdfast restore \(place) --to \(shellQuoted(store + "-restored"))"
                )
            }
            lookAtClock(machine)
            for status in machine.regions {
                guard let row = rows.first(where: { $0.0 == status.region })?.1 else { continue }
                lookAtRegion(status, QueueStatistics(status.region, row))
            }
        } catch {
            let failure = Failure(error)
            note(.fail, "data file", failure.message, failure.next.map { "Run: \($0)" }, failure.status)
        }
    }

    private mutating func lookAtClock(_ machine: FailoverMachine.Snapshot) {
        let ahead = machine.time.milliseconds(since: Timestamp(milliseconds: System.wallMilliseconds))
        if ahead > 60_000 {
            note(
                .warn,
                "clock",
                "The store's time, \(timeText(machine.time)), is \(durationText(ahead)) ahead of this machine's clock.",
                "Set the clock. The store's time only goes forward, from where it is."
            )
        } else {
            note(.ok, "clock", "The last change was at \(timeText(machine.time)).")
        }
    }

    private mutating func lookAtRegion(_ status: RegionStatus, _ queue: QueueStatistics) {
        let (path, check) = (shellQuoted(store), "region \(status.region)")
        let before = results.count
        if queue.needsResync {
            note(
                .warn,
                check,
                "Writes for it were dropped or damaged: replay alone cannot bring it up to date.",
                "Copy the data to it, then run: holdfast region clear-resync \(path) \(status.region)"
            )
        }
        if queue.isPaused {
            let why = queue.pauseReason.isEmpty ? "" : " (\(queue.pauseReason))"
            let until = queue.pausedUntil.map { " until \(timeText($0))" } ?? ""
            note(
                .warn,
                check,
                "Replay to it is paused\(until)\(why).",
                "Run: holdfast region resume \(path) \(status.region)"
            )
        }
        if queue.dropped > 0 || queue.lost > 0 {
            let gone = [
                ("dropped (by a limit, or dead letters given up)", queue.dropped), ("lost to damage", queue.lost),
            ]
            let text = gone.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
            note(
                .warn,
                check,
                "Entries that it never received: \(text).",
                "Run: holdfast lost \(path) --region \(status.region)"
            )
        }
        if queue.dead > 0 {
            note(
                .warn,
                check,
                "It has \(counted(queue.dead, "dead letter")): writes that it refused.",
                "Run: holdfast dlq list \(path) --region \(status.region)"
            )
        }
        if let limit = queue.limits.entriesMax, queue.entries >= limit - limit / 10 {
            note(.warn, check, "Its queue has \(queue.entries) of at most \(limit) entries.", "Replay and acknowledge.")
        }
        if let limit = queue.limits.bytesMax, queue.storedBytes >= limit - limit / 10 {
            let held = "\(bytesText(queue.storedBytes)) of at most \(bytesText(limit))"
            note(.warn, check, "Its queue has \(held).", "Replay and acknowledge.")
        }
        if status.state != .healthy || status.role == .demotedPrimary {
            let next = status.state == .recovering ? "readmit" : "heartbeat"
            note(
                .warn,
                check,
                "It is \(status.role.rawValue) and \(status.state.rawValue).",
                "Once it is back, run: holdfast region \(next) \(path) \(status.region)"
            )
        }
        guard results.count == before else { return }
        note(
            .ok,
            check,
            "\(status.role.rawValue), \(status.state.rawValue), \(counted(queue.entries, "entry", "entries")) queued."
        )
    }
}
