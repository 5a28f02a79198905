/// Decides which region leads, from heartbeats, operators' commands and the time you pass in.
///
/// The machine is a value. It reads no clock, takes no lock and does no I/O: each command changes the value and returns
/// the ``FailoverEvent``s that say what changed, in order. It keeps no history and no queue: the caller records the events
/// and passes in what is outstanding, read in the same transaction. The same calls give the same events and the same
/// value everywhere, so commands can be replicated and a failed run can be played back.
///
/// Every command takes the time last. A `now` before the machine's ``time`` counts as that time. A command that throws
/// has changed nothing, not even the time. A region that is missing in `pending` has an empty queue.
public struct FailoverMachine: Sendable, Hashable {
    /// The regions of the deployment and how failover treats them.
    public internal(set) var configuration: FailoverConfiguration
    /// The fencing number: from 1, one more with every change of the acting primary, never less.
    public internal(set) var epoch: UInt64
    /// The time of the last command that succeeded.
    public internal(set) var time: Timestamp
    /// When ``tick(now:)`` last ran, if it ever did.
    var lastTick: Timestamp?
    /// The regions in byte order, so that neither iteration nor search depends on anything but their names.
    var regions: [RegionStatus]

    /// Creates the machine of a fresh deployment.
    ///
    /// The local region is primary, all others are secondary, all are healthy and were seen at `now`; the epoch is 1.
    ///
    /// - Parameters:
    ///   - configuration: The regions and how failover treats them.
    ///   - now: The time at which the deployment begins.
    /// - Throws: ``FailoverError/Code-swift.struct/invalidConfiguration``, naming the field.
    public init(configuration: FailoverConfiguration, now: Timestamp) throws(FailoverError) {
        try configuration.validate()
        self.configuration = configuration
        self.epoch = 1
        self.time = now
        self.regions = configuration.regions.sorted().map { region in
            let role: RegionRole = region == configuration.local ? .primary : .secondary
            return RegionStatus(region: region, role: role, state: .healthy, lastSeen: now)
        }
        assertInvariants()
    }

    /// Moves the time on after a restart, so that the downtime does not count as silence.
    ///
    /// Each region keeps the silence it had at the last command, and the time since the last tick stays what it was.
    ///
    /// - Parameter now: The time at which the controller runs again; one before ``time`` counts as ``time``.
    public mutating func resume(now: Timestamp) {
        let before = time
        advance(to: now)
        for index in regions.indices {
            regions[index].lastSeen = regions[index].lastSeen.moved(from: before, to: time)
        }
        lastTick = lastTick?.moved(from: before, to: time)
        assertInvariants()
    }

    /// Moves the time on, never back.
    ///
    /// For a caller that records an event of its own, such as `replayed`: stamp it with the result.
    ///
    /// - Parameter now: The caller's time.
    /// - Returns: The machine's time: the later of `now` and what it was.
    @discardableResult
    public mutating func advance(to now: Timestamp) -> Timestamp {
        time = max(time, now)
        return time
    }
}

extension Timestamp {
    /// The time that is as far before `end` as this one is before `start`.
    fileprivate func moved(from start: Timestamp, to end: Timestamp) -> Timestamp {
        let distance = start.milliseconds(since: self)
        return end.advanced(by: distance > 0 ? -distance : 0)
    }
}

// MARK: - Reads

extension FailoverMachine {
    /// Every region's status, in byte order of the names.
    public var statuses: [RegionStatus] { regions }

    /// The one region that takes local writes.
    ///
    /// - Complexity: O(*r*), where *r* is the number of regions.
    public var actingPrimary: RegionID { regions[actingPrimaryIndex].region }

    /// A region's status.
    ///
    /// - Parameter region: A region of the deployment.
    /// - Returns: Its role, its state and when it was last seen.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    /// - Complexity: O(log *r*), where *r* is the number of regions.
    public func status(of region: RegionID) throws(FailoverError) -> RegionStatus { regions[try find(region)] }

    /// A region's role.
    ///
    /// - Parameter region: A region of the deployment.
    /// - Returns: What it is for, at the moment.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public func role(of region: RegionID) throws(FailoverError) -> RegionRole { try status(of: region).role }

    /// A region's state.
    ///
    /// - Parameter region: A region of the deployment.
    /// - Returns: How it is, at the moment.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public func state(of region: RegionID) throws(FailoverError) -> RegionState { try status(of: region).state }

    /// Refuses a caller that missed a change of the acting primary.
    ///
    /// The commands that take `ifEpoch` call it first. Call it before a write of your own that must be fenced.
    ///
    /// - Parameter expected: The epoch that the caller acts on; nil asks for no fencing.
    /// - Throws: ``FailoverError/Code-swift.struct/staleEpoch`` with the current epoch, when it is another one.
    public func checkEpoch(_ expected: UInt64?) throws(FailoverError) {
        guard let expected else { return }
        guard expected == epoch else { throw .staleEpoch(expected, current: epoch) }
    }
}

// MARK: - Search

extension FailoverMachine {
    /// The place of a region in `regions`.
    func find(_ region: RegionID) throws(FailoverError) -> Int {
        guard let index = index(of: region) else { throw .unknownRegion(region) }
        return index
    }

    /// The place of a region in `regions`, nil when it is not in the deployment.
    func index(of region: RegionID) -> Int? {
        var low = 0
        var high = regions.count
        while low < high {
            let middle = (low + high) / 2
            if regions[middle].region < region { low = middle + 1 } else { high = middle }
        }
        guard low < regions.count, regions[low].region == region else { return nil }
        return low
    }

    /// The place of the acting primary in `regions`.
    var actingPrimaryIndex: Int {
        guard let index = regions.firstIndex(where: { $0.role.isActingPrimary }) else {
            preconditionFailure("no region of \(regions.count) is the acting primary at epoch \(epoch)")
        }
        return index
    }
}
