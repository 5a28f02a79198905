import RegionFailover
import Testing

@Suite("Detection") struct DetectionTests {
    @Test("suspects a region at exactly suspectAfter of silence, once") func boundary() throws {
        var machine = try FailoverMachine.three()
        _ = try machine.heartbeat("ap", now: at(1))
        _ = try machine.heartbeat("us", now: at(5))
        #expect(machine.tick(now: at(9)) == [])
        #expect(machine.tick(now: at(10)) == [event(.suspect, "eu", at: 10)])
        #expect(machine.tick(now: at(11)) == [event(.suspect, "ap", at: 11)])
        #expect(machine.tick(now: at(1000)) == [event(.suspect, "us", at: 1000)])
        #expect(machine.tick(now: at(2000)) == [])
    }

    @Test("brings a suspect region back with two heartbeats") func heartbeats() throws {
        var machine = try FailoverMachine.three().with("eu", .secondary, .suspect)
        #expect(try machine.heartbeat("eu", now: at(1)) == [event(.recovering, "eu", at: 1)])
        #expect(try machine.heartbeat("eu", now: at(2)) == [event(.healthy, "eu", at: 2)])
        #expect(try machine.heartbeat("eu", now: at(3)) == [])
        #expect(try machine.status(of: "eu").lastSeen == at(3))
    }

    @Test("counts a time before the last one as the last one") func timeNeverGoesBack() throws {
        var machine = try FailoverMachine.three()
        _ = machine.tick(now: at(9))
        #expect(try machine.heartbeat("eu", now: at(-50)) == [])
        #expect(try machine.status(of: "eu").lastSeen == at(9))
        #expect(machine.time == at(9))
        #expect(machine.advance(to: at(3)) == at(9))
        #expect(machine.advance(to: at(12)) == at(12))
    }

    @Test("that has slept itself suspects nobody") func detectorPause() throws {
        var machine = try FailoverMachine.three { $0.detectorPauseAfterMilliseconds = 20 }
        #expect(machine.tick(now: at(9)) == [])
        #expect(machine.tick(now: at(29)) == [event(.detectorPaused, at: 29)])
        #expect(machine.statuses.allSatisfy { $0.lastSeen == at(29) && $0.state == .healthy })
        #expect(machine.tick(now: at(38)) == [])
        #expect(machine.tick(now: at(39)).map(\.name) == ["suspect", "suspect", "suspect"])
    }

    @Test("has nothing to compare its first tick with") func firstTick() throws {
        var machine = try FailoverMachine.three { $0.detectorPauseAfterMilliseconds = 5 }
        #expect(machine.tick(now: at(50)).count == 3)
    }

    @Test("survives the ends of time") func extremes() throws {
        var machine = try FailoverMachine(configuration: .three, now: at(.min))
        #expect(machine.tick(now: at(.min)) == [])
        #expect(machine.tick(now: at(.max)).count == 3)
        #expect(try machine.heartbeat("eu", now: at(.max)).count == 1)
        machine.resume(now: at(.max))
        #expect(machine.tick(now: at(.min)) == [])
        #expect(try machine.demoteAndPromote("us", pending: [:], now: at(.min)).promoted == "eu")
    }
}

@Suite("A restart") struct RestartTests {
    @Test("does not count the downtime as silence, and forgets no silence") func resume() throws {
        var machine = try FailoverMachine.three { $0.detectorPauseAfterMilliseconds = 9 }
        _ = try machine.heartbeat("us", now: at(3))
        _ = machine.tick(now: at(4))
        var restored = try FailoverMachine(restoring: machine.snapshot)
        restored.resume(now: at(1_000_004))
        #expect(restored.time == at(1_000_004))
        #expect(try restored.status(of: "us").lastSeen == at(1_000_003))
        #expect(try restored.status(of: "eu").lastSeen == at(1_000_000))
        #expect(restored.tick(now: at(1_000_010)).map(\.region) == ["ap", "eu"])
        #expect(restored.snapshot.lastTick == at(1_000_010))
    }

    @Test("with an earlier clock changes nothing") func resumeEarlier() throws {
        var machine = try FailoverMachine.three()
        _ = machine.tick(now: at(4))
        let before = machine
        machine.resume(now: at(-4))
        #expect(machine == before)
    }

