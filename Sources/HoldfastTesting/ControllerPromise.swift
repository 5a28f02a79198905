package import Holdfast
private import ReplayFormat
private import ReplayStore

/// What a controller says of itself: all that its calls change but the entries.
///
/// Epoch, regions, roles and states, limits and pauses, as one word of text: two are the same, or not.
package struct ControllerPromise: Sendable, Hashable {
    /// What a call sets for a queue.
    struct Settings: Sendable, Hashable {
        var limits = QueueLimits.unlimited
        /// Why its replay is paused; nil when it is not.
        var pause: String?

        init() {}

        init(_ queue: QueueStatistics) {
            limits = queue.limits
            pause = queue.isPaused ? queue.pauseReason : nil
        }

        var text: String {
            let most = [limits.entriesMax, limits.bytesMax, limits.ageMaxMilliseconds].map { $0.map { "\($0)" } ?? "-" }
            let reason = pause.map { "paused." + String($0.map { $0 == " " ? "_" : $0 }) } ?? "-"
            return (most + [limits.overflow.name, reason]).joined(separator: "/")
        }
    }

    package let text: String

    package init(text: String) { self.text = text }

    init(
        epoch: UInt64,
        configuration: FailoverConfiguration,
        statuses: [RegionStatus],
        queues: [RegionID: Settings]
    ) {
        let regions = statuses.map { status in
            let settings = queues[status.region]?.text ?? "no-queue"
            return "\(status.region)/\(status.role.rawValue)/\(status.state.rawValue)/\(settings)"
        }
        let others = queues.keys.filter { key in !statuses.contains { $0.region == key } }.sorted()
        let names = configuration.regions.map(\.rawValue).joined(separator: "+")
        text = (["\(epoch)", names] + regions + others.map { "\($0)/alone" }).joined(separator: ",")
    }

    init(_ machine: FailoverMachine, _ queues: [RegionID: Settings]) {
        let configuration = machine.configuration
        self.init(epoch: machine.epoch, configuration: configuration, statuses: machine.statuses, queues: queues)
    }

    /// Asks a controller.
    package init(_ controller: RegionFailoverController) async throws(HoldfastError) {
        self.init(
            epoch: controller.epoch,
            configuration: controller.configuration,
            statuses: controller.statuses,
            queues: Self.settings(try await controller.statistics())
        )
    }

    static func settings(_ queues: [QueueStatistics]) -> [RegionID: Settings] {
        [RegionID: Settings](uniqueKeysWithValues: queues.map { ($0.region, Settings($0)) })
    }

    /// The events of calls, as a word each, without their times.
    ///
    /// A queue that runs empty or drops brings events too: nobody called for those.
    package static func words(_ events: [FailoverEvent]) -> [String] {
        events.compactMap { event in
            let more: [String]
            switch event.kind {
            case .replayed, .resyncNeeded: return nil
            case .demoted(let epoch): more = ["\(epoch)"]
            case .promoted(let replaced, let epoch, let pending), .switchedOver(let replaced, let epoch, let pending):
                more = ["\(replaced)", "\(epoch)", "\(pending.entries)"]
            case .readmitted(let forced): more = ["\(forced)"]
            case .configured(let added, let removed):
                more = [added, removed].map { $0.map(\.rawValue).joined(separator: "+") }
            default: more = []
            }
            return ([event.name, event.region?.rawValue ?? "-"] + more).joined(separator: "/")
        }
    }
}

/// What a store holds of its controller.
struct StoredController: Sendable {
    var promise: ControllerPromise
    /// The calls' events that the history has kept.
    var words: [String]
    /// Whether the history has kept all that ever was.
    var isWhole: Bool
    /// Whether it has kept as many events as it can.
    var isFull: Bool

    /// Reads the store at `path`, as of its last commit.
    init(storeAt path: String) throws(HoldfastError) {
        self = try StoreReader.open(path).look { (view) throws(HoldfastError) in
            let rows = try view.regionRows()
            let machine = try MachineRows.load(rows.map(\.0), rows: try view.machineRows())
            let history = try view.history()
            return StoredController(
                promise: ControllerPromise(
                    epoch: machine.epoch,
                    configuration: machine.configuration,
                    statuses: machine.regions,
                    queues: ControllerPromise.settings(rows.map { QueueStatistics($0.0, $0.1) })
                ),
                words: ControllerPromise.words(history.map(\.event)),
                isWhole: history.first.map { $0.number == 1 } ?? true,
                isFull: history.count == machine.configuration.historyCapacity
            )
        }
    }

    init(promise: ControllerPromise, words: [String], isWhole: Bool, isFull: Bool) {
        (self.promise, self.words, self.isWhole, self.isFull) = (promise, words, isWhole, isFull)
    }

    /// Whether the history is `all`, but for what it had no room for.
    func has(_ all: [String]) -> Bool {
        isWhole ? words == all : isFull && words.count <= all.count && words[...] == all.suffix(words.count)
    }
}

/// What has been promised of a controller, as a ``CrashVerifier`` knows it.
struct ControllerAccount: Sendable {
    /// A call that may have happened or not.
    private struct Call: Sendable {
        var after: ControllerPromise
        var words: [String]
    }

    private var known: ControllerPromise?
    private var words: [String] = []
    private var underway: Call?
    private(set) var violations = ConservationViolations()
    /// How often a call was under way when its process died: and had not happened, or had.
    private(set) var settled = (old: 0, new: 0)

    mutating func apply(_ event: CrashEvent) {
        switch event {
        case .controlling(let before, let after, let words):
            // Of a life before, which nobody has looked at.
            if let call = underway, call.after == before { end(call) }
            if let known { expect(known, before, "before a call, and no call was made since") }
            known = before
            underway = Call(after: after, words: words)
        case .controlled(let now, let words):
            guard let call = underway else { return }
            expect(call.after, now, "after a call")
            if call.words != words { note("the events of a call are \(words), and should be \(call.words)") }
            end(Call(after: now, words: words))
        default: break
        }
    }

    private mutating func end(_ call: Call) {
        known = call.after
        words += call.words
        underway = nil
    }

    private mutating func expect(_ wanted: ControllerPromise, _ found: ControllerPromise, _ when: String) {
        if wanted != found { note("\(found.text) \(when), where it should be \(wanted.text)") }
    }

    private mutating func note(_ detail: String) { violations.add(.controller, nil, nil, detail) }

    /// Compares what the store holds with what was promised, and settles the call that was under way.
    mutating func compare(_ found: StoredController) {
        defer { (known, underway) = (found.promise, nil) }
        guard let known else {
            words = found.words
            return
        }
        if let call = underway, call.after != known || !call.words.isEmpty {
            if found.promise == call.after, found.has(words + call.words) {
                settled.new += 1
                words += call.words
                return
            }
            settled.old += 1
        }
        let pending = underway.map { ", or \($0.after.text) with \($0.words)" } ?? ""
        if found.promise != known {
            note("\(found.promise.text) is stored, where it should be \(known.text)\(pending)")
        }
        if !found.has(words) {
            note("the history has \(found.words.suffix(8)), where it should end with \(words.suffix(8))\(pending)")
            words = found.words
        }
    }
}
