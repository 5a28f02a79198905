/// The regions of a deployment and how failover treats them.
public struct FailoverConfiguration: Sendable, Hashable {
    /// How many regions a deployment has at most.
    public static let regionsMax = 256
    /// How many events a history keeps at most.
    public static let historyCapacityMax = 1_000_000
    /// The longest silence or detector pause that can be configured: 366 days, in milliseconds.
    public static let silenceMillisecondsMax: Int64 = 366 * 24 * 60 * 60 * 1000

    /// The region that is primary in a fresh deployment.
    ///
    /// One of ``regions``. A later change of it moves no role.
    public var local: RegionID
    /// The regions, in the order of preference for promotion inside a tier.
    ///
    /// 1 to ``regionsMax``, each once.
    public var regions: [RegionID]
    /// The regions that may be promoted, best tier first.
    ///
    /// Inside a tier the declared order decides between equals. Empty means one tier of all regions; otherwise a region
    /// that is in no tier is never promoted. Each tier has at least one region, and no region is named twice.
    public var tiers: [[RegionID]]
    /// How long a region may be silent before it becomes suspect, in milliseconds.
    ///
    /// 1 to ``silenceMillisecondsMax``.
    public var suspectAfterMilliseconds: Int64
    /// How many events the history keeps; 0 keeps nothing.
    ///
    /// At most ``historyCapacityMax``. The machine itself keeps no history: it returns the events.
    public var historyCapacity: Int
    /// How long after the tick before a tick counts as "the observer slept, not the world", in milliseconds.
    ///
    /// 1 to ``silenceMillisecondsMax``; nil turns this off.
    public var detectorPauseAfterMilliseconds: Int64?
    /// Whether the shell may promote by itself.
    ///
    /// The machine never does. Only safe with a replicated log, or where there is one controller.
    public var automaticFailover: Bool

    /// Creates a configuration, unchecked; ``validate()`` checks it, and so does everything that takes one.
    ///
    /// - Parameters:
    ///   - local: The region that is primary in a fresh deployment.
    ///   - regions: The regions, in the order of preference for promotion.
    ///   - tiers: The regions that may be promoted, best tier first; empty means one tier of all regions.
    ///   - suspectAfterMilliseconds: How long a region may be silent before it becomes suspect.
    ///   - historyCapacity: How many events the history keeps.
    ///   - detectorPauseAfterMilliseconds: How long after the tick before a tick counts as a pause of the observer.
    ///   - automaticFailover: Whether the shell may promote by itself.
    public init(
        local: RegionID,
        regions: [RegionID],
        tiers: [[RegionID]] = [],
        suspectAfterMilliseconds: Int64 = 15_000,
        historyCapacity: Int = 256,
        detectorPauseAfterMilliseconds: Int64? = nil,
        automaticFailover: Bool = false
    ) {
        self.local = local
        self.regions = regions
        self.tiers = tiers
        self.suspectAfterMilliseconds = suspectAfterMilliseconds
        self.historyCapacity = historyCapacity
        self.detectorPauseAfterMilliseconds = detectorPauseAfterMilliseconds
        self.automaticFailover = automaticFailover
    }

    /// Checks every limit and every name.
    ///
    /// - Throws: ``FailoverError/Code-swift.struct/invalidConfiguration`` with the first field that is wrong: `regions`,
    ///   `local`, `tiers`, `suspectAfterMs`, `historyCapacity` or `detectorPauseAfterMs`.
    public func validate() throws(FailoverError) {
        try validateRegions()
        try validateTiers()
        try validateNumbers()
    }
}

extension FailoverConfiguration {
    private func validateRegions() throws(FailoverError) {
        guard !regions.isEmpty else {
            throw .invalidConfiguration(field: "regions", "The deployment has no region; name at least one.")
        }
        guard regions.count <= Self.regionsMax else {
            throw .invalidConfiguration(
                field: "regions",
                "The deployment has \(regions.count) regions; at most \(Self.regionsMax) are possible."
            )
        }
        var known: Set<RegionID> = []
        for region in regions {
            guard known.insert(region).inserted else {
                throw .invalidConfiguration(
                    field: "regions",
                    "Region '\(region)' is listed twice; list each region once.",
                    region: region
                )
            }
        }
        guard known.contains(local) else {
            throw .invalidConfiguration(
                field: "local",
                "The local region '\(local)' is not one of the regions; add it to them, or correct its name.",
                region: local
            )
        }
    }

    private func validateTiers() throws(FailoverError) {
        guard !tiers.isEmpty else { return }
        let known = Set(regions)
        var tiered: Set<RegionID> = []
        for (number, tier) in tiers.enumerated() {
            guard !tier.isEmpty else {
                throw .invalidConfiguration(field: "tiers", "Tier \(number) is empty; remove it, or fill it.")
            }
            for region in tier {
                guard known.contains(region) else {
                    throw .invalidConfiguration(
                        field: "tiers",
                        "Tier \(number) names '\(region)', which is not one of the regions; correct its name.",
                        region: region
                    )
                }
                guard tiered.insert(region).inserted else {
                    throw .invalidConfiguration(
                        field: "tiers",
                        "Tier \(number) names '\(region)' a second time; a region is in one tier, once.",
                        region: region
                    )
                }
            }
        }
    }

    private func validateNumbers() throws(FailoverError) {
        guard suspectAfterMilliseconds >= 1, suspectAfterMilliseconds <= Self.silenceMillisecondsMax else {
            throw .invalidConfiguration(
                field: "suspectAfterMs",
                "suspectAfter is \(suspectAfterMilliseconds) ms; it must be 1 to \(Self.silenceMillisecondsMax) ms."
            )
        }
        guard historyCapacity >= 0, historyCapacity <= Self.historyCapacityMax else {
            throw .invalidConfiguration(
                field: "historyCapacity",
                "historyCapacity is \(historyCapacity); it must be 0 to \(Self.historyCapacityMax) events."
            )
        }
        guard let pause = detectorPauseAfterMilliseconds else { return }
        guard pause >= 1, pause <= Self.silenceMillisecondsMax else {
            throw .invalidConfiguration(
                field: "detectorPauseAfterMs",
                "detectorPauseAfter is \(pause) ms; it must be 1 to \(Self.silenceMillisecondsMax) ms, or left out."
            )
        }
    }
}
