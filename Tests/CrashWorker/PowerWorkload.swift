import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import TestSupport

/// A controller with several regions that does a little of everything, and says before and after each call what it asks
/// for and what it was promised.
struct PowerWorkload {
    private static let regions: [RegionID] = ["us", "eu", "ap", "sa"]
    /// A region that comes and goes, for which nothing is appended.
    private static let spare: RegionID = "spare"
    private static let historyCapacity = 65_536
    private static let suspectAfterMilliseconds: Int64 = 1_000_000_000

    private let controller: RegionFailoverController
    private let record: Record
    private var random: SplitMix64
    private var lastID = 0
    private var nextSequence: [RegionID: UInt64] = [:]
    /// Appends of before, which are made again now and then.
    private var appends: [PowerCall] = []

    /// What a call of a step is, and how it is made.
    private struct Issued: Sendable {
        var id: Int
        var call: PowerCall
        var make: @Sendable () async throws -> PowerAnswer
    }

    /// Small, so that an image of the store is.
    static let options = StoreOptions(acknowledgeReserveBytes: 64 << 10)

    static func run(_ arguments: [String]) async throws {
        guard arguments.count == 4, let seed = UInt64(arguments[2]), let steps = Int(arguments[3]) else { exit(64) }
        let controller = try await RegionFailoverController.create(
            at: arguments[0],
            configuration: FailoverConfiguration(
                local: "us",
                regions: regions,
                suspectAfterMilliseconds: suspectAfterMilliseconds,
                historyCapacity: historyCapacity
            ),
            options: options
        )
        var workload = Self(
            controller: controller,
            record: Record(arguments[1]),
            random: SplitMix64(seed: seed)
        )
        try await workload.noteState()
        for region in regions {
            try await controller.setReplaySettings(replaySettings, for: region)
        }
        for _ in 0..<steps {
            try await workload.step()
            try await workload.noteState()
        }
        await controller.close()
    }

    private func note(_ mark: PowerMark) throws {
        record.note(String(decoding: try JSONEncoder().encode(mark), as: UTF8.self))
    }

    private func noteState() async throws { try note(.state(try await PowerState(controller))) }

