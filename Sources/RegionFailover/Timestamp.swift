/// A point in time: signed milliseconds since the start of 1970, UTC.
///
/// Arithmetic stops at the ends of the range in place of trapping, because timestamps come from clocks and disks.
public struct Timestamp: Sendable, Hashable {
    /// Milliseconds since the start of 1970, UTC; negative before that.
    public var milliseconds: Int64

    /// Creates a point in time.
    ///
    /// - Parameter milliseconds: Milliseconds since the start of 1970, UTC; every value is one.
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The point in time that is `milliseconds` later, or earlier when negative.
    ///
    /// - Parameter milliseconds: How far to move.
    /// - Returns: The moved time, or the nearest end of the range.
    public func advanced(by milliseconds: Int64) -> Self {
        let (sum, overflow) = self.milliseconds.addingReportingOverflow(milliseconds)
        guard overflow else { return Self(milliseconds: sum) }
        return Self(milliseconds: milliseconds < 0 ? .min : .max)
    }

    /// The milliseconds from `earlier` to this time.
    ///
    /// - Parameter earlier: Where to count from; the result is negative when it is in fact the later one.
    /// - Returns: The distance, or the nearest `Int64`.
    public func milliseconds(since earlier: Self) -> Int64 {
        let (difference, overflow) = milliseconds.subtractingReportingOverflow(earlier.milliseconds)
        guard overflow else { return difference }
        return self < earlier ? .min : .max
    }
}

extension Timestamp: Comparable {
    /// Orders times from the earliest to the latest.
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.milliseconds < rhs.milliseconds }
}
