import ArgumentParser
import Holdfast
import Lines
import Platform
import ReplayFormat
import ReplayStore

/// `holdfast restore`: a new store from a backup.
struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new store of a backup, with an identity of its own, and verify it.",
        discussion: """
            Everything is as it was when the backup was made, positions and what was seen included: writes that the store \
            took later are not in it, and may be appended again. What was acknowledged since is queued again. The backup is \
            not touched. Without --yes it only tells what it would do.

            Example:
              holdfast restore /backups/store-2026-11-23 --to ./store --yes
            """
    )

    @Argument(help: "The backup's directory, or that of a store.", completion: .directory)
    var backup: String
    @Option(help: "The new store's directory: empty, or not there.", completion: .directory)
    var to: String
    @Flag(help: "Do it: without this, it only tells its plan.")
    var yes = false
    @OptionGroup var format: FormatOption

    func validate() throws {
        try checkPath(backup, "The backup's directory")
        try checkPath(to)
    }

    func run() throws {
        let reader = try StoreReader.open(backup)
        try checkNewDirectory(to)
        guard yes else { return try printPlan(reader) }
        let identity = StoreID.random()
        let report = try showingProgress { (note) throws(HoldfastError) in
            try StoreBackup.restore(backup, to: to, as: identity, progress: note)
        }
        try printObject(
            format.forObject,
            .object([
                ("store", .string(to)), ("storeUUID", .string(identity.description)), ("backup", .string(backup)),
                ("entries", .unsigned(report.entries)), ("bytes", .integer(report.bytesAfter)),
                ("verified", .bool(true)),
            ]),
            [
                ("store", to), ("uuid", identity.description), ("restored from", backup),
                ("entries", "\(report.entries)"), ("file size", bytesText(report.after)),
                ("verified", "synced, and every checksum, position, counter and chain is right"),
            ]
        )
    }

    private func printPlan(_ reader: StoreReader) throws {
        let (superblock, rows) = try reader.look { (view) throws(HoldfastError) in
            (view.superblock, try view.regionRows())
        }
        let entries = rows.reduce(into: UInt64(0)) { $0 &+= $1.1.entries }
        let size = UInt64(max(0, try reader.fileSize()))
        let next = "holdfast restore \(shellQuoted(backup)) --to \(shellQuoted(to)) --yes"
        try printObject(
            format.forObject,
            .object([
                (
                    "plan",
                    .object([
                        ("verb", .string("restore")), ("backup", .string(backup)), ("store", .string(to)),
                        ("ofStoreUUID", .string(superblock.store.description)),
                        ("backedUpMs", superblock.backedUp.map { .integer($0.milliseconds) } ?? .null),
                        ("entries", .unsigned(entries)), ("bytes", .unsigned(size)), ("next", .string(next)),
                    ])
                )
            ]),
            [
                ("plan", "write a new store with the backup's \(entries) entries, under a new identity, and verify it"),
                ("backup of", superblock.store.description),
                ("made", superblock.backedUp.map(timeText) ?? "not a backup: a store, as it is now"),
                ("needs at most", bytesText(size)), ("nothing was done; do it", next),
            ]
        )
    }
}