    /// Makes the calls at once, and returns when each has returned.
    private func make(_ calls: [Issued]) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for issued in calls {
                group.addTask { [self] in
                    try note(.issued(issued.id, issued.call))
                    do {
                        try note(.done(issued.id, try await issued.make()))
                    } catch let error as HoldfastError {
                        try note(.done(issued.id, .refused("\(error.code)")))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private mutating func issue(_ call: PowerCall, _ make: @escaping @Sendable () async throws -> PowerAnswer) -> Issued
    {
        lastID += 1
        return Issued(id: lastID, call: call, make: make)
    }

    // MARK: Steps

    private mutating func step() async throws {
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<11:
            var calls: [Issued] = []
            for _ in 0..<Int.random(in: 1...8, using: &random) { calls.append(try await queueCall()) }
            try await make(calls)
        case 11, 12: try await make([limits()])
        case 13, 14, 15: try await make([control()])
        case 16, 17: try await ship()
        case 18: try await make([dead()])
        default:
            // A long queue's turn: blocks that several pages hold.
            for _ in 0..<3 { try await make([append(count: 120)]) }
        }
    }

    private mutating func queueCall() async throws -> Issued {
        let (controller, region) = (controller, anyRegion())
        let queue = try await controller.statistics().first { $0.region == region }
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<7: return append(count: [1, 1, 1, 2, 5, 20, 60][Int.random(in: 0..<7, using: &random)])
        case 7, 8:
            guard let queue, queue.nextPosition > 1 else { return append(count: 3) }
            let through = UInt64.random(in: (queue.headPosition - 1)...(queue.nextPosition - 1), using: &random)
            return issue(.acknowledge(region: region.rawValue, through: through)) {
                try await controller.acknowledge(region, through: through)
                return .changed
            }
        default:
            let max = Int.random(in: 1...200, using: &random)
            return issue(.drain(region: region.rawValue, max: max)) {
                let drained = try await controller.drain(region, max: max).entries
                let isRight = drained.allSatisfy {
                    $0.write == .numbered($0.write.origin, $0.write.incarnation, $0.write.sequence)
                }
                guard isRight else { exit(2) }
                return .drained(drained.map(\.position))
            }
        }
    }

    private mutating func append(count: Int) -> Issued {
        var regions = [anyRegion()]
        if Int.random(in: 0..<4, using: &random) == 0 {
            regions = Self.regions.shuffled(using: &random).prefix(Int.random(in: 2...4, using: &random)).map { $0 }
        }
        let origin: RegionID = Bool.random(using: &random) ? "us" : "eu"
        let first = nextSequence[origin, default: 1]
        // Gaps, which a later call does not fill, make ranges of identities.
        let gap: UInt64 = Int.random(in: 0..<5, using: &random) == 0 ? 3 : 0
        nextSequence[origin] = first + UInt64(count) + gap
        var sequences = Array(first..<(first + UInt64(count)))
        if Int.random(in: 0..<6, using: &random) == 0 { sequences.shuffle(using: &random) }
        var call = PowerCall.append(
            regions: regions.map(\.rawValue),
            origin: origin.rawValue,
            incarnation: 1,
            sequences: sequences
        )
        // A caller that never heard makes its call again.
        if Int.random(in: 0..<8, using: &random) == 0, let earlier = appends.randomElement(using: &random) {
            call = earlier
        }
        appends.append(call)
        let controller = controller
        let again = call
        return issue(call) { try await again.append(to: controller) }
    }

    /// What is refused once becomes a dead letter.
    private static let replaySettings = ReplaySettings(
        backoffBaseMilliseconds: 1,
        backoffMaxMilliseconds: 2,
        attemptsMax: 1,
        exhaustion: .park
    )

    private mutating func limits() -> Issued {
        let (controller, region) = (controller, anyRegion())
        var limits = QueueLimits.unlimited
        let number = UInt64.random(in: 1...120, using: &random)
        if Bool.random(using: &random) { limits.overflow = .dropOldest }
        switch Int.random(in: 0..<9, using: &random) {
        case 0, 1: limits.overflow = .reject
        case 2, 3: limits.entriesMax = number
        case 4: limits.bytesMax = 20_000 + number * 500
        // With an age that every entry has, little stays in a queue.
        case 5: limits.ageMaxMilliseconds = number % 4 == 0 && limits.overflow == .dropOldest ? 0 : 1_000_000_000
        case 6: limits = QueueLimits(entriesMax: 500, bytesMax: 200_000, sharePercent: UInt8(number % 20))
        case 7:
            var total = TotalLimits.unlimited
            if limits.overflow == .reject {
                total = TotalLimits(entriesMax: 100 + number * 5, bytesMax: 100_000 + number * 5_000)
            }
            return issue(.control("total limits")) { [total] in
                try await controller.setTotalLimits(total)
                return .changed
            }
        default:
            var settings = Self.replaySettings
            (settings.batchEntriesMax, settings.batchBytesMax) = (UInt32(number), UInt32(number) * 100)
            settings.entriesPerSecondMax = 1_000_000
            settings.exhaustion = number % 2 == 0 ? .park : .parkKey
            return issue(.control("replay of \(region)")) { [settings] in
                try await controller.setReplaySettings(settings, for: region)
                return .changed
            }
        }
        return issue(.control("limits of \(region)")) { [limits] in
            try await controller.setLimits(limits, for: region)
            return .changed
        }
    }

    /// Another order of promotion, another patience, and a region more or less.
    private mutating func configuration() -> FailoverConfiguration {
        let isThere = controller.configuration.regions.contains(Self.spare)
        let patience: Int64 = Int64.random(in: 1...2, using: &random)
        return FailoverConfiguration(
            local: "us",
            regions: Self.regions + (isThere ? [] : [Self.spare]),
            tiers: Bool.random(using: &random) ? [] : [["us", "eu"], ["ap", "sa"]],
            suspectAfterMilliseconds: patience * Self.suspectAfterMilliseconds,
            historyCapacity: Self.historyCapacity
        )
    }

    private mutating func control() -> Issued {
        let (controller, region) = (controller, anyRegion())
        let isForced = Bool.random(using: &random)
        let until = Bool.random(using: &random) ? Timestamp(milliseconds: 4_000_000_000_000) : nil
        let wanted = configuration()
        let changes: [(String, @Sendable () async throws -> Void)] = [
            ("demoteAndPromote", { try await controller.demoteAndPromote(controller.actingPrimary) }),
            ("switchover to \(region)", { try await controller.switchover(to: region) }),
            ("readmit \(region)", { try await controller.readmit(region, maximumPending: 50, force: isForced) }),
            ("heartbeat of \(region)", { try await controller.heartbeat(region) }),
            (
                "heartbeat and tick",
                {
                    for region in Self.regions { try await controller.heartbeat(region) }
                    try await controller.tick()
                }
            ),
            ("configure", { try await controller.configure(wanted, force: isForced) }),
            ("pause \(region)", { try await controller.pause(region, reason: "maintenance", until: until) }),
            ("resume \(region)", { try await controller.resume(region) }),
            ("clearResync of \(region)", { try await controller.clearResync(region) }),
        ]
        let (name, change) = changes[Int.random(in: 0..<changes.count, using: &random)]
        return issue(.control(name)) {
            try await change()
            return .changed
        }
    }

    private mutating func dead() -> Issued {
        let (controller, region) = (controller, anyRegion())
        guard Bool.random(using: &random) else {
            return issue(.dropDead(region: region.rawValue)) {
                try await controller.dropDeadLetters(region, .all)
                return .changed
            }
        }
        return issue(.retryDead(region: region.rawValue)) {
            try await controller.retryDeadLetters(region)
            return .changed
        }
    }

    private mutating func ship() async throws {
        let (controller, region) = (controller, anyRegion())
        guard let queue = try await controller.statistics().first(where: { $0.region == region }), !queue.isPaused,
            queue.entries > 0
        else { return }
        let call = issue(.ship(region: region.rawValue)) {
            let service = ReplayService(
                controller,
                sinks: [
                    region: { batch in
                        if batch.entries.contains(where: \.write.isRefused) { throw Refusal() }
                    }
                ]
            )
            let running = Task { try await service.run() }
            try await controller.wait(for: try await controller.syncPoint(for: region), atMost: 60_000)
            service.shutDown()
            try await running.value
            return .changed
        }
        try await make([call])
    }

    private mutating func anyRegion() -> RegionID {
        Self.regions[Int.random(in: 0..<Self.regions.count, using: &random)]
    }
}

private struct Refusal: Error {}
