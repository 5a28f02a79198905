import Holdfast
import HoldfastTesting

// The Swift examples of the documentation, each as the body of a function. A test holds the texts together.

func readme1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory + "/store",
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1", "ap-northeast-1"])
    )

    // eu-west-1 cannot be reached. When append returns, the write survives a crash and a power cut.
    let write = OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: 42, key: "user:7", value: "blue")
    try await controller.append([write], to: "eu-west-1")

    // eu-west-1 is back: everything it missed, in order. What is not acknowledged comes again, after any crash.
    for try await batch in controller.batches(for: "eu-west-1") {
        for entry in batch.entries { print("\(entry.position): \(entry.write.keyText) = \(entry.write.valueText)") }
        try await batch.acknowledge()
    }
    await controller.close()
}

func gettingStarted1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(
            local: "us-east-1",
            regions: ["us-east-1", "eu-west-1", "ap-south-1"]
        )
    )
    print(controller.actingPrimary)  // us-east-1
    for status in controller.statuses {
        print(status.region, status.role, status.state)
    }
    await controller.close()
}

func gettingStarted2(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1", "ap-south-1"])
    )
    let sequences: ClosedRange<UInt64> = 1...3
    let writes = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:\(sequence)", value: "Ada")
    }

    let receipt = try await controller.append(writes, to: "eu-west-1")
    print(receipt.positions)  // 1..<4

    let again = try await controller.append(writes, to: "eu-west-1")
    print(again.accepted, again.duplicates)  // 0 [0, 1, 2]

    let both = try await controller.append(writes, to: ["eu-west-1", "ap-south-1"])
    print(both.map(\.accepted))  // [0, 3]
    await controller.close()
}

func gettingStarted3(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let sequences: ClosedRange<UInt64> = 1...5
    let writes = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:\(sequence)", value: "Ada")
    }
    try await controller.append(writes, to: "eu-west-1")

    var received: [OutstandingWrite] = []
    for try await batch in controller.batches(for: "eu-west-1", entriesMax: 2) {
        received += batch.entries.map(\.write)  // Send them to the region here.
        try await batch.acknowledge()
    }
    print(received == writes)  // true
    let pending = try await controller.pendingCount(for: "eu-west-1")
    print(pending)  // 0
    await controller.close()
}

func gettingStarted4(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(
            local: "us-east-1",
            regions: ["us-east-1", "eu-west-1"],
            suspectAfterMilliseconds: 15_000
        )
    )
    let watching = Task {
        while !Task.isCancelled {
            for event in try await controller.tick() {
                print(event.name, event.region?.rawValue ?? "")
            }
            try await Task.sleep(for: .seconds(3))
        }
    }
    try await controller.heartbeat("us-east-1")
    try await controller.heartbeat("eu-west-1")
    let state = try controller.state(of: "eu-west-1")
    print(state)  // healthy

    watching.cancel()
    _ = await watching.result
    await controller.close()
}

func gettingStarted5(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1", "ap-south-1"])
    )
    let write = OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: 1, key: "user:7", value: "Ada")
    try await controller.append([write], to: "eu-west-1", ifEpoch: 1)

    let promotion = try await controller.demoteAndPromote("us-east-1", ifEpoch: 1)
    print(promotion.promoted, promotion.epoch)  // eu-west-1 2

    do throws(HoldfastError) {
        try await controller.append([write], to: "ap-south-1", ifEpoch: 1)
    } catch {
        print(error.code, error.count ?? 0)  // staleEpoch 2
    }

    // The old primary is heard from, has received what it missed, and is taken back.
    try await controller.heartbeat("us-east-1")
    try await controller.readmit("us-east-1", ifEpoch: promotion.epoch)
    let role = try controller.role(of: "us-east-1")
    print(role)  // secondary
    await controller.close()
}

func gettingStarted6(_ directory: String) async throws {
    let configuration = FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    let controller = try await RegionFailoverController.create(at: directory, configuration: configuration)
    let write = OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: 1, key: "user:7", value: "Ada")
    try await controller.append([write], to: "eu-west-1")
    try await controller.demoteAndPromote("us-east-1")
    await controller.close()

    let reopened = try await RegionFailoverController.open(at: directory)
    print(reopened.actingPrimary, reopened.epoch)  // eu-west-1 2
    let pending = try await reopened.pending(for: "eu-west-1")
    print(pending.entries, pending.bytes)  // 1 9
    let duplicate = try await reopened.append([write], to: "eu-west-1")
    print(duplicate.accepted)  // 0
    await reopened.close()
}

