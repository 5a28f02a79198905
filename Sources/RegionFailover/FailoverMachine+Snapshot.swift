extension FailoverMachine {
    /// The whole state of a machine, to be stored and restored.
    public struct Snapshot: Sendable, Hashable {
        /// The regions of the deployment and how failover treats them.
        public var configuration: FailoverConfiguration
        /// The fencing number.
        public var epoch: UInt64
        /// The time of the last command.
        public var time: Timestamp
        /// When the detector last ran, if it ever did.
        public var lastTick: Timestamp?
        /// Every region's status, in byte order of the names.
        public var regions: [RegionSnapshot]

        /// Creates a snapshot, unchecked; ``FailoverMachine/init(restoring:)`` checks it.
        ///
        /// - Parameters:
        ///   - configuration: The regions of the deployment and how failover treats them.
        ///   - epoch: The fencing number.
        ///   - time: The time of the last command.
        ///   - lastTick: When the detector last ran, if it ever did.
        ///   - regions: Every region's status, in any order.
        public init(
            configuration: FailoverConfiguration,
            epoch: UInt64,
            time: Timestamp,
            lastTick: Timestamp?,
            regions: [RegionSnapshot]
        ) {
            self.configuration = configuration
            self.epoch = epoch
            self.time = time
            self.lastTick = lastTick
            self.regions = regions
        }
    }

    /// The whole state.
    ///
    /// A machine restored from it is equal to this one.
    public var snapshot: Snapshot {
        Snapshot(configuration: configuration, epoch: epoch, time: time, lastTick: lastTick, regions: regions)
    }

    /// Creates the machine that a snapshot was taken of.
    ///
    /// Call ``resume(now:)`` next, unless the commands go on at the snapshot's own time.
    ///
    /// - Parameter snapshot: The state, from outside: it may say anything.
    /// - Throws: ``FailoverError/Code-swift.struct/invalidConfiguration``, or
    ///   ``FailoverError/Code-swift.struct/invariantViolated`` when the state contradicts itself.
    public init(restoring snapshot: Snapshot) throws(FailoverError) {
        try snapshot.configuration.validate()
        self.configuration = snapshot.configuration
        self.epoch = snapshot.epoch
        self.time = snapshot.time
        self.lastTick = snapshot.lastTick
        self.regions = snapshot.regions.sorted { $0.region < $1.region }
        try checkInvariants()
    }
}
