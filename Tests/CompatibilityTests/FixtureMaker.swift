import Foundation
import HoldfastTesting
import RegionFailover
import ReplayFormat
import TestSupport
import Testing

@testable import Holdfast
@testable import ReplayStore

/// Makes the stores of a new set, with a clock that stands still unless it is moved.
struct FixtureMaker {
    let directory: TemporaryDirectory
    let time = ManualTime(wallMilliseconds: 1_700_000_000_000)
    static let options = StoreOptions(mapSizeBytes: 1 << 30)
    static let regions: [RegionID] = ["us", "eu", "ap", "sa"]

    init() throws { directory = try TemporaryDirectory() }

    private func keep(_ name: String, _ path: String) throws {
        try Fixture(version: Fixture.current, name: name).keep(path)
    }

    private func create(
        _ name: String,
        _ configuration: FailoverConfiguration? = nil,
        limits: QueueLimits = .unlimited
    ) async throws -> RegionFailoverController {
        try await RegionFailoverController.create(
            at: directory.appending(name),
            configuration: configuration ?? FailoverConfiguration(local: "us", regions: Self.regions),
            limits: limits,
            options: Self.options,
            time: time
        )
    }

    private func open(_ name: String) async throws -> RegionFailoverController {
        try await RegionFailoverController.open(at: directory.appending(name), options: Self.options, time: time)
    }

    /// A write of a shape that its sequence tells.
    static func write(_ sequence: UInt64, origin: RegionID = "us", incarnation: UInt64 = 1) -> OutstandingWrite {
        var random = SplitMix64(seed: sequence)
        let noise = (0..<40).map { _ in UInt8.random(in: 0...255, using: &random) }
        return OutstandingWrite(
            origin: origin,
            incarnation: incarnation,
            sequence: sequence,
            key: sequence % 5 == 0 ? [0, 255, UInt8(truncatingIfNeeded: sequence)] : Array("key \(sequence % 4)".utf8),
            value: sequence % 3 == 0 ? noise : Array(String(repeating: "value \(sequence) ", count: 6).utf8),
            kind: sequence % 7 == 0 ? .delete : .put,
            timestamp: sequence % 2 == 0 ? Timestamp(milliseconds: Int64(sequence) * 1000) : nil,
            clock: sequence % 4 == 0 ? Array("clock".utf8) : []
        )
    }

    private func writes(_ range: ClosedRange<UInt64>, origin: RegionID = "us") -> [OutstandingWrite] {
        range.map { Self.write($0, origin: origin) }
    }

    // MARK: The stores

    /// Every fixture of a set, one after another.
    func makeAll() async throws {
        await (try await create("empty")).close()
        try keep("empty", directory.appending("empty"))
        try await makeQueues()
        try await makeLeft()
        try await makeFailover()
        try await makeHistory()
        try await makeUnclean()
        try await makeRefused()
        try await makeLedgers()
    }

