import ArgumentParser
import Holdfast
import Lines
import ReplayStore

/// `holdfast history`: the events that are kept.
struct History: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List what has happened, oldest first, as far as the history is kept.",
        discussion: """
            Works while another process has the store open.

            Example:
              holdfast history ./store --format jsonl
            """
    )

    @OptionGroup var argument: StoreArgument
    @OptionGroup var format: FormatOption

    func run() throws {
        let events = try argument.reader().look { (view) throws(HoldfastError) in try view.history() }
        let columns: [Column] = [.number("number"), .text("time"), .text("event"), .text("region"), .text("details")]
        let printer = ListPrinter(Output(), format.forList, columns)
        for (number, event) in events {
            try printer.row(
                event.json,
                ["\(number)", timeText(event.at), event.name, event.region?.rawValue ?? "-", event.details]
            )
        }
        try printer.end(empty: "Nothing has happened yet.")
    }
}

extension FailoverEvent {
    /// What the kind says beyond its name, for people.
    fileprivate var details: String {
        switch kind {
        case .demoted(let epoch): "epoch \(epoch)"
        case .promoted(let replaced, let epoch, let pending), .switchedOver(let replaced, let epoch, let pending):
            "replaced \(replaced), epoch \(epoch), \(counted(pending.entries, "write")) outstanding"
        case .replayed(let entries): counted(entries, "write")
        case .readmitted(let forced): forced ? "forced" : ""
        case .configured(let added, let removed):
            "added \(names(added)), removed \(names(removed))"
        default: ""
        }
    }

    private func names(_ regions: [RegionID]) -> String {
        regions.isEmpty ? "none" : regions.map(\.rawValue).joined(separator: " ")
    }
}
