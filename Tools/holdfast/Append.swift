import ArgumentParser
import Holdfast
import Lines
import Platform

/// `holdfast append`: queues writes from JSON lines.
struct Append: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Queue writes, one JSON object a line, for one region or several.",
        discussion: """
            Each line has origin, sequence, key and value, and incarnation unless --incarnation is given; kind, \
            timestampMs and clock may follow. Bytes that are no text are given as keyBase64 or keyHex, valueBase64 or \
            valueHex. Each batch is one durable commit: after a failure the batches before it stay, and nothing of it \
            is there. Running the same input again is safe: a write that was accepted before is a duplicate, and is not \
            queued again.

            Example:
              echo '{"origin":"us","sequence":1,"key":"a","value":"b"}' |
                holdfast append ./store --region eu --incarnation 0 --print-acks
            """
    )

    @OptionGroup var argument: StoreArgument
    @Argument(help: "JSON lines; standard input when left out or '-'.", completion: .file())
    var file: String?
    @Option(
        name: .customLong("region"),
        help: ArgumentHelp("A region that has not received the writes; repeat it for several.", valueName: "region"),
        transform: regionArgument
    )
    var regions: [RegionID]
    @Option(help: "The incarnation of lines that have none.")
    var incarnation: UInt64?
    @Option(help: "How many lines are one commit, 1 to \(StoreLimits.callEntriesMax).")
    var batch = 256
    @Flag(help: "Print a line for each commit, once it is durable.")
    var printAcks = false
    @Flag(
        help: """
            Count malformed lines and go on, instead of stopping at the first. A line without an incarnation, where none is \
            given, stops it all the same.
            """
    )
    var skipMalformed = false
    @OptionGroup var epoch: EpochOption
    @OptionGroup var format: FormatOption

    func validate() throws {
        guard (1...StoreLimits.callEntriesMax).contains(batch) else {
            throw ValidationError("--batch is 1 to \(StoreLimits.callEntriesMax).")
        }
        guard !regions.isEmpty else { throw ValidationError("Name at least one region with --region.") }
        guard Set(regions).count == regions.count else { throw ValidationError("Name each region once.") }
    }

    func run() async throws {
        var source = try open()
        let outcome = try await argument.withController { controller in
            for region in regions { _ = try controller.role(of: region) }
            return try await append(&source, controller)
        }
        if outcome.malformed > 0 {
            talk(
                "holdfast: \(outcome.malformed) malformed line\(outcome.malformed == 1 ? " was" : "s were") skipped."
            )
        }
        if !printAcks { try printSummary(outcome) }
    }

    private func open() throws -> LineReader {
        do throws(SystemError) {
            return try LineReader(file)
        } catch {
            throw Failure(reading: file, error)
        }
    }

    private struct Outcome {
        var read: UInt64 = 0
        var malformed: UInt64 = 0
        var totals: [AppendCommits.Total] = []
    }

    private func append(_ source: inout LineReader, _ controller: RegionFailoverController) async throws -> Outcome {
        var outcome = Outcome()
        var progress = Progress("writes", total: source.size)
        let commits = AppendCommits(controller, regions, ifEpoch: epoch.ifEpoch, printsAcks: printAcks)
        var writes: [OutstandingWrite] = []
        var lines: [UInt64] = []
        var bytes = 0
        do {
            while let line = try readLine(&source) {
                guard let write = try parse(line, source.number, &outcome.malformed) else { continue }
                if bytes + write.rawBytes > StoreLimits.callBytesMax {
                    // A call is bounded in bytes too, so large values make a batch shorter.
                    try await commits.submit(writes, lines)
                    (writes, lines, bytes) = ([], [], 0)
                }
                writes.append(write)
                lines.append(source.number)
                bytes += write.rawBytes
                outcome.read += 1
                progress.note(outcome.read, done: source.bytesRead)
                guard writes.count == batch else { continue }
                try await commits.submit(writes, lines)
                (writes, lines, bytes) = ([], [], 0)
            }
            if !writes.isEmpty { try await commits.submit(writes, lines) }
            try await commits.finish()
        } catch {
            progress.end()
            // What was handed over before is durable or refused before the process ends, and its line is printed.
            try? await commits.finish()
            throw error
        }
        progress.end()
        outcome.totals = commits.totals
        return outcome
    }

    private func readLine(_ source: inout LineReader) throws -> LineReader.Line? {
        do throws(SystemError) {
            return try source.next()
        } catch {
            throw Failure(reading: file, error)
        }
    }

    /// The write of a line; nil for a blank line, and for a malformed one that is skipped.
    private func parse(_ line: LineReader.Line, _ number: UInt64, _ malformed: inout UInt64) throws -> OutstandingWrite?
    {
        let failure: MalformedLine
        switch line {
        case .tooLong: failure = MalformedLine("it is longer than \(LineReader.lengthMax) bytes")
        case .text(let text):
            let blank: Set<UInt8> = [0x20, 0x09, 0x0D]
            if text.allSatisfy({ blank.contains($0) }) { return nil }
            do throws(MalformedLine) {
                return try OutstandingWrite(line: text, incarnation: incarnation)
            } catch {
                failure = error
            }
        }
        // What the command line lacks is no fault of the lines: all of them would be skipped.
        guard !skipMalformed || failure.lacksIncarnation else {
            malformed += 1
            return nil
        }
        let advice =
            failure.lacksIncarnation
            ? "It is not on the command line either: give --incarnation N for the lines that have none."
            : "Correct it and run the same input again, or pass over such lines with --skip-malformed."
        throw Failure(
            failure.lacksIncarnation ? .usage : .damaged,
            code: failure.lacksIncarnation ? "usage" : "malformedLine",
            "Line \(number): \(failure.reason). The batches before its own are committed, nothing of its own is. "
                + advice,
            [("line", .unsigned(number))]
        )
    }

    private func printSummary(_ outcome: Outcome) throws {
        let output = Output()
        let columns: [Column] = [
            .text("region"), .number("read"), .number("accepted"), .number("duplicates"), .number("malformed"),
            .number("dropped"), .number("first"), .number("through"),
        ]
        let printer = ListPrinter(output, format.forList, columns)
        for total in outcome.totals {
            var members: [(String, JSON)] = [
                ("region", .string(total.region.rawValue)), ("read", .unsigned(outcome.read)),
                ("accepted", .unsigned(total.accepted)), ("duplicates", .unsigned(total.duplicates)),
                ("malformed", .unsigned(outcome.malformed)),
            ]
            if total.dropped > 0 { members.append(("dropped", .unsigned(total.dropped))) }
            if let positions = total.positions {
                members.append(("first", .unsigned(positions.lowerBound)))
                members.append(("through", .unsigned(positions.upperBound)))
            }
            let numbers = [outcome.read, total.accepted, total.duplicates, outcome.malformed, total.dropped]
            let ends = total.positions.map { ["\($0.lowerBound)", "\($0.upperBound)"] } ?? ["-", "-"]
            try printer.row(.object(members), [total.region.rawValue] + numbers.map { "\($0)" } + ends)
        }
        try printer.end(empty: "Nothing was read.")
    }
}
