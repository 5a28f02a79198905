import HoldfastTesting
import ReplayFormat
import Synchronization
import Testing

@testable import Holdfast

/// A receiver that serves so many entries a second, in the order in which they come, whether or not anybody still waits
/// for the answer: what made the senders of scylla#7886 repeat themselves for ever.
private struct SimulatedReceiver {
    /// Entries a second, from a second on; the first is from 0.
    var capacities: [(from: Int, entriesPerSecond: Double)]
    /// Whether it refuses at once what it cannot serve in this moment, in place of serving it late.
    var sheds = false
    private var busyUntil = 0.0

    init(_ capacities: [(from: Int, entriesPerSecond: Double)], sheds: Bool = false) {
        self.capacities = capacities
        self.sheds = sheds
    }

    /// When the answer to a batch comes that arrives now; nil when it is refused.
    mutating func answer(_ entries: Int, at now: Double) -> Double? {
        let capacity = capacities.last { Double($0.from) * 1000 <= now }?.entriesPerSecond ?? 1
        let work = Double(entries) * 1000 / capacity
        if sheds {
            // A bucket of one second's worth.
            guard max(now, busyUntil) + work <= now + 1000 else { return nil }
            busyUntil = max(now, busyUntil) + work
            return now + 1
        }
        busyUntil = max(now, busyUntil) + work
        return busyUntil
    }
}

/// What a sender and a receiver did, in simulated time.
private struct SimulatedRun {
    /// Entries that were acknowledged in each second.
    var delivered: [Int]
    /// The batch and the rate before and after each failure.
    var failures: [(before: (batch: Double, rate: Double?), after: (batch: Double, rate: Double?))] = []

    /// The share of a capacity that was delivered in some seconds.
    func goodput(_ seconds: Range<Int>, of capacity: Double) -> Double {
        Double(delivered[seconds].reduce(0, +)) / (capacity * Double(seconds.count))
    }
}

/// Lets a pace send to a receiver; `adapts` is false for a sender that never changes its batch.
private func simulate(
    _ settings: ReplaySettings,
    _ receiver: SimulatedReceiver,
    seconds: Int,
    seed: UInt64,
    adapts: Bool = true,
    change: (second: Int, settings: ReplaySettings)? = nil
) -> SimulatedRun {
    var random = SplitMix64(seed: seed)
    var receiver = receiver
    var pace = ReplayPace(settings)
    var outcome = SimulatedRun(delivered: Array(repeating: 0, count: seconds))
    var now = 0.0
    let end = Double(seconds) * 1000
    while now < end {
        if let change, now >= Double(change.second) * 1000 { pace.set(change.settings) }
        let allowance = pace.allowance(at: Int64(now))
        // As the service does: never longer than a quarter of a second without a look at the settings.
        if adapts, allowance.waitMilliseconds > 0 {
            now += Double(min(allowance.waitMilliseconds, 250))
            continue
        }
        let entries = adapts ? allowance.entries : Int(settings.batchEntriesMax)
        pace.sending(entries: entries, bytes: entries, at: Int64(now))
        let answer = receiver.answer(entries, at: now)
        let deadline = now + Double(pace.settings.timeoutMilliseconds)
        if let answer, answer <= deadline {
            pace.succeeded(entries: entries, after: Int64(answer - now), at: Int64(answer))
            now = max(answer, now + 0.1)
            if now < end { outcome.delivered[Int(now / 1000)] += entries }
            continue
        }
        now = answer == nil ? now + 1 : deadline
        let before = (pace.batch, pace.rate)
        pace.failed(at: Int64(now))
        outcome.failures.append((before, (pace.batch, pace.rate)))
        now += Double(Int64.random(in: 0...pace.backoffMaxMilliseconds, using: &random))
    }
    return outcome
}

@Suite("The pace of a replay") struct ReplayPaceTests {
    @Test(
        "finds the load that a region can carry within 30 seconds, and keeps to it",
        arguments: [20, 100, 1000, 20_000],
        [200, 1000, 5000] as [UInt32]
    )
    func goodput(capacity: Double, timeout: UInt32) {
        for seed in 1...5 as ClosedRange<UInt64> {
            for batch in [256, 4096] as [UInt32] {
                let settings = ReplaySettings(batchEntriesMax: batch, timeoutMilliseconds: timeout)
                let outcome = simulate(settings, SimulatedReceiver([(0, capacity)]), seconds: 120, seed: seed)
                let comment: Comment = "batch \(batch), seed \(seed): \(outcome.delivered)"
                #expect(outcome.goodput(0..<30, of: capacity) >= 0.8, comment)
                for start in stride(from: 20, to: 120, by: 20) {
                    #expect(outcome.goodput(start..<(start + 20), of: capacity) >= 0.8, comment)
                }
            }
        }
    }

    @Test("of a sender that does not adapt lives in lock with a slow region, in the same simulation")
    func livelock() {
        let settings = ReplaySettings(batchEntriesMax: 256, timeoutMilliseconds: 1000)
        let outcome = simulate(settings, SimulatedReceiver([(0, 100)]), seconds: 120, seed: 1, adapts: false)
        #expect(outcome.goodput(0..<120, of: 100) == 0)
    }

    @Test("follows a region that becomes ten times slower, and faster again", arguments: 1...5 as ClosedRange<UInt64>)
    func brownout(seed: UInt64) {
        let settings = ReplaySettings(batchEntriesMax: 1024, timeoutMilliseconds: 1000)
        let receiver = SimulatedReceiver([(0, 1000), (30, 100), (90, 1000)])
        let outcome = simulate(settings, receiver, seconds: 150, seed: seed)
        let comment: Comment = "\(outcome.delivered)"
        #expect(outcome.goodput(60..<90, of: 100) >= 0.8, comment)
        #expect(outcome.goodput(120..<150, of: 1000) >= 0.8, comment)
    }

