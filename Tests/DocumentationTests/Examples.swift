import Holdfast

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
]
