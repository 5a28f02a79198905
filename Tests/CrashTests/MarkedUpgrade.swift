import Glibc
import Pages
import Platform
import ReplayFormat
import ReplayStore
import Testing

/// The upgrade of the worker, whose two steps leave a mark each, gone on with after something ended it.
enum MarkedUpgrade {
    /// Goes on with the upgrade in a store, to one version more, and returns the version that was on the disk.
    ///
    /// That version says which step comes next: a step that was committed is not taken again, and one that was not has left
    /// nothing. The pages are whole before and after.
    static func finish(_ store: String, _ comment: Comment) throws -> UInt32 {
        let steps = (1...3 as ClosedRange<UInt32>).map { version in
            StoreUpgrade.Step(from: version, name: "mark \(version)") { (change) throws(HoldfastError) in
                let marks = try change.rows(of: .raft)
                for mark in 1...2 as ClosedRange<UInt32> {
                    let mine = mark < version ? [UInt8(mark)] : nil
                    #expect(marks[Key.text("step \(mark)")] == mine, comment)
                }
                if version < 3 { try change.put([UInt8(version)], key: Key.text("step \(version)"), in: .raft) }
            }
        }
        try expectWhole(store, comment)
        let report = try StoreUpgrade.run(store, isDry: false, steps: steps, to: 4)
        #expect((1...3).contains(report.from), comment)
        #expect(try StoreUpgrade.run(store, isDry: true, steps: steps, to: 4).from == 4, comment)
        try expectWhole(store, comment)
        return report.from
    }

    private static func expectWhole(_ store: String, _ comment: Comment) throws {
        let file = try PageFile(try File(store + "/data.mdb", O_RDONLY))
        let findings = try PageWalk(file, try file.newestMeta(), .values).findings
        #expect(findings.filter { !$0.isWarning } == [], comment)
    }
}
