import Holdfast
import Lines
import RegionFailover
import ReplayFormat
import ReplayStore

/// The metrics that only the tool reports: what a store is, seen from outside.
enum ToolMetricName: String, CaseIterable {
    case storeInfo = "holdfast_store_info"
    case storeOpen = "holdfast_store_open"
    case epoch = "holdfast_epoch"
    case actingPrimary = "holdfast_acting_primary"
    case lastTransaction = "holdfast_last_transaction"
    case fileBytes = "holdfast_data_file_bytes"
    case freeBytes = "holdfast_data_file_free_bytes"

    /// What the article "Metrics" says it means.
    var help: String {
        switch self {
        case .storeInfo: "Always 1; its labels say what the store is."
        case .storeOpen: "1 while a process has the store open for writing."
        case .epoch: "The epoch: it grows by one with every change of the acting primary."
        case .actingPrimary: "1 for the acting primary, 0 for every other region."
        case .lastTransaction: "The number of the last transaction that changed the store."
        case .fileBytes: "The size of the data file."
        case .freeBytes: "Bytes of pages that are free inside the data file."
        }
    }
}

/// What a store knows of itself, for `info --format prometheus`.
struct StoreExposition {
    var path: String
    var superblock: Superblock
    var machine: FailoverMachine.Snapshot
    var rows: [(RegionID, RegionRow)]
    /// What the ledger says of each queue, by its number.
    var settled: [UInt32: LedgerCounts]
    var space: StoreView.Space
    var limits: TotalLimits
    var fileBytes: UInt64
    var isOpen: Bool

    /// The text, the same for the same store at the same time.
    func text(now: Timestamp) -> String {
        var exposition = Exposition()
        let queues = rows.map { QueueStatistics($0.0, $0.1) }
        for name in MetricName.allCases {
            guard let (kind, help) = name.known else { continue }
            // The only one that is not about a queue.
            guard name != .totalLimitRatio else {
                exposition.add(name.rawValue, kind, help: help, [([], .real(limits.use(of: queues) ?? 0))])
                continue
            }
            guard name != .lostWrites else {
                exposition.add(name.rawValue, kind, help: help, queues.flatMap(lost))
                continue
            }
            let samples = queues.compactMap { queue in
                let discarded = settled[queue.queue]?.discarded ?? 0
                return name.value(queue, discarded: discarded, now: now).map {
                    ([("region", queue.region.rawValue)], $0)
                }
            }
            exposition.add(name.rawValue, kind, help: help, samples)
        }
        for name in ToolMetricName.allCases { exposition.add(name.rawValue, .gauge, help: name.help, samples(name)) }
        return exposition.text
    }

    /// The entries that a queue lost, for each reason; together they are what its row says.
    private func lost(_ queue: QueueStatistics) -> [([(String, String)], Exposition.Value)] {
        let damaged = min(queue.lost, settled[queue.queue]?.damaged ?? 0)
        return [(LostRow.Reason.damaged, damaged), (.missing, queue.lost - damaged)].map { reason, count in
            ([("region", queue.region.rawValue), ("reason", reason.name)], .whole(count))
        }
    }

    private func samples(_ name: ToolMetricName) -> [([(String, String)], Exposition.Value)] {
        switch name {
        case .storeInfo: [(information, .whole(1))]
        case .storeOpen: [([], .whole(isOpen ? 1 : 0))]
        case .epoch: [([], .whole(machine.epoch))]
        case .actingPrimary:
            rows.map { ([("region", $0.0.rawValue)], .whole($0.0 == machine.actingPrimary ? 1 : 0)) }
        case .lastTransaction: [([], .whole(space.lastTransaction))]
        case .fileBytes: [([], .whole(fileBytes))]
        case .freeBytes: [([], .whole(space.freeBytes))]
        }
    }

    private var information: [(String, String)] {
        [
            ("store", path), ("uuid", superblock.store.description), ("format", "\(superblock.version)"),
            ("mode", superblock.mode == .local ? "local" : "replicated"), ("version", toolVersion),
        ]
    }
}

/// Entries of a queue that the ledger tells apart, and its row does not.
struct LedgerCounts {
    /// Dead letters that were given up.
    var discarded: UInt64 = 0
    /// Entries whose block was there and damaged.
    var damaged: UInt64 = 0
}

extension StoreView {
    /// Counts what the ledger names of each queue, by the queue's number.
    func ledgerCounts() throws(HoldfastError) -> [UInt32: LedgerCounts] {
        var counts: [UInt32: LedgerCounts] = [:]
        try scan(.lost) { (key, value) throws(HoldfastError) in
            do throws(FormatError) {
                let (place, row) = try LostRow.read(key, value)
                switch row.reason {
                case .discarded: counts[place.queue, default: .init()].discarded &+= row.entries
                case .damaged: counts[place.queue, default: .init()].damaged &+= row.entries
                case .dropped, .expired, .removed, .missing: break
                }
                return true
            } catch {
                throw HoldfastError(error, in: "A row of the ledger")
            }
        }
        return counts
    }
}
