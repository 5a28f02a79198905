public import Holdfast

/// Something that a store did to writes, and must not do.
public struct ConservationViolation: Sendable, Hashable, CustomStringConvertible {
    /// What it did.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// A write is gone: its append had returned, or it had a position, and nobody has received it, nobody has it queued,
        /// and no row of the ledger says that it left. Or other writes of its call are there, in this region or another.
        case missing
        /// Bytes are not those that were issued.
        case changed
        /// Writes came, or stand, in another order than that of their appends, or of the call that they are of.
        case outOfOrder
        /// A write was received again that was not in flight, or is queued twice.
        case doubled
        /// A write appeared that nobody had issued for the region.
        case notIssued
        /// A counter is not what has happened.
        case counter
        /// The full check of the store found an error.
        case damaged
        /// Epoch, roles, limits, pauses or history are not what the controller's calls had promised.
        case controller
    }

    /// What happened.
    public var kind: Kind
    /// The region whose queue it is; nil for what is about the whole store.
    public var region: RegionID?
    /// The first and the last position; nil where there is none.
    public var positions: ClosedRange<UInt64>?
    /// What was expected and what was found, for people.
    public var detail: String

    /// Creates a violation.
    public init(kind: Kind, region: RegionID?, positions: ClosedRange<UInt64>?, detail: String) {
        self.kind = kind
        self.region = region
        self.positions = positions
        self.detail = detail
    }

    /// One line: the kind, the region, the positions, and the detail.
    public var description: String {
        var text = kind.rawValue
        if let region { text += ", region \(region)" }
        if let positions {
            text +=
                positions.lowerBound == positions.upperBound
                ? ", position \(positions.lowerBound)"
                : ", positions \(positions.lowerBound)-\(positions.upperBound)"
        }
        return "\(text): \(detail)"
    }
}

/// Violations as they are found: neighbours of one kind become one, and what would be too many is counted.
struct ConservationViolations: Sendable {
    private(set) var all: [ConservationViolation] = []

    /// So many are kept: nobody reads more.
    private static let countMax = 200

    mutating func add(
        _ kind: ConservationViolation.Kind,
        _ region: RegionID?,
        _ position: UInt64?,
        _ detail: @autoclosure () -> String
    ) {
        if let position, let last = all.last, last.kind == kind, last.region == region, let range = last.positions,
            range.contains(position) || range.upperBound &+ 1 == position
        {
            all[all.count - 1].positions = range.lowerBound...max(range.upperBound, position)
            return
        }
        guard all.count < Self.countMax else { return }
        all.append(
            ConservationViolation(
                kind: kind,
                region: region,
                positions: position.map { $0...$0 },
                detail: detail()
            )
        )
    }
}