    @Test("across all of time keeps what silence can be kept") func resumeExtreme() throws {
        var machine = try FailoverMachine(configuration: .three, now: at(.min))
        machine.resume(now: at(.max))
        #expect(machine.statuses.allSatisfy { $0.lastSeen == at(.max) })
        var old = try FailoverMachine(configuration: .three, now: at(.min))
        old.advance(to: at(.max - 1))
        old.resume(now: at(.max))
        #expect(old.tick(now: at(.max)).count == 3)
    }
}

@Suite("A snapshot") struct SnapshotTests {
    private func code(_ change: (inout FailoverMachine.Snapshot) -> Void) throws -> FailoverError.Code? {
        var snapshot = try FailoverMachine.three().snapshot
        change(&snapshot)
        do throws(FailoverError) {
            _ = try FailoverMachine(restoring: snapshot)
            return nil
        } catch {
            return error.code
        }
    }

    @Test("that contradicts itself is refused") func contradictions() throws {
        #expect(try code { _ in } == nil)
        #expect(try code { $0.epoch = 0 } == .invariantViolated)
        #expect(try code { $0.regions = [] } == .invariantViolated)
        #expect(try code { $0.regions.removeFirst() } == .invariantViolated)
        #expect(try code { $0.regions.append($0.regions[0]) } == .invariantViolated)
        #expect(try code { $0.regions[0].region = $0.regions[1].region } == .invariantViolated)
        #expect(try code { $0.regions[0].region = "mars" } == .invariantViolated)
        #expect(try code { $0.regions[0].role = .promotedSecondary } == .invariantViolated)
        #expect(try code { $0.regions[2].role = .secondary } == .invariantViolated)
        #expect(try code { $0.regions[0].role = .demotedPrimary } == .invariantViolated)
        #expect(try code { $0.regions[0].lastSeen = at(1) } == .invariantViolated)
        #expect(try code { $0.lastTick = at(1) } == .invariantViolated)
        #expect(try code { $0.configuration.regions = [] } == .invalidConfiguration)
    }

    @Test("may list the regions in any order") func order() throws {
        #expect(try code { $0.regions.reverse() } == nil)
    }

    @Test("of a fresh deployment has the local region as primary and epoch 1") func fresh() throws {
        let snapshot = try FailoverMachine.three().snapshot
        #expect(snapshot.epoch == 1)
        #expect(snapshot.lastTick == nil)
        #expect(snapshot.regions.map(\.region) == ["ap", "eu", "us"])
        #expect(snapshot.regions.map(\.role) == [.secondary, .secondary, .primary])
        #expect(snapshot.regions.allSatisfy { $0.state == .healthy && $0.lastSeen == at(0) })
    }
}

@Suite("What an observer of heartbeats tells") struct ObservationTests {
    private static func machine() throws -> FailoverMachine {
        try FailoverMachine(
            configuration: FailoverConfiguration(
                local: "us",
                regions: ["us", "eu", "ap"],
                suspectAfterMilliseconds: 100
            ),
            now: Timestamp(milliseconds: 0)
        )
    }

    @Test("moves a region's last seen on, and never back") func seen() throws {
        var machine = try Self.machine()
        #expect(machine.observe(silences: ["eu": 10, "mars": 1], now: Timestamp(milliseconds: 90)) == [])
        #expect(try machine.status(of: "eu").lastSeen == Timestamp(milliseconds: 80))
        #expect(machine.observe(silences: ["eu": 95], now: Timestamp(milliseconds: 95)) == [])
        #expect(try machine.status(of: "eu").lastSeen == Timestamp(milliseconds: 80))
        #expect(try machine.status(of: "us").lastSeen == Timestamp(milliseconds: 0))
    }

    @Test("suspects who is silent, and takes a silence below nothing for none") func silent() throws {
        var machine = try Self.machine()
        let events = machine.observe(silences: ["eu": -5, "us": 0], now: Timestamp(milliseconds: 100))
        #expect(events.map(\.region) == ["ap"] && events.map(\.kind) == [.suspect])
        #expect(try machine.status(of: "eu").lastSeen == Timestamp(milliseconds: 100))
        // Hearing of it brings nobody back: a heartbeat does.
        #expect(machine.observe(silences: ["ap": 0], now: Timestamp(milliseconds: 110)) == [])
        #expect(try machine.state(of: "ap") == .suspect)
        #expect(try machine.heartbeat("ap", now: Timestamp(milliseconds: 111)).map(\.kind) == [.recovering])
    }
}
