import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast dlq`: the writes that their region did not take.
struct DeadLetterQueue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dlq",
        abstract: "Look at the dead letters, queue them again, or give them up.",
        discussion: """
            A dead letter is a write that its region refused as often as 'region replay' allows, or one whose key has a \
            dead letter before it. It is kept, with what the region said, until somebody retries or drops it.

            Examples:
              holdfast dlq list ./store
              holdfast dlq retry ./store --region eu-west-1 --all
            """,
        subcommands: [List.self, Show.self, Export.self, Retry.self, Drop.self]
    )

    /// Which dead letters of a region a verb is about.
    struct Selection: ParsableArguments {
        @Option(
            name: .customLong("position"),
            help: ArgumentHelp(
                "The position that the dead letter had; repeat it for several.",
                valueName: "position"
            )
        )
        var positions: [UInt64] = []
        @Option(help: "Every dead letter of this key.")
        var key: String?
        @Flag(help: "Every dead letter of the region.")
        var all = false

        func validate() throws {
            guard (positions.isEmpty ? 0 : 1) + (key == nil ? 0 : 1) + (all ? 1 : 0) <= 1 else {
                throw ValidationError("Say one of --position, --key and --all.")
            }
        }

        /// Refuses a command line that names none.
        func checkGiven() throws {
            guard all || key != nil || !positions.isEmpty else {
                throw ValidationError("Say which: --position N, --key KEY or --all.")
            }
        }

        /// Refuses positions without the region that they are of.
        func checkNames(one regions: [RegionID]) throws {
            guard regions.count == 1 || positions.isEmpty else {
                throw ValidationError("A position is that of one region: name it with --region.")
            }
        }

        /// The selection; all of them where none is named.
        var selection: DeadLetterSelection {
            if let key { return .key(Array(key.utf8)) }
            return positions.isEmpty ? .all : .positions(Set(positions))
        }

        /// Refuses dead letters that were named and are not among the positions that were found.
        func checkFound(_ found: Set<UInt64>, _ region: RegionID, _ store: String) throws {
            let missing = Set(positions).subtracting(found).sorted()
            guard !missing.isEmpty || key != nil && found.isEmpty else { return }
            let what = missing.first.map { "at position \($0)" } ?? "of key '\(key ?? "")'"
            throw Failure(
                .notFound,
                code: "notFound",
                "Region '\(region)' has no dead letter \(what).",
                next: "holdfast dlq list \(shellQuoted(store)) --region \(region)",
                [("region", .string(region.rawValue)), ("positions", .array(missing.map { .unsigned($0) }))]
            )
        }
    }

    /// `holdfast dlq list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the dead letters, with what their region said.",
            discussion: """
                No payload is printed unless --values asks for it. Works while another process has the store open.

                Example:
                  holdfast dlq list ./store --region eu-west-1 --values utf8
                """
        )

        @OptionGroup var argument: StoreArgument
        @Option(
            name: .customLong("region"),
            help: ArgumentHelp("Only this region's; repeat it for several.", valueName: "region"),
            transform: regionArgument
        )
        var regions: [RegionID] = []
        @OptionGroup var selection: Selection
        @Option(help: "How values are printed.")
        var values = ValueForm.lengthAndHash
        @OptionGroup var format: FormatOption

        func validate() throws { try selection.checkNames(one: regions) }

        func run() throws {
            try argument.printDeadLetters(regions, selection, values, format.forList)
        }
    }

    /// `holdfast dlq show`.
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print one dead letter in full.",
            discussion: """
                Its value is printed when --values asks for it. Works while another process has the store open.

                Example:
                  holdfast dlq show ./store --region eu-west-1 --position 17 --values utf8
                """
        )

        @OptionGroup var argument: StoreArgument
        @Option(help: "The region that has not received it.", transform: regionArgument)
        var region: RegionID
        @Option(help: "The position that it had.")
        var position: UInt64
        @Option(help: "How the value is printed.")
        var values = ValueForm.lengthAndHash
        @OptionGroup var format: FormatOption

        func run() throws {
            let reader = DeadLetterReader(try argument.reader(), region, .positions([position]))
            guard let letter = try reader.first() else {
                var missing = Selection()
                missing.positions = [position]
                return try missing.checkFound([], region, argument.store)
            }
            let titles = DeadLetter.columns(values).map(\.title)
            try printObject(format.forObject, letter.json(values), Array(zip(titles, letter.cells(values))))
        }
    }

    /// `holdfast dlq export`.
    struct Export: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print dead letters as JSON lines, with their bytes.",
            discussion: """
                They stay where they are. 'append' takes the lines, for another store. Works while another process has \
                the store open.

                Example:
                  holdfast dlq export ./store --region eu-west-1 > dead.jsonl
                """
        )

        @OptionGroup var argument: StoreArgument
        @Option(
            name: .customLong("region"),
            help: ArgumentHelp("Only this region's; repeat it for several.", valueName: "region"),
            transform: regionArgument
        )
        var regions: [RegionID] = []
        @OptionGroup var selection: Selection
        @Option(help: "How values are printed: hex, base64 or utf8.")
        var values = ValueForm.base64

        func validate() throws {
            try values.checkCarriesBytes("dlq export")
            try selection.checkNames(one: regions)
        }

        func run() throws { try argument.printDeadLetters(regions, selection, values, .jsonl) }
    }
}

