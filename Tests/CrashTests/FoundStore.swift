import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// What all images came to.
struct PowerTally {
    var images = 0
    var cuts = 0
    var promises = 0
    var kinds: [String: Int] = [:]
    var outcomes: [String: Int] = [:]
    var retried = 0

    static let imagesWanted =
        ProcessInfo.processInfo.environment["HOLDFAST_POWER_IMAGES"].flatMap { Int($0) } ?? 200

    func words(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }
}

/// What a store holds that was opened.
struct FoundStore {
    var state: PowerState
    /// What its own check finds.
    var errors: [String] = []
    var entries: [String: [(position: UInt64, write: OutstandingWrite)]] = [:]
    var dead: [String: [(position: UInt64, write: OutstandingWrite)]] = [:]
}

extension DiskImage {
    /// What differs from the directory at `root`; the file that LMDB maps apart.
    func differences(from root: String) throws -> [String] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: root).map { "/" + $0 }.sorted()
        let own = (files.keys + directories).sorted()
        guard names == own else { return ["\(own), in place of \(names)"] }
        return try files.keys.filter { name in
            guard !Disk.isReaderTable(name) else { return false }
            return try [UInt8](Data(contentsOf: URL(fileURLWithPath: root + name))) != files[name]
        }
    }

    /// LMDB's table of readers is mapped: any part of what it became may be there.
    mutating func addMapped(from root: String, _ random: inout SplitMix64) throws {
        for (name, bytes) in files where Disk.isReaderTable(name) && Bool.random(using: &random) {
            let last = [UInt8](try Data(contentsOf: URL(fileURLWithPath: root + name)))
            var mixed = bytes
            for start in stride(from: 0, to: min(last.count, bytes.count) - Disk.sector, by: Disk.sector)
            where Bool.random(using: &random) {
                mixed.replaceSubrange(start..<(start + Disk.sector), with: last[start..<(start + Disk.sector)])
            }
            files[name] = mixed
        }
    }
}

extension FoundStore {
    /// Opens the store at `path`, closes it, checks it, and reads every entry.
    init(_ path: String) async throws {
        let controller = try await RegionFailoverController.open(at: path, options: .small)
        state = try await PowerState(controller)
        for queue in state.queues where !queue.dead.isEmpty {
            let letters = try await controller.deadLetters(for: try RegionID(queue.region))
            dead[queue.region] = letters.map { ($0.position, $0.write) }
        }
        await controller.close()
        errors = try StoreCheck.run(path, level: .deep).findings.filter { $0.severity == .error }.map(\.message)
        try readEntries(path)
    }

    /// Reads what is queued.
    mutating func readEntries(_ path: String) throws {
        let reader = try StoreReader.open(path)
        for queue in state.queues { entries[queue.region] = try reader.entries(of: try RegionID(queue.region)) }
    }
}
