private import Glibc
internal import Holdfast
private import Logging
internal import Platform
internal import RegionFailover
package import ReplayStore

extension Replica {
    /// Syncs what was applied, tells the others, and compares digests, until the task is cancelled.
    func maintain() async -> HoldfastError? {
        let session = ReplicaSession(self)
        while !Task.isCancelled {
            do throws(HoldfastError) {
                let digests = try await machine.storedDigests()
                try await tellOthers(digests)
                try await compareDigests(digests)
            } catch {
                guard error.code == .logUnavailable || error.code == .outcomeUnknown else { return machine.stop(error) }
            }
            do throws(HoldfastError) {
                try await tellHeard(session)
            } catch {
                // It is told again; what stops the replica is met by who applies.
                options.logger.debug("What was heard could not be told", metadata: ["holdfast.error": "\(error)"])
            }
            // Until the task is cancelled.
            try? await clock.source.sleep(milliseconds: options.maintenanceMilliseconds)
        }
        return nil
    }

    private func tellOthers(_ digests: [UInt64: String]) async throws(HoldfastError) {
        let synced = try await machine.sync()
        let newest = digests.max { $0.key < $1.key }
        try await log.report(
            MemberReport(
                member: options.name,
                syncedIndex: synced,
                digestIndex: newest?.key ?? 0,
                digest: newest?.value ?? "",
                at: clock.now.time.milliseconds,
                missingSnapshot: missingSnapshot
            )
        )
    }

    /// Stops this replica where most of the members have another state, or where no state has most of them.
    ///
    /// A member that has not come to the same entry yet has no say about it.
    private func compareDigests(_ own: [UInt64: String]) async throws(HoldfastError) {
        let members = try await log.members()
        for (index, digest) in own.sorted(by: { $0.key > $1.key }) {
            let votes = members.filter { $0.digestIndex == index && $0.member != options.name }.map(\.digest) + [digest]
            guard votes.count > 1, Set(votes).count > 1 else { continue }
            let most = members.count / 2 + 1
            let own = votes.count { $0 == digest }
            guard own < most else { continue }
            let isMajorityElsewhere = Set(votes).contains { vote in
                vote != digest && votes.count { $0 == vote } >= most
            }
            // Where others may yet agree with this one, it waits for them.
            let open = members.count - votes.count
            guard isMajorityElsewhere || own + open < most else { continue }
            throw HoldfastError(
                code: .digestMismatch,
                message: isMajorityElsewhere
                    ? "At index \(index) most members have another state than this replica, \(digest). It has stopped, and takes "
                        + "a snapshot of another member when it is started again."
                    : "At index \(index) no state has most of the members: \(Set(votes).sorted().joined(separator: ", ")). All "
                        + "stop. Compare their stores with 'holdfast diff' before anything is trusted."
            )
        }
    }

    // MARK: Leading

    /// Looks after the log and the regions while this member leads, until the task is cancelled.
    func lead() async -> HoldfastError? {
        var wait = Backoff()
        while !Task.isCancelled {
            // Who has not the state yet cannot look after it.
            guard missingSnapshot == nil else {
                await wait.pause(clock.source)
                continue
            }
            do {
                try await log.lead(as: options.name) { leadership in
                    try await withThrowingTaskGroup { group in
                        group.addTask { try await self.lookAfter(leadership) }
                        if let whileLeading = self.whileLeading { group.addTask { try await whileLeading(self) } }
                        // Whichever fails ends the other, and the leadership.
                        for try await _ in group {}
                    }
                }
                wait = Backoff()
            } catch let error as HoldfastError where error.code == .poisoned || error.code == .closed {
                return error
            } catch {
                // Lost, or out of reach: somebody else leads, or this one again.
                options.logger.debug("This replica does not lead any more", metadata: ["holdfast.error": "\(error)"])
            }
            if let failure = machine.failure { return failure }
            await wait.pause(clock.source)
        }
        return nil
    }

    private func lookAfter(_ leadership: Leadership) async throws {
        options.logger.info("This replica leads", metadata: ["holdfast.member": "\(options.name)"])
        let session = ReplicaSession(self)
        let regions = machine.machine?.configuration.regions ?? []
        heard.withLock { $0.grant(regions, at: clock.source.elapsedMilliseconds) }
        var digestAt = machine.applied.index
        var wanted = WantedSnapshot()
        while !Task.isCancelled {
            if let failure = machine.failure { throw failure }
            guard missingSnapshot == nil else {
                throw HoldfastError(code: .notLeader, message: "This replica waits for a snapshot, and leads no more.")
            }
            let index = machine.applied.index
            if index >= digestAt + ReplicationLimits.digestInterval {
                digestAt = try await session.checkDigest(while: leadership)
            }
            try await tellHeard(session, while: leadership)
            let members = try await log.members()
            if try await isSnapshotDue(members, &wanted), let transport {
                // A snapshot takes the place of an older one alone, also in a log that is quiet.
                if wanted.index == machine.applied.index { _ = try await session.checkDigest(while: leadership) }
                try await publishSnapshot(through: transport)
                growth.withLock { $0.snapshotTaken() }
            }
            try await trim(members)
            try await clock.source.sleep(milliseconds: options.maintenanceMilliseconds)
        }
    }

