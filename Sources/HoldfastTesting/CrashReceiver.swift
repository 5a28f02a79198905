import Holdfast
internal import Platform

/// A receiver that takes every second entry, and refuses the others.
final class CrashReceiver: Sendable {
    /// What it heard of, to be told to an oracle.
    let events = Lock<[CrashEvent]>([])
    let service = Lock<ReplayService?>(nil)
    private let region: RegionID
    private let journal: CrashJournal
    private let source: WriteSource
    private let left: Lock<Int>

    /// `sends`: After so many the service is told to end.
    init(_ region: RegionID, _ journal: CrashJournal, _ source: WriteSource, sends: Int) {
        self.region = region
        self.journal = journal
        self.source = source
        left = Lock(sends)
    }

    private struct Refused: Error {}

    func receive(_ batch: ReplayBatch) async throws {
        let left = left.withLock { left in
            left -= 1
            return left
        }
        if left <= 0 { service.withLock { $0 }?.shutDown() }
        // Once it ends it refuses nothing: what is sent for the last time is either received, or not parked.
        guard left.isMultiple(of: 2) else { throw Refused() }
        let received = CrashEvent.deliveries(batch.entries, from: region, source, isDrain: false)
        try journal.note(received)
        events.withLock { $0 += received }
    }
}
