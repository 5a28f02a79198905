import Holdfast
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

extension MetricName {
    /// What a store itself knows of the metrics that the library reports: their kind, and what the article says they mean.
    ///
    /// The rest is known only to the process that has the store open.
    var known: (kind: Exposition.Kind, help: String)? {
        switch self {
        case .acceptedWrites: (.counter, "Writes that were queued for the region.")
        case .acknowledgedWrites: (.counter, "Entries that left the queue because the region received them.")
        case .drainedWrites: (.counter, "Entries that left the queue by a drain.")
        case .droppedWrites:
            (.counter, "Entries that made room or were too old, where the limits say that the oldest go.")
        case .parkedWrites: (.counter, "Entries that the region refused too often, and that became dead letters.")
        case .retriedWrites: (.counter, "Dead letters that were queued again.")
        case .discardedWrites: (.counter, "Dead letters that were given up by hand.")
        case .lostWrites: (.counter, "Entries that were found damaged or missing.")
        case .queueEntries: (.gauge, "Entries that wait.")
        case .queueRawBytes: (.gauge, "Bytes of their keys, values and clocks.")
        case .queueStoredBytes: (.gauge, "Bytes that they take in the store.")
        case .queueOldestSeconds: (.gauge, "How long the oldest has waited; 0 when none waits.")
        case .queueLimitRatio:
            (
                .gauge,
                "How much of its limits the queue uses, of the one that is nearest; 1 is full, 0 is also no limit."
            )
        case .queueCompressionRatio: (.gauge, "Raw bytes for each stored byte; 0 when the queue is empty.")
        case .deadLetters: (.gauge, "Dead letters that nobody has settled.")
        case .needsResync: (.gauge, "1 when replay alone can no longer bring the region up to date.")
        case .paused: (.gauge, "1 while the replay is paused.")
        case .totalLimitRatio:
            (
                .gauge,
                "How much of the limits on all queues together is used, of the one that is nearest; 1 is full, 0 is also no limit."
            )
        case .acceptedBytes, .duplicateWrites, .refusedCalls, .commits, .transactionSeconds, .syncSeconds,
            .callsPerCommit, .sentWrites, .redeliveredWrites, .failedSends, .sendSeconds, .batchEntries, .rateLimit,
            .secondsToDrained:
            nil
        }
    }

    /// Its value for a queue; nil for one that a store does not know.
    func value(_ queue: QueueStatistics, discarded: UInt64, now: Timestamp) -> Exposition.Value? {
        switch self {
        case .acceptedWrites: .whole(queue.accepted)
        case .acknowledgedWrites: .whole(queue.acknowledged)
        case .drainedWrites: .whole(queue.drained)
        // The ledger counts the dead letters that were given up among those dropped.
        case .droppedWrites: .whole(queue.dropped - min(queue.dropped, discarded))
        case .parkedWrites: .whole(queue.dead &+ queue.retried &+ discarded)
        case .retriedWrites: .whole(queue.retried)
        case .discardedWrites: .whole(discarded)
        case .queueEntries: .whole(queue.entries)
        case .queueRawBytes: .whole(queue.rawBytes)
        case .queueStoredBytes: .whole(queue.storedBytes)
        case .queueOldestSeconds: .real(Double(queue.oldestMilliseconds(at: now)) / 1000)
        case .queueLimitRatio: .real(queue.limitUse(at: now) ?? 0)
        case .queueCompressionRatio:
            .real(queue.storedBytes > 0 ? Double(queue.rawBytes) / Double(queue.storedBytes) : 0)
        case .deadLetters: .whole(queue.dead)
        case .needsResync: .whole(queue.needsResync ? 1 : 0)
        case .paused: .whole(queue.isPaused ? 1 : 0)
        default: nil
        }
    }
}

/// Text in the exposition format of Prometheus, version 0.0.4.
struct Exposition {
    enum Kind: String {
        case counter, gauge
    }

    enum Value {
        case whole(UInt64)
        case real(Double)

        var text: String {
            switch self {
            case .whole(let value): "\(value)"
            case .real(let value):
                value.isNaN ? "NaN" : value.isInfinite ? (value > 0 ? "+Inf" : "-Inf") : "\(value)"
            }
        }
    }

    private(set) var text = ""

    /// Adds a metric with its samples, each a list of labels and a value.
    mutating func add(_ name: String, _ kind: Kind, help: String, _ samples: [([(String, String)], Value)]) {
        guard !samples.isEmpty else { return }
        let help = Self.escaped(help, quotes: false)
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        for (labels, value) in samples {
            let list = labels.map { #"\#($0)="\#(Self.escaped($1, quotes: true))""# }.joined(separator: ",")
            text += "\(name)\(list.isEmpty ? "" : "{\(list)}") \(value.text)\n"
        }
    }

    /// The format's escapes: for a backslash and the end of a line, and in a label for a quotation mark.
    static func escaped(_ text: String, quotes: Bool) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result.append(contentsOf: #"\\"#.unicodeScalars)
            case "\n": result.append(contentsOf: #"\n"#.unicodeScalars)
            case "\"" where quotes: result.append(contentsOf: #"\""#.unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
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
