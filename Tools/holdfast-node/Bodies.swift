#if Etcd
import Foundation
import Holdfast
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore

// What the door takes and gives, in the names of `holdfast records` and `holdfast append`.

/// A write, or an entry of a queue: a line of JSON.
struct WriteBody: Codable, Sendable {
    var origin: String
    var incarnation: UInt64
    var sequence: UInt64
    var kind: String?
    var timestampMs: Int64?
    var key: String?
    var keyBase64: String?
    var value: String?
    var valueBase64: String?
    var clockBase64: String?
    var position: UInt64?
    var enqueuedAtMs: Int64?

    init(_ entry: QueueEntry) {
        let write = entry.write
        origin = write.origin.rawValue
        incarnation = write.incarnation
        sequence = write.sequence
        kind = write.kind == .delete ? "delete" : "put"
        timestampMs = write.timestamp?.milliseconds
        keyBase64 = Data(write.key).base64EncodedString()
        valueBase64 = Data(write.value).base64EncodedString()
        clockBase64 = write.clock.isEmpty ? nil : Data(write.clock).base64EncodedString()
        position = entry.position
        enqueuedAtMs = entry.enqueuedAt.milliseconds
    }

    /// The write; throws what is wrong with it.
    func write() throws -> OutstandingWrite {
        let kinds: [String: OutstandingWrite.Kind] = ["put": .put, "delete": .delete]
        guard let kind = kinds[kind ?? "put"] else { throw BadRequest("\"kind\" is neither \"put\" nor \"delete\"") }
        return OutstandingWrite(
            origin: try regionName(origin),
            incarnation: incarnation,
            sequence: sequence,
            key: try Self.bytes("key", key, keyBase64),
            value: try Self.bytes("value", value, valueBase64),
            kind: kind,
            timestamp: timestampMs.map(Timestamp.init(milliseconds:)),
            clock: clockBase64 == nil ? [] : try Self.bytes("clock", nil, clockBase64)
        )
    }

    private static func bytes(_ name: String, _ text: String?, _ base64: String?) throws -> [UInt8] {
        switch (text, base64) {
        case (let text?, nil): return Array(text.utf8)
        case (nil, let base64?):
            guard let data = Data(base64Encoded: base64) else { throw BadRequest("\"\(name)Base64\" is no base64") }
            return Array(data)
        case (nil, nil): throw BadRequest("\"\(name)\" is missing")
        default: throw BadRequest("\"\(name)\" is given twice, in two forms")
        }
    }
}

/// The deployment.
struct DeploymentBody: Codable, Sendable {
    var local: String
    var regions: [String]
    var suspectAfterMs: Int64?
    var automaticFailover: Bool?
    var entriesMax: UInt64?
    var bytesMax: UInt64?
    var force: Bool?

    func configuration() throws -> FailoverConfiguration {
        var configuration = FailoverConfiguration(local: try regionName(local), regions: try regions.map(regionName))
        if let suspectAfterMs { configuration.suspectAfterMilliseconds = suspectAfterMs }
        if let automaticFailover { configuration.automaticFailover = automaticFailover }
        return configuration
    }

    var limits: QueueLimits? {
        guard entriesMax != nil || bytesMax != nil else { return nil }
        var limits = QueueLimits()
        (limits.entriesMax, limits.bytesMax) = (entriesMax, bytesMax)
        return limits
    }
}

/// What an append to one region came to.
struct AppendBody: Codable, Sendable {
    var region: String
    var accepted: Int
    var duplicates: [Int]
    var first: UInt64
    var dropped: UInt64

    init(_ receipt: AppendReceipt) {
        region = receipt.region.rawValue
        accepted = receipt.accepted
        duplicates = receipt.duplicates
        first = receipt.first
        dropped = receipt.dropped
    }
}

struct AcknowledgeBody: Codable, Sendable {
    var region: String
    var acknowledged: UInt64
    var remaining: UInt64

    init(_ receipt: AcknowledgeReceipt) {
        region = receipt.region.rawValue
        acknowledged = receipt.acknowledged
        remaining = receipt.remaining
    }
}

struct DrainBody: Codable, Sendable {
    var region: String
    var entries: [WriteBody]
    var remaining: UInt64
}

/// The deployment and its queues, as of one index.
struct StateBody: Codable, Sendable {
    struct Region: Codable, Sendable {
        var region: String
        var role: String
        var state: String
        var head: UInt64
        var next: UInt64
        var entries: UInt64
        var accepted: UInt64
        var acknowledged: UInt64
        var drained: UInt64
        var dropped: UInt64
        var dead: UInt64
        var lost: UInt64
        var isPaused: Bool
    }

    var member: String
    var index: UInt64
    var epoch: UInt64
    var actingPrimary: String
    var regions: [Region]
}

struct DigestBody: Codable, Sendable {
    var member: String
    var index: UInt64
    var digest: String
}

struct EventsBody: Codable, Sendable {
    var events: [String]
    var epoch: UInt64
    var actingPrimary: String
}

struct ErrorBody: Codable, Sendable {
    struct Content: Codable, Sendable {
        var code: String
        var message: String
        var region: String?
        /// The epoch now, or how many writes wait, where the code is about that.
        var count: UInt64?
    }

    var error: Content
}

/// What was sent is no request that the door knows.
struct BadRequest: Error {
    var message: String

    init(_ message: String) { self.message = message }
}

extension JSONEncoder {
    /// An encoder whose output is the same for the same body.
    static var line: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}

/// Reads a region's name.
func regionName(_ name: String) throws -> RegionID {
    guard let region = RegionID(utf8: name.utf8) else {
        throw BadRequest("'\(name)' is no name of a region: 1 to 63 of A-Z a-z 0-9 . _ -")
    }
    return region
}
#endif
