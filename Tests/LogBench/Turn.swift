#if Etcd
import Foundation

/// What callers have done in some seconds, each one call after the other.
struct Turn: Sendable {
    /// How long each call took, in milliseconds, in rising order.
    let latencies: [Double]
    /// From the first call to the end of the last one.
    let seconds: Double

    var rate: Double { Double(latencies.count) / seconds }

    /// The latency that a part of the calls did not exceed.
    func latency(_ part: Double) -> Double {
        latencies.isEmpty ? .nan : latencies[min(latencies.count - 1, Int(part * Double(latencies.count)))]
    }

    /// Lets `callers` call for some seconds.
    ///
    /// - Parameters:
    ///   - callers: How many, each with one call at a time.
    ///   - seconds: After which none begins a new call.
    ///   - call: One call; the number is its own in the turn.
    /// - Returns: What they have done.
    /// - Throws: What a call throws; the others end then.
    static func take(
        callers: Int,
        seconds: Double,
        _ call: @escaping @Sendable (_ number: UInt64) async throws -> Void
    ) async throws -> Turn {
        let start = ContinuousClock.now
        let end = start + .seconds(seconds)
        let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
            for caller in 0..<callers {
                group.addTask {
                    var latencies: [Double] = []
                    while ContinuousClock.now < end {
                        let number = UInt64(latencies.count * callers + caller)
                        let called = ContinuousClock.now
                        try await call(number)
                        latencies.append((ContinuousClock.now - called) / .milliseconds(1))
                    }
                    return latencies
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        return Turn(latencies: latencies.sorted(), seconds: (ContinuousClock.now - start) / .seconds(1))
    }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? .nan : sorted[sorted.count / 2]
}

func text(_ value: Double, _ digits: Int = 2) -> String { String(format: "%.\(digits)f", value) }

func pad(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
#endif
