import Glibc
import Holdfast
import HoldfastTesting
import ReplayStore

/// The same workload again and again, with the fault at the first call that changes a file, at the second, and so on.
struct FaultTask {
    let directory: String
    let seed: UInt64
    let operations: Int
    /// Puts the fault of that number in place; false when there is none.
    let begin: (Int) -> Void
    /// Takes it away; gives how many calls have failed.
    let end: () -> Int
    let settle: () -> Int
    /// The codes that callers may hear.
    let allowed: Set<String>
    /// Whether a handle must go on after the fault; nil when it may or may not.
    let survives: Bool?

    static let options = StoreOptions(acknowledgeReserveBytes: 64 << 10, logger: .silent)

    struct Tally {
        var sites = 0
        var failedCalls = 0
        var poisoned = 0
        var forgotten = 0
        var notMade = 0
        var acknowledged: UInt64 = 0
        var codes: [String: Int] = [:]
        var faults: [String] = []

        /// One line of numbers, then one for each fault.
        func show(_ name: String) {
            let counts = codes.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            print(
                "\(name): \(sites) workloads, \(failedCalls) calls failed, \(notMade) stores were not made, \(poisoned) handles "
                    + "poisoned, \(forgotten) pages forgotten, \(acknowledged) writes acknowledged, heard: \(counts)"
            )
            for fault in faults.prefix(20) { print("WRONG \(fault)") }
            print("failed calls: \(failedCalls)")
            print("poisoned handles: \(poisoned)")
            print("full: \(codes["full"] ?? 0)")
            print("wrong: \(faults.count)")
        }
    }

    /// Runs the workload for each number, until one at which no call fails any more.
    ///
    /// `site`: The workload; that of a store when nil.
    func run(
        first: Int,
        step: Int,
        most: Int = .max,
        site: ((Int, inout Tally) async throws -> Void)? = nil
    ) async throws -> Tally {
        var tally = Tally()
        var number = first
        while tally.sites < most {
            let before = tally.failedCalls
            if let site { try await site(number, &tally) } else { try await self.site(number, &tally) }
            if tally.failedCalls == before { break }
            number += step
        }
        return tally
    }

    private func site(_ number: Int, _ tally: inout Tally) async throws {
        let place = try TemporaryDirectory(in: directory)
        let store = place.appending("store")
        let oracle = ConservationOracle(seed: seed, regions: FaultWorkload.regions)
        let configuration = FailoverConfiguration(local: "us", regions: FaultWorkload.regions)
        func wrong(_ text: String) { tally.faults.append("at call \(number), seed \(seed): \(text)") }
        tally.sites += 1
        begin(number)
        var workload: FaultWorkload
        do throws(HoldfastError) {
            let controller = try await RegionFailoverController.create(
                at: store,
                configuration: configuration,
                options: Self.options
            )
            workload = FaultWorkload(controller, oracle, seed: seed, allowed: allowed)
        } catch {
            tally.failedCalls += end()
            tally.notMade += 1
            tally.codes[error.code.description, default: 0] += 1
            if !allowed.contains(error.code.description) { wrong("making: \(error)") }
            tally.forgotten += settle()
            let controller = try await RegionFailoverController.create(
                at: store,
                configuration: configuration,
                options: Self.options
            )
            await controller.close()
            return
        }
        await workload.run(operations: operations)
        let failed = end()
        tally.failedCalls += failed
        // The fault has gone: a handle that is not poisoned goes on without a restart.
        let wasPoisoned = workload.isPoisoned
        for region in FaultWorkload.regions where !wasPoisoned {
            _ = try await workload.controller.setLimits(.unlimited, for: region)
        }
        let goesOn = await workload.append(to: "eu")
        if goesOn == wasPoisoned { wrong("poisoned \(wasPoisoned), and the next append went through: \(goesOn)") }
        if let survives, failed > 0, survives == wasPoisoned { wrong("the handle is poisoned: \(wasPoisoned)") }
        if wasPoisoned { tally.poisoned += 1 }
        await workload.controller.close()
        tally.forgotten += settle()
        try look(&workload.oracle, store, wrong)
        let again = try await RegionFailoverController.open(at: store, options: Self.options)
        let codes = workload.codes
        let faults = workload.faults
        workload = FaultWorkload(again, workload.oracle, seed: seed, allowed: [])
        try await workload.finish()
        await again.close()
        try look(&workload.oracle, store, wrong)
        for fault in faults + workload.faults { wrong(fault) }
        tally.codes.merge(codes, uniquingKeysWith: +)
        tally.acknowledged += workload.oracle.tally.acknowledged
    }

    /// Nothing is lost, doubled or damaged.
    private func look(_ oracle: inout ConservationOracle, _ store: String, _ wrong: (String) -> Void) throws {
        for finding in try StoreCheck.run(store, level: .deep).findings where finding.severity == .error {
            wrong("\(finding.code): \(finding.message)")
        }
        for violation in oracle.violations(in: try QueueContents.read(storeAt: store)) { wrong("\(violation)") }
    }
}

extension FaultTask {
    /// Calls of one kind fail with one error, under a store or a receiver's ledger.
    static func runCalls(_ arguments: [String], isLedger: Bool = false) async throws {
        guard arguments.count == 9, let library = FaultLibrary(),
            let calls = FaultLibrary.Calls(rawValue: arguments[1]),
            let number = Int32(arguments[2]), let manner = FaultLibrary.Manner(rawValue: arguments[3]),
            let seed = UInt64(arguments[5]), let operations = Int(arguments[6]), let first = Int(arguments[7]),
            let step = Int(arguments[8])
        else { return usage() }
        let lasts = arguments[4] == "lasts"
        let isSpace = number != EIO
        let task = Self(
            directory: arguments[0],
            seed: seed,
            operations: operations,
            begin: { library.arm(calls, first: $0, number: number, manner, lasts: lasts) },
            end: library.disarm,
            settle: library.settle,
            allowed: isSpace || manner == .half ? ["full", "ioFailed", "poisoned"] : ["ioFailed", "poisoned"],
            // A disk that is full leaves the handle as it is, unless LMDB met that in its last step.
            survives: isSpace ? calls != .durable : nil
        )
        let ledger = LedgerFaultTask(task)
        let tally = try await task.run(first: first, step: step, site: isLedger ? ledger.site : nil)
        tally.show((isLedger ? "ledger " : "") + arguments[1...4].joined(separator: " "))
    }

    /// The process may not make files longer than some size.
    static func runFileSize(_ arguments: [String]) async throws {
        guard arguments.count == 6, let seed = UInt64(arguments[1]), let operations = Int(arguments[2]),
            let first = Int(arguments[3]), let step = Int(arguments[4]), let most = Int(arguments[5])
        else { return usage() }
        let task = Self(
            directory: arguments[0],
            seed: seed,
            operations: operations,
            begin: { setFileSizeMax(UInt($0)) },
            end: {
                setFileSizeMax(UInt.max)
                return 1
            },
            settle: { 0 },
            allowed: ["full", "ioFailed"],
            survives: true
        )
        try await task.run(first: first, step: step, most: most).show("file size")
    }

    private static func setFileSizeMax(_ bytes: UInt) {
        var limit = rlimit()
        unsafe getrlimit(__rlimit_resource_t(UInt32(RLIMIT_FSIZE.rawValue)), &limit)
        limit.rlim_cur = min(rlim_t(bytes), limit.rlim_max)
        guard unsafe setrlimit(__rlimit_resource_t(UInt32(RLIMIT_FSIZE.rawValue)), &limit) == 0 else {
            print("setrlimit: \(errno)")
            exit(71)
        }
    }
}
