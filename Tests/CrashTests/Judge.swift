import Holdfast
import HoldfastTesting
import TestSupport

/// Compares what is found with what was promised.
struct Judge {
    let timeline: Timeline
    private var writes: [UInt64: [UInt64: OutstandingWrite]] = [:]

    init(_ timeline: Timeline) { self.timeline = timeline }

    /// What is wrong; nothing when every promise was kept.
    mutating func faults(of found: FoundStore, at cut: Int) -> [String] {
        let step = timeline.step(at: cut)
        let issued = step.calls.filter { $0.issued < cut }
        let done = issued.filter { $0.done < cut }
        let isComplete = done.count == step.calls.count
        var faults = found.errors
        func expect(_ holds: Bool, _ fault: @autoclosure () -> String) { if !holds { faults.append(fault()) } }
        let (state, before, after) = (found.state, step.before, step.after)
        let isController = done.contains { if case .control = $0.call { true } else { false } }
        let certain = isController || isComplete ? after : nil
        let sides = [certain ?? before, after]
        expect(
            sides.contains {
                $0.epoch == state.epoch && $0.roles == state.roles && $0.settings == state.settings
                    && $0.queues.map(\.region) == state.queues.map(\.region)
            },
            "epoch \(state.epoch), roles \(state.roles), \(state.settings), promised \(before.epoch) \(before.roles) "
                + "\(before.settings), then \(after.roles) \(after.settings)"
        )
        expect(state.history.starts(with: (certain ?? before).history), "events are missing: \(state.history)")
        expect(after.history.starts(with: state.history), "events that never were: \(state.history)")
        guard faults.isEmpty else { return faults }
        for queue in state.queues {
            // A region that came or goes in this step is in one of the two.
            let both = [before, after].map { $0.queues.first { $0.region == queue.region } }
            guard let old = both[0] ?? both[1], let new = both[1] ?? both[0] else { continue }
            let range = Self.bounds(old, new, issued, done)
            expect(range.head.contains(queue.head), "\(queue.region): head \(queue.head), not in \(range.head)")
            expect(range.next.contains(queue.next), "\(queue.region): next \(queue.next), not in \(range.next)")
            let settings = isComplete ? [new.settings] : [old.settings, new.settings]
            expect(settings.contains(queue.settings), "\(queue.region): \(queue.settings), not \(settings)")
            let kept = isComplete ? new.dead : Array(Set(old.dead).intersection(new.dead))
            expect(
                Set(queue.dead).isSuperset(of: kept),
                "\(queue.region): dead letters \(queue.dead), promised \(kept)"
            )
            expect(
                Set(queue.dead).isSubset(of: old.dead + new.dead),
                "\(queue.region): dead letters \(queue.dead), of \(old.dead) and \(new.dead)"
            )
            let entries = found.entries[queue.region] ?? []
            expect(entries.map(\.position) == Array(queue.head..<queue.next), "\(queue.region): positions")
            for (position, write) in entries + (found.dead[queue.region] ?? []) {
                expect(
                    isRight(write, position, queue.region, cut),
                    "\(queue.region): entry \(position): \(write.identity)"
                )
            }
        }
        for call in issued {
            guard case .appended(let receipts) = call.answer else { continue }
            let arrived = receipts.filter { $0.end > $0.first }.map { receipt in
                (state.queues.first { $0.region == receipt.region }?.next ?? 0, receipt)
            }
            let isThere = arrived.allSatisfy { $0.0 >= $0.1.end }
            expect(isThere || call.done >= cut, "the append \(call.id) was promised: \(receipts)")
            expect(isThere || arrived.allSatisfy { $0.0 <= $0.1.first }, "a part of the append \(call.id)")
        }
        return faults
    }

    /// Which promised entries are not there, or not right, in a store that may have more.
    mutating func missing(from found: FoundStore, at cut: Int) -> [String] {
        let step = timeline.step(at: cut)
        let issued = step.calls.filter { $0.issued < cut }
        let done = issued.filter { $0.done < cut }
        var faults = found.errors
        for old in step.before.queues {
            guard let new = step.after.queues.first(where: { $0.region == old.region }) else { continue }
            let range = Self.bounds(old, new, issued, done)
            let entries = found.entries[old.region] ?? []
            let writes = Dictionary(entries.map { ($0.position, $0.write) }) { first, _ in first }
            for position in range.head.upperBound..<max(range.head.upperBound, range.next.lowerBound)
            where writes[position].map({ isRight($0, position, old.region, cut) }) != true {
                faults.append("\(old.region): entry \(position) is missing, or another one")
            }
        }
        return faults
    }

    private mutating func isRight(_ write: OutstandingWrite, _ position: UInt64, _ region: String, _ cut: Int) -> Bool {
        guard let place = timeline.places[region]?[position], place.issued < cut else { return false }
        let key = place.sequence << 1 | (place.origin == "us" ? 1 : 0)
        let known = writes[place.incarnation]?[key]
        let expected = known ?? .numbered(place.origin, place.incarnation, place.sequence)
        if known == nil { writes[place.incarnation, default: [:]][key] = expected }
        return write == expected
    }

    /// Where the head and the end of a queue may be.
    private static func bounds(
        _ old: PowerState.Queue,
        _ new: PowerState.Queue,
        _ issued: [Timeline.Call],
        _ done: [Timeline.Call]
    ) -> (head: ClosedRange<UInt64>, next: ClosedRange<UInt64>) {
        var (headMin, headMax, nextMin) = (old.head, old.head, old.next)
        for (call, isDone) in issued.map({ call in (call, done.contains { $0.id == call.id }) }) {
            switch (call.call, call.answer) {
            case (.acknowledge(old.region, let through), .changed):
                headMax = max(headMax, through + 1)
                if isDone { headMin = max(headMin, through + 1) }
            case (.drain(old.region, _), .drained(let positions)):
                guard let last = positions.last else { continue }
                headMax = max(headMax, last + 1)
                if isDone { headMin = max(headMin, last + 1) }
            case (.append, .appended(let receipts)):
                guard let receipt = receipts.first(where: { $0.region == old.region }) else { continue }
                if new.settings.contains("dropOldest") { headMax = new.head }
                if isDone { nextMin = max(nextMin, receipt.end) }
            case (.ship(old.region), _), (.control, _): headMax = new.head
            default: continue
            }
        }
        return (min(headMin, new.head)...min(max(headMax, headMin), new.head), nextMin...new.next)
    }
}
