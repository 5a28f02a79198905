import RegionFailover
import Testing

@Suite("A configuration") struct ConfigurationTests {
    @Test("with the defaults is valid") func defaults() throws {
        let configuration = FailoverConfiguration(local: "us", regions: ["us"])
        try configuration.validate()
        #expect(configuration.suspectAfterMilliseconds == 15_000)
        #expect(configuration.historyCapacity == 256)
        #expect(configuration.detectorPauseAfterMilliseconds == nil)
        #expect(!configuration.automaticFailover)
    }

    @Test("at its limits is valid") func limits() throws {
        var configuration = FailoverConfiguration.three
        configuration.regions = ["us"]
        for number in 2...FailoverConfiguration.regionsMax { configuration.regions.append(try RegionID("r\(number)")) }
        configuration.tiers = configuration.regions.map { [$0] }
        configuration.suspectAfterMilliseconds = FailoverConfiguration.silenceMillisecondsMax
        configuration.detectorPauseAfterMilliseconds = FailoverConfiguration.silenceMillisecondsMax
        configuration.historyCapacity = FailoverConfiguration.historyCapacityMax
        try configuration.validate()
        configuration.suspectAfterMilliseconds = 1
        configuration.detectorPauseAfterMilliseconds = 1
        configuration.historyCapacity = 0
        try configuration.validate()
    }

    @Test("with one fault names its field", arguments: 0..<300 as Range<UInt64>)
    func oneFault(seed: UInt64) throws {
        var scenario = Scenario(seed: seed)
        let (wrong, field) = scenario.wrongConfiguration()
        let error = try #require(throws: FailoverError.self) { try wrong.validate() }
        #expect(error.code == .invalidConfiguration)
        #expect(error.field == field)
        #expect(throws: error) { try FailoverMachine(configuration: wrong, now: at(0)) }
    }
}

@Suite("A change of the configuration") struct ConfigureTests {
    @Test("adds healthy secondaries, seen now") func adds() throws {
        var machine = try FailoverMachine.three()
        var new = FailoverConfiguration.three
        new.regions = ["us", "sa", "eu", "ap", "af"]
        let events = try machine.configure(new, pending: [:], now: at(7))
        #expect(events == [event(.configured(added: ["af", "sa"], removed: []), at: 7)])
        let status = RegionStatus(region: "sa", role: .secondary, state: .healthy, lastSeen: at(7))
        #expect(try machine.status(of: "sa") == status)
        #expect(machine.statuses.map(\.region) == ["af", "ap", "eu", "sa", "us"])
        #expect(machine.configuration == new)
        #expect(machine.epoch == 1)
    }

    @Test("removes a region that has nothing outstanding") func removes() throws {
        var machine = try FailoverMachine.three()
        var new = FailoverConfiguration.three
        new.regions = ["us", "ap"]
        let events = try machine.configure(new, pending: [:], now: at(7))
        #expect(events == [event(.configured(added: [], removed: ["eu"]), at: 7)])
        #expect(throws: FailoverError.self) { try machine.status(of: "eu") }
    }

    @Test("removes a region with outstanding or parked writes only by force", arguments: [(3, 0), (0, 2)])
    func keepsWrites(entries: UInt64, dead: UInt64) throws {
        var machine = try FailoverMachine.three()
        var new = FailoverConfiguration.three
        new.regions = ["us", "ap"]
        let pending: [RegionID: QueueSummary] = ["eu": QueueSummary(entries: entries, dead: dead)]
        let error = try refusal(machine) { machine throws(FailoverError) in
            _ = try machine.configure(new, pending: pending, now: at(7))
        }
        #expect(error?.code == .replayPending)
        #expect(error?.count == entries + dead)
        #expect(error?.region == "eu")
        #expect(try machine.configure(new, force: true, pending: pending, now: at(7)).count == 1)
    }

    @Test("never removes the acting primary") func keepsThePrimary() throws {
        var new = FailoverConfiguration.three
        new.local = "eu"
        new.regions = ["eu", "ap"]
        let wanted = new
        let error = try refusal(FailoverMachine.three()) { machine throws(FailoverError) in
            _ = try machine.configure(wanted, force: true, pending: [:], now: at(7))
        }
        #expect(error?.code == .illegalTransition)
        #expect(error?.attempted == "configure")
        #expect(error?.region == "us")
    }

    @Test("to what holds already tells nothing, and a new local region moves no role") func sameAgain() throws {
        var machine = try FailoverMachine.three()
        #expect(try machine.configure(.three, pending: [:], now: at(7)) == [])
        #expect(machine.time == at(7))
        var new = FailoverConfiguration.three
        new.local = "ap"
        let events = try machine.configure(new, pending: [:], now: at(8))
        #expect(events == [event(.configured(added: [], removed: []), at: 8)])
        #expect(machine.actingPrimary == "us")
    }
}