extension StoreArgument {
    /// Prints the dead letters of some regions; of all where none is named.
    fileprivate func printDeadLetters(
        _ regions: [RegionID],
        _ selection: DeadLetterQueue.Selection,
        _ values: ValueForm,
        _ format: Format
    ) throws {
        let reader = try reader()
        let known = try reader.look { (view) throws(HoldfastError) in try view.regionRows().map(\.0) }
        for region in regions where !known.contains(region) {
            throw HoldfastError.unknownRegion(region).at(store)
        }
        let printer = ListPrinter(Output(), format, DeadLetter.columns(values))
        for region in known where regions.isEmpty || regions.contains(region) {
            var found: Set<UInt64> = []
            try DeadLetterReader(reader, region, selection.selection).forward { letter in
                if !selection.positions.isEmpty { found.insert(letter.position) }
                try printer.row(letter.json(values), letter.cells(values))
            }
            if !selection.positions.isEmpty { try selection.checkFound(found, region, store) }
        }
        let none = selection.key.map { "There is no dead letter of key '\(printable($0))'." }
        try printer.end(empty: none ?? "There is no dead letter.")
        if format != .table, printer.count == 0, let none { talk("holdfast: \(none)") }
    }
}

/// The dead letters of one region, read in short looks: no look is held open while they are printed.
struct DeadLetterReader {
    private let reader: StoreReader
    private let region: RegionID
    private let selection: DeadLetterSelection

    /// A look ends when it has this many dead letters.
    private static let lookEntries = 1024

    init(_ reader: StoreReader, _ region: RegionID, _ selection: DeadLetterSelection) {
        self.reader = reader
        self.region = region
        self.selection = selection
    }

    /// Calls `body` with each dead letter that is selected, in the order of the positions.
    func forward(_ body: (DeadLetter) throws -> Void) throws {
        var next: UInt64? = 0
        while let position = next {
            let look = try look(from: position)
            for letter in look.letters { try body(letter) }
            next = look.next
        }
    }

    /// The first dead letter that is selected; nil where none is.
    func first() throws -> DeadLetter? {
        let start: UInt64 = if case .positions(let positions) = selection { positions.min() ?? 0 } else { 0 }
        return try look(from: start).letters.first
    }

    private func look(from start: UInt64) throws(HoldfastError) -> (letters: [DeadLetter], next: UInt64?) {
        try reader.look { (view) throws(HoldfastError) in
            var letters: [DeadLetter] = []
            var (seen, bytes) = (0, 0)
            var next: UInt64?
            try view.deadLetters(of: region, from: start) { (letter) throws(HoldfastError) in
                guard seen < Self.lookEntries, bytes < view.lookBytes else {
                    next = letter.position
                    return false
                }
                seen += 1
                bytes += letter.write.rawBytes
                if selection.matches(letter.position, letter.write) { letters.append(letter) }
                return true
            }
            return (letters, next)
        }
    }
}

extension DeadLetter {
    /// The dead letter as the tool prints it.
    func json(_ form: ValueForm) -> JSON {
        let own: [(String, JSON)] = [
            ("region", .string(region.rawValue)), ("position", .unsigned(position)), ("cause", .string(cause.rawValue)),
            ("attempts", .unsigned(UInt64(attempts))), ("parkedAtMs", .integer(parkedAt.milliseconds)),
            ("enqueuedAtMs", .integer(enqueuedAt.milliseconds)), ("reason", .string(reason)),
        ]
        return .object(own + write.members(form))
    }

    /// Its cells in a table, in the order of ``columns(_:)``.
    func cells(_ form: ValueForm) -> [String] {
        let cells = [
            region.rawValue, "\(position)", cause.rawValue, "\(attempts)", timeText(parkedAt), timeText(enqueuedAt),
            reason, write.origin.rawValue, "\(write.incarnation)", "\(write.sequence)", write.kind.name,
            write.keyText(form),
        ]
        return form == .none ? cells : cells + [write.valueText(form)]
    }

    /// The columns of a table of dead letters.
    static func columns(_ form: ValueForm) -> [Column] {
        let columns: [Column] = [
            .text("region"), .number("position"), .text("cause"), .number("attempts"), .text("parked"),
            .text("enqueued"), .text("reason"), .text("origin"), .number("incarnation"), .number("sequence"),
            .text("kind"), .text("key"),
        ]
        return form == .none ? columns : columns + [.text("value")]
    }
}
