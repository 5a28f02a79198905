import Foundation
import Holdfast
import HoldfastTesting
import Pages
import Testing

/// A meta page between two commits: LMDB writes it in place.
@Suite("A meta page that was torn") struct TornMetaTests {
    /// Words of the newer meta page that the older one keeps, the number of the commit aside: it tells which is the newer.
    private func tear(_ image: inout Data, _ newest: Meta, _ random: inout SplitMix64) {
        let slot = newest.slot
        var torn = 0
        while torn == 0 {
            // The records of the free list and of the list of tables, and the last page.
            for word in 5..<18 where Bool.random(using: &random) {
                let (to, from) = (slot * CommitPair.pageSize + 8 * word, (1 - slot) * CommitPair.pageSize + 8 * word)
                if image[to..<(to + 8)] != image[from..<(from + 8)] { torn += 1 }
                image.replaceSubrange(to..<(to + 8), with: image[from..<(from + 8)])
            }
        }
    }

    @Test(
        "loses nothing: recover gives the newest commit, and says that it is complete",
        arguments: 0..<24 as Range<UInt64>
    )
    func complete(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await CommitPair(&random)
        var image = commits.after
        tear(&image, try CommitPair.newest(image), &random)
        #expect(try CommitPair.recovered(image) == (try CommitPair.digest(commits.after)), "seed \(seed)")
    }

    /// LMDB would put the next pair into a tree of one level that it takes for two.
    @Test("is refused where a tree has no page, and levels or pairs", arguments: [5, 6, 7, 8, 9])
    func emptyByHalf(word: Int) async throws {
        var random = SplitMix64(seed: 7)
        let commits = try await CommitPair(&random)
        let start = try CommitPair.newest(commits.after).slot * CommitPair.pageSize
        var image = commits.after
        // The free list as it is when it is empty: flags and page size, then depth, pages, pairs and root.
        image.replaceSubrange((start + 46)..<(start + 80), with: Data(count: 34))
        image.replaceSubrange((start + 80)..<(start + 88), with: Data(repeating: 0xFF, count: 8))
        image[start + (word == 5 ? 46 : 8 * word)] = 1
        let directory = try CommitPair.write(image)
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: directory.appending("store"), options: Deployment.options)
        }
        #expect(error?.message.contains("without a page it says") == true, "\(error?.message ?? "")")
    }

    @Test(
        "and a damaged page beside it are never taken for an older commit, or for one that was not ended",
        arguments: 0..<30 as Range<UInt64>
    )
    func neverOlder(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let commits = try await CommitPair(&random)
        let (size, newest) = (CommitPair.pageSize, try CommitPair.newest(commits.before))
        for round in 0..<4 {
            var image = commits.before
            // Pages of the commit that was under way, as a loss of power leaves them.
            if round > 0 {
                for page in 2..<min(commits.after.count, image.count) / size where Bool.random(using: &random) {
                    let range = (page * size)..<((page + 1) * size)
                    image.replaceSubrange(range, with: commits.after[range])
                }
            }
            if round > 1 { tear(&image, newest, &random) }
            // The newest row of the free list, or any page.
            let page =
                round % 2 == 0 ? Int(newest.free.root) : Int.random(in: 0...Int(newest.lastPage), using: &random)
            if Bool.random(using: &random) {
                image.replaceSubrange((page * size)..<((page + 1) * size), with: Data(count: size))
            } else {
                image[page * size + Int.random(in: 0..<size, using: &random)] ^=
                    1 << UInt8.random(in: 0..<8, using: &random)
            }
            guard let found = try CommitPair.recovered(image) else { continue }
            #expect(commits.digests.contains(found), "seed \(seed), round \(round), page \(page)")
        }
    }
}
