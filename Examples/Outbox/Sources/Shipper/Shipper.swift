import Dispatch
import Foundation
import Glibc
import Holdfast
import Outbox
import Postgres

/// `outbox-shipper STORE SOURCE TARGET`: the process of us-east-1 that holds the store.
///
/// It moves the outbox of SOURCE into Holdfast, and Holdfast's queue into TARGET, until its standard input ends. SOURCE and
/// TARGET are connection strings. It may be killed at any moment and started again.
@main
struct Shipper {
    static let here: RegionID = "us-east-1"
    static let there: RegionID = "eu-west-1"

    static func main() async throws {
        guard CommandLine.arguments.count == 4 else {
            print("usage: outbox-shipper STORE SOURCE TARGET")
            exit(64)
        }
        let controller = try await openOrCreate(CommandLine.arguments[1])
        let source = Database(CommandLine.arguments[2])
        let receiver = Receiver(Database(CommandLine.arguments[3]))
        let relay = Relay(from: source, of: here, to: controller, for: there)
        let service = ReplayService(controller, sinks: [there: { try await deliver($0, to: receiver) }])
        say("started")

        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await relayUntilCancelled(relay) }
            group.addTask { try await service.run() }
            group.addTask { await standardInputEnds() }
            // Whichever ends first ends the others.
            defer { group.cancelAll() }
            try await group.next()
        }
        await controller.close()
        say("stopped")
    }

    static func openOrCreate(_ path: String) async throws(HoldfastError) -> RegionFailoverController {
        do throws(HoldfastError) {
            return try await RegionFailoverController.open(at: path)
        } catch {
            guard error.code == .notFound else { throw error }
        }
        let controller = try await RegionFailoverController.create(
            at: path,
            configuration: FailoverConfiguration(local: here, regions: [here, there])
        )
        // A short wait between attempts, so that the demonstration goes on soon after the outage.
        try await controller.setReplaySettings(ReplaySettings(backoffMaxMilliseconds: 500), for: there)
        return controller
    }

    /// The sink of Holdfast: returns when the region has the batch, durably.
    static func deliver(_ batch: ReplayBatch, to receiver: Receiver) async throws {
        do {
            let new = try await receiver.receive(batch.entries.map(\.write))
            if new < batch.entries.count { say("receiver: \(batch.entries.count - new) had been applied before") }
        } catch let error as PostgresError where error.isTransient {
            // No entry is to blame: Holdfast tries again for as long as it takes.
            throw RegionUnavailable("\(error)")
        }
    }

    static func relayUntilCancelled(_ relay: Relay) async throws {
        while !Task.isCancelled {
            do {
                let step = try await relay.step()
                if step.duplicates > 0 { say("relay: \(step.duplicates) had been queued before") }
                // A relay for production waits for NOTIFY here.
                if step.moved == 0 { try await Task.sleep(for: .milliseconds(20)) }
            } catch let error as PostgresError where error.isTransient {
                try await Task.sleep(for: .milliseconds(100))
            } catch let error as HoldfastError where error.code == .full {
                // The outbox keeps what the queue has no room for.
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    static func standardInputEnds() async {
        let (input, lines) = AsyncStream.makeStream(of: Never.self)
        DispatchQueue(label: "standard input").async {
            // Not `readLine`: it would hold a lock that `fflush` waits for.
            while !FileHandle.standardInput.availableData.isEmpty {}
            lines.finish()
        }
        // This ends when the task is cancelled, too.
        for await _ in input {}
    }

    static func say(_ line: String) {
        print(line)
        fflush(nil)
    }
}
