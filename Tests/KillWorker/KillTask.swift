import Glibc
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore

/// What the worker is told to do.
enum KillTask {
    static func run(_ arguments: [String]) async throws {
        switch (arguments.first, arguments.count) {
        case ("work", 7):
            guard let seed = UInt64(arguments[3]), let life = UInt64(arguments[4]), let operations = Int(arguments[5])
            else { return usage() }
            try await CrashWorkload(
                store: arguments[1],
                journal: arguments[2],
                seed: seed,
                life: life,
                operations: operations,
                empties: arguments[6] == "empty",
                isControl: arguments[6] == "control"
            ).run()
        case ("compact", 2):
            var rewriting = Rewriting()
            rewriting.mergesBlocks = true
            _ = try StoreCompact.inPlace(arguments[1], rewriting)
        case ("train", 2):
            var rewriting = Rewriting()
            rewriting.trainsDictionary = true
            _ = try StoreCompact.inPlace(arguments[1], rewriting)
        case ("copy", 3): _ = try StoreCompact.copy(from: arguments[1], to: arguments[2])
        case ("backup", 3):
            let time = Timestamp(milliseconds: 1_800_000_000_000)
            _ = try StoreBackup.make(of: arguments[1], at: arguments[2], time: time)
        case ("restore", 3): _ = try StoreBackup.restore(arguments[1], to: arguments[2], as: .random())
        case ("recover", 3):
            let time = Timestamp(milliseconds: 1_800_000_000_000)
            let report = try StoreRecover.run(arguments[1], to: arguments[2], now: time)
            guard report.isComplete else { throw HoldfastError(code: .damaged, message: "\(report)") }
        case ("load", 3): try load(arguments[1], to: arguments[2])
        case ("upgrade", 2): _ = try StoreUpgrade.run(arguments[1], isDry: false, steps: steps, to: 3)
        default: usage()
        }
    }

    private static func usage() {
        print(
            "usage: KillWorker work STORE JOURNAL SEED LIFE OPERATIONS empty|leave|control | compact|train|upgrade STORE"
        )
        print("       KillWorker copy|backup|restore|load|recover STORE NEW")
        exit(64)
    }

    /// Two steps that leave a mark each, and write some rows anew.
    private static let steps = (1...2 as ClosedRange<UInt32>).map { version in
        StoreUpgrade.Step(from: version, name: "mark \(version)") { (change) throws(HoldfastError) in
            try change.put([UInt8(version)], key: Key.text("step \(version)"), in: .raft)
            for (key, fields) in try change.rows(of: .controller) { try change.put(fields, key: key, in: .controller) }
        }
    }

    /// Loads what a dump of the store would hold, without the text.
    private static func load(_ source: String, to destination: String) throws {
        let reader = try StoreReader.open(source)
        let header = try reader.dumpHeader()
        let contents = try QueueContents.read(storeAt: source)
        let loader = try StoreLoader(destination, regions: header.regions)
        for region in header.regions {
            for entry in contents[region.region]?.entries ?? [] { try loader.add(entry, to: region.region) }
        }
        for row in header.rows { try loader.add(table: row.table, key: row.key, value: row.value) }
        _ = try loader.finish(destination, leftMeanwhile: [])
    }
}
