import Glibc
import Holdfast
import HoldfastTesting
import Platform
import ReplayStore
import TestSupport

/// Fills a disk by appends, then acknowledges on it: before each acknowledgement the disk refuses an append.
struct FullTask {
    static let regions: [RegionID] = ["us", "eu", "ap", "sa"]

    let controller: RegionFailoverController
    /// A file of somebody else that takes what is free; nil for none.
    let filler: Filler?
    var random: SplitMix64
    /// The sequences that are queued for each region, in order.
    var queued: [RegionID: [UInt64]] = [:]
    /// How many of those at the front have left.
    var gone: [RegionID: Int] = [:]
    var sequence: UInt64 = 0
    var appended = 0
    var refused = 0
    var acknowledged = 0
    var failures: [String] = []

    static func run(_ arguments: [String]) async throws {
        guard arguments.count == 4, let seed = UInt64(arguments[1]), let wanted = Int(arguments[2]) else {
            return usage()
        }
        let store = arguments[0]
        let filler = arguments[3] == "none" ? nil : try Filler(arguments[3])
        let controller = try await RegionFailoverController.create(
            at: store,
            configuration: FailoverConfiguration(local: "us", regions: regions),
            options: StoreOptions(logger: .silent)
        )
        var task = Self(controller: controller, filler: filler, random: SplitMix64(seed: seed))
        try await task.fill()
        let held = task.appended
        var tried = 0
        while tried < wanted, task.failures.count < 20 {
            try filler?.fill()
            // Half of those that are tried are so small that a page would do.
            if try await task.appendSome(bytesMax: Bool.random(using: &task.random) ? 200 : 700_000) { continue }
            guard await task.acknowledgeSome() else { break }
            tried += 1
        }
        let resumed = task.appended - held
        let succeeded = tried - task.refusedAcknowledgements
        // Everything is acknowledged: the same handle takes writes again, on a disk that has what the store gives back.
        for region in regions { await task.acknowledge(region, task.left(region)) }
        try filler?.remove()
        var again = 0
        for _ in 0..<20 { if try await task.appendSome(bytesMax: 3_000) { again += 1 } }
        await task.deliver()
        await controller.close()
        let findings = try StoreCheck.run(store, level: .deep).findings.filter { $0.severity == .error }
        for finding in findings { task.failures.append("\(finding.code): \(finding.message)") }
        print(
            "acknowledgements on a full disk: \(succeeded) of \(tried) succeeded, "
                + "after \(held) appends that filled it, \(task.refused) refused, \(resumed) taken between; "
                + "afterwards \(again) of 20 appends taken, seed \(seed)"
        )
        for failure in task.failures.prefix(20) { print("WRONG \(failure)") }
    }

    private var refusedAcknowledgements = 0

    private init(controller: RegionFailoverController, filler: Filler?, random: SplitMix64) {
        (self.controller, self.filler, self.random) = (controller, filler, random)
        for region in Self.regions { (queued[region], gone[region]) = ([], 0) }
    }

    // MARK: Writes

    private mutating func anyRegion() -> RegionID { Self.regions.randomElement(using: &random) ?? "us" }

    private func left(_ region: RegionID) -> Int { (queued[region]?.count ?? 0) - (gone[region] ?? 0) }

