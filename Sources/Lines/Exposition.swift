package import RegionFailover
package import ReplayStore

extension MetricName {
    /// What a store itself knows of the metrics that the library reports: their kind, and what the article says they mean.
    ///
    /// The rest is known only to the process that has the store open.
    package var known: (kind: Exposition.Kind, help: String)? {
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
    package func value(_ queue: QueueStatistics, discarded: UInt64, now: Timestamp) -> Exposition.Value? {
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
package struct Exposition {
    package enum Kind: String {
        case counter, gauge
    }

    package enum Value {
        case whole(UInt64)
        case real(Double)

        package var text: String {
            switch self {
            case .whole(let value): "\(value)"
            case .real(let value):
                value.isNaN ? "NaN" : value.isInfinite ? (value > 0 ? "+Inf" : "-Inf") : "\(value)"
            }
        }
    }

    package private(set) var text = ""

    package init() {}

    /// Adds a metric with its samples, each a list of labels and a value.
    package mutating func add(_ name: String, _ kind: Kind, help: String, _ samples: [([(String, String)], Value)]) {
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
