extension FailoverMachine {
    /// Checks that the state does not contradict itself.
    ///
    /// A machine that was created or restored always passes; the check is for callers who change state by other ways,
    /// such as a replicated log, and want to stop before a wrong state spreads.
    ///
    /// - Throws: ``FailoverError/Code-swift.struct/invariantViolated``, unless exactly one region is the acting primary,
    ///   the regions are those of the configuration, each once, the epoch is at least 1, every demoted primary is failed
    ///   or recovering, and nothing was seen after the machine's time.
    /// - Complexity: O(*r* log *r*), where *r* is the number of regions.
    public func checkInvariants() throws(FailoverError) {
        guard epoch >= 1 else { throw .invariantViolated("the epoch is 0, but epochs begin with 1") }
        try checkMembers()
        var leaders = 0
        for status in regions {
            if status.role.isActingPrimary { leaders += 1 }
            try check(status)
        }
        guard leaders == 1 else { throw .invariantViolated("\(leaders) regions are the acting primary, not one") }
        guard (lastTick ?? time) <= time else { throw .invariantViolated("the last tick is later than the time") }
    }

    private func check(_ status: RegionStatus) throws(FailoverError) {
        guard status.role != .demotedPrimary || status.state == .failed || status.state == .recovering else {
            throw .invariantViolated(
                "region '\(status.region)' is a demoted primary and \(status.state.rawValue)",
                region: status.region
            )
        }
        guard status.lastSeen <= time else {
            throw .invariantViolated(
                "region '\(status.region)' was last seen after the time of the last command",
                region: status.region
            )
        }
    }

    /// Checks that `regions` is in order and names what the configuration names, each once.
    ///
    /// A binary search finds every element only in an ordered array, and as many distinct names as there are elements
    /// leave no room for another name or for the same one twice.
    private func checkMembers() throws(FailoverError) {
        for region in configuration.regions where index(of: region) == nil {
            throw .invariantViolated("region '\(region)' is configured but has no state", region: region)
        }
        guard regions.count == configuration.regions.count else {
            throw .invariantViolated(
                "\(regions.count) regions have state, but \(configuration.regions.count) are configured"
            )
        }
    }

    /// Stops a debug build whose machine has broken an invariant by itself.
    func assertInvariants() {
        assert(
            {
                do throws(FailoverError) {
                    try checkInvariants()
                    return true
                } catch { return false }
            }(),
            "a command broke an invariant: \(self)"
        )
    }
}