func gettingStarted7(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"]),
        limits: QueueLimits(entriesMax: 1_000_000, bytesMax: 8 << 30)
    )
    try await controller.setLimits(QueueLimits(entriesMax: 1), for: "eu-west-1")
    let sequences: ClosedRange<UInt64> = 1...2
    let writes = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:\(sequence)", value: "Ada")
    }
    do throws(HoldfastError) {
        try await controller.append(writes, to: "eu-west-1")
    } catch {
        print(error.code, error.region?.rawValue ?? "", error.field ?? "")  // full eu-west-1 entries
    }
    await controller.close()
}

func exactlyOnce1(_ directory: String) async throws {
    let ledger = try await AppliedLedger.create(at: directory + "/ledger")
    let sequences: ClosedRange<UInt64> = 1...3
    let payments = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "account:7", value: "50")
    }

    @Sendable func receive(_ writes: [OutstandingWrite]) async throws(HoldfastError) -> Int {
        try await ledger.apply(writes) { (new, state) throws(HoldfastError) in
            for write in new {
                let balance = try state.value(for: write.keyText).flatMap { Int($0) } ?? 0
                try state.set(String(balance + (Int(write.valueText) ?? 0)), for: write.keyText)
            }
            return new.count
        }
    }

    let first = try await receive(Array(payments.prefix(2)))
    print(first)  // 2
    // The answer was lost: the same writes come again, with one that is new.
    let again = try await receive(payments)
    print(again)  // 1

    let balance = try await ledger.read { (state) throws(HoldfastError) in try state.value(for: "account:7") }
    print(balance ?? "none")  // 150
    await ledger.close()
}

func exactlyOnce2(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory + "/store",
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let ledger = try await AppliedLedger.create(at: directory + "/ledger")
    let sequences: ClosedRange<UInt64> = 1...5
    let writes = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "visits", value: "1")
    }
    try await controller.append(writes, to: "eu-west-1")

    var answersToLose = 1
    for try await batch in controller.batches(for: "eu-west-1", entriesMax: 2) {
        // Send the batch to the region here, with the epoch; this is what happens there.
        let applied = try await ledger.apply(batch.entries.map(\.write), epoch: controller.epoch) {
            (new, state) throws(HoldfastError) in
            let visits = try state.value(for: "visits").flatMap { Int($0) } ?? 0
            if !new.isEmpty { try state.set(String(visits + new.count), for: "visits") }
            return new.count
        }
        print(batch.first, batch.attempt, applied)
        answersToLose -= 1
        if answersToLose == 0 { continue }  // No answer, no acknowledgement: the batch comes again.
        try await batch.acknowledge()
    }
    let visits = try await ledger.read { (state) throws(HoldfastError) in try state.value(for: "visits") }
    print(visits ?? "none")  // 5
    await controller.close()
    await ledger.close()
}

func exactlyOnce3(_ directory: String) async throws {
    var table: [AppliedRow.Key: UInt64] = [:]
    var balances: [String: Int] = [:]

    func receive(_ writes: [OutstandingWrite], _ applied: inout AppliedSet) throws(HoldfastError) -> Int {
        var next = applied
        let new = try next.insert(writes.map(\.identity))
        let changes = next.takeChanges()
        // BEGIN
        for index in new { balances[writes[index].keyText, default: 0] += Int(writes[index].valueText) ?? 0 }
        for key in changes.removed { table[key] = nil }  // DELETE
        for row in changes.stored { table[row.key] = row.last }  // INSERT or UPDATE
        // COMMIT. Had it failed, `applied` would be as before.
        applied = next
        return new.count
    }

    let sequences: ClosedRange<UInt64> = 1...4
    let payments = sequences.map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "account:7", value: "50")
    }
    var applied = AppliedSet()
    let first = try receive(payments, &applied)
    print(first, table.count)  // 4 1

    // The receiver starts again, with the rows that it finds.
    let rows = table.map { key, last in
        AppliedRow(kind: key.kind, origin: key.origin, incarnation: key.incarnation, first: key.first, last: last)
    }
    var reloaded = try AppliedSet(rows)
    let again = try receive(payments, &reloaded)
    print(again, balances["account:7"] ?? 0)  // 0 200
}

