private import Platform

/// Where a controller's time comes from.
public protocol TimeSource: Sendable {
    /// Wall time: milliseconds since 1970 UTC. Asked once, when a controller opens.
    var wallMilliseconds: Int64 { get }
    /// Milliseconds that have passed, counted from anywhere: it never goes back, and counts while the machine sleeps.
    var elapsedMilliseconds: Int64 { get }
    /// Returns when so many milliseconds have passed, or throws when the task is cancelled before.
    func sleep(milliseconds: Int64) async throws
}

extension TimeSource {
    /// Sleeps by the system's clock.
    public func sleep(milliseconds: Int64) async throws {
        try await Task.sleep(for: .milliseconds(max(0, milliseconds)))
    }
}

/// The system's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
public struct SystemTime: TimeSource {
    /// Creates a source; all are the same.
    public init() {}

    /// Milliseconds since 1970 UTC.
    public var wallMilliseconds: Int64 { System.wallMilliseconds }
    /// Milliseconds since the machine started.
    public var elapsedMilliseconds: Int64 { System.elapsedMilliseconds }
}

/// The controller's time: what was stored or the wall clock at open, whichever is later, and from there the time that
/// has passed.
///
/// A wall clock that is set while the controller runs changes nothing.
struct ControllerClock: Sendable {
    let source: any TimeSource
    private let base: Timestamp
    private let started: Int64

    /// Starts the clock; `stored` is the last time that the store knows.
    init(_ source: any TimeSource, stored: Timestamp?) {
        self.source = source
        let wall = Timestamp(milliseconds: source.wallMilliseconds)
        base = stored.map { max($0, wall) } ?? wall
        started = source.elapsedMilliseconds
    }

    var now: Timestamp {
        let (elapsed, overflow) = source.elapsedMilliseconds.subtractingReportingOverflow(started)
        return base.advanced(by: overflow ? 0 : max(0, elapsed))
    }
}
