import RegionFailover

// What the tests of this target share.

extension FailoverConfiguration {
    /// Three regions, `us` local, 10 ms of patience.
    static var three: Self {
        Self(local: "us", regions: ["us", "eu", "ap"], suspectAfterMilliseconds: 10)
    }
}

extension FailoverMachine {
    /// A fresh machine of ``FailoverConfiguration/three``, begun at 0.
    static func three(_ change: (inout FailoverConfiguration) -> Void = { _ in }) throws -> Self {
        var configuration = FailoverConfiguration.three
        change(&configuration)
        return try Self(configuration: configuration, now: at(0))
    }

    /// The same machine with one region's role and state as given.
    func with(_ region: RegionID, _ role: RegionRole, _ state: RegionState) throws -> Self {
        var snapshot = snapshot
        for index in snapshot.regions.indices where snapshot.regions[index].region == region {
            snapshot.regions[index].role = role
            snapshot.regions[index].state = state
        }
        return try Self(restoring: snapshot)
    }
}

func at(_ milliseconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds) }

func event(_ kind: FailoverEvent.Kind, _ region: RegionID? = nil, at milliseconds: Int64) -> FailoverEvent {
    FailoverEvent(kind: kind, at: at(milliseconds), region: region)
}

/// The error of a command, which must leave the machine as it was; nil when it succeeds.
func refusal(
    _ machine: FailoverMachine,
    _ command: (inout FailoverMachine) throws(FailoverError) -> Void
) throws -> FailoverError? {
    var copy = machine
    do throws(FailoverError) {
        try command(&copy)
        return nil
    } catch {
        guard copy == machine else { throw Broken(description: "\(error) changed \(machine) to \(copy)") }
        return error
    }
}
