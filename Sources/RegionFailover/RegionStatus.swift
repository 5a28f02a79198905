/// What a region is for, at the moment.
public enum RegionRole: String, Sendable, Hashable, CaseIterable {
    /// Takes local writes since the deployment began.
    case primary
    /// Receives writes, and may be promoted.
    case secondary
    /// Takes local writes since it was promoted.
    case promotedSecondary
    /// Was the acting primary until it was demoted; must be readmitted before it can be promoted again.
    case demotedPrimary

    /// Whether the region takes local writes.
    ///
    /// This holds for exactly one region of a deployment.
    public var isActingPrimary: Bool { self == .primary || self == .promotedSecondary }
}

/// What is known about a region's health.
public enum RegionState: String, Sendable, Hashable, CaseIterable {
    /// Heard from within `suspectAfter`.
    case healthy
    /// Silent for at least `suspectAfter`.
    case suspect
    /// Demoted, or silent again after it was demoted.
    case failed
    /// Heard from again, but not back yet.
    case recovering

    /// Whether the region was heard from lately.
    var isLive: Bool { self == .healthy || self == .recovering }
}

/// What the machine knows about one region.
public struct RegionStatus: Sendable, Hashable {
    /// The region.
    public var region: RegionID
    /// What it is for.
    public var role: RegionRole
    /// How it is.
    public var state: RegionState
    /// When it was last heard from, promoted, readmitted or added.
    ///
    /// Never after the machine's time.
    public var lastSeen: Timestamp

    /// Creates a status.
    ///
    /// - Parameters:
    ///   - region: The region.
    ///   - role: What it is for.
    ///   - state: How it is.
    ///   - lastSeen: When it was last heard from.
    public init(region: RegionID, role: RegionRole, state: RegionState, lastSeen: Timestamp) {
        self.region = region
        self.role = role
        self.state = state
        self.lastSeen = lastSeen
    }
}

/// One region in a ``FailoverMachine/Snapshot``: its status.
public typealias RegionSnapshot = RegionStatus
