import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// What a worker does to a store when it is killed at a step.
enum KillScenario: String, Sendable, CaseIterable {
    /// Makes a store, and everything that a service does with it.
    case work
    /// Makes a store, and changes roles, regions, limits and pauses.
    case control
    /// Opens a store in which a block is damaged, and delivers it.
    case damage
    /// Opens a store beside which a compaction has left its copy.
    case leftover
    case compact, train, copy, backup, restore, load, upgrade
    /// Recovers a store whose newest meta page was torn.
    case recover

    /// Whether there is no store at first.
    var makesStore: Bool { self == .work || self == .control }
}

/// A store and what a worker does to it, in a directory of its own.
struct KillSite: Sendable {
    let directory: TemporaryDirectory
    let scenario: KillScenario
    let seed: UInt64
    var store: String { directory.appending("store") }
    var new: String { directory.appending("new") }
    var journal: String { directory.appending("journal") }

    private static let operations = 40

    init(_ scenario: KillScenario, seed: UInt64, _ template: KillTemplate) throws {
        directory = try TemporaryDirectory()
        self.scenario = scenario
        self.seed = scenario.makesStore ? seed : template.seed
        guard !scenario.makesStore else { return }
        let files = FileManager.default
        try files.copyItem(atPath: template.site(scenario == .damage).store, toPath: store)
        try files.copyItem(atPath: template.site(scenario == .damage).journal, toPath: journal)
        if scenario == .recover {
            let meta = try PageFile(File(store + "/data.mdb", O_RDONLY)).newestMeta()
            var bytes = try Data(contentsOf: URL(fileURLWithPath: store + "/data.mdb"))
            // The record of the list of tables.
            let (new, old) = (meta.slot * meta.pageSize + 88, (1 - meta.slot) * meta.pageSize + 88)
            bytes.replaceSubrange(new..<(new + 48), with: bytes[old..<(old + 48)])
            try bytes.write(to: URL(fileURLWithPath: store + "/data.mdb"))
        }
        if scenario == .leftover {
            try files.copyItem(atPath: store + "/data.mdb", toPath: store + "/data.mdb.compact")
        }
    }

    /// A site of which nothing is there yet.
    init(empty seed: UInt64, _ scenario: KillScenario = .work) throws {
        directory = try TemporaryDirectory()
        (self.scenario, self.seed) = (scenario, seed)
    }

    /// Runs the worker, with a point at which it is killed, or a file in which it says where it has been.
    func run(life: UInt64, killing: (point: FaultPoint, count: Int)? = nil, log: String? = nil) throws -> Tool.Outcome {
        var environment: [String: String] = [:]
        if let killing { environment["HOLDFAST_FAULT"] = "\(killing.point.rawValue):\(killing.count)" }
        if let log { environment["HOLDFAST_FAULT_LOG"] = log }
        let work = ["work", store, journal, "\(seed)", "\(life)"]
        let arguments: [String] =
            switch scenario {
            case .work: work + ["\(Self.operations)", "leave"]
            case .control: work + ["\(Self.operations)", "control"]
            case .damage: work + ["0", "empty"]
            case .leftover: work + ["2", "leave"]
            case .compact, .train, .upgrade: [scenario.rawValue, store]
            case .copy, .backup, .restore, .load, .recover: [scenario.rawValue, store, new]
            }
        return try Tool.run(arguments, program: Tool.path("KillWorker"), environment: environment)
    }

