package import Holdfast

/// The work of a process that is going to be killed: everything that a store is used for, in a random order.
///
/// Each step is in the journal: what is about to happen before it does, and what was promised before anything else is done.
package struct CrashWorkload: Sendable {
    /// The regions whose writes are followed; the first one is the local one.
    package static let regions: [RegionID] = ["us", "eu", "ap"]
    /// A region that comes and goes.
    static let spare: RegionID = "spare"
    /// The most entries in a batch.
    package static let windowEntries = 64

    /// Longer than any life: who is suspected when is no matter of the store, and nobody could forecast it.
    private static let suspectAfterMilliseconds: Int64 = 86_400_000

    package var store: String
    package var journal: String
    package var seed: UInt64
    /// Which life of the process this is: each does other things.
    package var life: UInt64
    /// How many operations it does at most.
    package var operations: Int
    /// Whether it delivers everything at its end.
    package var empties: Bool
    /// Whether it does nothing but what changes what the controller says of itself.
    package var isControl: Bool

    package init(
        store: String,
        journal: String,
        seed: UInt64,
        life: UInt64,
        operations: Int,
        empties: Bool = false,
        isControl: Bool = false
    ) {
        (self.store, self.journal, self.seed, self.life) = (store, journal, seed, life)
        (self.operations, self.empties, self.isControl) = (operations, empties, isControl)
    }

    /// The oracle of a store that is new.
    package static func oracle(seed: UInt64) -> ConservationOracle {
        ConservationOracle(seed: seed, regions: regions, windowEntries: windowEntries)
    }

    /// Makes or opens the store, works, and closes it.
    package func run() async throws {
        var oracle = Self.oracle(seed: seed)
        let journal = try CrashJournal(journal)
        for event in try CrashJournal.read(self.journal).0 { oracle.apply(event) }
        let controller = try await open()
        try journal.note([.opened])
        let random = SplitMix64(seed: seed &+ life &* 0x9E6C_63D0_876A_68EE)
        var worker = CrashWorker(controller: controller, journal: journal, oracle: oracle, random: random)
        try await worker.begin()
        var left: [CrashWorker.Operation] = []
        for _ in 0..<operations {
            if left.isEmpty {
                let share = isControl ? CrashWorker.Operation.controlShare : CrashWorker.Operation.share
                left = share.shuffled(using: &worker.random)
            }
            try await worker.work(left.removeLast())
        }
        if empties { try await worker.empty() }
        await controller.close()
        try journal.note([.closed])
    }

    /// Opens the store; makes it where nobody has, or where that was interrupted.
    private func open() async throws -> RegionFailoverController {
        // What the receiver refuses is meant to be.
        let options = StoreOptions(acknowledgeReserveBytes: 64 << 10, logger: .silent)
        do throws(HoldfastError) {
            return try await RegionFailoverController.open(at: store, options: options)
        } catch {
            guard error.code == .notFound else { throw error }
        }
        let configuration = FailoverConfiguration(
            local: Self.regions[0],
            regions: Self.regions,
            suspectAfterMilliseconds: Self.suspectAfterMilliseconds
        )
        return try await RegionFailoverController.create(at: store, configuration: configuration, options: options)
    }
}

/// Looks at the store that a process left, and at what its journal says.
package struct CrashVerifier: Sendable {
    package let store: String
    package let journal: String
    package private(set) var oracle: ConservationOracle
    /// Whether some process has had the store open: from then on it must be there.
    package private(set) var wasOpened = false
    /// Whether the last process ended by itself.
    package private(set) var wasClosed = false
    private var controller = ControllerAccount()
    private var read: Int64 = 0

    package init(store: String, journal: String, seed: UInt64) {
        (self.store, self.journal) = (store, journal)
        oracle = CrashWorkload.oracle(seed: seed)
    }

    /// How many calls of the controller were under way when their process died: and had not happened, or had.
    package var settledCalls: (old: Int, new: Int) { controller.settled }

    /// Every violation so far.
    package mutating func verify() throws(HoldfastError) -> [ConservationViolation] {
        let (events, end) = try CrashJournal.read(journal, from: read)
        read = end
        if !events.isEmpty { wasClosed = false }
        for event in events {
            oracle.apply(event)
            controller.apply(event)
            if event == .opened { wasOpened = true }
            if event == .closed { wasClosed = true }
        }
        do throws(HoldfastError) {
            let violations = try oracle.violations(storeAt: store)
            controller.compare(try StoredController(storeAt: store))
            return violations + controller.violations.all
        } catch {
            if error.code == .notFound, !wasOpened { return [] }
            return [ConservationViolation(kind: .damaged, region: nil, positions: nil, detail: "\(error)")]
        }
    }
}
