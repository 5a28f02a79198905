import HoldfastTesting
import RaftApply
import TestSupport
import Testing

@Suite("The replicated failover controller") struct FailoverConformanceTests {
    static let conformance = StateMachineConformance(FailoverConformanceCommands()) { path in
        try await FailoverStateMachine.open(at: path, cluster: [1, 2, 3], options: .small)
    }

    @Test("holds what a state machine on a disk must hold", arguments: conformance.cases)
    func conforms(case: ConformanceCase) async throws { try await `case`.run() }

    @Test("has at least 60 cases to hold, each with a name of its own") func count() {
        let names = Set(Self.conformance.cases.map(\.description))
        #expect(names.count == Self.conformance.cases.count && names.count >= 60)
    }
}

@Suite("The conformance suite of state machines") struct ConformanceSuiteTests {
    private static func cases(_ defect: Defect?) -> [ConformanceCase] {
        StateMachineConformance(ToyCommands()) { path in try ToyMachine(path: path, defect: defect) }.cases
    }

    @Test("finds nothing wrong with a machine that is right", arguments: cases(nil))
    func right(case: ConformanceCase) async throws { try await `case`.run() }

    @Test("catches each defect", arguments: Defect.allCases) func catches(defect: Defect) async {
        var caught: String?
        for `case` in Self.cases(defect) where caught == nil {
            do {
                try await `case`.run()
            } catch {
                caught = `case`.description
            }
        }
        print("conformance: \(defect.rawValue) is caught by: \(caught ?? "nothing")")
        #expect(caught != nil, "\(defect) passes")
    }
}

@Suite("The log in memory") struct MemoryLogTests {
    static let conformance = ReplicatedLogConformance {
        let log = MemoryLog(cluster: [4, 5])
        return { log.connect() }
    }

    @Test("gives what a replicated log must give", arguments: conformance.cases)
    func conforms(case: ConformanceCase) async throws { try await `case`.run() }
}