    @Test("stays near the rate of a region that refuses what is beyond it", arguments: 1...5 as ClosedRange<UInt64>)
    func shedding(seed: UInt64) {
        let settings = ReplaySettings(batchEntriesMax: 256, timeoutMilliseconds: 1000)
        let outcome = simulate(settings, SimulatedReceiver([(0, 1000)], sheds: true), seconds: 120, seed: seed)
        #expect(outcome.goodput(0..<30, of: 1000) >= 0.8, "\(outcome.delivered)")
        #expect(outcome.goodput(30..<120, of: 1000) >= 0.8, "\(outcome.delivered)")
    }

    @Test("halves with every failure: the batch and the rate", arguments: [20, 100, 5000])
    func halving(capacity: Double) {
        let settings = ReplaySettings(batchEntriesMax: 4096, timeoutMilliseconds: 100)
        let receiver = SimulatedReceiver([(0, 100_000), (5, capacity), (10, 100_000), (15, 0.001)])
        let failures = simulate(settings, receiver, seconds: 60, seed: 3).failures
        #expect(failures.count >= 10)
        for (before, after) in failures {
            #expect(after.batch == max(1, (before.batch / 2).rounded(.down)))
            if let rate = before.rate { #expect((after.rate ?? .infinity) <= max(100_000 / 32, rate / 2)) }
        }
    }

    @Test("takes a new rate up within a second, slower or faster") func newRate() {
        let slow = ReplaySettings(batchEntriesMax: 256, entriesPerSecondMax: 50)
        let fast = ReplaySettings(batchEntriesMax: 256, entriesPerSecondMax: 5000)
        let receiver = SimulatedReceiver([(0, 1_000_000)])
        let slower = simulate(fast, receiver, seconds: 20, seed: 1, change: (10, slow)).delivered
        #expect(slower[2..<10].allSatisfy { (4500...5500).contains($0) }, "\(slower)")
        #expect(slower[11...].allSatisfy { (0...100).contains($0) } && slower[11...].reduce(0, +) >= 400, "\(slower)")
        let faster = simulate(slow, receiver, seconds: 20, seed: 1, change: (10, fast)).delivered
        #expect(faster[..<10].reduce(0, +) <= 550, "\(faster)")
        #expect(faster[11...].allSatisfy { (4500...5500).contains($0) }, "\(faster)")
    }

    @Test("keeps to a rate in bytes") func byteRate() {
        var pace = ReplayPace(ReplaySettings(batchBytesMax: 1000, bytesPerSecondMax: 2000))
        var now: Int64 = 0
        var sent = 0
        while now < 10_000 {
            let allowance = pace.allowance(at: now)
            guard allowance.waitMilliseconds == 0 else {
                now += allowance.waitMilliseconds
                continue
            }
            #expect(allowance.bytes == 1000)
            pace.sending(entries: 1, bytes: allowance.bytes, at: now)
            sent += allowance.bytes
        }
        #expect((20_000...21_000).contains(sent))
    }

    @Test("waits up to twice as long after each failure, within its bounds") func backoff() {
        var pace = ReplayPace(ReplaySettings(backoffBaseMilliseconds: 100, backoffMaxMilliseconds: 3000))
        var waits: [Int64] = []
        for _ in 0..<8 {
            pace.failed(at: 0)
            waits.append(pace.backoffMaxMilliseconds)
        }
        #expect(waits == [100, 200, 400, 800, 1600, 3000, 3000, 3000])
        pace.succeeded(entries: 1, after: 1, at: 0)
        pace.failed(at: 0)
        #expect(pace.backoffMaxMilliseconds == 100)
    }
}

@Suite("The pace of a service that runs") struct RunningPaceTests {
    @Test("follows a new rate within a second of its clock, faster and slower") func newRate() async throws {
        let time = SteppedTime()
        let deployment = try await Deployment(source: time)
        let controller = deployment.controller
        let region: RegionID = "eu-west-1"
        func set(_ rate: UInt32) async throws {
            try await controller.setReplaySettings(ReplaySettings(entriesPerSecondMax: rate), for: region)
        }
        try await set(10)
        try await controller.append((1...20_000).map { write($0) }, to: region)
        let deliveries = Mutex<[(at: Int64, entries: Int)]>([])
        let sink: ReplaySink = { batch in
            deliveries.withLock { $0.append((time.elapsedMilliseconds, batch.entries.count)) }
        }
        try await shipping(controller, sink) { _ in
            // How much is delivered in a second that begins so long after now, with all before it.
            func second(after wait: Int64) async throws -> Int {
                let start = time.elapsedMilliseconds + wait
                try await time.advance { time.elapsedMilliseconds >= start + 1000 }
                return deliveries.withLock { all in
                    all.filter { start..<(start + 1000) ~= $0.at }.reduce(0) { $0 + $1.entries }
                }
            }
            #expect(5...20 ~= (try await second(after: 3000)))
            for _ in 0..<3 {
                try await set(1000)
                let fast = try await second(after: 1000)
                #expect(900...1300 ~= fast, "\(fast)")
                try await set(10)
                let slow = try await second(after: 1000)
                #expect(5...20 ~= slow, "\(slow)")
            }
        }
        await controller.close()
    }
}
