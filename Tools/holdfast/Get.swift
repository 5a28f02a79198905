import ArgumentParser
import Holdfast
import Lines
import ReplayFormat
import ReplayStore

/// `holdfast get`: one entry with its bytes.
struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print one entry with its value.",
        discussion: """
            Works while another process has the store open.

            Example:
              holdfast get ./store --region eu-west-1 --position 17 --values utf8
            """
    )

    @OptionGroup var argument: StoreArgument
    @Option(help: "The region whose queue it is.", transform: regionArgument)
    var region: RegionID
    @Option(help: "The entry's position.")
    var position: UInt64
    @Option(help: "How the value is printed: hex, base64 or utf8.")
    var values = ValueForm.base64
    @OptionGroup var format: FormatOption

    func validate() throws {
        try values.checkCarriesBytes("get")
        guard position > 0 else { throw ValidationError("Positions count from 1.") }
    }

    func run() throws {
        let reader = try argument.reader()
        let (store, found) = try reader.look { (view) throws(HoldfastError) in
            let row = try view.regionRow(region)
            guard let row else { return (view.superblock.store, (RegionRow, UInt64?)?.none) }
            return (view.superblock.store, (row, try view.blockBeyond(row)))
        }
        guard let (row, beyond) = found else { throw HoldfastError.unknownRegion(region).at(argument.store) }
        let queue = QueueReader(reader, region, row, store: store, beyond: beyond)
        guard position >= queue.head, position < queue.end else {
            if position >= queue.end, let failure = queue.failureBeyond(argument.store) { throw failure }
            throw absent(queue)
        }
        var entry: QueueEntry?
        var damage: String?
        try queue.forward(position...position) { block in
            switch block {
            case .entries(let entries): entry = entries.first { $0.position == position } ?? entry
            case .damaged(let first, let reason): damage = "the block at position \(first): \(reason)"
            case .gap: break
            }
            return entry == nil
        }
        guard let entry else {
            guard let damage else { throw try whyNot(queue) }
            throw Failure(
                .damaged,
                code: "damaged",
                "Position \(position) of region '\(region)' cannot be read: \(damage).",
                next: "holdfast check \(shellQuoted(argument.store)) --level full"
            )
        }
        let titles = QueueEntry.columns(values).map(\.title)
        try printObject(
            format.forObject,
            entry.json(region, values),
            Array(zip(titles, entry.cells(region, values)))
        )
    }

    /// Why a position that was queued is not there.
    private func whyNot(_ queue: QueueReader) throws(HoldfastError) -> Failure {
        let gaps = try queue.gaps()
        if !gaps.missing(in: position...position).isEmpty {
            return .missing(region, [position...position], argument.store, " Nothing says what became of them.")
        }
        guard gaps.left(in: position...position).isEmpty else { return absent(queue) }
        return Failure(
            .notFound,
            code: "notFound",
            "Position \(position) of region '\(region)' was lost: the ledger has a row for it.",
            next: "holdfast lost \(shellQuoted(argument.store)) --region \(region)",
            [("region", .string(region.rawValue)), ("position", .unsigned(position))]
        )
    }

    /// That a position has left the queue, or has not come to it.
    private func absent(_ queue: QueueReader) -> Failure {
        let held = queue.head == queue.end ? "nothing" : "positions \(queue.head) to \(queue.end - 1)"
        let what = position >= queue.end ? "has not been given out yet" : "is not queued any more"
        return Failure(
            .notFound,
            code: "notFound",
            "Position \(position) of region '\(region)' \(what); the queue holds \(held).",
            next: "holdfast queues \(shellQuoted(argument.store))",
            [("region", .string(region.rawValue)), ("position", .unsigned(position))]
        )
    }
}

extension ValueForm {
    /// Refuses a form without the bytes, for a verb that carries them.
    func checkCarriesBytes(_ verb: String) throws {
        guard carriesBytes else {
            throw ValidationError("'\(verb)' always carries the bytes: --values is hex, base64 or utf8.")
        }
    }
}
