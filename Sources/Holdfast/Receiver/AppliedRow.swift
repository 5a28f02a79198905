public import RegionFailover
internal import ReplayStore

/// A row of an ``AppliedSet``, for a table in the receiver's own database.
///
/// The four parts of ``key-swift.property`` are the table's primary key; ``last`` is its only other column. A sequence or
/// an incarnation is any `UInt64`: a database that has signed numbers only stores `Int64(bitPattern:)`, since rows may be
/// loaded in any order.
public struct AppliedRow: Sendable, Hashable {
    /// What a row says.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// The sequences from `first` to `last` were applied.
        case range = 0
        /// Of the identities up to `incarnation` and `last`, those in no range are forgotten; `first` is 0.
        ///
        /// An origin has one such row at most.
        case floor = 1
    }

    /// What tells one row from another.
    public struct Key: Sendable, Hashable {
        /// What the row says.
        public var kind: Kind
        /// The region whose log numbered the writes.
        public var origin: RegionID
        /// Which life of that log.
        public var incarnation: UInt64
        /// The first sequence of a range; 0 for a floor.
        public var first: UInt64

        /// Creates a key from the columns of a table.
        public init(kind: Kind, origin: RegionID, incarnation: UInt64, first: UInt64) {
            self.kind = kind
            self.origin = origin
            self.incarnation = incarnation
            self.first = first
        }
    }

    /// What tells this row from every other one.
    public var key: Key
    /// The last sequence of the range, or the one up to which the floor reaches.
    public var last: UInt64

    /// Creates a row from the columns of a table.
    public init(kind: Kind = .range, origin: RegionID, incarnation: UInt64, first: UInt64, last: UInt64) {
        key = Key(kind: kind, origin: origin, incarnation: incarnation, first: first)
        self.last = last
    }

    static func floor(_ origin: RegionID, _ number: SeenRanges.Number) -> Self {
        Self(kind: .floor, origin: origin, incarnation: number.incarnation, first: 0, last: number.sequence)
    }
}

extension AppliedRow.Key: Comparable {
    /// Orders keys by origin, kind, incarnation and first sequence.
    public static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.origin, lhs.kind.rawValue, lhs.incarnation, lhs.first)
            < (rhs.origin, rhs.kind.rawValue, rhs.incarnation, rhs.first)
    }
}

/// What has to change in the receiver's table so that it holds what an ``AppliedSet`` holds.
///
/// Both lists are in the order of their keys. A key is in one of them at most, so their order does not matter.
public struct AppliedChanges: Sendable, Hashable {
    /// Rows to delete.
    ///
    /// One that is not there is no error: a range can come and go between two calls.
    public var removed: [AppliedRow.Key] = []
    /// Rows to insert, or to update where the key is there.
    public var stored: [AppliedRow] = []

    /// Whether nothing has to change.
    public var isEmpty: Bool { removed.isEmpty && stored.isEmpty }
}