    /// How often each point is visited when nobody kills; in two lives where the first one makes the store.
    func visits() throws -> [FaultPoint: Int] {
        let log = directory.appending("visits")
        for life in (scenario.makesStore ? 0 : 1)...1 as ClosedRange<UInt64> {
            let outcome = try run(life: life, log: log)
            try #require(outcome.status == 0, "\(scenario): \(outcome.output)\(outcome.talk)")
        }
        let names = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        var visits: [FaultPoint: Int] = [:]
        for name in names { visits[try #require(FaultPoint(rawValue: String(name))), default: 0] += 1 }
        return visits
    }

    static func digest(_ path: String) throws -> StoreDigest {
        try StoreReader.open(path).look { (view) throws(HoldfastError) in try StoreDigest(view) }
    }
}

/// Stores that are made once, and copied for each kill.
struct KillTemplate: Sendable {
    let seed: UInt64
    private let whole: KillSite
    private let damaged: KillSite

    private static let made = Lock<[UInt64: Self]>([:])

    /// The stores of a seed, made when they are first asked for.
    static func shared(seed: UInt64) async throws -> Self {
        if let template = made.withLock({ $0[seed] }) { return template }
        let template = try await Self(seed: seed)
        // One seed at a time is worked on; the others' stores go.
        made.withLock { $0 = [seed: template] }
        return template
    }

    func site(_ isDamaged: Bool) -> KillSite { isDamaged ? damaged : whole }

    init(seed: UInt64) async throws {
        self.seed = seed
        whole = try KillSite(empty: seed)
        damaged = try KillSite(empty: seed)
        for site in [whole, damaged] {
            let workload = CrashWorkload(
                store: site.store,
                journal: site.journal,
                seed: seed,
                life: 0,
                operations: 20,
                empties: true
            )
            try await workload.run()
            try await Self.fill(site)
        }
        try await Self.damage(damaged)
    }

    /// Queues blocks of one entry, and some larger ones: something to merge, to train with, and to damage.
    private static func fill(_ site: KillSite) async throws {
        let journal = try CrashJournal(site.journal)
        var oracle = CrashWorkload.oracle(seed: site.seed)
        for event in try CrashJournal.read(site.journal).0 { oracle.apply(event) }
        let options = StoreOptions(compressionLevel: 0, mapSizeBytes: 1 << 30)
        let controller = try await RegionFailoverController.open(at: site.store, options: options)
        for count in Array(repeating: 1, count: 40) + [300, 300, 200] {
            let (event, call) = oracle.nextIssue(count, to: ["eu", "ap"])
            oracle.apply(event)
            try journal.note([event])
            let receipts = try await controller.append(call.writes, to: call.regions)
            for receipt in receipts {
                let answer = CrashEvent.answered(
                    call: call.number,
                    region: receipt.region,
                    first: receipt.first,
                    duplicates: receipt.duplicates
                )
                oracle.apply(answer)
                try journal.note([answer])
            }
        }
        await controller.close()
    }

    /// Changes a byte of a large value wherever it stands, and tells the journal which block that was.
    private static func damage(_ site: KillSite) async throws {
        let contents = try QueueContents.read(storeAt: site.store)
        let queue = try #require(contents["eu"])
        // One of a block of 256, in the middle of the queue.
        let entry = try #require(
            queue.entries.dropFirst(60).prefix(200).max { $0.write.value.count < $1.write.value.count }
        )
        var bytes = try Data(contentsOf: URL(fileURLWithPath: site.store + "/data.mdb"))
        let value = Data(entry.write.value.prefix(200))
        var places = 0
        while let place = bytes.range(of: value, in: bytes.startIndex..<bytes.endIndex) {
            bytes[place.lowerBound + 100] ^= 0x10
            places += 1
        }
        try #require(places > 0)
        try bytes.write(to: URL(fileURLWithPath: site.store + "/data.mdb"))
        let journal = try CrashJournal(site.journal)
        let left = try QueueContents.read(storeAt: site.store)
        for region in ["eu", "ap"] as [RegionID] {
            let kept = Set(try #require(left[region]).entries.map(\.position))
            let lost = try #require(contents[region]).entries.map(\.position).filter { !kept.contains($0) }
            try #require(lost.count > 1, "nothing of region \(region) was damaged")
            try journal.note([.damaging(region, lost[0]...lost[lost.count - 1])])
        }
    }
}