    /// Blocks of every kind, limits, shares, pauses, settings; and the store's backup.
    private func makeQueues() async throws {
        let first = try await create("queues", limits: QueueLimits(entriesMax: 5000))
        // A frame that zstd makes shorter, one that it does not, one with skipped entries, a large value, an extreme one.
        for start in stride(from: 1 as UInt64, through: 801, by: 200) {
            try await first.append(writes(start...(start + 199)), to: ["eu", "ap"])
        }
        let noise = writes(2001...2001).map { write in
            var noisy = write
            var random = SplitMix64(seed: 1)
            noisy.value = (0..<6000).map { _ in UInt8.random(in: 0...255, using: &random) }
            return noisy
        }
        try await first.append(noise, to: "eu")
        await first.close()
        var rewriting = Rewriting()
        rewriting.trainsDictionary = true
        let compacted = try StoreCompact.copy(
            from: directory.appending("queues"),
            to: directory.appending("trained"),
            rewriting
        )
        #expect(compacted.entries > 0)
        let second = try await open("trained")
        time.advance(milliseconds: 1000)
        try await second.acknowledge("eu", through: 993)
        try await second.acknowledge("ap", through: 994)
        try await second.append(writes(995...1010) + writes(1...3, origin: "sa"), to: ["eu", "ap"])
        try await second.append(writes(998...1000) + writes(4...5, origin: "sa"), to: "sa")
        let large = OutstandingWrite(
            origin: "us",
            incarnation: .max,
            sequence: .max,
            key: [],
            value: noise[0].value,
            timestamp: Timestamp(milliseconds: .min),
            clock: [0]
        )
        try await second.append([large], to: "eu")
        try await second.append(
            [OutstandingWrite(origin: "us", incarnation: 0, sequence: 0, key: "", value: "")],
            to: "us"
        )
        let limits = QueueLimits(
            entriesMax: 4000,
            bytesMax: 1 << 30,
            ageMaxMilliseconds: 86_400_000,
            overflow: .dropOldest,
            sharePercent: 40
        )
        _ = try await second.setLimits(limits, for: "eu")
        try await second.setTotalLimits(TotalLimits(entriesMax: 100_000, bytesMax: 1 << 40))
        let settings = ReplaySettings(
            batchEntriesMax: 17,
            batchBytesMax: 4096,
            entriesPerSecondMax: 100,
            bytesPerSecondMax: 1 << 20,
            timeoutMilliseconds: 1234,
            backoffBaseMilliseconds: 5,
            backoffMaxMilliseconds: 6789,
            attemptsMax: 3,
            exhaustion: .parkKey
        )
        try await second.setReplaySettings(settings, for: "eu")
        try await second.setReplaySettings(ReplaySettings(exhaustion: .park), for: "ap")
        try await second.setReplaySettings(.standard, for: "sa")
        _ = try await second.pause("eu", reason: "h\u{e9}", until: Timestamp(milliseconds: 9_999_999_999_999))
        _ = try await second.pause("ap")
        await second.close()
        try keep("queues", directory.appending("trained"))
        _ = try StoreBackup.make(
            of: directory.appending("trained"),
            at: directory.appending("backup"),
            time: Timestamp(milliseconds: time.wallMilliseconds)
        )
        try keep("backup", directory.appending("backup"))
    }

    /// Entries that left in every way there is: acknowledged, drained, dropped, expired, dead, damaged, missing, removed.
    private func makeLeft() async throws {
        let first = try await create("left")
        try await first.append(writes(1...10), to: ["eu", "ap", "sa"])
        for block in stride(from: 11 as UInt64, through: 71, by: 10) {
            try await first.append(writes(block...(block + 9)), to: "eu")
        }
        await first.close()
        // The third block is damaged, and the fifth is not there.
        try damage("left", block: 21)
        let second = try await open("left")
        time.advance(milliseconds: 500)
        try await second.store.transact { (transaction) throws(HoldfastError) in
            try transaction.deleteBlock(41, of: try transaction.regionRow("eu").number)
        }
        _ = try await second.acknowledge("eu", through: 15)
        for try await batch in second.batches(for: "eu", entriesMax: 10) {
            try await batch.acknowledge()
            if batch.entries.contains(where: { $0.position > 55 }) { break }
        }
        let now = Timestamp(milliseconds: time.wallMilliseconds)
        try await park(second, "eu", 62, .attempts, "refused: n\u{f8}", now)
        try await park(second, "eu", 64, .key, "", now)
        _ = try await second.drain("ap", max: 4)
        // Three dead letters: one is queued again, one is given up, one stays.
        for position in 5...7 as ClosedRange<UInt64> {
            try await park(second, "ap", position, .attempts, String(repeating: "r", count: 1024), now)
        }
        _ = try await second.retryDeadLetters("ap", .positions([5]))
        _ = try await second.dropDeadLetters("ap", .positions([6]))
        // What a limit drops, and what grows too old.
        try await second.append(writes(101...130), to: "sa")
        _ = try await second.setLimits(QueueLimits(entriesMax: 30, overflow: .dropOldest), for: "sa")
        try await second.append(writes(131...135), to: "sa")
        _ = try await second.setLimits(
            QueueLimits(entriesMax: 30, ageMaxMilliseconds: 5000, overflow: .dropOldest),
            for: "sa"
        )
        time.advance(milliseconds: 6000)
        try await second.append(writes(141...150), to: ["us", "sa"])
        _ = try await second.tick()
        // A region with entries goes by force, and a new one comes: its number is not used again.
        var configuration = second.configuration
        configuration.regions = ["us", "eu", "ap", "sa", "af"]
        _ = try await second.configure(configuration)
        try await second.append(writes(1...3), to: "af")
        configuration.regions = ["us", "eu", "ap", "sa"]
        _ = try await second.configure(configuration, force: true)
        try await makeFloor(second)
        await second.close()
        try keep("left", directory.appending("left"))
    }

