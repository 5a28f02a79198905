import RegionFailover
import Testing

/// The seed's own eight tests, as far as they concern the machine.
///
/// `replay_outstanding_drains_buffer` is about a queue, which the machine has not; here a promotion tells what waits in
/// it. All eight run again over a store in Holdfast's tests.
@Suite("The seed's tests") struct SeedTests {
    private let configuration = FailoverConfiguration(
        local: "us-east-1",
        regions: ["us-east-1", "eu-west-1", "ap-northeast-1"],
        suspectAfterMilliseconds: 20
    )

    private func machine() throws -> FailoverMachine { try FailoverMachine(configuration: configuration, now: at(0)) }

    @Test("fresh_controller_has_local_primary") func freshControllerHasLocalPrimary() throws {
        let machine = try machine()
        #expect(try machine.role(of: "us-east-1") == .primary)
        #expect(try machine.role(of: "eu-west-1") == .secondary)
        #expect(try machine.state(of: "us-east-1") == .healthy)
    }

    @Test("tick_marks_quiet_region_suspect") func tickMarksQuietRegionSuspect() throws {
        var machine = try machine()
        let events = machine.tick(now: at(40))
        #expect(events.map(\.kind) == [.suspect, .suspect, .suspect])
        #expect(events.map(\.region) == ["ap-northeast-1", "eu-west-1", "us-east-1"])
    }

    @Test("heartbeat_clears_suspect_state") func heartbeatClearsSuspectState() throws {
        var machine = try machine()
        _ = machine.tick(now: at(40))
        #expect(try machine.state(of: "eu-west-1") == .suspect)
        _ = try machine.heartbeat("eu-west-1", now: at(41))
        #expect(try machine.state(of: "eu-west-1") == .recovering)
    }

    @Test("demote_and_promote_picks_secondary") func demoteAndPromotePicksSecondary() throws {
        var machine = try machine()
        let promotion = try machine.demoteAndPromote("us-east-1", pending: [:], now: at(1))
        #expect(promotion.failed == "us-east-1")
        #expect(promotion.promoted == "eu-west-1")
        #expect(try machine.role(of: "us-east-1") == .demotedPrimary)
        #expect(try machine.role(of: "eu-west-1") == .promotedSecondary)
    }

    @Test("demote_with_no_secondaries_errors") func demoteWithNoSecondariesErrors() throws {
        let solo = FailoverConfiguration(local: "solo", regions: ["solo"])
        let error = try refusal(FailoverMachine(configuration: solo, now: at(0))) { machine throws(FailoverError) in
            _ = try machine.demoteAndPromote("solo", pending: [:], now: at(1))
        }
        #expect(error?.code == .noSecondaryAvailable)
        #expect(error?.region == "solo")
    }

    @Test("demote_unknown_region_errors") func demoteUnknownRegionErrors() throws {
        let error = try refusal(machine()) { machine throws(FailoverError) in
            _ = try machine.demoteAndPromote("mars-1", pending: [:], now: at(1))
        }
        #expect(error?.code == .unknownRegion)
        #expect(error?.region == "mars-1")
    }

    @Test("replay_outstanding_drains_buffer: what waits is in the promotion") func promotionTellsWhatWaits() throws {
        var machine = try machine()
        let two = QueueSummary(entries: 2, bytes: 4)
        let promotion = try machine.demoteAndPromote("us-east-1", pending: ["eu-west-1": two], now: at(1))
        #expect(promotion.events.last?.kind == .promoted(replaced: "us-east-1", epoch: 2, pending: two))
    }

    @Test("full_failover_cycle") func fullFailoverCycle() throws {
        var machine = try machine()
        let pending: [RegionID: QueueSummary] = ["eu-west-1": QueueSummary(entries: 1)]
        var history = try machine.demoteAndPromote("us-east-1", pending: pending, now: at(1)).events
        history += try machine.heartbeat("us-east-1", now: at(2))
        history += try machine.readmit("us-east-1", pending: pending, now: at(3))
        #expect(try machine.role(of: "us-east-1") == .secondary)
        #expect(try machine.state(of: "us-east-1") == .healthy)
        #expect(history.map(\.name) == ["demoted", "promoted", "recovering", "readmitted"])
    }
}
