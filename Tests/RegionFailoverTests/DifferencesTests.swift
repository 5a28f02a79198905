import RegionFailover
import Testing

/// Each difference from the seed that DESIGN.md section 2 declares and that lies in the machine.
///
/// D9 (drain) is the store's, and so are the queue halves of D2, D3, D13 and D15.
@Suite("Differences from the seed") struct DifferencesTests {
    @Test("D1: a configuration is validated") func d1() throws {
        var stray = FailoverConfiguration.three
        stray.tiers = [["us", "mars"]]
        #expect(try #require(throws: FailoverError.self) { try stray.validate() }.field == "tiers")
        var homeless = FailoverConfiguration.three
        homeless.local = "mars"
        #expect(try #require(throws: FailoverError.self) { try homeless.validate() }.field == "local")
    }

    @Test("D2: a history is bounded") func d2() throws {
        var configuration = FailoverConfiguration.three
        configuration.historyCapacity = 0
        try configuration.validate()
        configuration.historyCapacity = 1_000_001
        #expect(try #require(throws: FailoverError.self) { try configuration.validate() }.field == "historyCapacity")
    }

    @Test("D3: a region outside the deployment is unknown, whatever is asked") func d3() throws {
        let machine = try FailoverMachine.three()
        #expect(try #require(throws: FailoverError.self) { try machine.role(of: "mars") }.code == .unknownRegion)
        #expect(try #require(throws: FailoverError.self) { try machine.state(of: "mars") }.code == .unknownRegion)
        let error = try #require(throws: FailoverError.self) { try machine.status(of: "mars") }
        #expect(error.code == .unknownRegion)
        #expect(error.region == "mars")
    }

    @Test("D4: the acting primary cannot be readmitted, not even by force") func d4() throws {
        for force in [false, true] {
            let error = try refusal(FailoverMachine.three()) { machine throws(FailoverError) in
                _ = try machine.readmit("us", force: force, pending: [:], now: at(5))
            }
            #expect(error?.code == .illegalTransition)
        }
        var machine = try FailoverMachine.three()
        #expect(try machine.readmit("eu", pending: [:], now: at(5)) == [])
        #expect(try machine.status(of: "eu").lastSeen == at(5))
        for state in [RegionState.suspect, .failed] {
            var quiet = try machine.with("eu", .secondary, state)
            let error = try refusal(quiet) { machine throws(FailoverError) in
                _ = try machine.readmit("eu", pending: [:], now: at(6))
            }
            #expect(error?.code == .illegalTransition)
            #expect(error?.state == state)
            let events = try quiet.readmit("eu", force: true, pending: [:], now: at(6))
            #expect(events == [event(.readmitted(forced: true), "eu", at: 6)])
        }
    }

    @Test("D5: a demoted primary stays recovering until it is readmitted") func d5() throws {
        var machine = try FailoverMachine.three()
        _ = try machine.demoteAndPromote("us", pending: [:], now: at(1))
        #expect(try machine.heartbeat("us", now: at(2)) == [event(.recovering, "us", at: 2)])
        #expect(try machine.heartbeat("us", now: at(3)) == [])
        #expect(try machine.state(of: "us") == .recovering)
        #expect(try machine.status(of: "us").lastSeen == at(3))
        let events = try machine.readmit("us", pending: [:], now: at(4))
        #expect(events == [event(.readmitted(forced: false), "us", at: 4)])
        let status = RegionStatus(region: "us", role: .secondary, state: .healthy, lastSeen: at(4))
        #expect(try machine.status(of: "us") == status)
    }

    @Test("D6: a recovering region that goes quiet is suspected again") func d6() throws {
        var machine = try FailoverMachine.three().with("eu", .secondary, .recovering)
        _ = try machine.demoteAndPromote("us", pending: [:], now: at(1))
        _ = try machine.heartbeat("us", now: at(2))
        #expect(machine.actingPrimary == "ap")
        let events = machine.tick(now: at(12))
        #expect(events == [event(.suspect, "ap", at: 12), event(.suspect, "eu", at: 12), event(.failed, "us", at: 12)])
        #expect(machine.tick(now: at(99)) == [])
    }

    @Test("D7: tiers come first, then health, then completeness, then declared order") func d7() throws {
        func choice(_ tiers: [[RegionID]], _ change: (FailoverMachine) throws -> FailoverMachine) throws -> RegionID? {
            let configuration = FailoverConfiguration(local: "us", regions: ["us", "a", "b", "c"], tiers: tiers)
            var machine = try change(FailoverMachine(configuration: configuration, now: at(0)))
            let pending: [RegionID: QueueSummary] = ["a": QueueSummary(needsResync: true)]
            return try? machine.demoteAndPromote("us", pending: pending, now: at(1)).promoted
        }
        #expect(try choice([]) { $0 } == "b")
        #expect(try choice([["c", "b"]]) { $0 } == "c")
        #expect(try choice([["a"], ["c"]]) { $0 } == "a")
        #expect(try choice([["c"], ["b"]]) { try $0.with("c", .secondary, .recovering) } == "c")
        #expect(try choice([["c", "b"]]) { try $0.with("c", .secondary, .recovering) } == "b")
        #expect(try choice([["c", "a"]]) { try $0.with("c", .secondary, .recovering) } == "a")
        #expect(try choice([["c"], ["b"]]) { try $0.with("c", .secondary, .suspect) } == "b")
        #expect(try choice([["c"], ["b"]]) { try $0.with("c", .secondary, .failed) } == "b")
        #expect(try choice([["c"], ["b"]]) { try $0.with("c", .demotedPrimary, .recovering) } == "b")
        #expect(try choice([["us"]]) { $0 } == nil)
    }

