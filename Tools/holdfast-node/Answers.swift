#if Etcd
import FlyingFox
import Foundation
import Holdfast
import Lines
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore

// What the door gives, in the names of the tool `holdfast`.

extension HTTPResponse {
    /// One JSON object, or a list of them.
    static func json(_ json: JSON, _ status: HTTPStatusCode = .ok) -> HTTPResponse { lines([json], status) }

    /// Objects, a line each.
    static func lines(_ objects: [JSON], _ status: HTTPStatusCode = .ok) -> HTTPResponse {
        var text: [UInt8] = []
        for object in objects {
            object.write(into: &text)
            text.append(UInt8(ascii: "\n"))
        }
        return HTTPResponse(statusCode: status, headers: [.contentType: "application/json"], body: Data(text))
    }

    static func text(_ text: String, _ status: HTTPStatusCode = .ok) -> HTTPResponse {
        HTTPResponse(statusCode: status, headers: [.contentType: "text/plain; version=0.0.4"], body: Data(text.utf8))
    }

    /// A refusal that is no controller's.
    static func refusal(_ status: HTTPStatusCode, _ code: String, _ message: String) -> HTTPResponse {
        json(.object([("error", .object([("code", .string(code)), ("message", .string(message))]))]), status)
    }
}

extension AppendReceipt {
    var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("accepted", .unsigned(UInt64(accepted))),
            ("first", .unsigned(first)),
            ("duplicates", .array(duplicates.map { .unsigned(UInt64($0)) })), ("dropped", .unsigned(dropped)),
        ])
    }
}

extension AcknowledgeReceipt {
    var json: JSON {
        .object([
            ("region", .string(region.rawValue)), ("acknowledged", .unsigned(acknowledged)),
            ("remaining", .unsigned(remaining)),
        ])
    }
}

extension DrainReceipt {
    func json(_ region: RegionID) -> JSON {
        .object([
            ("region", .string(region.rawValue)), ("entries", .array(entries.map { $0.json(region, .base64) })),
            ("remaining", .unsigned(remaining)),
        ])
    }
}

extension FailoverMachine {
    /// Who leads after some events.
    func json(_ events: [FailoverEvent]) -> JSON {
        .object([
            ("epoch", .unsigned(epoch)), ("actingPrimary", .string(actingPrimary.rawValue)),
            ("events", .array(events.map(\.json))),
        ])
    }

    /// The deployment and its queues, as of one index.
    func json(_ view: ReplicaView, member: String) throws -> JSON {
        .object([
            ("member", .string(member)), ("index", .unsigned(view.index)), ("epoch", .unsigned(epoch)),
            ("actingPrimary", .string(actingPrimary.rawValue)),
            ("regions", .array(try view.queues.map { $0.json(try status(of: $0.region)) })),
        ])
    }
}

extension QueueStatistics {
    func json(_ status: RegionStatus) -> JSON {
        .object([
            ("region", .string(region.rawValue)), ("role", .string(status.role.rawValue)),
            ("state", .string(status.state.rawValue)), ("head", .unsigned(headPosition)),
            ("next", .unsigned(nextPosition)),
            ("entries", .unsigned(entries)), ("accepted", .unsigned(accepted)),
            ("acknowledged", .unsigned(acknowledged)),
            ("drained", .unsigned(drained)), ("dropped", .unsigned(dropped)), ("dead", .unsigned(dead)),
            ("lost", .unsigned(lost)), ("isPaused", .bool(isPaused)),
        ])
    }
}

extension ReplicaView {
    /// The replica's numbers in the text format of Prometheus.
    func metrics(isStopped: Bool, now: Timestamp) -> String {
        var exposition = Exposition()
        let own: [(String, String, UInt64)] = [
            ("holdfast_replica_applied_index", "The last entry of the log that was applied.", index),
            ("holdfast_replica_stopped", "1 when the replica has stopped, and its log says why.", isStopped ? 1 : 0),
            (
                "holdfast_epoch", "The epoch: it grows by one with every change of the acting primary.",
                machine?.epoch ?? 0
            ),
        ]
        for (name, help, value) in own { exposition.add(name, .gauge, help: help, [([], .whole(value))]) }
        // Those that a queue knows without its ledger.
        let names: [MetricName] = [
            .acceptedWrites, .acknowledgedWrites, .drainedWrites, .queueEntries, .queueRawBytes, .queueStoredBytes,
            .queueOldestSeconds, .queueLimitRatio, .deadLetters, .needsResync, .paused,
        ]
        for name in names {
            guard let (kind, help) = name.known else { continue }
            let samples = queues.compactMap { queue in
                name.value(queue, discarded: 0, now: now).map { ([("region", queue.region.rawValue)], $0) }
            }
            exposition.add(name.rawValue, kind, help: help, samples)
        }
        return exposition.text
    }
}

extension HoldfastError {
    /// The status of HTTP for each code: the only such map.
    var httpStatus: HTTPStatusCode {
        switch code {
        case .unknownRegion: .notFound
        case .invalidConfiguration, .positionOutOfRange, .identityConflict: .badRequest
        case .noSecondaryAvailable, .illegalTransition, .replayPending, .needsResync, .staleEpoch, .identityBelowFloor,
            .notConfigured, .sessionExpired:
            .conflict
        case .tooLarge: .payloadTooLarge
        case .full: HTTPStatusCode(507, phrase: "Insufficient Storage")
        case .outcomeUnknown: .gatewayTimeout
        case .overloaded, .logUnavailable, .notLeader, .cancelled: .serviceUnavailable
        default: .internalServerError
        }
    }
}
#endif
