import ArgumentParser
import Holdfast
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
        let (store, row) = try reader.look { (view) throws(HoldfastError) in
            (view.superblock.store, try view.regionRow(region))
        }
        guard let row else { throw HoldfastError.unknownRegion(region).at(argument.store) }
        let queue = QueueReader(reader, row, store: store)
        guard position >= queue.head, position < queue.end else { throw missing(queue) }
        var found: QueueEntry?
        var damage: String?
        try queue.forward(position...position) { block in
            switch block {
            case .entries(let entries): found = entries.first { $0.position == position } ?? found
            case .damaged(let first, let reason): damage = "the block at position \(first): \(reason)"
            }
            return found == nil
        }
        guard let entry = found else {
            guard let damage else { throw missing(queue) }
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

    private func missing(_ queue: QueueReader) -> Failure {
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
