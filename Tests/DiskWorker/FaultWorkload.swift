import Holdfast
import HoldfastTesting

/// Appends, acknowledgements, drains and changes of limits on one handle, and what each came to.
///
/// It tells the oracle what the caller knows: a refusal means that nothing is there, and any other error that nobody knows.
struct FaultWorkload {
    static let regions: [RegionID] = ["us", "eu", "ap"]

    let controller: RegionFailoverController
    var oracle: ConservationOracle
    var random: SplitMix64
    /// Whether the handle has said that it does nothing any more, or that nobody knows what a call has done.
    private(set) var isPoisoned = false
    /// How often each code came.
    private(set) var codes: [String: Int] = [:]
    /// What must not be.
    var faults: [String] = []
    /// The codes that the disk's error may have.
    let allowed: Set<String>

    init(_ controller: RegionFailoverController, _ oracle: ConservationOracle, seed: UInt64, allowed: Set<String>) {
        (self.controller, self.oracle, self.allowed) = (controller, oracle, allowed)
        random = SplitMix64(seed: seed)
    }

    mutating func run(operations: Int) async {
        for _ in 0..<operations {
            let region = Self.regions.randomElement(using: &random) ?? Self.regions[0]
            switch Int.random(in: 0..<10, using: &random) {
            case 0...3: await append(to: region)
            case 4: await appendAtOnce()
            case 5, 6: await deliver(region)
            case 7: await drain(region)
            default: await limit(region)
            }
        }
    }

    // MARK: Steps

    /// Whether it succeeded.
    @discardableResult
    mutating func append(to region: RegionID) async -> Bool {
        let isFanOut = Int.random(in: 0..<4, using: &random) == 0
        let count = [1, 1, 2, 5, 40, 120].randomElement(using: &random) ?? 1
        let call = oracle.issue(count, to: isFanOut ? Self.regions : [region])
        do throws(HoldfastError) {
            hear(call, try await .success(controller.append(call.writes, to: call.regions)), wasPoisoned: isPoisoned)
            return true
        } catch {
            hear(call, .failure(error), wasPoisoned: isPoisoned)
            return false
        }
    }

    /// Callers of one moment share a transaction, and its fate.
    private mutating func appendAtOnce() async {
        let calls = (0..<5).map { _ in
            oracle.issue(
                Int.random(in: 1...3, using: &random),
                to: [Self.regions.randomElement(using: &random) ?? Self.regions[0]]
            )
        }
        let (controller, wasPoisoned) = (controller, isPoisoned)
        let results = await withTaskGroup(of: (Int, Result<[AppendReceipt], HoldfastError>).self) { group in
            for (index, call) in calls.enumerated() {
                group.addTask {
                    do throws(HoldfastError) {
                        return (index, .success(try await controller.append(call.writes, to: call.regions)))
                    } catch {
                        return (index, .failure(error))
                    }
                }
            }
            var results: [(Int, Result<[AppendReceipt], HoldfastError>)] = []
            for await result in group { results.append(result) }
            return results
        }
        for (index, result) in results { hear(calls[index], result, wasPoisoned: wasPoisoned) }
    }

    private mutating func hear(
        _ call: ConservationOracle.Call,
        _ result: Result<[AppendReceipt], HoldfastError>,
        wasPoisoned: Bool
    ) {
        switch result {
        case .success(let receipts):
            if wasPoisoned { faults.append("an append went through after the handle was poisoned") }
            oracle.appended(call, receipts)
        case .failure(let error):
            note(error, wasPoisoned: wasPoisoned)
            // What was refused is not there; what a poisoned handle was asked for has not been begun.
            if error.code == .full || wasPoisoned { oracle.refused(call) }
        }
    }

    private mutating func deliver(_ region: RegionID) async {
        let wasPoisoned = isPoisoned
        do throws(HoldfastError) {
            let most = Int.random(in: 1...60, using: &random)
            for try await batch in controller.batches(for: region, entriesMax: most) {
                oracle.received(batch)
                let receipt = try await batch.acknowledge()
                if wasPoisoned { faults.append("an acknowledgement went through after the handle was poisoned") }
                oracle.acknowledged(receipt, batch)
                if Bool.random(using: &random) { return }
            }
        } catch {
            note(error, wasPoisoned: wasPoisoned)
        }
    }

    private mutating func drain(_ region: RegionID) async {
        let most = Int.random(in: 1...40, using: &random)
        let wasPoisoned = isPoisoned
        if !wasPoisoned { oracle.willDrain(region, max: most) }
        do throws(HoldfastError) {
            oracle.drained(try await controller.drain(region, max: most), from: region)
            if wasPoisoned { faults.append("a drain went through after the handle was poisoned") }
        } catch {
            note(error, wasPoisoned: wasPoisoned)
        }
    }

    /// A limit that refuses some of the appends that follow, or none.
    private mutating func limit(_ region: RegionID) async {
        let wasPoisoned = isPoisoned
        let limits = Bool.random(using: &random) ? QueueLimits.unlimited : QueueLimits(entriesMax: 100)
        do throws(HoldfastError) {
            _ = try await controller.setLimits(limits, for: region)
            if wasPoisoned { faults.append("a limit was changed after the handle was poisoned") }
        } catch {
            note(error, wasPoisoned: wasPoisoned)
        }
    }

    private mutating func note(_ error: HoldfastError, wasPoisoned: Bool) {
        let isLimit = error.code == .full && error.field == "entries"
        codes[isLimit ? "limit" : error.code.description, default: 0] += 1
        if wasPoisoned, error.code != .poisoned { faults.append("not poisoned, after it was: \(error)") }
        if !isLimit, !allowed.contains(error.code.description) {
            faults.append("an error that should not be: \(error)")
        }
        if error.code == .poisoned || error.code == .ioFailed { isPoisoned = true }
    }

    // MARK: Afterwards

    /// Callers that have not heard call again, and everything is delivered.
    mutating func finish() async throws {
        for region in Self.regions { _ = try await controller.setLimits(.unlimited, for: region) }
        for call in oracle.unansweredCalls {
            oracle.appended(call, try await controller.append(call.writes, to: call.regions))
        }
        for region in Self.regions {
            for try await batch in controller.batches(for: region) {
                oracle.received(batch)
                oracle.acknowledged(try await batch.acknowledge(), batch)
            }
        }
    }
}
