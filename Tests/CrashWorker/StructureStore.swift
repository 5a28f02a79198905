import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore

/// A store with something in each table: a leaf of each, or trees of up to three levels.
enum StructureStore {
    /// The regions that are read and changed one by one.
    static let watched: [RegionID] = ["eu", "region-09-whose-name-is-long"]
    /// Where what is looked for by key is.
    static let positions: [UInt64] = [1, 2, 5, 9, 40, 41, 77, 120, 201, 333, 1001, 2501, 4999, 7777]
    private static let time = ManualTime(wallMilliseconds: 1_000_000)
    private static let options = StoreOptions(acknowledgeReserveBytes: 64 << 10)

    static func make(_ path: String, isLong: Bool) async throws {
        let count = isLong ? 60 : 12
        let others = try (8..<count).map { number in
            try RegionID("region-\(number < 10 ? "0" : "")\(number)-whose-name-is-long")
        }
        let regions = ["us", "eu", "ap"] + others
        var controller = try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: "us", regions: regions, historyCapacity: 1000),
            options: options,
            time: time
        )
        for region in watched {
            try await controller.setReplaySettings(ReplaySettings(attemptsMax: 3), for: region)
            try await controller.append((1...(isLong ? 200 : 6)).map { odd($0) }, to: region)
        }
        await controller.close()
        // Dead letters first: each keeps its position.
        for region in watched { _ = try await park(region, max: 200, at: path) }
        controller = try await RegionFailoverController.open(at: path, options: options, time: time)
        for region in watched {
            // One region's identities have a tree of three levels.
            let last: UInt64 = isLong ? region == watched[0] ? 9000 : 300 : 12
            try await controller.append((250..<(250 + last)).map { odd($0) }, to: region)
            _ = try await controller.drain(region, max: Int(last) - (isLong ? 40 : 6))
            for sequence in 1...(isLong ? 60 : 5) as ClosedRange<UInt64> {
                try await controller.append([odd(9000 + sequence)], to: region)
            }
        }
        // The ledger of what was lost has a row for each of these.
        try await controller.setLimits(QueueLimits(entriesMax: 2, overflow: .dropOldest), for: "ap")
        for sequence in 1...(isLong ? 120 : 6) as ClosedRange<UInt64> {
            try await controller.append([odd(sequence)], to: "ap")
            // Ranges that touch are one.
            if sequence % 3 == 0 { _ = try await controller.drain("ap", max: 1) }
        }
        for region in regions.prefix(isLong ? 60 : 2) {
            try await controller.pause(region, reason: "maintenance")
            try await controller.resume(region)
        }
        await controller.close()
    }

    /// Sequences have gaps: each is a range of its own.
    private static func odd(_ number: UInt64) -> OutstandingWrite {
        // Every eighth is of a size that has pages of its own.
        let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: number % 8 == 0 ? 3000 : 5)
        return OutstandingWrite(
            origin: "us",
            incarnation: 1,
            sequence: 2 * number - 1,
            key: Array("key \(number % 10)".utf8),
            value: value
        )
    }

    /// Sets up to `max` entries at the head of a queue aside, as a replay does whose receiver refuses them.
    private static func park(_ region: RegionID, max: UInt64, at path: String) async throws(HoldfastError) -> String {
        let (store, said) = try await ReplayStore.open(path, .existing, options: options) {
            (transaction) throws(HoldfastError) in
            let row = try transaction.regionRow(region)
            let end = min(row.nextPosition, row.headPosition + max)
            guard end > row.headPosition else { return ("nothing", StoreHooks()) }
            let parked = try transaction.park(
                region,
                queue: row.number,
                row.headPosition...(end - 1),
                cause: .attempts,
                attempts: 1,
                reason: "refused",
                now: Timestamp(milliseconds: 1_000_000)
            )
            return ("\(parked.parked)", StoreHooks())
        }
        await store.close()
        return said
    }

    /// Does something with the store's controller.
    private static func control(
        _ path: String,
        _ body: (RegionFailoverController) async throws(HoldfastError) -> String
    ) async throws(HoldfastError) -> String {
        let controller = try await RegionFailoverController.open(at: path, options: options, time: time)
        do throws(HoldfastError) {
            let said = try await body(controller)
            let isContained = try await controller.statistics().contains { $0.lost > 0 }
            await controller.close()
            guard !isContained else { throw HoldfastError(code: .damaged, message: "contained") }
            return said
        } catch {
            await controller.close()
            throw error
        }
    }

    /// What a service does, one after another, each with the store opened anew; and what it is told.
    static let changes: [(name: String, body: @Sendable (String) async throws(HoldfastError) -> String)] = [
        ("open", { (path) throws(HoldfastError) in try await control(path) { _ in "" } }),
        ("append again", appendAgain), ("append", appendNew), ("acknowledge", acknowledge), ("drain", drain),
        ("park", parkSome), ("retry", retry), ("pause", pause),
    ]

    private static func appendAgain(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            var said = ""
            for region in watched {
                let known = [1, 2, 3, 5, 250, 251, 256, 260, 9001, 9002, 9005].map { odd($0) }
                let receipt = try await controller.append(known, to: region)
                said += "\(receipt.positions) \(receipt.duplicates) "
            }
            return said
        }
    }

    private static func appendNew(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            var said = ""
            for region in watched + ["ap"] {
                let receipt = try await controller.append([odd(20_001), odd(20_002)], to: region)
                said += "\(receipt.positions) \(receipt.duplicates) \(receipt.dropped) "
            }
            return said
        }
    }

    private static func acknowledge(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            var said = ""
            for region in watched {
                let head = try await controller.statistics().first { $0.region == region }?.headPosition ?? 0
                try await controller.acknowledge(region, through: head)
                said += "\(head) "
            }
            return said
        }
    }

    private static func drain(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            var said = ""
            for region in watched { said += "\(try await controller.drain(region, max: 3).entries.map(\.write))" }
            return said
        }
    }

    private static func parkSome(_ path: String) async throws(HoldfastError) -> String {
        var said = ""
        for region in watched { said += try await park(region, max: 5, at: path) + " " }
        return said
    }

    private static func retry(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            var said = ""
            for region in watched { said += "\(try await controller.retryDeadLetters(region)) " }
            return said
        }
    }

    private static func pause(_ path: String) async throws(HoldfastError) -> String {
        try await control(path) { (controller) throws(HoldfastError) in
            for region in controller.configuration.regions { try await controller.pause(region, reason: "again") }
            return "\(try await controller.statistics().count)"
        }
    }
}
