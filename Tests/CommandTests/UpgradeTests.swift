import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import TestSupport
import Testing

@Suite("An upgrade") struct UpgradeTests {
    /// Two steps that leave a mark each.
    private static let steps = (1...2 as ClosedRange<UInt32>).map { version in
        StoreUpgrade.Step(from: version, name: "mark \(version)") { (change) throws(HoldfastError) in
            try change.put([UInt8(version)], key: Key.text("step \(version)"), in: .raft)
            // More than one page, each of which is written anew.
            for (key, fields) in try change.rows(of: .controller) { try change.put(fields, key: key, in: .controller) }
        }
    }

    @Test("of the newest format has nothing to do, and says both versions") func nothing() throws {
        let store = try ToolStore()
        let plan = try store.run("upgrade", "--format", "table")
        #expect(plan.status == 0)
        #expect(plan.output.contains("1; this program's is 1"))
        #expect(plan.output.contains("nothing to do"))
        let done = try object(try store.run("upgrade", "--yes", "--format", "json").output)
        #expect(done?["format"] as? Int == 1)
        #expect(done?["newest"] as? Int == 1)
        #expect(done?["done"] as? Bool == true)
        #expect(try Tool.run(["upgrade", store.directory.appending("nope")]).status == 66)
        #expect(try store.run("append", "--region", "eu", input: ToolStore.lines(1...5)).status == 0)
    }

    @Test("takes the steps in order, one version each, and a newer format is refused with both versions named")
    func steps() throws {
        let store = try ToolStore()
        let plan = try StoreUpgrade.run(store.path, isDry: true, steps: Self.steps, to: 3)
        #expect(plan == StoreUpgrade.Report(from: 1, to: 3, steps: ["mark 1", "mark 2"], isDone: false))
        #expect(try store.run("check", "--level", "full").status == 0)
        let done = try StoreUpgrade.run(store.path, isDry: false, steps: Self.steps, to: 3)
        #expect(done == StoreUpgrade.Report(from: 1, to: 3, steps: ["mark 1", "mark 2"], isDone: true))
        for verb in ["upgrade", "queues", "digest", "dump"] {
            let refused = try store.run(verb)
            #expect(refused.status == 78)
            #expect(refused.talk.contains("format 3") && refused.talk.contains("up to format 1"))
        }
    }

    @Test("that was killed between two steps, or in one, goes on where it was", arguments: [1, 2] as [UInt32])
    func killed(step: UInt32) async throws {
        let store = try ToolStore()
        let path = store.path
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, step = step as UInt32] in
            var steps = UpgradeTests.steps
            let whole = steps[Int(step) - 1].apply
            steps[Int(step) - 1].apply = { (change) throws(HoldfastError) in
                try whole(&change)
                kill(getpid(), SIGKILL)
            }
            _ = try StoreUpgrade.run(path, isDry: false, steps: steps, to: 3)
        }
        let plan = try StoreUpgrade.run(path, isDry: true, steps: Self.steps, to: 3)
        #expect(plan.from == step)
        #expect(plan.steps == (step == 1 ? ["mark 1", "mark 2"] : ["mark 2"]))
        let done = try StoreUpgrade.run(path, isDry: false, steps: Self.steps, to: 3)
        #expect(done.from == step)
        #expect(try StoreUpgrade.run(path, isDry: true, steps: Self.steps, to: 3).from == 3)
    }

    @Test("is refused while the store is open") func inUse() async throws {
        let store = try ToolStore()
        let controller = try await RegionFailoverController.open(at: store.path)
        #expect(try store.run("upgrade").status == 75)
        await controller.close()
        #expect(try store.run("upgrade").status == 0)
    }
}