    /// Seventeen incarnations: the first is forgotten, and becomes the floor.
    private func makeFloor(_ controller: RegionFailoverController) async throws {
        for incarnation in 1...17 as ClosedRange<UInt64> {
            let write = Self.write(3, origin: "sa", incarnation: incarnation)
            try await controller.append([write], to: "us")
        }
    }

    private func park(
        _ controller: RegionFailoverController,
        _ region: RegionID,
        _ position: UInt64,
        _ cause: DeadRow.Cause,
        _ reason: String,
        _ now: Timestamp
    ) async throws {
        _ = try await controller.acknowledge(region, through: position - 1)
        try await controller.store.transact { (transaction) throws(HoldfastError) in
            let queue = try transaction.regionRow(region).number
            let positions = position...position
            let attempts: UInt32 = cause == .attempts ? 3 : 0
            let parked = try transaction.park(
                region,
                queue: queue,
                positions,
                cause: cause,
                attempts: attempts,
                reason: reason,
                now: now
            )
            try transaction.record(parked.events)
        }
    }

    /// Flips a bit in each copy of the block that begins at a position.
    private func damage(_ name: String, block: UInt64) throws {
        let file = URL(fileURLWithPath: directory.appending(name) + "/data.mdb")
        var bytes = try Data(contentsOf: file)
        let key = Data((0..<8).reversed().map { UInt8(truncatingIfNeeded: block >> (8 * UInt64($0))) })
        var start = bytes.startIndex
        while let place = bytes.range(of: key + [1], in: start..<bytes.endIndex) {
            bytes[place.lowerBound + 70] ^= 4
            start = place.upperBound
        }
        try #require(start > bytes.startIndex)
        try bytes.write(to: file)
    }

    /// Roles and states after two failovers: a demoted primary that is back, one that is not, a promoted secondary.
    private func makeFailover() async throws {
        let configuration = FailoverConfiguration(
            local: "us",
            regions: Self.regions,
            tiers: [["eu"], ["ap", "sa"]],
            suspectAfterMilliseconds: 1000,
            historyCapacity: 100,
            detectorPauseAfterMilliseconds: 60_000,
            automaticFailover: true
        )
        let controller = try await create("failover", configuration)
        try await controller.append(writes(1...20), to: ["us", "ap"])
        _ = try await controller.tick()
        time.advance(milliseconds: 400)
        for region in ["us", "eu", "ap"] as [RegionID] { _ = try await controller.heartbeat(region) }
        time.advance(milliseconds: 800)
        _ = try await controller.tick()
        _ = try await controller.demoteAndPromote("us", ifEpoch: 1)
        for region in ["us", "eu", "ap"] as [RegionID] { _ = try await controller.heartbeat(region) }
        _ = try await controller.tick()
        // The next one fails in its turn, and stays away.
        _ = try await controller.demoteAndPromote("eu", ifEpoch: 2)
        await controller.close()
        try keep("failover", directory.appending("failover"))
    }

    /// Every kind of event, through their rows.
    private func makeHistory() async throws {
        let controller = try await create("history")
        let at = Timestamp(milliseconds: time.wallMilliseconds)
        let pending = QueueSummary(
            entries: 5,
            bytes: 600,
            oldestMilliseconds: 70,
            dead: 8,
            needsResync: true,
            isPaused: true
        )
        let kinds: [FailoverEvent.Kind] = [
            .suspect, .failed, .recovering, .healthy, .demoted(epoch: 2),
            .promoted(replaced: "us", epoch: 3, pending: pending), .replayed(entries: 9), .readmitted(forced: false),
            .readmitted(forced: true), .switchedOver(replaced: "eu", epoch: 4, pending: .empty), .paused, .resumed,
            .resyncNeeded, .resyncCleared,
        ]
        let events =
            kinds.map { FailoverEvent(kind: $0, at: at, region: "eu") } + [
                FailoverEvent(kind: .configured(added: ["ap", "sa"], removed: ["af"]), at: at),
                FailoverEvent(kind: .detectorPaused, at: at),
            ]
        try await controller.store.transact { (transaction) throws(HoldfastError) in try transaction.record(events) }
        await controller.close()
        try keep("history", directory.appending("history"))
    }

