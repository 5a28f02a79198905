import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
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
        var refused = 0
        for (page, image) in stale(commits) {
            guard let found = try await hand(image) else {
                refused += 1
                continue
            }
            for (region, entries) in right.entries where found.entries[region] ?? [:] != entries {
                #expect(found.told.contains(region), "seed \(seed), page \(page): \(region) has lost something")
                let strange = (found.entries[region] ?? [:]).filter { entries[$0.key] != $0.value }
                #expect(strange.isEmpty, "seed \(seed), page \(page): \(strange.keys.sorted())")
            }
        }
        #expect(refused > 0, "seed \(seed): no page is missed at opening")
    }

    /// Every entry of a store, by region and position.
    private func queued(_ path: String) throws -> [RegionID: [UInt64: OutstandingWrite]] {
        let reader = try StoreReader.open(path)
        let regions = try reader.look { (view) throws(HoldfastError) in try view.regionRows().map(\.0) }
        return try Dictionary(
            uniqueKeysWithValues: regions.map { region in
                let entries = try reader.entries(of: region).map { ($0.position, $0.write) }
                return (region, Dictionary(uniqueKeysWithValues: entries))
            }
        )
    }

    /// The entries of an image that stand on a page, or in a value of which the page is a part.
    private func entries(on stale: Int, of image: Data) throws -> [RegionID: Set<UInt64>] {
        let directory = try CommitPair.write(image)
        let path = directory.appending("store")
        let file = try PageFile(File(path + "/data.mdb", O_RDONLY))
        let rows = try StoreReader.open(path).look { (view) throws(HoldfastError) in try view.regionRows() }
        var found: [RegionID: Set<UInt64>] = [:]
        for (table, number) in try PageWalk(file, file.newestMeta(), .trees).leaves {
            guard let (region, row) = rows.first(where: { "queue/\($0.1.number)" == table }) else { continue }
            let leaf = try file.page(number)
            for node in 0..<leaf.count {
                var pages = number...number
                if case .overflow(let page, let size) = leaf.value(node) {
                    pages = page...(page + UInt64((size + 16 - 1) / file.pageSize))
                }
                guard stale == Int(number) || pages.contains(UInt64(stale)) else { continue }
                let first = try Key.number(from: leaf.key(node).span)
                let next = node + 1 < leaf.count ? try Key.number(from: leaf.key(node + 1).span) : row.nextPosition
                found[region, default: []].formUnion(first..<next)
            }
        }
        return found
    }

    @Test(
        "costs a recovery no entry that stands elsewhere, and it calls complete only what is",
        arguments: 0..<12 as Range<UInt64>
    )
    func recovered(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await CommitPair(&random)
        let contents = try [commits.before, commits.after].map { image in
            let directory = try CommitPair.write(image)
            return try queued(directory.appending("store"))
        }
        let (old, new) = (contents[0], contents[1])
        let right = try CommitPair.digest(commits.after)
        var recovered = 0
        for (page, image) in stale(commits) {
            let directory = try CommitPair.write(image)
            let path = directory.appending("new")
            let report: StoreRecover.Report
            do throws(HoldfastError) {
                report = try StoreRecover.run(
                    directory.appending("store"),
                    to: path,
                    knowing: StoreRecover.Knowledge(local: "us-east-1", epoch: 1),
                    now: Timestamp(milliseconds: 5_000_000)
                )
            } catch {
                #expect(error.code == .damaged, "seed \(seed), page \(page): \(error)")
                continue
            }
            recovered += 1
            if report.isComplete { #expect(try CommitPair.digest(path) == right, "seed \(seed), page \(page)") }
            let found = try queued(path)
            let gone = try entries(on: page, of: commits.after)
            for (region, entries) in new {
                let got = found[region] ?? [:]
                let elsewhere = entries.filter { !(gone[region] ?? []).contains($0.key) }
                let missing = elsewhere.filter { got[$0.key] != $0.value }.keys
                #expect(missing.isEmpty, "seed \(seed), page \(page), \(region): \(missing.sorted())")
                let others = got.filter { entries[$0.key] != $0.value && old[region]?[$0.key] != $0.value }
                // What had left can come back with the bytes that it had, where the report says that nobody knows.
                let made = others.filter { $0.value != Noise.write($0.value.sequence, $0.value.value.count) }
                #expect(made.isEmpty, "seed \(seed), page \(page), \(region): \(made.keys.sorted())")
                let isTold = report.regions.first { $0.region == region }?.isAcknowledgedUnknown == true
                #expect(others.isEmpty || isTold, "seed \(seed), page \(page), \(region): \(others.keys.sorted())")
            }
        }
        #expect(recovered > 0, "seed \(seed)")
    }
}
