import HoldfastTesting
import RegionFailover
import ReplayFormat
import ReplayStore
import Testing

/// A history with one thing in it that no controller may do, and the same history without it.
struct LinearizabilityFault: Sendable, CustomTestStringConvertible {
    enum History: Sendable {
        case queue([QueueOperation])
        case lead([LeadOperation])

        var report: LinearizabilityReport {
            switch self {
            case .queue(let history): LinearizabilityChecker(QueueModel()).check(history)
            case .lead(let history): LinearizabilityChecker(Simulation.leadModel).check(history)
            }
        }
    }

    var name: String
    var bad: History
    var mended: History

    init(_ name: String, bad: [QueueOperation], mended: [QueueOperation]) {
        self.name = name
        self.bad = .queue(bad)
        self.mended = .queue(mended)
    }

    init(_ name: String, bad: [LeadOperation], mended: [LeadOperation]) {
        self.name = name
        self.bad = .lead(bad)
        self.mended = .lead(mended)
    }

    /// A history of which one operation is bad.
    init(_ name: String, _ before: [QueueOperation], bad: QueueOperation, mended: QueueOperation) {
        self.init(name, bad: before + [bad], mended: before + [mended])
    }

    /// A history of which one operation is bad.
    init(_ name: String, _ before: [LeadOperation], bad: LeadOperation, mended: LeadOperation) {
        self.init(name, bad: before + [bad], mended: before + [mended])
    }

    var testDescription: String { name }

    // MARK: Operations, in short

    typealias QueueRow = (Int, QueueModel.Call, QueueModel.Outcome?, UInt64, UInt64?)

    static func queue(_ rows: [QueueRow]) -> [QueueOperation] {
        rows.map { QueueOperation(client: $0.0, call: $0.1, outcome: $0.2, invoked: $0.3, returned: $0.4) }
    }

    private static func operation(
        _ call: QueueModel.Call,
        _ outcome: QueueModel.Outcome,
        _ times: ClosedRange<UInt64>
    ) -> QueueOperation {
        QueueOperation(client: 1, call: call, outcome: outcome, invoked: times.lowerBound, returned: times.upperBound)
    }

    static func silent(_ call: QueueModel.Call, at invoked: UInt64) -> QueueOperation {
        QueueOperation(client: 2, call: call, outcome: nil, invoked: invoked, returned: nil)
    }

    static func appending(_ numbers: [UInt64]) -> QueueModel.Call {
        .append(numbers.map(Simulation.identity), to: "eu")
    }

    static func add(
        _ numbers: [UInt64],
        at first: UInt64,
        known: [Int] = [],
        accepted: Int? = nil,
        _ times: ClosedRange<UInt64>
    ) -> QueueOperation {
        let count = accepted ?? numbers.count - known.count
        return operation(
            appending(numbers),
            .appended(first: first, accepted: count, duplicates: known),
            times
        )
    }

    static func acknowledge(
        _ position: UInt64,
        _ count: UInt64,
        left: UInt64,
        _ times: ClosedRange<UInt64>
    ) -> QueueOperation {
        operation(.acknowledge("eu", through: position), .acknowledged(count, remaining: left), times)
    }

    static func refuse(_ position: UInt64, last: UInt64, _ times: ClosedRange<UInt64>) -> QueueOperation {
        operation(.acknowledge("eu", through: position), .outOfRange(last: last), times)
    }

    static func drain(
        _ most: Int,
        _ entries: KeyValuePairs<UInt64, UInt64>,
        left: UInt64,
        _ times: ClosedRange<UInt64>
    ) -> QueueOperation {
        let taken = entries.map { QueueModel.Entry(position: $0.key, identity: Simulation.identity($0.value)) }
        return operation(.drain("eu", max: most), .drained(taken, remaining: left), times)
    }

    static func read(
        _ head: UInt64,
        _ next: UInt64,
        entries: UInt64? = nil,
        _ times: ClosedRange<UInt64>
    ) -> QueueOperation {
        let outcome = QueueModel.Outcome.statistics(head: head, next: next, entries: entries ?? next - head)
        return operation(.read("eu"), outcome, times)
    }

    static func lead(
        _ call: LeadModel.Call,
        _ outcome: LeadModel.Outcome,
        _ times: ClosedRange<UInt64>
    ) -> LeadOperation {
        LeadOperation(client: 1, call: call, outcome: outcome, invoked: times.lowerBound, returned: times.upperBound)
    }

    static func silent(_ call: LeadModel.Call, at invoked: UInt64) -> LeadOperation {
        LeadOperation(client: 2, call: call, outcome: nil, invoked: invoked, returned: nil)
    }

    static func leads(_ epoch: UInt64, _ primary: RegionID, _ times: ClosedRange<UInt64>) -> LeadOperation {
        lead(.read, .lead(epoch: epoch, primary: primary), times)
    }

    static func promote(
        _ failed: RegionID,
        if expected: UInt64? = nil,
        _ epoch: UInt64,
        _ primary: RegionID,
        _ times: ClosedRange<UInt64>
    ) -> LeadOperation {
        lead(.promote(awayFrom: failed, ifEpoch: expected), .changed(epoch: epoch, primary: primary), times)
    }

    static func hand(
        to target: RegionID,
        _ epoch: UInt64,
        _ primary: RegionID,
        _ times: ClosedRange<UInt64>
    ) -> LeadOperation {
        lead(.switchover(to: target, ifEpoch: nil), .changed(epoch: epoch, primary: primary), times)
    }
}

@Suite("A fault in a history") struct LinearizabilityFaultTests {
    static let all = LinearizabilityFault.writes + LinearizabilityFault.departures + LinearizabilityFault.leads

    @Test("is rejected, and what is left without it is accepted", arguments: all)
    func rejected(_ fault: LinearizabilityFault) {
        guard case .violation(let violation) = fault.bad.report.verdict else {
            Issue.record("\(fault.name): \(fault.bad.report.verdict)")
            return
        }
        #expect(!violation.blocking.isEmpty)
        #expect(fault.mended.report.verdict == .linearizable)
    }

    @Test("is one of many, each with a name of its own") func many() {
        #expect(Self.all.count >= 24 && Set(Self.all.map(\.name)).count == Self.all.count)
    }

    @Test(
        "in what was found of an append that nobody heard of is rejected",
        arguments: [
            ("a half of it is there", [1: 1], [1: 1, 2: 2]),
            ("its positions have a gap", [1: 1, 2: 3], [1: 1, 2: 2]),
            ("its positions are turned round", [1: 2, 2: 1], [1: 1, 2: 2]),
            ("it stands where it cannot", [1: 2, 2: 3], [1: 1, 2: 2]),
        ] as [(String, [UInt64: UInt64], [UInt64: UInt64])]
    )
    func found(_ name: String, _ bad: [UInt64: UInt64], _ mended: [UInt64: UInt64]) {
        let history = [LinearizabilityFault.silent(LinearizabilityFault.appending([1, 2]), at: 1)]
        func verdict(_ positions: [UInt64: UInt64]) -> LinearizabilityVerdict {
            let pairs = positions.map { (Simulation.identity($0.key), $0.value) }
            let found = UnknownAppends(found: ["eu": [WriteIdentity: UInt64](uniqueKeysWithValues: pairs)])
            return LinearizabilityChecker(QueueModel()).check(found.resolve(history)).verdict
        }
        #expect(verdict(mended) == .linearizable)
        guard case .violation = verdict(bad) else {
            Issue.record("\(name): \(verdict(bad))")
            return
        }
    }
}
