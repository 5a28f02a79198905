package import Holdfast
import HoldfastTesting

/// What a workload says to the recorder while it runs, a line of JSON each: what it asks for, and what it was promised.
package enum PowerMark: Codable, Sendable {
    /// A call is about to be made.
    case issued(Int, PowerCall)
    /// A call has returned: what it says is promised from here on.
    case done(Int, PowerAnswer)
    /// No call is under way, and everything is like this.
    case state(PowerState)
}

/// A call of a workload.
package enum PowerCall: Codable, Sendable {
    case append(regions: [String], origin: String, incarnation: UInt64, sequences: [UInt64])
    case acknowledge(region: String, through: UInt64)
    case drain(region: String, max: Int)
    /// Sends the queue to a sink that refuses some writes, which become dead letters.
    case ship(region: String)
    case retryDead(region: String)
    case dropDead(region: String)
    /// A change of roles, limits or pauses, for people: the states before and after tell what it did.
    case control(String)
}

/// What a call returned.
package enum PowerAnswer: Codable, Sendable {
    /// The positions that were given, by region, and which writes were duplicates.
    case appended([PowerReceipt])
    /// The positions that were handed over.
    case drained([UInt64])
    case changed
    /// A typed error: nothing has changed.
    case refused(String)
}

/// The receipt of an append for one region.
package struct PowerReceipt: Codable, Sendable {
    package var region: String
    package var first: UInt64
    package var end: UInt64
    package var duplicates: [Int]

    package init(region: String, first: UInt64, end: UInt64, duplicates: [Int]) {
        self.region = region
        self.first = first
        self.end = end
        self.duplicates = duplicates
    }
}

/// What a controller tells of itself: all but the entries.
package struct PowerState: Codable, Sendable, Equatable {
    package struct Queue: Codable, Sendable, Equatable {
        package var region: String
        package var head: UInt64
        package var next: UInt64
        /// Limits, pause, mark and how it is replayed, as text.
        package var settings: String
        package var dead: [UInt64]
    }

    package var epoch: UInt64
    /// The configuration and the limits of all queues together, as text.
    package var settings: String
    /// Role and state of each region.
    package var roles: [String]
    package var history: [String]
    package var queues: [Queue]

    /// Asks `controller`.
    package init(_ controller: RegionFailoverController) async throws {
        epoch = controller.epoch
        settings = "\(controller.configuration), \(try await controller.totalLimits())"
        roles = controller.statuses.map { "\($0.region) \($0.role) \($0.state)" }
        history = try await controller.history().map { String(describing: $0) }
        queues = []
        for queue in try await controller.statistics() {
            let pause = "\(queue.isPaused) \(queue.pauseReason) \(queue.pausedUntil?.milliseconds ?? 0)"
            let replay = try await controller.replaySettings(for: queue.region)
            queues.append(
                Queue(
                    region: queue.region.rawValue,
                    head: queue.headPosition,
                    next: queue.nextPosition,
                    settings: "\(queue.limits), paused \(pause), needsResync \(queue.needsResync), \(replay)",
                    dead: queue.dead == 0 ? [] : try await controller.deadLetters(for: queue.region).map(\.position)
                )
            )
        }
    }
}

extension OutstandingWrite {
    /// The write of an identity in a workload: its bytes are a function of it, so that a test can tell them.
    ///
    /// A value takes a few bytes, or some sectors, or some pages, and does not compress.
    package static func numbered(_ origin: RegionID, _ incarnation: UInt64, _ sequence: UInt64) -> Self {
        var random = SplitMix64(seed: sequence &* 31 &+ incarnation)
        let size = [0, 20, 20, 200, 200, 900, 2_500, 9_000][Int(random.next() % 8)]
        var value: [UInt8] = []
        value.reserveCapacity(size + 8)
        while value.count < size {
            let bits = random.next()
            for shift in 0..<8 { value.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift * 8))) }
        }
        return Self(
            origin: origin,
            incarnation: incarnation,
            sequence: sequence,
            key: Array("key \(sequence % 97)".utf8),
            value: value,
            kind: sequence % 11 == 0 ? .delete : .put,
            timestamp: sequence % 5 == 0 ? Timestamp(milliseconds: Int64(sequence)) : nil,
            clock: sequence % 13 == 0 ? [1, 2, 3] : []
        )
    }

    /// Whether a receiver of a workload refuses it for good.
    package var isRefused: Bool { sequence % 29 == 3 }
}

extension PowerCall {
    /// Makes the call, where it is an append.
    package func append(to controller: RegionFailoverController) async throws -> PowerAnswer {
        guard case .append(let regions, let origin, let incarnation, let sequences) = self else { return .changed }
        let named = try RegionID(origin)
        let writes = sequences.map { OutstandingWrite.numbered(named, incarnation, $0) }
        let receipts = try await controller.append(writes, to: try regions.map { try RegionID($0) })
        return .appended(
            receipts.map {
                PowerReceipt(
                    region: $0.region.rawValue,
                    first: $0.positions.lowerBound,
                    end: $0.positions.upperBound,
                    duplicates: $0.duplicates
                )
            }
        )
    }
}
