/// Something that has happened, for the history and for people.
public struct FailoverEvent: Sendable, Hashable {
    /// What can happen.
    public enum Kind: Sendable, Hashable {
        /// The region was silent for at least `suspectAfter`.
        case suspect
        /// The region, demoted before, is silent again.
        case failed
        /// The region was heard from for the first time after a silence or a demotion.
        case recovering
        /// The region was heard from again and is back.
        case healthy
        /// The region is no longer the acting primary.
        ///
        /// `epoch` is the one that begins, the same as in the promotion that follows.
        case demoted(epoch: UInt64)
        /// The region became the acting primary in place of `replaced`, with `pending` still outstanding for it.
        case promoted(replaced: RegionID, epoch: UInt64, pending: QueueSummary)
        /// The region received writes: an acknowledgement emptied its queue, and `entries` were acknowledged since it
        /// was last empty; or a drain took `entries`.
        case replayed(entries: UInt64)
        /// The region is a healthy secondary again; `forced` when that was only possible by force.
        case readmitted(forced: Bool)
        /// The region took over from the live `replaced`, as planned.
        case switchedOver(replaced: RegionID, epoch: UInt64, pending: QueueSummary)
        /// The configuration changed; the regions that came and went, in byte order.
        case configured(added: [RegionID], removed: [RegionID])
        /// Replay to the region was paused.
        case paused
        /// Replay to the region goes on.
        case resumed
        /// Writes for the region were dropped or damaged: replay alone cannot bring it up to date.
        case resyncNeeded
        /// An operator declared the region resynced.
        case resyncCleared
        /// The detector itself had slept, so every region got a fresh grace.
        case detectorPaused

        /// The kind's name, such as `promoted`; stable, fit for a log field or a file.
        public var name: String {
            switch self {
            case .suspect: "suspect"
            case .failed: "failed"
            case .recovering: "recovering"
            case .healthy: "healthy"
            case .demoted: "demoted"
            case .promoted: "promoted"
            case .replayed: "replayed"
            case .readmitted: "readmitted"
            case .switchedOver: "switchedOver"
            case .configured: "configured"
            case .paused: "paused"
            case .resumed: "resumed"
            case .resyncNeeded: "resyncNeeded"
            case .resyncCleared: "resyncCleared"
            case .detectorPaused: "detectorPaused"
            }
        }
    }

    /// What happened.
    public var kind: Kind
    /// When, on the machine's time.
    public var at: Timestamp
    /// To which region; nil only for `configured` and `detectorPaused`.
    public var region: RegionID?

    /// Creates an event.
    ///
    /// - Parameters:
    ///   - kind: What happened.
    ///   - at: When, on the machine's time.
    ///   - region: To which region; nil only for `configured` and `detectorPaused`.
    public init(kind: Kind, at: Timestamp, region: RegionID? = nil) {
        self.kind = kind
        self.at = at
        self.region = region
    }

    /// The kind's name, such as `promoted`.
    public var name: String { kind.name }
}

/// A change of the acting primary.
public struct Promotion: Sendable, Hashable {
    /// The region that was the acting primary.
    public var failed: RegionID
    /// The region that is the acting primary now.
    public var promoted: RegionID
    /// The epoch that began; pass it as `ifEpoch`, so that a caller who missed this change is refused.
    public var epoch: UInt64
    /// What happened, in order.
    public var events: [FailoverEvent]

    /// Creates a promotion.
    ///
    /// - Parameters:
    ///   - failed: The region that was the acting primary.
    ///   - promoted: The region that is the acting primary now.
    ///   - epoch: The epoch that began.
    ///   - events: What happened, in order.
    public init(failed: RegionID, promoted: RegionID, epoch: UInt64, events: [FailoverEvent]) {
        self.failed = failed
        self.promoted = promoted
        self.epoch = epoch
        self.events = events
    }
}
