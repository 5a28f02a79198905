import Foundation
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

/// What a workload had asked for, and what it had been promised, at each point of a trace.
struct Timeline {
    struct Call {
        var id: Int
        var call: PowerCall
        /// The number of the event that says so; nothing was promised before `done`.
        var issued: Int
        var done = Int.max
        var answer: PowerAnswer?
    }

    /// Calls that were made at once, between two moments when none was under way.
    struct Step {
        var before: PowerState
        var beforeEvent: Int
        var after: PowerState
        var afterEvent: Int
        var calls: [Call]
    }

    /// Which write has a position, and the call that it came with.
    struct Place {
        var origin: RegionID
        var incarnation: UInt64
        var sequence: UInt64
        var issued: Int
    }

    private(set) var steps: [Step] = []
    /// The event that says that the store was made.
    private(set) var created = Int.max
    private(set) var last: PowerState
    private(set) var places: [String: [UInt64: Place]] = [:]

    init(_ trace: Trace) throws {
        let decoder = JSONDecoder()
        var state: (PowerState, Int)?
        var calls: [Int: Call] = [:]
        for (number, event) in trace.events.enumerated() {
            guard case .mark(let text) = event else { continue }
            switch try decoder.decode(PowerMark.self, from: Data(text.utf8)) {
            case .issued(let id, let call): calls[id] = Call(id: id, call: call, issued: number)
            case .done(let id, let answer):
                calls[id]?.done = number
                calls[id]?.answer = answer
            case .state(let after):
                if let (before, beforeEvent) = state {
                    let made = calls.values.sorted { $0.id < $1.id }
                    let step = Step(
                        before: before,
                        beforeEvent: beforeEvent,
                        after: after,
                        afterEvent: number,
                        calls: made
                    )
                    try Self.place(step, &places)
                    steps.append(step)
                } else {
                    created = number
                }
                state = (after, number)
                calls = [:]
            }
        }
        last = try #require(state?.0)
    }

    /// Notes which write got which position.
    private static func place(_ step: Step, _ places: inout [String: [UInt64: Place]]) throws {
        for call in step.calls {
            switch (call.call, call.answer) {
            case (.append(_, let origin, let incarnation, let sequences), .appended(let receipts)):
                let origin = try RegionID(origin)
                for receipt in receipts {
                    let duplicates = Set(receipt.duplicates)
                    let fresh = sequences.enumerated().filter { !duplicates.contains($0.offset) }.map(\.element)
                    try #require(fresh.count == Int(receipt.end - receipt.first))
                    for (position, sequence) in zip(receipt.first..<receipt.end, fresh) {
                        let isNew =
                            places[receipt.region, default: [:]].updateValue(
                                Place(
                                    origin: origin,
                                    incarnation: incarnation,
                                    sequence: sequence,
                                    issued: call.issued
                                ),
                                forKey: position
                            ) == nil
                        try #require(isNew, "a position was given twice")
                    }
                }
            case (.retryDead(let region), .changed):
                // In the order of the positions that they had.
                let before = try #require(step.before.queues.first { $0.region == region })
                let after = try #require(step.after.queues.first { $0.region == region })
                try #require(after.next - before.next == UInt64(before.dead.count))
                for (position, dead) in zip(before.next..<after.next, before.dead) {
                    var place = try #require(places[region]?[dead])
                    place.issued = call.issued
                    places[region]?[position] = place
                }
            default: break
            }
        }
    }

    /// What may be found after a loss of power when `cut` events had happened.
    func step(at cut: Int) -> Step {
        if let step = steps.first(where: { cut <= $0.afterEvent }) { return step }
        return Step(before: last, beforeEvent: cut, after: last, afterEvent: cut, calls: [])
    }

    /// How much had been promised.
    func promises(at cut: Int) -> Int { steps.reduce(0) { $0 + $1.calls.count { $0.done < cut } } }
}
