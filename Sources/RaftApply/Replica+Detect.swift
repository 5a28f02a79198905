internal import Holdfast
private import Logging
internal import Platform
internal import RegionFailover
internal import ReplayStore

/// The heartbeats that this member has heard, by its own clock.
struct HeardRegions: Sendable {
    private var heard: [RegionID: Int64] = [:]
    /// When it was last told to the log.
    private(set) var toldAt: Int64?
    private var isNew = false

    mutating func hear(_ region: RegionID, at elapsed: Int64) {
        heard[region] = elapsed
        isNew = true
    }

    /// How long each region has been silent; nil where there is nothing to tell, or it was told a moment ago.
    mutating func tell(at elapsed: Int64, every interval: Int64, always: Bool) -> [FailoverCommand.RegionSilence]? {
        guard always || isNew, toldAt.map({ elapsed - $0 >= interval }) ?? true else { return nil }
        toldAt = elapsed
        isNew = false
        return heard.keys.sorted().map { region in
            FailoverCommand.RegionSilence(region, milliseconds: max(0, elapsed - (heard[region] ?? elapsed)))
        }
    }

    /// Lets every region begin anew: who has just begun to lead has not heard those that others heard.
    mutating func grant(_ regions: [RegionID], at elapsed: Int64) {
        for region in regions { heard[region] = elapsed }
    }
}

extension Replica {
    /// Takes note that a region was heard from; true where that changes its state, which takes a command of its own.
    ///
    /// Beats are not proposed one by one: each member tells the log how long the regions have been silent, four times in the
    /// time after which one is suspected.
    func hear(_ region: RegionID) throws(HoldfastError) -> Bool {
        guard let machine = machine.machine else {
            throw HoldfastError(code: .notConfigured, message: "The log has no deployment yet. Configure it first.")
        }
        let status: RegionStatus
        do throws(FailoverError) {
            status = try machine.status(of: region)
        } catch {
            throw HoldfastError(error)
        }
        heard.withLock { $0.hear(region, at: clock.source.elapsedMilliseconds) }
        switch status.state {
        case .healthy: return false
        case .recovering: return status.role != .demotedPrimary
        case .suspect, .failed: return true
        }
    }

    /// Tells the log what this member has heard, where it has heard something.
    ///
    /// Who leads tells it in any case, since that is what lets a silent region be suspected.
    func tellHeard(
        _ session: ReplicaSession,
        while leadership: Leadership? = nil
    ) async throws(HoldfastError) {
        guard let machine = machine.machine else { return }
        let interval = max(1, machine.configuration.suspectAfterMilliseconds / 4)
        let elapsed = clock.source.elapsedMilliseconds
        let silences = heard.withLock { heard in
            heard.tell(at: elapsed, every: interval, always: leadership != nil)
        }
        guard let silences else { return }
        _ = try await session.propose(.observe(silences), while: leadership)
        guard let leadership else { return }
        try await replacePrimary(session, leadership)
    }

    /// Promotes another region where the acting primary is suspect, and the deployment wants that.
    private func replacePrimary(_ session: ReplicaSession, _ leadership: Leadership) async throws(HoldfastError) {
        guard let machine = machine.machine, machine.configuration.automaticFailover,
            let primary = try? machine.status(of: machine.actingPrimary), primary.state == .suspect
        else { return }
        do throws(HoldfastError) {
            let command = FailoverCommand.demoteAndPromote(primary.region, ifEpoch: machine.epoch)
            let outcome = try await session.propose(command, while: leadership).outcome
            options.logger.warning("The acting primary was replaced", metadata: ["holdfast.outcome": "\(outcome)"])
        } catch {
            // Nobody can take over, or somebody has decided: the next look tells.
            guard error.code == .noSecondaryAvailable || error.code == .staleEpoch else { throw error }
        }
    }
}
