private import Logging
internal import RegionFailover
internal import ReplayFormat
internal import ReplayStore

extension ReplayShipper {
    /// Sets entries at the head of the queue aside as dead letters; gives how many were still there.
    @discardableResult
    func park(
        _ entries: ArraySlice<QueueEntry>,
        _ queue: UInt32,
        _ cause: DeadRow.Cause,
        _ attempts: UInt32,
        _ reason: String
    ) async throws(HoldfastError) -> UInt64 {
        guard let first = entries.first, let last = entries.last else { return 0 }
        let parking = ParkedEntries(
            queue: queue,
            positions: first.position...last.position,
            cause: cause,
            attempts: attempts,
            reason: reason,
            rowBytes: entries.map { DeadRow.bytesMax(rawBytes: $0.write.rawBytes) }
        )
        let parked = try await queues.park(parking, of: region)
        if parked > 0 { log(.error, "Entries were parked as dead letters", position(first.position, reason, parked)) }
        return parked
    }

    /// Parks the entries at the head whose key has a dead letter; true when there were some.
    ///
    /// Otherwise the batch ends before the first such entry.
    func parkFollowers(
        _ head: inout ReplayStore.Head,
        _ settings: ReplaySettings,
        _ progress: inout Progress
    ) async throws(HoldfastError) -> Bool {
        guard settings.exhaustion == .parkKey else {
            progress.parkedKeys = nil
            return false
        }
        let keys = try await parkedKeys(&progress)
        guard !keys.isEmpty else { return false }
        guard let first = head.entries.first, keys.contains(first.write.key) else {
            head.entries = Array(head.entries.prefix { !keys.contains($0.write.key) })
            return false
        }
        // Not sent, so the pace is nothing to them: as many as a transaction takes well.
        let queues = queues
        let all = try await store.readHead(
            region,
            entriesMax: Self.followersMax,
            bytesMax: Self.followersBytesMax,
            now: { queues.now }
        )
        guard all.queue == head.queue, let first = all.entries.first, keys.contains(first.write.key) else {
            return true
        }
        let followers = all.entries.prefix { keys.contains($0.write.key) }
        let reason = "an earlier write of the key was parked"
        let parked = try await park(followers, all.queue, .key, 0, reason)
        // Their keys are known already.
        if progress.parkedAt.count == 3 { progress.parkedAt[0] &+= parked }
        return true
    }

    private static let followersMax = 4096
    private static let followersBytesMax = 4 << 20

    /// The keys of the dead letters, read again when there may be other ones.
    private func parkedKeys(_ progress: inout Progress) async throws(HoldfastError) -> Set<[UInt8]> {
        let region = region
        let known = progress.parkedKeys.map { (progress.parkedAt, $0) }
        let (settled, keys) = try await store.read { (view) throws(HoldfastError) in
            guard let row = try view.regionRow(region) else { throw .unknownRegion(region) }
            let settled = [row.counters.dead, row.counters.retried, row.counters.dropped]
            if let known, known.0 == settled { return known }
            var keys: Set<[UInt8]> = []
            try view.deadLetters(of: region) { (letter) throws(HoldfastError) in
                keys.insert(letter.write.key)
                return true
            }
            return (settled, keys)
        }
        progress.parkedKeys = keys
        progress.parkedAt = settled
        return keys
    }
}
