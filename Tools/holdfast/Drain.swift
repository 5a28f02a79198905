import ArgumentParser
import Holdfast
import Lines

/// `holdfast drain`: takes entries out of a queue and prints them.
struct Drain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take entries out of a queue and print them as JSON lines: at most once.",
        discussion: """
            Entries are removed durably before they are printed: what is not delivered from here is gone. The safe way \
            is 'records --values base64', then 'ack'. It is one step where the queue takes at most some 16 MiB; a \
            larger one goes step by step, and when standard output is closed the rest stays queued, and the positions that \
            were taken in vain are told. What fits into a pipe is taken for read: do not drain into 'head', use --max.

            SIGINT, SIGTERM and SIGHUP end it once what was taken is printed: it tells how many entries that were, and the \
            rest stays queued. Where nobody reads, a second signal, at least 0.2 s later, ends it at once, and it tells the \
            positions that have left the queue and were not all printed.

            Example:
              holdfast drain ./store --region eu-west-1 --max 100 > out.jsonl
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The region whose queue it is.", transform: regionArgument)
    var region: RegionID
    @Option(help: "The most entries to take; all when left out.")
    var max: UInt64?
    @Option(help: "How values are printed: hex, base64 or utf8.")
    var values = ValueForm.base64
    @OptionGroup var format: FormatOption

    private static let stepEntriesMax: UInt64 = 65_536
    private static let stepBytes: UInt64 = 16 << 20

    func validate() throws {
        try values.checkCarriesBytes("drain")
        guard max != 0 else { throw ValidationError("--max is at least 1.") }
    }

    func run() async throws {
        let printer = ListPrinter(Output(), format.format ?? .jsonl, QueueEntry.columns(values))
        let signals = await DrainSignals(region)
        try await argument.withController { controller in
            var left = max ?? .max
            var taken: ClosedRange<UInt64>?
            // Also with nothing to take, so that an unknown region is told.
            repeat {
                let step = try await step(controller, left)
                guard signals.begin() else { break }
                defer { signals.ended() }
                let receipt = try await controller.drain(region, max: Int(step))
                if let first = receipt.entries.first?.position, let last = receipt.entries.last?.position {
                    // A table's first rows are kept back, for their widths.
                    let begin = format.format == .table ? taken?.lowerBound : nil
                    taken = (begin ?? first)...last
                }
                signals.took(taken, entries: receipt.entries.count, left: receipt.remaining)
                try telling(taken) {
                    for entry in receipt.entries {
                        try printer.row(entry.json(region, values), entry.cells(region, values))
                    }
                    try printer.flush()
                }
                if format.format != .table { signals.printed() }
                left -= UInt64(receipt.entries.count)
                if receipt.events.contains(where: { $0.kind == .resyncNeeded }) {
                    talk(
                        "holdfast: entries of region \(region) were damaged or missing, and are in the ledger. Run: holdfast "
                            + "lost \(shellQuoted(argument.store)) --region \(region)"
                    )
                }
                guard !receipt.entries.isEmpty, receipt.remaining > 0 else { break }
            } while left > 0
            try telling(taken) { try printer.end(empty: "The queue is empty.") }
            signals.printed()
        }
        try signals.check()
    }

    /// How many entries are taken at once: few where they are large, since they are held in memory.
    private func step(_ controller: RegionFailoverController, _ left: UInt64) async throws -> UInt64 {
        let pending = try await controller.pending(for: region)
        let average = pending.entries > 0 ? Swift.max(1, pending.bytes / pending.entries) : 1
        return min(left, Self.stepEntriesMax, Swift.max(1, Self.stepBytes / average))
    }

    /// Says that these positions were taken in vain.
    static func left(_ positions: ClosedRange<UInt64>) -> String {
        "Positions \(positions.lowerBound) to \(positions.upperBound) have left the queue, and were not all printed."
    }

    /// Prints, and where that fails says which positions have left the queue all the same.
    private func telling(_ positions: ClosedRange<UInt64>?, _ body: () throws -> Void) throws {
        let said = positions.map(Self.left) ?? ""
        do {
            try body()
        } catch let error as Failure {
            var failure = error
            if !said.isEmpty { failure.message += " \(said)" }
            throw failure
        } catch let closed as ClosedPipe {
            if !said.isEmpty { talk("holdfast: Standard output was closed. \(said)") }
            throw closed
        }
    }
}
