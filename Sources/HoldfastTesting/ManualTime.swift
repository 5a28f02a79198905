public import Holdfast
private import Platform

/// A clock that stands still until it is moved: time for tests and scenarios.
public final class ManualTime: TimeSource {
    private struct Sleeper: Sendable {
        var until: Int64
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct Reading: Sendable {
        var wall: Int64
        var elapsed: Int64 = 0
        var sleepers: [UInt64: Sleeper] = [:]
        var nextSleeper: UInt64 = 0
        var cancelled: Set<UInt64> = []
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

    /// How many tasks sleep until the clock is moved.
    public var sleepers: Int { reading.withLock { $0.sleepers.count } }

    /// Lets time pass, on the wall too, and wakes whoever has slept long enough.
    ///
    /// A negative amount is none.
    public func advance(milliseconds: Int64) {
        let woken = reading.withLock { reading -> [Sleeper] in
            let step = max(0, milliseconds)
            reading.elapsed = reading.elapsed.addingReportingOverflow(step).overflow ? .max : reading.elapsed + step
            reading.wall = reading.wall.addingReportingOverflow(step).overflow ? .max : reading.wall + step
            let due = reading.sleepers.filter { $0.value.until <= reading.elapsed }
            for number in due.keys { reading.sleepers[number] = nil }
            return due.values.sorted { $0.until < $1.until }
        }
        for sleeper in woken { sleeper.continuation.resume() }
    }

    /// Lets time pass until the first sleeping task wakes.
    ///
    /// - Returns: How many milliseconds passed; nil where nobody sleeps.
    @discardableResult
    public func advanceToNextSleeper() -> Int64? {
        let step = reading.withLock { reading -> Int64? in
            reading.sleepers.values.map(\.until).min().map { max(0, $0 - reading.elapsed) }
        }
        guard let step else { return nil }
        advance(milliseconds: step)
        return step
    }

    /// Returns when the clock has been moved so far, or throws when the task is cancelled before.
    public func sleep(milliseconds: Int64) async throws {
        let number = reading.withLock { reading -> UInt64 in
            reading.nextSleeper += 1
            return reading.nextSleeper
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let result = reading.withLock { reading -> Result<Void, any Error>? in
                    if reading.cancelled.remove(number) != nil { return .failure(CancellationError()) }
                    guard milliseconds > 0 else { return .success(()) }
                    let (until, overflow) = reading.elapsed.addingReportingOverflow(milliseconds)
                    let sleeper = Sleeper(until: overflow ? .max : until, continuation: continuation)
                    reading.sleepers[number] = sleeper
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let sleeper = reading.withLock { reading -> Sleeper? in
                if let sleeper = reading.sleepers.removeValue(forKey: number) { return sleeper }
                reading.cancelled.insert(number)
                return nil
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
        reading.withLock { _ = $0.cancelled.remove(number) }
    }
}
