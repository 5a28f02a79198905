import ArgumentParser
import Holdfast
import Lines
import Platform
import ReplayStore

/// `holdfast backup`: a verified copy of a store that may be in use.
struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy a store, which may be in use, to a backup: synced, then verified.",
        discussion: """
            The backup is the store as of one commit. It holds one read transaction meanwhile, so the file of a store that \
            is written to can grow; free pages inside are left out of the backup. It says done when the files and their \
            directory are on the disk and a full check has found nothing. Killed at any moment it leaves no backup, or \
            one that is marked incomplete and refused everywhere: remove the directory, and run it again.

            A backup is read like a store (info, records, check, dump, digest, diff), and never changed: 'holdfast restore' \
            makes a store of it. Do not copy the directory with 'cp': of a store in use such a copy may be torn, and of any \
            store it is a second one with the same identity.

            Example:
              holdfast backup ./store --to /backups/store-2026-11-23
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The backup's directory: empty, or not there.", completion: .directory)
    var to: String
    @OptionGroup var format: FormatOption

    func run() throws {
        // Told first, so that a missing source makes no directory.
        let reader = try argument.reader()
        try checkNewDirectory(to)
        let identity = try reader.look { (view) throws(HoldfastError) in view.superblock.store }
        if try DirectoryLock.user(of: argument.store) != nil {
            talk("The store is in use: one read transaction is held until the copy is written, and its file can grow.")
        }
        let now = Timestamp(milliseconds: System.wallMilliseconds)
        let report = try showingProgress { (note) throws(HoldfastError) in
            try StoreBackup.make(of: argument.store, at: to, time: now, progress: note)
        }
        try printObject(
            format.forObject,
            .object([
                ("backup", .string(to)), ("storeUUID", .string(identity.description)),
                ("backedUpMs", .integer(now.milliseconds)), ("entries", .unsigned(report.entries)),
                ("bytes", .integer(report.bytesAfter)), ("verified", .bool(true)),
            ]),
            [
                ("backup", to), ("of store", identity.description), ("entries", "\(report.entries)"),
                ("file size", "\(bytesText(report.before)) -> \(bytesText(report.after))"),
                ("verified", "synced, and every checksum, position, counter and chain is right"),
            ]
        )
    }
}

/// Runs `body`, which tells how far it is, with a line on the terminal.
func showingProgress<Value>(
    _ body: (_ note: (Int64, Int64) -> Void) throws(HoldfastError) -> Value
) throws(HoldfastError) -> Value {
    var progress = Progress("rows")
    defer { progress.end() }
    return try body { done, total in progress.note(UInt64(clamping: done), done: done, of: total) }
}

extension StoreCompact.Report {
    /// The size of the data file before, in bytes.
    var before: UInt64 { UInt64(max(0, bytesBefore)) }
    /// And after.
    var after: UInt64 { UInt64(max(0, bytesAfter)) }
}