func exactlyOnce4(_ directory: String) async throws {
    let ledger = try await AppliedLedger.create(at: directory + "/ledger")
    let write = OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: 1, key: "report", value: "July")

    let new = try await ledger.filter([write])
    print(new.count)  // 1
    // The effect, here. After a crash at this point the write is new again.
    try await ledger.record(new)

    let again = try await ledger.filter([write])
    print(again.count)  // 0
    await ledger.close()
}

func exactlyOnce5(_ directory: String) async throws {
    let fencing = try await FencingGuard.create(at: directory + "/guard")
    try await fencing.admit(1)
    try await fencing.admit(2)
    do throws(HoldfastError) {
        try await fencing.admit(1)
    } catch {
        print(error.code, error.count ?? 0)  // staleEpoch 2
    }
    await fencing.close()

    let reopened = try await FencingGuard.open(at: directory + "/guard")
    print(reopened.highest)  // 2
    await reopened.close()
}

func replaying1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let writes = (1...5 as ClosedRange<UInt64>).map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:7", value: "\(sequence)")
    }
    try await controller.append(writes, to: "eu-west-1")

    let sink: ReplaySink = { batch in
        // Send it, and wait for the answer. Throw when there is none.
        for entry in batch.entries { print(batch.region, entry.position, entry.write.valueText) }
    }
    let service = ReplayService(controller, sinks: ["eu-west-1": sink])
    let running = Task { try await service.run() }

    try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
    let pending = try await controller.pendingCount(for: "eu-west-1")
    print(pending)  // 0

    service.shutDown()
    try await running.value
    await controller.close()
}

func replaying2(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    var settings = try await controller.replaySettings(for: "eu-west-1")
    settings.entriesPerSecondMax = 5000
    settings.timeoutMilliseconds = 10_000
    try await controller.setReplaySettings(settings, for: "eu-west-1")

    try await controller.pause(
        "eu-west-1",
        reason: "the database is moved",
        until: controller.now.advanced(by: 3_600_000)
    )
    let health = await controller.health()
    print(health.regions.first?.concerns ?? [])  // ["paused: the database is moved"]
    try await controller.resume("eu-west-1")
    await controller.close()
}

func overload1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let writes = (1...10 as ClosedRange<UInt64>).map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:7", value: "\(sequence)")
    }
    try await controller.append(Array(writes.prefix(9)), to: "eu-west-1")

    let limits = QueueLimits(entriesMax: 5, overflow: .dropOldest)
    let estimate = try await controller.dropEstimate(of: limits, for: "eu-west-1")
    print(estimate.entries, "would go")  // 4 would go
    try await controller.setLimits(limits, for: "eu-west-1")

    let receipt = try await controller.append([writes[9]], to: "eu-west-1")
    print(receipt.dropped)  // 5
    let health = await controller.health()
    print(health.regions.first?.concerns ?? [])  // ["needs a resynchronisation", "at its limit"]
    await controller.close()
}

func overload2(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1", "ap-south-1"])
    )
    try await controller.setTotalLimits(TotalLimits(entriesMax: 600))
    func writes(_ sequences: ClosedRange<UInt64>) -> [OutstandingWrite] {
        sequences.map { OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: $0, key: "k", value: "v") }
    }
    // Two regions keep 100 each: eu-west-1 gets the rest.
    try await controller.append(writes(1...400), to: "eu-west-1")
    do throws(HoldfastError) {
        try await controller.append(writes(401...401), to: "eu-west-1")
    } catch {
        print(error.code, error.field ?? "")  // full total.entries
    }
    try await controller.append(writes(1...100), to: "ap-south-1")
    let pending = try await controller.pendingCount(for: "ap-south-1")
    print(pending)  // 100
    await controller.close()
}

func deadLetters1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let settings = ReplaySettings(backoffBaseMilliseconds: 1, attemptsMax: 3, exhaustion: .park)
    try await controller.setReplaySettings(settings, for: "eu-west-1")
    let writes = (1...5 as ClosedRange<UInt64>).map { sequence in
        OutstandingWrite(origin: "us-east-1", incarnation: 1, sequence: sequence, key: "user:\(sequence)", value: "Ada")
    }
    try await controller.append(writes, to: "eu-west-1")

    struct Refused: Error {}
    let sink: ReplaySink = { batch in
        if batch.entries.contains(where: { $0.write.keyText == "user:3" }) { throw Refused() }
    }
    let service = ReplayService(controller, sinks: ["eu-west-1": sink])
    let running = Task { try await service.run() }
    let outcome = try await controller.wait(for: try await controller.syncPoint(for: "eu-west-1"))
    service.shutDown()
    try await running.value

    print(outcome.parked, "parked")  // 1 parked
    for letter in try await controller.deadLetters(for: "eu-west-1") {
        print(letter.position, letter.write.keyText, letter.reason)  // 3 user:3 Refused()
    }
    let retried = try await controller.retryDeadLetters("eu-west-1", .key(Array("user:3".utf8)))
    print(retried, "queued again")  // 1 queued again
    await controller.close()
}

