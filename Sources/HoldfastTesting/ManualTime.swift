public import Holdfast
private import Platform

/// A clock that stands still until it is moved: time for tests and scenarios.
public final class ManualTime: TimeSource {
    private struct Reading: Sendable {
        var wall: Int64
        var elapsed: Int64 = 0
    }
    private let reading: Lock<Reading>

    /// Creates a clock that shows `wallMilliseconds` since 1970 UTC.
    public init(wallMilliseconds: Int64 = 0) { reading = Lock(Reading(wall: wallMilliseconds)) }

    /// Wall time, which can be set back.
    public var wallMilliseconds: Int64 {
        get { reading.withLock { $0.wall } }
        set { reading.withLock { $0.wall = newValue } }
    }

    /// Milliseconds that have passed since the clock was made.
    public var elapsedMilliseconds: Int64 { reading.withLock { $0.elapsed } }

    /// Lets time pass, on the wall too.
    ///
    /// A negative amount is none.
    public func advance(milliseconds: Int64) {
        reading.withLock { reading in
            let step = max(0, milliseconds)
            reading.elapsed = reading.elapsed.addingReportingOverflow(step).overflow ? .max : reading.elapsed + step
            reading.wall = reading.wall.addingReportingOverflow(step).overflow ? .max : reading.wall + step
        }
    }
}
