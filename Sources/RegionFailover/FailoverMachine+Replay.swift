// The marks that these commands set and clear are kept with the queues. The machine only judges, and says what happened.

extension FailoverMachine {
    /// Judges a pause of the replay to a region.
    ///
    /// - Parameters:
    ///   - region: The region whose replay shall pause.
    ///   - pending: What is outstanding for each region, with the marks as they are.
    ///   - now: The time of the change.
    /// - Returns: `paused`, on which the caller pauses the queue; nothing when it is paused already.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public mutating func pauseReplay(
        _ region: RegionID,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        try mark(region, .paused, isChange: pending[region]?.isPaused != true, now: now)
    }

    /// Judges the end of a pause of the replay to a region.
    ///
    /// - Parameters:
    ///   - region: The region whose replay shall go on.
    ///   - pending: What is outstanding for each region, with the marks as they are.
    ///   - now: The time of the change.
    /// - Returns: `resumed`, on which the caller lets the queue go on; nothing when it is not paused.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public mutating func resumeReplay(
        _ region: RegionID,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        try mark(region, .resumed, isChange: pending[region]?.isPaused == true, now: now)
    }

    /// Judges an operator's word that a region has been resynced.
    ///
    /// Nothing else clears the mark: neither a promotion nor a forced readmission.
    ///
    /// - Parameters:
    ///   - region: The region that has been resynced.
    ///   - pending: What is outstanding for each region, with the marks as they are.
    ///   - now: The time of the change.
    /// - Returns: `resyncCleared`, on which the caller clears the mark; nothing when there is none.
    /// - Throws: ``FailoverError/Code-swift.struct/unknownRegion``.
    public mutating func clearResync(
        _ region: RegionID,
        pending: [RegionID: QueueSummary],
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        try mark(region, .resyncCleared, isChange: pending[region]?.needsResync == true, now: now)
    }

    private mutating func mark(
        _ region: RegionID,
        _ kind: FailoverEvent.Kind,
        isChange: Bool,
        now: Timestamp
    ) throws(FailoverError) -> [FailoverEvent] {
        _ = try find(region)
        advance(to: now)
        return isChange ? [FailoverEvent(kind: kind, at: time, region: region)] : []
    }
}
