#if Etcd
import Holdfast
import RaftApply
import ReplayStore

extension Replica {
    /// The replica's numbers in the text format of Prometheus.
    func metricsText(_ controller: ReplicatedController) async throws -> String {
        let view = try await controller.view(.local)
        var text = ""
        func add(_ name: String, _ kind: String, _ help: String, _ values: [(labels: String, value: UInt64)]) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n"
            for (labels, value) in values {
                text += "\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(value)\n"
            }
        }
        add(
            "holdfast_replica_applied_index",
            "gauge",
            "The last entry of the log that was applied.",
            [("", view.index)]
        )
        let isStopped: UInt64 = machine.failure == nil ? 0 : 1
        add(
            "holdfast_replica_stopped",
            "gauge",
            "1 when the replica has stopped, and its log says why.",
            [("", isStopped)]
        )
        add(
            "holdfast_epoch",
            "gauge",
            "The epoch: it grows by one with every change of the acting primary.",
            [
                ("", view.machine?.epoch ?? 0)
            ]
        )
        let numbers: [(String, String, String, (QueueStatistics) -> UInt64)] = [
            ("holdfast_accepted_writes_total", "counter", "Writes that were queued for the region.", \.accepted),
            (
                "holdfast_acknowledged_writes_total", "counter",
                "Entries that left the queue because the region received them.", \.acknowledged
            ),
            ("holdfast_queue_entries", "gauge", "Entries that wait.", \.entries),
            ("holdfast_dead_letters", "gauge", "Dead letters that nobody has settled.", \.dead),
            (
                "holdfast_needs_resync", "gauge", "1 when replay alone can no longer bring the region up to date.",
                {
                    $0.needsResync ? 1 : 0
                }
            ),
        ]
        for (name, kind, help, value) in numbers {
            add(name, kind, help, view.queues.map { ("region=\"\($0.region)\"", value($0)) })
        }
        return text
    }
}
#endif
