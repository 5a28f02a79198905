/// A refusal by the failover machine; nothing was changed.
///
/// Act on ``code-swift.property``; show ``message`` to people. New codes may come in minor releases, so a `switch` over a
/// code needs a `default`.
public struct FailoverError: Error, Sendable, Hashable {
    /// What a caller can do about an error.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Wrapped: String {
            case unknownRegion, noSecondaryAvailable, illegalTransition, replayPending
            case needsResync, staleEpoch, invalidConfiguration, invariantViolated
        }
        private let wrapped: Wrapped
        private init(_ wrapped: Wrapped) { self.wrapped = wrapped }

        /// The region is not part of the deployment.
        ///
        /// Correct its name, or add it with `configure`.
        public static var unknownRegion: Self { Self(.unknownRegion) }
        /// No region may take over from the failed one.
        ///
        /// The failed region is still the acting primary. Bring a secondary back (a heartbeat makes it recovering), or
        /// readmit one.
        public static var noSecondaryAvailable: Self { Self(.noSecondaryAvailable) }
        /// The region's role or state does not allow what was attempted.
        ///
        /// The error carries both, and what was attempted.
        public static var illegalTransition: Self { Self(.illegalTransition) }
        /// The region has not received `count` writes.
        ///
        /// Let its replay finish, or force.
        public static var replayPending: Self { Self(.replayPending) }
        /// Writes for the region were dropped or damaged, so its replay alone is not enough.
        ///
        /// Copy the data to it by other means and clear the mark with `clearResync`, or force.
        public static var needsResync: Self { Self(.needsResync) }
        /// The acting primary has changed since the caller looked.
        ///
        /// The caller is fenced off: it must read the state again before it decides anything.
        public static var staleEpoch: Self { Self(.staleEpoch) }
        /// A name, a limit or a list in the configuration is wrong; `field` says which.
        ///
        /// Correct that field.
        public static var invalidConfiguration: Self { Self(.invalidConfiguration) }
        /// The stored state contradicts itself.
        ///
        /// Stop, keep the store, and check it: this is damage or a defect, not a condition to retry.
        public static var invariantViolated: Self { Self(.invariantViolated) }

        /// The code's name, such as `staleEpoch`; stable, fit for a log field.
        public var description: String { wrapped.rawValue }
    }

    /// What a caller can do about it.
    public var code: Code
    /// What was refused, for which region, and what to do next; for people.
    public var message: String
    /// The region that stands in the way; for `noSecondaryAvailable` the failed one.
    public var region: RegionID?
    /// That region's role, with `illegalTransition`.
    public var role: RegionRole?
    /// That region's state, with `illegalTransition`.
    public var state: RegionState?
    /// The command that was refused, such as `readmit`, with `illegalTransition`.
    public var attempted: String?
    /// How many writes are outstanding, with `replayPending`.
    public var count: UInt64?
    /// The epoch that holds, with `staleEpoch`.
    public var currentEpoch: UInt64?
    /// The field that is wrong, with `invalidConfiguration`.
    public var field: String?

    /// Creates an error.
    ///
    /// - Parameters:
    ///   - code: What a caller can do about it.
    ///   - message: What was refused and what to do next, for people.
    ///   - region: The region that stands in the way.
    ///   - role: That region's role.
    ///   - state: That region's state.
    ///   - attempted: The command that was refused.
    ///   - count: How many writes are outstanding.
    ///   - currentEpoch: The epoch that holds.
    ///   - field: The field that is wrong.
    public init(
        code: Code,
        message: String,
        region: RegionID? = nil,
        role: RegionRole? = nil,
        state: RegionState? = nil,
        attempted: String? = nil,
        count: UInt64? = nil,
        currentEpoch: UInt64? = nil,
        field: String? = nil
    ) {
        self.code = code
        self.message = message
        self.region = region
        self.role = role
        self.state = state
        self.attempted = attempted
        self.count = count
        self.currentEpoch = currentEpoch
        self.field = field
    }
}

extension FailoverError: CustomStringConvertible {
    /// The code and the message, on one line.
    public var description: String { "\(code): \(message)" }
}

extension FailoverError {
    static func unknownRegion(_ region: RegionID) -> Self {
        Self(
            code: .unknownRegion,
            message: "Region '\(region)' is not part of this deployment. Check its spelling, or add it with configure.",
            region: region
        )
    }

    static func noSecondaryAvailable(failed: RegionID) -> Self {
        Self(
            code: .noSecondaryAvailable,
            message: "No region can take over from '\(failed)', which stays the acting primary. Only a healthy or "
                + "recovering secondary that is in a tier can: bring one back with heartbeats, or readmit one.",
            region: failed
        )
    }

    static func illegalTransition(_ status: RegionStatus, attempted: String, _ advice: String) -> Self {
        Self(
            code: .illegalTransition,
            message: "\(attempted) is not possible: region '\(status.region)' is \(status.role.rawValue) and "
                + "\(status.state.rawValue). \(advice)",
            region: status.region,
            role: status.role,
            state: status.state,
            attempted: attempted
        )
    }

    static func replayPending(_ region: RegionID, count: UInt64, _ advice: String) -> Self {
        Self(
            code: .replayPending,
            message: "Region '\(region)' has not received \(count) \(count == 1 ? "write" : "writes"). \(advice)",
            region: region,
            count: count
        )
    }

    static func needsResync(_ region: RegionID, _ advice: String) -> Self {
        Self(
            code: .needsResync,
            message: "Writes for region '\(region)' were dropped or damaged, so replay alone cannot bring it up to "
                + "date. Copy the data to it by other means, then run clearResync\(advice)",
            region: region
        )
    }

    static func staleEpoch(_ given: UInt64, current: UInt64) -> Self {
        Self(
            code: .staleEpoch,
            message: "The caller acts on epoch \(given), but the epoch is \(current): the acting primary has changed. "
                + "Read who it is now before you decide again.",
            currentEpoch: current
        )
    }

    static func invalidConfiguration(field: String, _ message: String, region: RegionID? = nil) -> Self {
        Self(code: .invalidConfiguration, message: message, region: region, field: field)
    }

    static func invariantViolated(_ what: String, region: RegionID? = nil) -> Self {
        Self(
            code: .invariantViolated,
            message: "The controller's state contradicts itself: \(what). Stop, keep the store as it is, and check it.",
            region: region
        )
    }
}
