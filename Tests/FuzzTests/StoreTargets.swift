import ArgumentParser
import Bytes
import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport
import Zstd

@testable import HoldfastTool

/// The decoders of whole files: pages, stores, and what recovers them; and the rows of a receiver's set.
enum StoreTargets {
    static let all: [FuzzTarget] = [pages, store, recover, appliedSet]

    /// `file`: The data file's name, and `seeds` the recipes of what it holds.
    static func target(
        _ name: String,
        allowance: Int,
        file: String = "data.mdb",
        seeds: [[UInt8]] = Recipe.plain,
        _ decode: @escaping @Sendable (_ path: String, _ recipe: [UInt8]) throws -> Bool
    ) -> FuzzTarget {
        FuzzTarget(
            name: name,
            allowance: allowance,
            seeds: { seeds },
            mutate: { mutator, corpus in Recipe.mutate(&mutator, corpus) },
            size: { Recipe.size($0) },
            share: 10,
            decode: { recipe in
                let directory = try TemporaryDirectory()
                let made = FileManager.default.createFile(
                    atPath: directory.appending(file),
                    contents: Data(try Recipe.file(recipe)),
                    attributes: [.posixPermissions: 0o600]
                )
                guard made else { throw Broken("no file") }
                return try decode(directory.path, recipe)
            }
        )
    }

    /// Every walk over the pages of a file.
    private static let pages = target("pages", allowance: 4 << 20) { path, _ in
        let file = try File(regular: path + "/data.mdb", O_RDONLY)
        if let salvaged = try? PageFile.salvaging(file) {
            for page in 0..<(try salvaged.pages()) { _ = try? salvaged.pairs(ofLeaf: page, valueMax: 1 << 24) }
        }
        guard let pages = try? PageFile(file) else { return false }
        var isWhole = true
        for slot in 0...1 {
            guard let meta = try? pages.meta(slot) else { continue }
            for depth in [PageWalk.Depth.branches, .trees, .values] {
                guard let walk = try? PageWalk(pages, meta, depth) else { continue }
                if slot == 0 { isWhole = isWhole && walk.findings.isEmpty }
            }
            guard let snapshot = try? PageSnapshot(pages, meta) else { continue }
            _ = try? snapshot.freePages()
            for (_, tree) in snapshot.tables { read(snapshot, tree) }
            _ = try? pages.isCurrent(meta)
        }
        return isWhole
    }

    private static func read(_ snapshot: PageSnapshot, _ tree: TreeRecord) {
        guard var cursor = try? snapshot.cursor(tree) else { return }
        while let found = try? cursor.next(), found {
            _ = try? cursor.value()
            _ = try? snapshot.value(of: cursor.key, in: tree)
        }
    }

    /// Every look at a store that a read verb takes, and a check.
    private static let store = target("store", allowance: 8 << 20) { path, recipe in
        let report: StoreCheck.Report
        do throws(HoldfastError) {
            report = try StoreCheck.run(path, level: .deep)
        } catch {
            guard !error.message.isEmpty else { throw Broken("no message") }
            return false
        }
        // One verb an input: what is parsed and printed takes longer than the look.
        let sum = recipe.reduce(0) { $0 + Int($1) }
        try run(verbs[sum % verbs.count], path)
        return report.isClean
    }

    private static let verbs = [
        "info", "info --format prometheus", "queues", "snapshot", "history", "lost --values hex", "dlq list",
        "dlq export", "digest", "dump", "records", "records --reverse --limit 5", "region status us", "doctor",
        "diff", "queues --format table", "history --format table", "lost --format table",
    ]

    /// Runs a read verb in this process; it may refuse the store.
    private static func run(_ verb: String, _ path: String) throws {
        var words = verb.split(separator: " ").map(String.init)
        words.insert(path, at: ["dlq", "region"].contains(words[0]) ? 2 : 1)
        if verb == "diff" { words.append(path) }
        try TextTargets.wait { [words] in
            var command: any ParsableCommand
            do {
                command = try HoldfastTool.parseAsRoot(words)
            } catch {
                throw Broken("'\(verb)' is no verb: \(error)")
            }
            do {
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
            } catch {
                // A refusal, whose exit status is that of the verb.
            }
        }
    }

    /// A recovery, and a check of what it made.
    private static let recover = target("recover", allowance: 8 << 20) { path, _ in
        let place = try TemporaryDirectory()
        let made = place.appending("made")
        let now = Timestamp(milliseconds: 1_700_000_100_000)
        let report: StoreRecover.Report
        do throws(HoldfastError) {
            report = try StoreRecover.run(
                path,
                to: made,
                knowing: StoreRecover.Knowledge(local: "us", epoch: 1),
                now: now
            )
        } catch {
            guard !error.message.isEmpty else { throw Broken("no message") }
            return false
        }
        guard try StoreCheck.run(made, level: .deep).isClean else { throw Broken("what was recovered is not whole") }
        // The events of one of the stores speak of epochs that its controller has never had.
        return report.isComplete || report.isControllerNew
    }

    /// Rows of a receiver's own table: 26 bytes each, which are kind, origin, incarnation, first and last.
    private static let appliedSet = FuzzTarget(
        name: "applied-set",
        allowance: 1 << 20,
        seeds: {
            var bytes: [UInt8] = []
            for (kind, origin, numbers) in [
                (1, 0, [2, 0, 5]), (0, 0, [2, 7, 9]), (0, 0, [3, 1, 4]), (0, 1, [0, 0, 0]),
            ]
                as [(UInt8, UInt8, [UInt64])]
            {
                bytes += [kind, origin]
                for number in numbers { bytes.append(bigEndian: number) }
            }
            return [bytes]
        },
        decode: { input in
            let rows = stride(from: 0, to: input.count - 25, by: 26).map { start in
                let bytes = input[start..<(start + 26)]
                func number(_ index: Int) -> UInt64 { Array(bytes).span.bigEndian(at: 2 + 8 * index) }
                return AppliedRow(
                    kind: bytes[start] % 2 == 0 ? .range : .floor,
                    origin: ["us", "eu", "ap"][Int(bytes[start + 1]) % 3],
                    incarnation: number(0),
                    first: number(1),
                    last: number(2)
                )
            }
            guard var set = try? AppliedSet(rows) else { return false }
            guard Set(set.rows) == Set(rows), set.takeChanges().isEmpty else { throw Broken("it holds other rows") }
            for row in rows {
                let identity = WriteIdentity(
                    origin: row.key.origin,
                    incarnation: row.key.incarnation,
                    sequence: row.last
                )
                if row.key.kind == .range, set.standing(of: identity) != .applied { throw Broken("it forgot one") }
                let next = WriteIdentity(
                    origin: row.key.origin,
                    incarnation: row.key.incarnation,
                    sequence: row.last &+ 1
                )
                if set.standing(of: next) == .new, (try? set.insert([next]))?.count != 1 {
                    throw Broken("it took none")
                }
            }
            guard (try? AppliedSet(set.rows)) != nil else { throw Broken("its rows are refused") }
            return true
        }
    )
}
