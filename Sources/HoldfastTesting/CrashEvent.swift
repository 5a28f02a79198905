package import Holdfast

/// A step that a process did or began, as it is kept where the process cannot take it along when it dies.
package enum CrashEvent: Sendable, Hashable {
    /// Neighbours in the queue whose sequences follow each other, and whose bytes are those that were issued.
    package struct Run: Sendable, Hashable {
        package var position: UInt64
        package var sequence: UInt64
        package var count: UInt64

        package init(position: UInt64, sequence: UInt64, count: UInt64) {
            (self.position, self.sequence, self.count) = (position, sequence, count)
        }
    }

    case opened
    case closed
    case issued(call: UInt64, regions: [RegionID], sequences: Range<UInt64>)
    case answered(call: UInt64, region: RegionID, first: UInt64, duplicates: [Int])
    case refused(call: UInt64)
    case received(RegionID, Run)
    case drained(RegionID, Run)
    /// Received, and not what was issued.
    case foreign(RegionID, position: UInt64, WriteIdentity, isDrain: Bool)
    case acknowledged(RegionID, through: UInt64)
    case draining(RegionID, max: UInt64)
    case drainEnded(RegionID)
    case retrying(RegionID, positions: [UInt64])
    case damaging(RegionID, ClosedRange<UInt64>)
    /// A call is about to change what the controller says of itself: to `after`, with the events of `words`, or not at all.
    case controlling(before: ControllerPromise, after: ControllerPromise, words: [String])
    /// The call has returned.
    case controlled(ControllerPromise, words: [String])

    static func appended(_ call: UInt64, _ receipt: AppendReceipt) -> Self {
        .answered(call: call, region: receipt.region, first: receipt.first, duplicates: receipt.duplicates)
    }

    /// What was received, compared with what was issued.
    package static func deliveries(
        _ entries: [QueueEntry],
        from region: RegionID,
        _ source: WriteSource,
        isDrain: Bool
    ) -> [Self] {
        var events: [Self] = []
        var run: Run?
        func end() {
            if let run { events.append(isDrain ? .drained(region, run) : .received(region, run)) }
            run = nil
        }
        for entry in entries {
            guard entry.write == source.write(entry.write.sequence) else {
                end()
                let identity = entry.write.identity
                events.append(.foreign(region, position: entry.position, identity, isDrain: isDrain))
                continue
            }
            if let open = run, open.position + open.count == entry.position,
                open.sequence + open.count == entry.write.sequence
            {
                run?.count += 1
            } else {
                end()
                run = Run(position: entry.position, sequence: entry.write.sequence, count: 1)
            }
        }
        end()
        return events
    }

    // MARK: As a line of text

    package var line: String {
        switch self {
        case .opened: "opened"
        case .closed: "closed"
        case .issued(let call, let regions, let sequences):
            "issued \(call) \(Self.text(regions)) \(sequences.lowerBound) \(sequences.upperBound)"
        case .answered(let call, let region, let first, let duplicates):
            "answered \(call) \(region) \(first) \(Self.text(duplicates))"
        case .refused(let call): "refused \(call)"
        case .received(let region, let run): "received \(region) \(run.position) \(run.sequence) \(run.count)"
        case .drained(let region, let run): "drained \(region) \(run.position) \(run.sequence) \(run.count)"
        case .foreign(let region, let position, let identity, let isDrain):
            "foreign \(region) \(position) \(identity.origin) \(identity.incarnation) \(identity.sequence) \(isDrain)"
        case .acknowledged(let region, let through): "acknowledged \(region) \(through)"
        case .draining(let region, let max): "draining \(region) \(max)"
        case .drainEnded(let region): "drainEnded \(region)"
        case .retrying(let region, let positions): "retrying \(region) \(Self.text(positions))"
        case .damaging(let region, let positions): "damaging \(region) \(positions.lowerBound) \(positions.upperBound)"
        case .controlling(let before, let after, let words):
            "controlling \(before.text) \(after.text) \(Self.text(words))"
        case .controlled(let now, let words): "controlled \(now.text) \(Self.text(words))"
        }
    }

    private static func text(_ values: [some CustomStringConvertible]) -> String {
        values.isEmpty ? "-" : values.map(\.description).joined(separator: ",")
    }

    /// Reads a line; nil when it is none.
    package init?(line: Substring) {
        let words: [String] = line.split(separator: " ").map(String.init)
        guard let name = words.first else { return nil }
        func number(_ index: Int) -> UInt64? { index < words.count ? UInt64(words[index]) : nil }
        func region(_ index: Int) -> RegionID? { index < words.count ? try? RegionID(words[index]) : nil }
        func list<Value>(_ index: Int, _ read: (String) -> Value?) -> [Value]? {
            guard index < words.count else { return nil }
            if words[index] == "-" { return [] }
            let parts = words[index].split(separator: ",").map(String.init)
            let values = parts.compactMap(read)
            return values.count == parts.count ? values : nil
        }
        switch name {
        case "opened": self = .opened
        case "closed": self = .closed
        case "issued":
            guard let call = number(1), let regions = list(2, { try? RegionID($0) }), let first = number(3),
                let end = number(4), first <= end
            else { return nil }
            self = .issued(call: call, regions: regions, sequences: first..<end)
        case "answered":
            guard let call = number(1), let region = region(2), let first = number(3), let list = list(4, { Int($0) })
            else { return nil }
            self = .answered(call: call, region: region, first: first, duplicates: list)
        case "refused":
            guard let call = number(1) else { return nil }
            self = .refused(call: call)
        case "received", "drained":
            guard let region = region(1), let position = number(2), let sequence = number(3), let count = number(4)
            else { return nil }
            let run = Run(position: position, sequence: sequence, count: count)
            self = name == "drained" ? .drained(region, run) : .received(region, run)
        case "foreign":
            guard let region = region(1), let position = number(2), words.count == 7,
                let origin = try? RegionID(words[3]), let incarnation = number(4), let sequence = number(5)
            else { return nil }
            let identity = WriteIdentity(origin: origin, incarnation: incarnation, sequence: sequence)
            self = .foreign(region, position: position, identity, isDrain: words[6] == "true")
        case "controlling":
            guard let events = list(3, { $0 }) else { return nil }
            let (before, after) = (ControllerPromise(text: words[1]), ControllerPromise(text: words[2]))
            self = .controlling(before: before, after: after, words: events)
        case "controlled":
            guard let events = list(2, { $0 }) else { return nil }
            self = .controlled(ControllerPromise(text: words[1]), words: events)
        default:
            guard let region = region(1) else { return nil }
            switch name {
            case "drainEnded": self = .drainEnded(region)
            case "acknowledged":
                guard let through = number(2) else { return nil }
                self = .acknowledged(region, through: through)
            case "draining":
                guard let max = number(2) else { return nil }
                self = .draining(region, max: max)
            case "retrying":
                guard let positions = list(2, { UInt64($0) }) else { return nil }
                self = .retrying(region, positions: positions)
            case "damaging":
                guard let first = number(2), let last = number(3), first <= last else { return nil }
                self = .damaging(region, first...last)
            default: return nil
            }
        }
    }
}
