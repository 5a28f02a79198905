import Holdfast
import HoldfastTesting
import Testing

/// What is done to a controller, and what its journal says of it.
private struct Told: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// What the violation says; nil where there is none.
    var text: String?
    var tell: @Sendable (RegionFailoverController, CrashJournal) async throws -> Void

    init(
        _ name: String,
        _ text: String?,
        _ tell: @escaping @Sendable (RegionFailoverController, CrashJournal) async throws -> Void
    ) {
        (testDescription, self.text, self.tell) = (name, text, tell)
    }

    /// What a controller says before and after calls that nobody is told of, and the calls' events.
    private static func calls(
        _ controller: RegionFailoverController,
        _ make: () async throws -> [FailoverEvent]
    ) async throws -> (before: ControllerPromise, after: ControllerPromise, words: [String]) {
        let before = try await ControllerPromise(controller)
        let events = try await make()
        return (before, try await ControllerPromise(controller), ControllerPromise.words(events))
    }

    private static func promote(
        _ controller: RegionFailoverController
    ) async throws -> (before: ControllerPromise, after: ControllerPromise, words: [String]) {
        try await calls(controller) { try await controller.demoteAndPromote(controller.actingPrimary).events }
    }

    static let all: [Told] = [
        Told("a call that has returned is there", nil) { controller, journal in
            let (before, after, words) = try await promote(controller)
            try journal.note([
                .controlling(before: before, after: after, words: words), .controlled(after, words: words),
            ])
        },
        Told("a call that was under way is there as a whole", nil) { controller, journal in
            let (before, after, words) = try await promote(controller)
            try journal.note([.controlling(before: before, after: after, words: words)])
        },
        Told("a call that was under way is not there at all", nil) { controller, journal in
            let now = try await ControllerPromise(controller)
            let after = ControllerPromise(text: now.text + "x")
            try journal.note([.controlling(before: now, after: after, words: ["paused/us"])])
        },
        Told("a call that had returned is not there", "is stored, where it should be") { controller, journal in
            let now = try await ControllerPromise(controller)
            let after = ControllerPromise(text: now.text + "x")
            try journal.note([.controlling(before: now, after: after, words: []), .controlled(after, words: [])])
        },
        Told("an event of a call is not there", "the history has") { controller, journal in
            let now = try await ControllerPromise(controller)
            let events = ["paused/us"]
            try journal.note([.controlling(before: now, after: now, words: events), .controlled(now, words: events)])
        },
        Told("a call was under way, and its events are not there", "is stored, where it should be") {
            controller,
            journal in
            let (before, after, words) = try await promote(controller)
            let more = words + ["healthy/us"]
            try journal.note([.controlling(before: before, after: after, words: more)])
        },
        Told("a call was under way, and half of it is there", "is stored, where it should be") { controller, journal in
            let (before, _, words) = try await calls(controller) { try await controller.pause("eu") }
            let (_, after, more) = try await promote(controller)
            try await controller.resume("eu")
            try journal.note([.controlling(before: before, after: after, words: words + more)])
        },
        Told("a limit is set, and nobody asked for it", "is stored, where it should be") { controller, _ in
            try await controller.setLimits(QueueLimits(entriesMax: 77), for: "eu")
        },
        Told("something has changed before a call", "before a call") { controller, journal in
            let (_, after, _) = try await calls(controller) { try await controller.pause("ap") }
            try journal.note([.controlling(before: after, after: after, words: []), .controlled(after, words: [])])
        },
        Told("a call has come to something else", "after a call") { controller, journal in
            let (before, after, words) = try await promote(controller)
            try journal.note([
                .controlling(before: before, after: before, words: words), .controlled(after, words: words),
            ])
        },
        Told("a call has brought other events", "the events of a call are") { controller, journal in
            let (before, after, words) = try await promote(controller)
            try journal.note([.controlling(before: before, after: after, words: []), .controlled(after, words: words)])
        },
    ]
}

@Suite("What a controller has promised") struct ControllerPromiseTests {
    private static let seed: UInt64 = 20_261_123

    @Test("is compared with the store", arguments: Told.all)
    private func told(told: Told) async throws {
        let directory = try TemporaryDirectory()
        let (store, path) = (directory.appending("store"), directory.appending("journal"))
        try await CrashWorkload(store: store, journal: path, seed: Self.seed, life: 0, operations: 8).run()
        var verifier = CrashVerifier(store: store, journal: path, seed: Self.seed)
        #expect(try verifier.verify() == [])
        let controller = try await RegionFailoverController.open(at: store, options: Deployment.options)
        try await told.tell(controller, CrashJournal(path))
        await controller.close()
        let found = try verifier.verify()
        #expect(found.isEmpty == (told.text == nil), "\(found)")
        #expect(found.allSatisfy { $0.kind == .controller }, "\(found)")
        if let text = told.text { #expect(found.contains { $0.detail.contains(text) }, "\(found)") }
        let calls = verifier.settledCalls
        #expect(calls.new == (told.testDescription.hasSuffix("as a whole") ? 1 : 0))
    }
}
