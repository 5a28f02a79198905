import ArgumentParser
import Holdfast
import Lines
import Platform
import ReplayStore

/// `holdfast compact`: writes a store anew, without the free pages.
struct Compact: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a store anew: no free space inside its file, small blocks merged; tell before and after.",
        discussion: """
            --to never touches the store and works while it is in use; the copy is the store as of one commit, with its \
            identity. It takes the store's place: write to one of the two only, from then on. For a second store make a \
            backup and restore it. \
            --in-place needs the store closed: it writes the new file beside the old one, syncs it, and renames it. Killed at any \
            point, the old or the new one is there, whole. Without --yes it only tells what it would do.

            Neighbouring blocks of a queue become one of up to 256 entries and 64 KiB. --level compresses every block anew. \
            --train-dictionary does too, and trains a zstd dictionary of 4 KiB on what is queued, for which some hundred \
            entries must be; later appends of few entries use it.

            Examples:
              holdfast compact ./store --to ./smaller
              holdfast compact ./store --in-place --train-dictionary --yes
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The directory of the new store; it is made.", completion: .directory)
    var to: String?
    @Flag(help: "Replace the store's own file.")
    var inPlace = false
    @Option(help: "The zstd level for every block, 1 to 19; left out: 3 for merged blocks, others stay as they are.")
    var level: Int?
    @Flag(help: "Train a dictionary on what is queued, and write every block anew with it.")
    var trainDictionary = false
    @Flag(help: "Do it: without this, --in-place only tells its plan.")
    var yes = false
    @OptionGroup var format: FormatOption

    func validate() throws {
        guard (to == nil) == inPlace else { throw ValidationError("Say either --to DIRECTORY or --in-place.") }
        guard level.map({ (1...19).contains($0) }) ?? true else { throw ValidationError("--level is from 1 to 19.") }
    }

    func run() throws {
        if inPlace, !yes { return try printPlan() }
        if let to {
            // Told first, so that a missing source makes no directory.
            _ = try argument.reader()
            try checkNewDirectory(to)
        }
        var rewriting = Rewriting()
        rewriting.mergesBlocks = true
        rewriting.level = level
        rewriting.trainsDictionary = trainDictionary
        let report = try showingProgress { (note) throws(HoldfastError) in
            if let to { return try StoreCompact.copy(from: argument.store, to: to, rewriting, progress: note) }
            return try StoreCompact.inPlace(argument.store, rewriting, progress: note)
        }
        var members: [(String, JSON)] = [
            ("store", .string(to ?? argument.store)), ("bytesBefore", .unsigned(report.before)),
            ("bytesAfter", .unsigned(report.after)), ("entries", .unsigned(report.entries)),
            ("blocksBefore", .integer(Int64(report.blocksBefore))),
            ("blocksAfter", .integer(Int64(report.blocksAfter))), ("storedBefore", .unsigned(report.storedBefore)),
            ("storedAfter", .unsigned(report.storedAfter)),
        ]
        var facts = [
            ("store", to ?? argument.store),
            ("file size", "\(bytesText(report.before)) -> \(bytesText(report.after))"),
            ("entries", "\(report.entries)"), ("blocks", "\(report.blocksBefore) -> \(report.blocksAfter)"),
            ("stored in them", "\(bytesText(report.storedBefore)) -> \(bytesText(report.storedAfter))"),
        ]
        if let to {
            members.append(("takesPlaceOf", .string(argument.store)))
            facts.append(("identity", "the store's own: \(to) takes its place, write to \(argument.store) no more"))
        }
        if trainDictionary {
            members.append(("dictionary", report.dictionary.map { .unsigned(UInt64($0)) } ?? .null))
            members.append(("dictionaryBytes", .integer(Int64(report.dictionaryBytes))))
            let trained = report.dictionary.map { "number \($0), \(report.dictionaryBytes) B" }
            facts.append(("dictionary", trained ?? "none: what is queued is too little, or too unlike, for one"))
        }
        try printObject(format.forObject, .object(members), facts)
    }

    private func printPlan() throws {
        let reader = try argument.reader()
        try reader.checkNoBackup()
        let rows = try reader.look { (view) throws(HoldfastError) in try view.regionRows() }
        let size = UInt64(max(0, try reader.fileSize()))
        let entries = rows.reduce(into: UInt64(0)) { $0 &+= $1.1.entries }
        let free = try FileSystem.freeBytes(at: argument.store)
        let user = try DirectoryLock.user(of: argument.store)
        let more = (level.map { " --level \($0)" } ?? "") + (trainDictionary ? " --train-dictionary" : "")
        let next = "holdfast compact \(shellQuoted(argument.store)) --in-place\(more) --yes"
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