    /// Appends writes of one size to some regions; false when the disk has refused them.
    private mutating func appendSome(bytesMax: Int = 700_000) async throws -> Bool {
        let size: Int =
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<60: Int.random(in: 10...400, using: &random)
            case 60..<90: Int.random(in: 400...5_000, using: &random)
            case 90..<98: Int.random(in: 5_000...60_000, using: &random)
            default: Int.random(in: 60_000...700_000, using: &random)
            }
        let count = size < 5_000 ? Int.random(in: 1...40, using: &random) : 1
        let writes = (0..<UInt64(count)).map { Noise.write(sequence + 1 + $0, min(size, bytesMax)) }
        let regions = Int.random(in: 0..<5, using: &random) == 0 ? ["us", "eu"] : [anyRegion()]
        do throws(HoldfastError) {
            try await controller.append(writes, to: regions)
        } catch {
            guard error.code == .full, error.field == "disk" else { throw error }
            refused += 1
            return false
        }
        for region in regions { queued[region]? += writes.map(\.sequence) }
        sequence += UInt64(count)
        appended += 1
        return true
    }

    /// Appends until the disk is full, with something delivered on the way, so that free pages lie everywhere.
    private mutating func fill() async throws {
        var refusals = 0
        while refusals < 5 {
            if try await appendSome() {
                if Int.random(in: 0..<12, using: &random) == 0 { _ = await acknowledgeSome() }
            } else {
                refusals += 1
            }
        }
        // Then by small ones, until no page is free inside the file either.
        refusals = 0
        while refusals < 5 { if try await !appendSome(bytesMax: 200) { refusals += 1 } }
        refused = 0
        refusedAcknowledgements = 0
    }

    // MARK: Acknowledgements

    /// Acknowledges some entries of one region, half of the time as a batch that is compared; false when none is left.
    private mutating func acknowledgeSome() async -> Bool {
        let candidates = Self.regions.filter { left($0) > 0 }
        guard let region = candidates.randomElement(using: &random) else { return false }
        let count = min(left(region), Int.random(in: 1...12, using: &random))
        guard Bool.random(using: &random) else {
            await acknowledge(region, count)
            return true
        }
        do {
            var batches = controller.batches(for: region, entriesMax: count).makeAsyncIterator()
            guard let batch = try await batches.next() else {
                failures.append("the queue of \(region) is empty, and should have \(left(region))")
                return true
            }
            compare(batch, region)
            try await batch.acknowledge()
            gone[region]? += batch.entries.count
        } catch {
            refusedAcknowledgements += 1
            failures.append("an acknowledgement failed: \(error)")
        }
        return true
    }

    private mutating func acknowledge(_ region: RegionID, _ count: Int) async {
        let position = (gone[region] ?? 0) + count
        guard position > 0 else { return }
        do throws(HoldfastError) {
            try await controller.acknowledge(region, through: UInt64(position))
            gone[region]? += count
        } catch {
            refusedAcknowledgements += 1
            failures.append("an acknowledgement failed: \(error)")
        }
    }

    private mutating func compare(_ batch: ReplayBatch, _ region: RegionID) {
        for entry in batch.entries {
            let index = Int(entry.position) - 1
            guard let wanted = queued[region], index < wanted.count, wanted[index] == entry.write.sequence,
                entry.write == Noise.write(wanted[index], entry.write.value.count)
            else {
                failures.append("\(region), position \(entry.position): write \(entry.write.sequence)")
                continue
            }
        }
    }

    /// Takes what is left, and compares it.
    private mutating func deliver() async {
        for region in Self.regions {
            do {
                for try await batch in controller.batches(for: region) {
                    compare(batch, region)
                    try await batch.acknowledge()
                    gone[region]? += batch.entries.count
                }
            } catch {
                failures.append("a delivery failed: \(error)")
            }
            if left(region) != 0 { failures.append("\(left(region)) acknowledged writes of \(region) are missing") }
        }
    }
}

/// A program that writes to the same disk whatever fits.
struct Filler {
    private let path: String
    private let file: File
    private let piece = [UInt8](repeating: 0xA5, count: 4096)

    init(_ path: String) throws {
        self.path = path
        file = try File(path, O_RDWR | O_CREAT | O_APPEND)
    }

    func fill() throws {
        do throws(SystemError) {
            while true { try file.write(piece) }
        } catch {
            guard error.number == ENOSPC else { throw error }
        }
    }

    func remove() throws {
        try file.truncate(to: 0)
        try FileSystem.remove(path)
    }
}
