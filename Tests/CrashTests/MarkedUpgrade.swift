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
    /// nothing. The pages are whole before and after, and every pair is there but those that a step is about.
    ///
    /// `kept`: The ``pairs(of:)`` of the store before any step.
    static func finish(
        _ store: String,
        _ kept: [String: [[UInt8]: [UInt8]]],
        _ comment: Comment
    ) throws -> UInt32 {
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
        try expectWhole(store, kept, comment)
        let report = try StoreUpgrade.run(store, isDry: false, steps: steps, to: 4)
        #expect((1...3).contains(report.from), comment)
        #expect(try StoreUpgrade.run(store, isDry: true, steps: steps, to: 4).from == 4, comment)
        try expectWhole(store, kept, comment)
        return report.from
    }

    /// The pairs of every table but the marks and the version, read without asking which version that is.
    static func pairs(of store: String) throws -> [String: [[UInt8]: [UInt8]]] {
        let file = try PageFile(try File(store + "/data.mdb", O_RDONLY))
        let snapshot = try PageSnapshot(file, try file.newestMeta())
        var pairs: [String: [[UInt8]: [UInt8]]] = [:]
        for (name, tree) in snapshot.tables {
            let table = String(decoding: name, as: UTF8.self)
            pairs[table] = [:]
            var cursor = try snapshot.cursor(tree)
            while try cursor.next() { pairs[table]?[cursor.key] = try cursor.value() }
        }
        pairs[Table.superblock.name]?[Key.text(Superblock.Name.format.rawValue)] = nil
        for mark in 1...2 { pairs[Table.raft.name]?[Key.text("step \(mark)")] = nil }
        return pairs
    }

    private static func expectWhole(
        _ store: String,
        _ kept: [String: [[UInt8]: [UInt8]]],
        _ comment: Comment
    ) throws {
        let file = try PageFile(try File(store + "/data.mdb", O_RDONLY))
        let findings = try PageWalk(file, try file.newestMeta(), .values).findings
        #expect(findings.filter { !$0.isWarning } == [], comment)
        let found = try pairs(of: store)
        #expect(found.keys.sorted() == kept.keys.sorted(), comment)
        for (table, pairs) in kept {
            let lost = pairs.filter { found[table]?[$0.key] != $0.value }.count
            let more = (found[table]?.count ?? 0) - pairs.count
            #expect(lost == 0 && more == 0, "\(table): \(lost) rows are not as they were, \(more) are new: \(comment)")
        }
    }
}