func operating1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let health = await controller.health()
    print(health)  // good; epoch 1; primary us-east-1; eu-west-1 healthy; us-east-1 healthy
    await controller.close()
}

func metrics1(_ directory: String) async throws {
    let controller = try await RegionFailoverController.create(
        at: directory,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    let health = await controller.health()
    print(health)
    for region in health.regions where !region.concerns.isEmpty { print(region.region, region.concerns) }
    await controller.close()
}

func crashTesting1(_ directory: String) async throws {
    let path = directory + "/store"
    let controller = try await RegionFailoverController.create(
        at: path,
        configuration: FailoverConfiguration(local: "us-east-1", regions: ["us-east-1", "eu-west-1"])
    )
    var oracle = ConservationOracle(seed: 1, regions: ["eu-west-1"], windowEntries: 10)

    let call = oracle.issue(100, to: ["eu-west-1"])
    oracle.appended(call, try await controller.append(call.writes, to: call.regions))

    for try await batch in controller.batches(for: "eu-west-1", entriesMax: 10) {
        oracle.received(batch)  // Here it is sent.
        if batch.first > 50 { break }  // Here the receiver dies, or you do.
        oracle.acknowledged(try await batch.acknowledge(), batch)
    }
    await controller.close()

    let violations = try oracle.violations(storeAt: path)
    print(violations.count)  // 0
    print(oracle.tally.acknowledged, oracle.tally.received)  // 100 60
}

/// Every example, with the file that it stands in.
let examples: [Example] = [
    Example(name: "readme1", file: "README.md", run: readme1),
    Example(name: "gettingStarted1", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted1),
    Example(name: "gettingStarted2", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted2),
    Example(name: "gettingStarted3", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted3),
    Example(name: "gettingStarted4", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted4),
    Example(name: "gettingStarted5", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted5),
    Example(name: "gettingStarted6", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted6),
    Example(name: "gettingStarted7", file: "Sources/Holdfast/Holdfast.docc/GettingStarted.md", run: gettingStarted7),
    Example(name: "replaying1", file: "Sources/Holdfast/Holdfast.docc/Replaying.md", run: replaying1),
    Example(name: "replaying2", file: "Sources/Holdfast/Holdfast.docc/Replaying.md", run: replaying2),
    Example(name: "overload1", file: "Sources/Holdfast/Holdfast.docc/Overload.md", run: overload1),
    Example(name: "overload2", file: "Sources/Holdfast/Holdfast.docc/Overload.md", run: overload2),
    Example(name: "deadLetters1", file: "Sources/Holdfast/Holdfast.docc/DeadLetters.md", run: deadLetters1),
    Example(name: "operating1", file: "Sources/Holdfast/Holdfast.docc/Operating.md", run: operating1),
    Example(name: "crashTesting1", file: "Sources/Holdfast/Holdfast.docc/CrashTesting.md", run: crashTesting1),
    Example(name: "metrics1", file: "Sources/Holdfast/Holdfast.docc/Metrics.md", run: metrics1),
    Example(name: "exactlyOnce1", file: "Sources/Holdfast/Holdfast.docc/ExactlyOnce.md", run: exactlyOnce1),
    Example(name: "exactlyOnce2", file: "Sources/Holdfast/Holdfast.docc/ExactlyOnce.md", run: exactlyOnce2),
    Example(name: "exactlyOnce3", file: "Sources/Holdfast/Holdfast.docc/ExactlyOnce.md", run: exactlyOnce3),
    Example(name: "exactlyOnce4", file: "Sources/Holdfast/Holdfast.docc/ExactlyOnce.md", run: exactlyOnce4),
    Example(name: "exactlyOnce5", file: "Sources/Holdfast/Holdfast.docc/ExactlyOnce.md", run: exactlyOnce5),
    Example(
        name: "raftApply1",
        file: "Sources/RaftApply/RaftApply.docc/RaftApply.md",
        source: "ReplicationExamples.swift",
        run: raftApply1
    ),
]
