/// The story: an outage of a region, with the sender killed twice meanwhile, told step by step.
struct Story {
    let deployment: Deployment
    let writes: Int
    let seed: UInt64

    /// Plays it.
    ///
    /// - Returns: Whether every write has arrived, once.
    func run() async throws -> Bool {
        let (source, target, shipper) = (deployment.source, deployment.target, deployment.shipper)

        step("1. Two PostgreSQL servers, \(source.region) and \(target.region); between them a process with Holdfast")
        try await deployment.create()
        try await shipper.start()

        step("2. \(writes / 4) transactions in \(source.region) while all is well")
        try await deployment.application.write(writes / 4, seed: seed)
        try await deployment.waitUntilArrived()
        try await tellCounts()

        step("3. \(target.region) crashes in the middle of the next \(writes / 4); the queue grows")
        async let more: Void = deployment.application.write(writes / 4, seed: seed &+ 100)
        try await Task.sleep(for: .milliseconds(200))
        try await target.crash()
        say("pg_ctl stop -m immediate: \(target.region) is down")
        try await more
        for part in 1...2 {
            try await deployment.waitUntilRelayed()
            try await tellQueues()
            try await deployment.application.write(writes / 8, seed: seed &+ UInt64(part) * 1000)
        }

        step("4. The process with Holdfast is killed, between its append to the queue and the mark in the outbox")
        async let unnoticed: Void = deployment.application.write(writes / 8, seed: seed &+ 5000)
        try await deployment.betweenAppendAndMark {
            try await shipper.kill()
            say("SIGKILL")
        }
        try await unnoticed
        say("\(try await deployment.waiting()) writes wait in the outbox; the last append is in the queue too")
        let before = try shipper.repeats()
        try await shipper.start()
        try await deployment.waitUntilRelayed()
        try await wait(for: "the second append") { try shipper.repeats().queued > before.queued }
        let again = try shipper.repeats().queued - before.queued
        say("started again; appended a second time and not queued a second time: \(again)")
        try await tellQueues()

        step("5. \(target.region) starts again; the process is killed once more while it delivers")
        try await target.start()
        let backlog = try await deployment.received()
        try await wait(for: "the first batches") { try await deployment.received() > backlog }
        try await shipper.kill()
        say("SIGKILL when \(try await deployment.received() - backlog) of the queue had arrived")
        async let last: Void = deployment.application.write(writes / 8, seed: seed &+ 9000)
        try await shipper.start()
        try await last
        try await deployment.waitUntilArrived()
        try await shipper.stop()
        try await tellQueues()

        step("6. Both tables, row by row")
        let isExact = try await tellComparison()
        try await deployment.end()
        return isExact
    }

    private func step(_ title: String) { say("\n\(title)") }

    private func tellCounts() async throws {
        say("written: \(try await deployment.written()); received: \(try await deployment.received())")
    }

    private func tellQueues() async throws {
        say("$ holdfast queues store\n" + (try await deployment.queues()), terminator: "")
    }

    private func tellComparison() async throws -> Bool {
        let comparison = try await deployment.compare()
        let repeats = try deployment.shipper.repeats()
        for (server, table) in zip([deployment.source, deployment.target], comparison.tables) {
            say("\(server.region): orders has \(table.rows) rows, md5 \(table.md5)")
        }
        for row in comparison.differences { say("only on one side: \(row)") }
        say(
            """
            writes in the outbox:   \(comparison.written)
            applied in \(deployment.target.region):   \(comparison.distinct)
            came to the queue again and were refused:     \(repeats.queued)
            came to the receiver again and had no effect: \(repeats.received)
            missing:            \(comparison.missing)
            duplicates applied: \(comparison.duplicates)
            """
        )
        return comparison.isExact
    }
}