    @Test("D8: every promotion begins an epoch, and a caller on an older one is fenced off") func d8() throws {
        var machine = try FailoverMachine.three()
        #expect(try machine.demoteAndPromote("us", ifEpoch: 1, pending: [:], now: at(1)).epoch == 2)
        #expect(machine.epoch == 2)
        _ = try machine.heartbeat("us", now: at(2))
        func expectStale(_ command: (inout FailoverMachine) throws(FailoverError) -> Void) throws {
            let error = try refusal(machine, command)
            #expect(error?.code == .staleEpoch)
            #expect(error?.currentEpoch == 2)
        }
        try expectStale { machine throws(FailoverError) in
            _ = try machine.demoteAndPromote("x", ifEpoch: 1, pending: [:], now: at(3))
        }
        try expectStale { machine throws(FailoverError) in
            _ = try machine.switchover(to: "x", ifEpoch: 1, pending: [:], now: at(3))
        }
        try expectStale { machine throws(FailoverError) in
            _ = try machine.readmit("x", ifEpoch: 1, pending: [:], now: at(3))
        }
        try expectStale { machine throws(FailoverError) in
            _ = try machine.configure(.three, ifEpoch: 1, pending: [:], now: at(3))
        }
        try expectStale { machine throws(FailoverError) in try machine.checkEpoch(3) }
        try machine.checkEpoch(2)
        try machine.checkEpoch(nil)
    }

    @Test("D8: after the last epoch there is no promotion") func d8AtTheEnd() throws {
        var snapshot = try FailoverMachine.three().snapshot
        snapshot.epoch = .max
        let machine = try FailoverMachine(restoring: snapshot)
        let error = try refusal(machine) { machine throws(FailoverError) in
            _ = try machine.demoteAndPromote("us", pending: [:], now: at(1))
        }
        #expect(error?.code == .invariantViolated)
    }

    @Test("D10: a region that has not caught up is not readmitted unless forced") func d10() throws {
        var machine = try FailoverMachine.three()
        _ = try machine.demoteAndPromote("us", pending: [:], now: at(1))
        _ = try machine.heartbeat("us", now: at(2))
        func error(_ queue: QueueSummary, most: UInt64) throws -> FailoverError? {
            try refusal(machine) { machine throws(FailoverError) in
                _ = try machine.readmit("us", maximumPending: most, pending: ["us": queue], now: at(3))
            }
        }
        #expect(try error(QueueSummary(entries: 3), most: 2)?.code == .replayPending)
        #expect(try error(QueueSummary(entries: 3), most: 2)?.count == 3)
        #expect(try error(QueueSummary(entries: 3), most: 3) == nil)
        #expect(try error(QueueSummary(needsResync: true), most: 3)?.code == .needsResync)
        let pending: [RegionID: QueueSummary] = ["us": QueueSummary(entries: 3, needsResync: true)]
        var forced = machine
        let events = try forced.readmit("us", force: true, pending: pending, now: at(3))
        #expect(events == [event(.readmitted(forced: true), "us", at: 3)])
        let unforced = try machine.readmit("us", force: true, pending: [:], now: at(3))
        #expect(unforced == [event(.readmitted(forced: false), "us", at: 3)])
    }

    @Test("D11: time is a value that can be stored, and so is the machine") func d11() throws {
        var machine = try FailoverMachine.three()
        _ = machine.tick(now: at(9))
        _ = try machine.demoteAndPromote("us", pending: [:], now: at(11))
        #expect(try FailoverMachine(restoring: machine.snapshot) == machine)
    }

    @Test("D12: an error says role, state and what was attempted; a promotion what is outstanding") func d12() throws {
        var machine = try FailoverMachine.three()
        let error = try refusal(machine) { machine throws(FailoverError) in
            _ = try machine.demoteAndPromote("eu", pending: [:], now: at(1))
        }
        #expect(error?.code == .illegalTransition)
        #expect(error?.region == "eu")
        #expect(error?.role == .secondary)
        #expect(error?.state == .healthy)
        #expect(error?.attempted == "demoteAndPromote")
        let summary = QueueSummary(entries: 5, bytes: 10, oldestMilliseconds: 3)
        let promotion = try machine.demoteAndPromote("us", pending: ["eu": summary], now: at(40))
        let told = [
            event(.demoted(epoch: 2), "us", at: 40),
            event(.promoted(replaced: "us", epoch: 2, pending: summary), "eu", at: 40),
        ]
        #expect(promotion == Promotion(failed: "us", promoted: "eu", epoch: 2, events: told))
        #expect(told.map(\.name) == ["demoted", "promoted"])
    }

    @Test("D13: a command that is refused changes nothing, not even the time") func d13() throws {
        var machine = try FailoverMachine.three()
        let before = machine
        #expect(throws: FailoverError.self) { try machine.heartbeat("mars", now: at(500)) }
        #expect(machine == before)
    }

    @Test("D14: a promoted region counts as seen now, so it is not suspected at once") func d14() throws {
        var machine = try FailoverMachine.three()
        _ = try machine.demoteAndPromote("us", pending: [:], now: at(9))
        #expect(machine.tick(now: at(18)) == [event(.suspect, "ap", at: 18)])
        #expect(try machine.state(of: "eu") == .healthy)
    }

    @Test("D15: a region has a name of known syntax") func d15() {
        #expect(RegionID(utf8: "caf\u{e9}".utf8) == nil)
        #expect(RegionID(utf8: String(repeating: "a", count: 64).utf8) == nil)
    }
}
