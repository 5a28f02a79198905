import RaftApply
import ReplayStore

extension ReplicatedLogConformance {
    // MARK: Members and snapshots

    var members: [ConformanceCase] {
        [
            ConformanceCase(7, "what a member reports all see, the last report alone") {
                try await withLogs(2) { logs in
                    try await logs[0].report(MemberReport(member: "a", syncedIndex: 5))
                    let second = MemberReport(member: "a", syncedIndex: 9, digestIndex: 8, digest: "ab", at: 7)
                    try await logs[0].report(second)
                    let other = MemberReport(member: "b", syncedIndex: 3, missingSnapshot: 2)
                    try await logs[1].report(other)
                    let seen = try await logs[1].members().sorted { $0.member < $1.member }
                    try demand(seen, is: [second, other], "the members")
                }
            },
            ConformanceCase(7, "a member that is forgotten is gone, and may come back") {
                try await withLogs { logs in
                    try await logs[0].report(MemberReport(member: "a", syncedIndex: 5))
                    try await logs[0].forget(member: "a")
                    try demand(try await logs[0].members(), is: [], "the members")
                    try await logs[0].forget(member: "a")
                    try await logs[0].report(MemberReport(member: "a", syncedIndex: 6))
                    try demand(try await logs[0].members().map(\.syncedIndex), is: [6], "the members")
                }
            },
            ConformanceCase(6, "the newest snapshot is what was published last in the log's order") {
                try await withLogs(2) { logs in
                    try demand(try await logs[0].newestSnapshot(), is: nil, "a snapshot of nobody")
                    func manifest(_ index: UInt64) -> SnapshotManifest {
                        SnapshotManifest(
                            cluster: "00",
                            index: index,
                            term: 0,
                            digest: "d\(index)",
                            bytes: 1,
                            checksum: "c",
                            member: "a",
                            location: "here/\(index)"
                        )
                    }
                    for index in [4, 9, 7] as [UInt64] { try await logs[0].publish(manifest(index)) }
                    try demand(try await logs[1].newestSnapshot(), is: manifest(9), "the snapshot")
                }
            },
            ConformanceCase(1, "reports and snapshots are no entries") {
                try await withLogs { logs in
                    let first = try await propose(1...1, to: logs[0]).last ?? 0
                    try await logs[0].report(MemberReport(member: "a", syncedIndex: 5))
                    let last = try await logs[0].propose(Self.bytes("next"), as: Self.id(2))
                    try demand(
                        try await entries(logs[0], through: last).map(\.index),
                        is: [first, last],
                        "the indices"
                    )
                }
            },
            ConformanceCase(8, "a log that was closed is out of reach") {
                try await withLogs { logs in
                    await logs[0].close()
                    await logs[0].close()
                    let code = try await code { _ = try await logs[0].propose([1], as: Self.id(1)) }
                    try demand(code, is: .logUnavailable, "the error")
                    try demand(
                        try await self.code { _ = try await logs[0].barrier() },
                        is: .logUnavailable,
                        "the error"
                    )
                }
            },
        ]
    }

    // MARK: Leading

    var leading: [ConformanceCase] {
        [
            ConformanceCase(9, "one leads at a time, and then the next one") {
                try await withLogs(3) { logs in
                    let active = Counter()
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for (number, log) in logs.enumerated() {
                            group.addTask {
                                try await log.lead(as: "member-\(number)") { leadership in
                                    let others = await active.enter()
                                    try demand(others, is: 0, "others that lead")
                                    try demand(leadership.member, is: "member-\(number)", "who leads")
                                    _ = try await log.members()
                                    await active.leave()
                                }
                            }
                        }
                        try await group.waitForAll()
                    }
                    try demand(await active.entered, is: 3, "terms of leading")
                }
            },
            ConformanceCase(9, "what is proposed under a leadership is put while it is held, and not afterwards") {
                try await withLogs(2) { logs in
                    let log = logs[0]
                    let kept = Kept()
                    try await log.lead(as: "a") { leadership in
                        _ = try await log.propose(Self.bytes("held"), as: Self.id(1), while: leadership)
                        await kept.keep(leadership)
                    }
                    guard let old = await kept.leadership else { throw ConformanceFailure("nobody led") }
                    let code = try await code {
                        _ = try await log.propose(Self.bytes("old"), as: Self.id(2), while: old)
                    }
                    try demand(code, is: .notLeader, "the error")
                    let last = try await log.propose(Self.bytes("client"), as: Self.id(3))
                    let commands = try await entries(logs[1], through: last).map(\.command)
                    try demand(commands, is: [Self.bytes("held"), Self.bytes("client")], "the commands")
                }
            },
            ConformanceCase(9, "an old leadership is not taken for the new one of the same member") {
                try await withLogs { logs in
                    let log = logs[0]
                    let kept = Kept()
                    try await log.lead(as: "a") { await kept.keep($0) }
                    guard let old = await kept.leadership else { throw ConformanceFailure("nobody led") }
                    try await log.lead(as: "a") { leadership in
                        try demand(leadership != old, "the leadership is the same")
                        let code = try await code { _ = try await log.propose([1], as: Self.id(1), while: old) }
                        try demand(code, is: .notLeader, "the error")
                        _ = try await log.propose([2], as: Self.id(2), while: leadership)
                    }
                }
            },
        ]
    }
}

private actor Counter {
    private var count = 0
    private(set) var entered = 0

    /// How many others are there.
    func enter() -> Int {
        defer {
            count += 1
            entered += 1
        }
        return count
    }

    func leave() { count -= 1 }
}

private actor Kept {
    private(set) var leadership: Leadership?

    func keep(_ leadership: Leadership) { self.leadership = leadership }
}
