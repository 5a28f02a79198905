import Foundation
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport

/// Opens each store as its service would, delivers what it gives, appends to each region, and prints a line for everything
/// that it was told.
///
/// A process of its own for each store, since LMDB may end it on a damaged page.
func replayStores(_ paths: [String]) async throws {
    for path in paths {
        do throws(HoldfastError) {
            try await replay(path)
        } catch {
            say("refused \(error.code)")
        }
    }
}

private func replay(_ path: String) async throws(HoldfastError) {
    let controller = try await RegionFailoverController.open(at: path, options: PowerWorkload.options)
    say("open")
    await tell(controller)
    for region in controller.configuration.regions { await deliver(region, of: controller) }
    for (index, region) in controller.configuration.regions.enumerated() {
        let write = OutstandingWrite.numbered(controller.configuration.local, 99, UInt64(index) + 1)
        do throws(HoldfastError) {
            let receipt = try await controller.append([write], to: region)
            say("appended \(region) \(receipt.positions.count)")
        } catch {
            say("held \(region) \(error.code)")
        }
    }
    await controller.close()
    let again = try await RegionFailoverController.open(at: path, options: PowerWorkload.options)
    for region in again.configuration.regions { await deliver(region, of: again) }
    await again.close()
    say(try StoreCheck.run(path, level: .full).isClean ? "clean" : "errors")
}

/// What the store says of itself: nothing that depends on the time.
private func tell(_ controller: RegionFailoverController) async {
    say("epoch \(controller.epoch)")
    for status in controller.statuses { say("role \(status.region) \(status.role) \(status.state)") }
    do throws(HoldfastError) {
        for event in try await controller.history() { say("event \(event)") }
    } catch {
        say("held history \(error.code)")
    }
    do throws(HoldfastError) {
        for queue in try await controller.statistics() {
            let counters = [
                queue.headPosition, queue.nextPosition, queue.accepted, queue.acknowledged, queue.drained,
                queue.dropped,
                queue.dead, queue.lost,
            ]
            let words = counters.map { "\($0)" }.joined(separator: " ")
            say("queue \(queue.region) \(words) \(queue.limits) \(queue.isPaused) \(queue.needsResync)")
        }
    } catch {
        say("held statistics \(error.code)")
    }
    for region in controller.configuration.regions {
        do throws(HoldfastError) {
            for letter in try await controller.deadLetters(for: region) {
                say("dead \(region) \(letter.position) \(words(letter.write))")
            }
        } catch {
            say("held dead letters of \(region) \(error.code)")
        }
    }
}

private func deliver(_ region: RegionID, of controller: RegionFailoverController) async {
    do {
        for try await batch in controller.batches(for: region, entriesMax: 16) {
            for entry in batch.entries { say("entry \(region) \(entry.position) \(words(entry.write))") }
            try await batch.acknowledge()
        }
        let queue = try await controller.statistics().first { $0.region == region }
        say("delivered \(region) \(queue?.lost ?? 0) \(queue?.needsResync ?? false)")
    } catch {
        say("held \(region) \(error.code)")
    }
}

private func words(_ write: OutstandingWrite) -> String {
    let isRight = write == .numbered(write.origin, write.incarnation, write.sequence)
    return "\(write.origin) \(write.incarnation) \(write.sequence) \(isRight ? "right" : "wrong")"
}

private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