    /// The files as a process leaves them that is killed: its store was never closed.
    private func makeUnclean() async throws {
        let controller = try await create("killed")
        try await controller.append(writes(1...50), to: ["eu", "ap"])
        time.advance(milliseconds: 10)
        _ = try await controller.acknowledge("eu", through: 25)
        _ = try await controller.heartbeat("eu")
        try keep("unclean", directory.appending("killed"))
        await controller.close()
    }

    /// Stores that are refused, or read and never changed.
    private func makeRefused() async throws {
        func number(_ value: some FixedWidthInteger) -> [UInt8] {
            (0..<(value.bitWidth / 8)).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        let format = Superblock.Name.format
        let (version, none, last) = (Superblock.currentVersion, 0 as UInt64, 1 << 63 as UInt64)
        // The greatest version and the last bits: no program will ever know them.
        let rows: [(name: String, row: Superblock.Name, fields: [UInt8])] = [
            ("newer-version", format, number(UInt32.max) + number(none) + number(none) + [7]),
            ("unknown-feature", format, number(version) + number(last) + number(none)),
            ("unknown-read-compatible-feature", format, number(version) + number(none) + number(last)),
            ("incomplete", .incomplete, [1]),
            ("replicated", .mode, [1] + Array("cluster".utf8)),
        ]
        for (name, row, fields) in rows {
            let controller = try await create(name)
            try await controller.append(writes(1...5), to: "eu")
            try await controller.store.transact { (transaction) throws(HoldfastError) in
                try transaction.put(fields, key: Key.text(row.rawValue), in: .superblock)
                if row == .mode { try transaction.put([1, 2, 3], key: Key.text("a"), in: .raft) }
            }
            await controller.close()
            try keep(name, directory.appending(name))
        }
    }

    // MARK: Ledgers

    private func makeLedgers() async throws {
        let path = directory.appending("ledger")
        var limits = AppliedSet.Limits()
        limits.incarnations = 2
        await (try await AppliedLedger.create(at: path, mapSizeBytes: 1 << 30)).close()
        let ledger = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30, limits: limits)
        _ = try await ledger.admit(7)
        let new = writes(1...40).filter { $0.sequence % 10 != 0 } + writes(1...3, origin: "eu")
        _ = try await ledger.apply(new, epoch: 8) { (new, state) throws(HoldfastError) in
            try state.set("\(new.count)", for: "applied")
            try state.set([UInt8](repeating: 7, count: 5000), for: [0])
            try state.set([], for: [255])
        }
        for incarnation in 1...3 as ClosedRange<UInt64> {
            _ = try await ledger.record([Self.write(5, origin: "ap", incarnation: incarnation)])
        }
        await ledger.close()
        try keep("ledger", path)
        try makeNewerLedger(path)
    }

    /// The same ledger in a format that is not known yet.
    private func makeNewerLedger(_ path: String) throws {
        let file = URL(fileURLWithPath: path + "/ledger.mdb")
        var bytes = try Data(contentsOf: file)
        func row(_ version: UInt32) -> Data {
            Data(Row.seal(LedgerRow.format(version), key: LedgerRow.formatKey, in: LedgerTable.ledger))
        }
        var start = bytes.startIndex
        while let place = bytes.range(of: row(LedgerRow.currentVersion), in: start..<bytes.endIndex) {
            bytes.replaceSubrange(place, with: row(.max))
            start = place.upperBound
        }
        try #require(start > bytes.startIndex)
        try bytes.write(to: file)
        try keep("ledger-newer-version", path)
    }
}
