import Foundation
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

/// A page whose last write never reached the disk, though the disk said so: it has the bytes of an earlier commit, and no
/// checksum in it is wrong.
@Suite("A page of the commit before") struct StalePageTests {
    /// What a store hands out when its queues are emptied.
    private struct Handed: Equatable {
        var entries: [RegionID: [UInt64: OutstandingWrite]] = [:]
        /// Regions that it says were lost something, or that it holds up.
        var told: Set<RegionID> = []
    }

    /// Each page that a commit has changed, with the bytes that it had before.
    private func stale(_ commits: CommitPair) -> [(page: Int, image: Data)] {
        let (size, pages) = (CommitPair.pageSize, min(commits.before.count, commits.after.count) / CommitPair.pageSize)
        return (2..<pages).compactMap { page in
            let range = (page * size)..<((page + 1) * size)
            guard commits.before[range] != commits.after[range] else { return nil }
            var image = commits.after
            image.replaceSubrange(range, with: commits.before[range])
            return (page, image)
        }
    }

    /// Opens an image and drains every queue; nil where it is refused.
    private func hand(_ image: Data) async throws -> Handed? {
        let directory = try CommitPair.write(image)
        let path = directory.appending("store")
        let controller: RegionFailoverController
        do throws(HoldfastError) {
            controller = try await RegionFailoverController.open(at: path, options: Deployment.options)
        } catch {
            #expect(error.code == .damaged, "\(error)")
            return nil
        }
        var handed = Handed()
        for region in controller.configuration.regions {
            do throws(HoldfastError) {
                while true {
                    let entries = try await controller.drain(region, max: 1000).entries
                    if entries.isEmpty { break }
                    for entry in entries { handed.entries[region, default: [:]][entry.position] = entry.write }
                }
                let queue = try await controller.statistics().first { $0.region == region }
                if queue?.needsResync ?? true { handed.told.insert(region) }
            } catch {
                handed.told.insert(region)
            }
        }
        await controller.close()
        return handed
    }

    @Test("loses no write in silence, and lets none be overwritten", arguments: 0..<12 as Range<UInt64>)
    func opening(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await CommitPair(&random)
        let right = try #require(try await hand(commits.after))
        for (page, image) in stale(commits) {
            guard let found = try await hand(image) else { continue }
            for (region, entries) in right.entries where found.entries[region] ?? [:] != entries {
                #expect(found.told.contains(region), "seed \(seed), page \(page): \(region) has lost something")
                let strange = (found.entries[region] ?? [:]).filter { entries[$0.key] != $0.value }
                #expect(strange.isEmpty, "seed \(seed), page \(page): \(strange.keys.sorted())")
            }
        }
    }

    @Test("is not called complete by recover, unless it is", arguments: 0..<12 as Range<UInt64>)
    func recovered(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await CommitPair(&random)
        let right = try CommitPair.digest(commits.after)
        for (page, image) in stale(commits) {
            guard let found = try CommitPair.recovered(image) else { continue }
            #expect(found == right, "seed \(seed), page \(page)")
        }
    }
}
