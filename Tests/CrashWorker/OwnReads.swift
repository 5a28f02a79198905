import Foundation
import Holdfast
import HoldfastTesting
import Platform
import ReplayStore
import TestSupport

/// Measures what a store's own reads would cost by the page walker, in place of a transaction of LMDB.
///
/// For each size of blocks it makes a store, reads the whole queue and the first batch of it in turn by both, and prints the
/// ratio of the medians: above 1 the walker takes longer. Only a build with `-c release` tells anything.
func measureReads(_ arguments: [String]) async throws {
    guard arguments.count == 2, let rounds = Int(arguments[1]), rounds > 0 else { exit(64) }
    for blockEntries in [1, 64, 256] {
        let path = arguments[0] + "/blocks-\(blockEntries)"
        try await makeQueue(path, blockEntries)
        let (store, _) = try await ReplayStore.open(path, .existing, options: .standard) { _ in ((), StoreHooks()) }
        let walker = try Walker(path)
        var ratios: [String] = []
        for (what, entriesMax, repeats) in [
            ("whole queue", queueEntries, 1), ("first 256", 256, 16), ("first block", blockEntries, 64),
        ] {
            var times: (transactions: [UInt64], pages: [UInt64]) = ([], [])
            for _ in 0..<rounds {
                times.transactions.append(
                    try await time(entriesMax, repeats) {
                        try await store.readHead("eu", entriesMax: $0, bytesMax: .max) { Timestamp(milliseconds: 0) }
                    }
                )
                times.pages.append(try await time(entriesMax, repeats) { try await walker.readHead($0) })
            }
            let ratio = Double(median(times.pages)) / Double(median(times.transactions))
            ratios.append("\(what) \(String(format: "%.2f", ratio))")
        }
        await store.close()
        print("blocks of \(blockEntries) entries: \(ratios.joined(separator: ", ")); medians of \(rounds) rounds")
    }
}

private let queueEntries = 8_192

/// A store with a queue of blocks that have so many entries each.
private func makeQueue(_ path: String, _ blockEntries: Int) async throws {
    let controller = try await RegionFailoverController.create(
        at: path,
        configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"])
    )
    for first in stride(from: 1, through: queueEntries, by: blockEntries) {
        try await controller.append((first..<(first + blockEntries)).map { Noise.write(UInt64($0), 128) }, to: "eu")
    }
    await controller.close()
}

/// Reads as a store does: away from the caller, and each time as of the last commit.
private actor Walker {
    private let reader: StoreReader

    init(_ path: String) throws { reader = try StoreReader.open(path, by: .pages) }

    func readHead(_ entriesMax: Int) throws -> ReplayStore.Head {
        try reader.look { (view) throws(HoldfastError) in
            try view.head(of: "eu", entriesMax: entriesMax, bytesMax: .max, reader.codec)
        }
    }
}

/// How long it takes to read entries from the head of the queue, so many times.
private func time(
    _ entriesMax: Int,
    _ repeats: Int,
    _ read: (Int) async throws -> ReplayStore.Head
) async throws -> UInt64 {
    let start = System.monotonicNanoseconds
    for _ in 0..<repeats {
        let head = try await read(entriesMax)
        precondition(head.entries.count == entriesMax)
    }
    return System.monotonicNanoseconds - start
}

private func median(_ times: [UInt64]) -> UInt64 { times.sorted()[times.count / 2] }