    /// Whether the log has grown enough since the last snapshot, or a member cannot get the newest one, as where the disk has
    /// gone that had it.
    private func isSnapshotDue(
        _ members: [MemberReport],
        _ wanted: inout WantedSnapshot
    ) async throws(HoldfastError) -> Bool {
        guard transport != nil else { return false }
        if growth.withLock({ $0.sinceSnapshot }) >= options.snapshotEveryBytes { return true }
        guard let missing = members.compactMap(\.missingSnapshot).max(), missing <= machine.applied.index,
            missing == (try await log.newestSnapshot()?.index ?? 0)
        else { return false }
        return wanted.isMissed(missing)
    }

    /// Makes a snapshot, offers it, and tells where it is.
    package func publishSnapshot(through transport: any SnapshotTransport) async throws(HoldfastError) {
        let scratch = try machine.directory.scratch("offered-\(UInt64.random(in: 0...(.max)))")
        try onDisk { () throws(SystemError) in try FileSystem.makeDirectory(scratch) }
        defer { try? FileSystem.removeTree(scratch) }
        var manifest = try await machine.writeSnapshot(to: scratch + "/snapshot")
        manifest.member = options.name
        manifest = try await transport.offer(scratch + "/snapshot", manifest)
        try await log.publish(manifest)
        options.logger.info("A snapshot was published", metadata: ["holdfast.index": "\(manifest.index)"])
    }

    /// Lets the log forget what every member has on its disk; a member that is far behind is left to the newest snapshot.
    private func trim(_ members: [MemberReport]) async throws(HoldfastError) {
        guard let slowest = members.map(\.syncedIndex).min() else { return }
        var through = slowest
        if transport != nil {
            let cut = growth.withLock { $0.index(atMost: options.logRetainedBytes) }
            // Nothing beyond the newest snapshot: who begins anew takes that, and what comes after it from the log.
            through = min(max(slowest, cut ?? 0), try await log.newestSnapshot()?.index ?? 0)
        }
        let kept = options.logRetainedEntries
        guard let entry = growth.withLock({ $0.index(keeping: kept) }) else { return }
        through = min(through, entry)
        guard through > growth.withLock({ $0.trimmedThrough }) else { return }
        try await log.trim(through: through)
        growth.withLock { $0.trimmed(through: through) }
    }
}

/// The newest snapshot, where a member cannot get it.
private struct WantedSnapshot {
    /// The snapshot's index.
    private(set) var index: UInt64?
    private var rounds = 0

    /// It may yet come by itself, as after a failure of the network: another one is made when it was missed for so long.
    private static let roundsMax = 10

    mutating func isMissed(_ index: UInt64) -> Bool {
        rounds = self.index == index ? rounds + 1 : 1
        self.index = index
        return rounds >= Self.roundsMax
    }
}

/// How the log has grown, as this replica has seen it: where its entries stand, and how many bytes they have.
struct LogGrowth: Sendable {
    /// The entries that are in the log still, each with the bytes up to it.
    private var entries: [(index: UInt64, bytes: UInt64)] = []
    private var bytes: UInt64 = 0
    private var bytesAtSnapshot: UInt64 = 0
    private(set) var trimmedThrough: UInt64 = 0

    /// What has come since the last snapshot that this replica has offered.
    var sinceSnapshot: UInt64 { bytes - bytesAtSnapshot }

    mutating func add(_ new: [LogEntry]) {
        for entry in new where entry.index > entries.last?.index ?? 0 {
            bytes += UInt64(entry.command.count)
            entries.append((entry.index, bytes))
        }
    }

    mutating func snapshotTaken() { bytesAtSnapshot = bytes }

    mutating func trimmed(through index: UInt64) {
        trimmedThrough = index
        entries.removeAll { $0.index <= index }
    }

    /// The last index before the newest bytes of that number; nil where all are among them.
    func index(atMost kept: UInt64) -> UInt64? {
        guard bytes > kept else { return nil }
        return entries.last { $0.bytes < bytes - kept }?.index
    }

    /// The last index before the newest entries of that number; nil where all are among them.
    func index(keeping kept: UInt64) -> UInt64? {
        guard UInt64(entries.count) > kept else { return nil }
        return entries[entries.count - 1 - Int(kept)].index
    }
}
