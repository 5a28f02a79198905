import RegionFailover
import Testing

@Suite("A switchover") struct SwitchoverTests {
    private func refusal(
        of machine: FailoverMachine,
        to target: RegionID,
        _ queue: QueueSummary = .empty
    ) throws -> FailoverError? {
        try RegionFailoverTests.refusal(machine) { machine throws(FailoverError) in
            _ = try machine.switchover(to: target, pending: [target: queue], now: at(5))
        }
    }

    @Test("swaps the roles in one epoch and one event") func swaps() throws {
        var machine = try FailoverMachine.three().with("us", .primary, .recovering).with("eu", .secondary, .recovering)
        let promotion = try machine.switchover(to: "eu", ifEpoch: 1, pending: [:], now: at(5))
        let told = event(.switchedOver(replaced: "us", epoch: 2, pending: .empty), "eu", at: 5)
        #expect(promotion == Promotion(failed: "us", promoted: "eu", epoch: 2, events: [told]))
        let old = RegionStatus(region: "us", role: .secondary, state: .healthy, lastSeen: at(0))
        let new = RegionStatus(region: "eu", role: .promotedSecondary, state: .healthy, lastSeen: at(5))
        #expect(try machine.status(of: "us") == old)
        #expect(try machine.status(of: "eu") == new)
        #expect(machine.actingPrimary == "eu")
        #expect(machine.epoch == 2)
    }

    @Test("needs a live secondary that is in a tier") func target() throws {
        let machine = try FailoverMachine.three()
        #expect(try refusal(of: machine, to: "mars")?.code == .unknownRegion)
        #expect(try refusal(of: machine, to: "us")?.code == .illegalTransition)
        #expect(try refusal(of: machine.with("eu", .secondary, .suspect), to: "eu")?.state == .suspect)
        #expect(try refusal(of: machine.with("eu", .secondary, .failed), to: "eu")?.state == .failed)
        #expect(try refusal(of: machine.with("eu", .demotedPrimary, .recovering), to: "eu")?.role == .demotedPrimary)
        let tiered = try FailoverMachine.three { $0.tiers = [["us", "ap"]] }
        let error = try refusal(of: tiered, to: "eu")
        #expect(error?.code == .illegalTransition)
        #expect(error?.attempted == "switchover")
        #expect(try refusal(of: tiered, to: "ap") == nil)
    }

    @Test("needs a live acting primary", arguments: [RegionState.suspect, .failed])
    func source(state: RegionState) throws {
        let error = try refusal(of: FailoverMachine.three().with("us", .primary, state), to: "eu")
        #expect(error?.code == .illegalTransition)
        #expect(error?.region == "us")
    }

    @Test("needs an empty queue without need of a resync") func queue() throws {
        let machine = try FailoverMachine.three()
        let error = try refusal(of: machine, to: "eu", QueueSummary(entries: 1))
        #expect(error?.code == .replayPending)
        #expect(error?.count == 1)
        #expect(try refusal(of: machine, to: "eu", QueueSummary(needsResync: true))?.code == .needsResync)
    }
}

@Suite("Marks of a queue") struct ReplayMarkTests {
    @Test("are told once, and only when they change") func marks() throws {
        var machine = try FailoverMachine.three()
        let marked: [RegionID: QueueSummary] = ["eu": QueueSummary(needsResync: true, isPaused: true)]
        #expect(try machine.pauseReplay("eu", pending: [:], now: at(1)) == [event(.paused, "eu", at: 1)])
        #expect(try machine.pauseReplay("eu", pending: marked, now: at(2)) == [])
        #expect(try machine.resumeReplay("eu", pending: marked, now: at(3)) == [event(.resumed, "eu", at: 3)])
        #expect(try machine.resumeReplay("eu", pending: [:], now: at(4)) == [])
        #expect(try machine.clearResync("eu", pending: marked, now: at(5)) == [event(.resyncCleared, "eu", at: 5)])
        #expect(try machine.clearResync("eu", pending: [:], now: at(6)) == [])
        #expect(machine.time == at(6))
        #expect(throws: FailoverError.self) { try machine.pauseReplay("mars", pending: [:], now: at(7)) }
        #expect(throws: FailoverError.self) { try machine.resumeReplay("mars", pending: [:], now: at(7)) }
        #expect(throws: FailoverError.self) { try machine.clearResync("mars", pending: [:], now: at(7)) }
    }
}

@Suite("An error") struct ErrorTests {
    @Test("says its code and what to do on one line") func description() throws {
        let error = try #require(throws: FailoverError.self) { try FailoverMachine.three().status(of: "mars") }
        #expect("\(error.code)" == "unknownRegion")
        #expect("\(error)".hasPrefix("unknownRegion: Region 'mars'"))
        #expect(!"\(error)".contains("\n"))
    }
}
