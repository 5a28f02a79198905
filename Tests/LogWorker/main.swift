import Foundation
import HoldfastTesting
import Platform
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore

// LogWorker apply DIR LOG-SEED COMMANDS BATCH-SEED
//
// Applies a log that LOG-SEED makes to a replica in DIR, in batches that BATCH-SEED makes, and prints the digest at each
// 1,024th command: the same lines from any process, whatever its hash seed, locale and batches.
//
// LogWorker install DIR SNAPSHOT
//
// Lets a snapshot take the place of the state of a replica in DIR; its manifest is in SNAPSHOT.json.

/// The commands of the conformance suite, and appends and drains of writes that are new.
struct LiveCommands: ConformanceCommands {
    private let base = FailoverConformanceCommands()
    /// The next write of each region's queue: an origin leaves no gaps, each of which would be a row for ever.
    private let next = Lock<[RegionID: UInt64]>([:])

    var setUp: [ConformanceCommand] { base.setUp }
    var step: ConformanceCommand { base.step }
    var look: ConformanceCommand { base.look }
    var refused: ConformanceCommand { base.refused }
    func large(_ bytes: Int) -> ConformanceCommand? { base.large(bytes) }
    func value(_ outcome: [UInt8]) -> Int? { base.value(outcome) }

    func any(_ random: inout SplitMix64) -> ConformanceCommand {
        let regions: [RegionID] = ["us", "eu", "ap"]
        let region = regions[Int.random(in: 0..<3, using: &random)]
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<4: return base.any(&random)
        case 4..<7: return command(.drain(region, max: UInt32.random(in: 0...40, using: &random)))
        default:
            let count = UInt64.random(in: 1...12, using: &random)
            let first = next.withLock { next in
                let first = next[region, default: 1]
                next[region] = first + count
                return first
            }
            let writes = (first..<(first + count)).map { sequence in
                OutstandingWrite(
                    origin: "live",
                    incarnation: 1,
                    sequence: sequence,
                    key: Array("key \(sequence % 101)".utf8),
                    value: Array(repeating: UInt8(truncatingIfNeeded: sequence), count: Int(sequence % 90))
                )
            }
            let time = Timestamp(milliseconds: 1_800_000_000_000)
            let level = Int.random(in: 0...1, using: &random)
            return command(.append([region], LogFrame.build(writes, enqueuedAt: time, level: level), ifEpoch: nil))
        }
    }

    private func command(_ command: FailoverCommand) -> ConformanceCommand {
        ConformanceCommand(kind: command.kind, payload: command.encoded())
    }
}

func open(_ path: String) async throws -> FailoverStateMachine {
    try await FailoverStateMachine.open(
        at: path,
        cluster: Array("log worker".utf8),
        options: StoreOptions(acknowledgeReserveBytes: 64 << 10, logger: .silent)
    )
}

func apply(_ path: String, _ seed: UInt64, _ count: Int, _ batches: UInt64) async throws {
    var (random, sizes) = (SplitMix64(seed: seed), SplitMix64(seed: batches))
    let commands = LiveCommands()
    var log = ConformanceLog(commands)
    let machine = try await open(path)
    var left = count
    while left > 0 {
        let part = min(left, Int(ReplicationLimits.digestInterval))
        log.addRandom(commands, part, &random)
        left -= part
        let index = log.addDigest().index
        var entries = log.take()[...]
        while !entries.isEmpty {
            let batch = entries.prefix(Int.random(in: 1...400, using: &sizes))
            _ = try await machine.apply(Array(batch))
            entries = entries.dropFirst(batch.count)
        }
        print(index, try await machine.storedDigests()[index] ?? "none")
    }
    await machine.close()
}

func install(_ path: String, _ snapshot: String) async throws {
    let manifest = try JSONDecoder().decode(
        SnapshotManifest.self,
        from: Data(contentsOf: URL(fileURLWithPath: snapshot + ".json"))
    )
    let machine = try await open(path)
    guard try await machine.installSnapshot(from: snapshot, manifest) else { fatalError("the snapshot is not newer") }
    await machine.close()
}

// A dictionary in another order in each process, unless the environment says otherwise; and words as the locale has them.
_ = unsafe setlocale(LC_ALL, "")
let arguments = Array(CommandLine.arguments.dropFirst())
switch (arguments.first, arguments.count) {
case ("apply", 5):
    guard let seed = UInt64(arguments[2]), let count = Int(arguments[3]), let batches = UInt64(arguments[4]) else {
        fatalError("LogWorker apply DIR LOG-SEED COMMANDS BATCH-SEED")
    }
    try await apply(arguments[1], seed, count, batches)
case ("install", 3): try await install(arguments[1], arguments[2])
default: fatalError("LogWorker apply DIR LOG-SEED COMMANDS BATCH-SEED, or LogWorker install DIR SNAPSHOT")
}
