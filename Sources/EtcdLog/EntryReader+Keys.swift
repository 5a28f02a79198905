#if Etcd
internal import EtcdProtocol
internal import RaftApply
internal import SwiftProtobuf

extension EntryReader {
    /// How many keys are listed at a time; etcd reads their values, too.
    static let keysAtOnce: Int64 = 256
    /// How many entries are fetched at a time: 32 MiB of the longest.
    private static let entriesAtOnce = 32

    /// Reads the entries from their keys, because etcd has compacted the revisions at which they were put.
    ///
    /// A trim notes how far it goes before it deletes, so where that is not beyond what has been handed on, every later entry
    /// is still there, at the revision at which it was put. On return everything up to some revision has been handed on,
    /// from where a watch can go on.
    ///
    /// - Returns: Whether entries are gone, and that was said instead: the reader is done.
    func readKeys() async throws -> Bool {
        let last = progress.with { $0.last }
        var found: [(index: UInt64, key: Key)] = []
        var end: UInt64?
        try await log.cluster.pages(of: log.keys.entries, limit: Self.keysAtOnce, keysOnly: true) { page, header in
            // What is put while the pages are read is left for the watch.
            let limit = end ?? UInt64(max(header.revision, 0))
            end = limit
            for entry in page {
                let index = UInt64(entry.modRevision)
                if index > last, index <= limit { found.append((index, Key(bytes: Array(entry.key)))) }
            }
        }
        guard try await !hasBeenTrimmed() else { return true }
        found.sort { $0.index < $1.index }
        var start = 0
        while start < found.count {
            let stop = min(start + Self.entriesAtOnce, found.count)
            guard let entries = try await fetch(found[start..<stop]) else {
                // Some have gone since: a trim has noted that before, or a trimmed one was put again.
                return try await hasBeenTrimmed()
            }
            try await hand(entries)
            start = stop
        }
        if let end { progress.with { $0.last = max($0.last, end) } }
        return false
    }

    /// Says so, where a trim may have deleted what has not been handed on.
    private func hasBeenTrimmed() async throws -> Bool {
        let trimmed = try await log.trimmedIndex()
        guard trimmed > progress.with({ $0.last }) else { return false }
        try await handoff.give(.compacted(through: trimmed))
        return true
    }

    /// The entries at keys, in their order; nil when one is not there, or is another.
    ///
    /// One read each, all at once: etcd refuses any transaction while its space is used up, also one that only reads.
    private func fetch(_ found: ArraySlice<(index: UInt64, key: Key)>) async throws -> [LogEntry]? {
        try await withThrowingTaskGroup(of: LogEntry?.self) { group in
            for (index, key) in found {
                group.addTask {
                    let kept = try await log.cluster.get(key).kvs.first
                    guard let kept, UInt64(kept.modRevision) == index else { return nil }
                    return LogEntry(index: index, command: Array(kept.value))
                }
            }
            var entries: [LogEntry] = []
            for try await entry in group {
                guard let entry else { return nil }
                entries.append(entry)
            }
            return entries.sorted { $0.index < $1.index }
        }
    }
}
#endif
