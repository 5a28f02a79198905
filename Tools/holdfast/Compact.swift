import ArgumentParser
import Holdfast
import Platform
import ReplayStore

/// `holdfast compact`: writes a store anew, without the free pages.
struct Compact: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a store anew without the free space inside its file, and tell the size before and after.",
        discussion: """
            --to never touches the store and works while it is in use; the copy is the store as of one commit. \
            --in-place needs the store closed: it writes the new file beside the old one, syncs it, and renames it. Killed at any \
            point, the old or the new one is there, whole. Without --yes it only tells what it would do.

            Examples:
              holdfast compact ./store --to ./smaller
              holdfast compact ./store --in-place --yes
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The directory of the new store; it is made.", completion: .directory)
    var to: String?
    @Flag(help: "Replace the store's own file.")
    var inPlace = false
    @Flag(help: "Do it: without this, --in-place only tells its plan.")
    var yes = false
    @OptionGroup var format: FormatOption

    func validate() throws {
        guard (to == nil) == inPlace else { throw ValidationError("Say either --to DIRECTORY or --in-place.") }
    }

    func run() throws {
        if inPlace, !yes { return try printPlan() }
        if let to {
            // Told first, so that a missing source makes no directory.
            _ = try argument.reader()
            try checkNewDirectory(to)
        }
        let report = try showingProgress { (note) throws(HoldfastError) in
            if let to { return try StoreCompact.copy(from: argument.store, to: to, progress: note) }
            return try StoreCompact.inPlace(argument.store, progress: note)
        }
        try printObject(
            format.forObject,
            .object([
                ("store", .string(to ?? argument.store)), ("bytesBefore", .unsigned(report.before)),
                ("bytesAfter", .unsigned(report.after)), ("entries", .unsigned(report.entries)),
            ]),
            [
                ("store", to ?? argument.store),
                ("file size", "\(bytesText(report.before)) -> \(bytesText(report.after))"),
                ("entries", "\(report.entries)"),
            ]
        )
    }

    private func printPlan() throws {
        let reader = try argument.reader()
        let rows = try reader.look { (view) throws(HoldfastError) in try view.regionRows() }
        let size = UInt64(max(0, try reader.fileSize()))
        let entries = rows.reduce(into: UInt64(0)) { $0 &+= $1.1.entries }
        let free = try FileSystem.freeBytes(at: argument.store)
        let user = try DirectoryLock.user(of: argument.store)
        let next = "holdfast compact \(shellQuoted(argument.store)) --in-place --yes"
        try printObject(
            format.forObject,
            .object([
                (
                    "plan",
                    .object([
                        ("verb", .string("compact")), ("store", .string(argument.store)),
                        ("bytesBefore", .unsigned(size)),
                        ("entries", .unsigned(entries)), ("freeDiskBytes", .unsigned(free)),
                        ("open", .bool(user != nil)),
                        ("next", .string(next)),
                    ])
                )
            ]),
            [
                ("plan", "lock the store, write its \(entries) entries to a new file beside the old one, sync, rename"),
                ("file size", bytesText(size)), ("needs at most", bytesText(size)), ("disk has free", bytesText(free)),
                ("opened by", user.map { "last written by \($0): it must be closed first" } ?? "nobody"),
                ("nothing was done; do it", next),
            ]
        )
    }
}
