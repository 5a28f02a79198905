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

/// What the rows of a damaged store do not tell any more, the operator may know.
@Suite("Recovering with what the operator knows") struct RecoverKnowledgeTests {
    private let eu: RegionID = "eu-west-1"
    private let ap: RegionID = "ap-northeast-1"

    /// A closed store with three writes for `eu` and five for `ap`, and zeros in the place of each page, of whatever commit,
    /// that has a row which `isGone` names.
    private func damaged(_ isGone: (SalvagedPair) -> Bool) async throws -> Deployment {
        let deployment = try await Deployment()
        try await deployment.controller.append((1...3).map { Noise.write($0, 20) }, to: eu)
        try await deployment.controller.append((4...8).map { Noise.write($0, 20) }, to: ap)
        await deployment.controller.close()
        let path = deployment.path + "/data.mdb"
        let file = try PageFile(File(regular: path, O_RDONLY))
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        for page in 2..<(try file.pages()) {
            guard try file.pairs(ofLeaf: page, valueMax: 1 << 20).contains(where: isGone) else { continue }
            try handle.seek(toOffset: page * UInt64(file.pageSize))
            try handle.write(contentsOf: Data(count: file.pageSize))
        }
        try handle.close()
        return deployment
    }

    private func recover(
        _ deployment: Deployment,
        _ name: String,
        _ knowledge: StoreRecover.Knowledge
    ) throws(HoldfastError) -> StoreRecover.Report {
        let now = Timestamp(milliseconds: 5_000_000)
        return try StoreRecover.run(deployment.path, to: deployment.path + name, knowing: knowledge, now: now)
    }

    @Test(
        "gives no region the queue of another one: a queue without a name has its number, until it is said whose it is"
    )
    func queues() async throws {
        let deployment = try await damaged { (try? RegionRow.read($0.key, $0.value.span)) != nil }
        let report = try recover(deployment, "-nameless", StoreRecover.Knowledge())
        let found = report.regions.filter { $0.recovered > 0 }
        #expect(found.map(\.recovered).sorted() == [3, 5] && found.allSatisfy(\.isNameUnknown), "\(report)")
        var owners: [UInt32: RegionID?] = [:]
        for region in found {
            let number = try #require(UInt32(region.region.rawValue.dropFirst("queue-".count)), "\(region)")
            owners[number] = region.recovered == 3 ? eu : ap
        }
        let named = try recover(deployment, "-named", StoreRecover.Knowledge(queues: owners))
        #expect(named.regions.filter { $0.recovered > 0 }.allSatisfy { $0.recovered == ($0.region == eu ? 3 : 5) })
        #expect(
            named.regions.allSatisfy { !$0.isNameUnknown && [eu, ap, "us-east-1"].contains($0.region) },
            "\(named)"
        )
        let nobody = try recover(deployment, "-nobody", StoreRecover.Knowledge(queues: owners.mapValues { _ in nil }))
        #expect(nobody.regions.allSatisfy { $0.recovered == 0 }, "\(nobody)")
        let wrong = StoreRecover.Knowledge(queues: owners.mapValues { _ in "mars" })
        #expect(throws: HoldfastError.self) { try recover(deployment, "-wrong", wrong) }
        #expect(!FileManager.default.fileExists(atPath: deployment.path + "-wrong"))
    }

    @Test("never begins with an epoch that somebody has seen: where no row tells, it is asked for") func epoch()
        async throws
    {
        let deployment = try await damaged { pair in
            (try? Row.open(pair.value.span, key: pair.key, in: .controller)) != nil
                || (try? EventRow.read(pair.key, pair.value.span)) != nil
        }
        let error = #expect(throws: HoldfastError.self) {
            try recover(deployment, "-unasked", StoreRecover.Knowledge(local: "us-east-1"))
        }
        #expect(error?.code == .damaged && error?.message.contains("--epoch") == true, "\(error?.message ?? "")")
        #expect(!FileManager.default.fileExists(atPath: deployment.path + "-unasked"))
        let report = try recover(deployment, "-asked", StoreRecover.Knowledge(local: "us-east-1", epoch: 7))
        #expect(report.epoch == 8 && report.isControllerNew && !report.isComplete, "\(report)")
        let controller = try await RegionFailoverController.open(
            at: deployment.path + "-asked",
            options: Deployment.options
        )
        #expect(controller.epoch == 8)
        await controller.close()
    }
}
