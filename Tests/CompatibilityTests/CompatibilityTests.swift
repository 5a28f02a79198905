import Foundation
import HoldfastTesting
import RegionFailover
import ReplayFormat
import TestSupport
import Testing

@testable import Holdfast

/// Whether a new set of fixtures is to be made, as CONTRIBUTING says.
private let makesFixtures = ProcessInfo.processInfo.environment["HOLDFAST_FIXTURES"] == "make"

/// The fixtures, and what is special about some of them.
private enum Kept {
    static let stores = Fixture.all.filter { !$0.isLedger }
    static let ledgers = Fixture.all.filter(\.isLedger)
    /// Those that no program of version 1 opens, with the exit status and what the advice says.
    static let refused: [String: (status: Int32, advice: [String])] = [
        "newer-version": (
            78, ["Use a newer holdfast", "format \(UInt32.max)", "up to format \(Superblock.currentVersion)"]
        ),
        "unknown-feature": (78, ["Use a newer holdfast", "features \(1 << 63 as UInt64)"]),
        "incomplete": (65, ["load or copy again into a new directory"]),
    ]
    /// Those that are read and never changed, with what a writer is told.
    static let readOnly: [String: String] = [
        "backup": "holdfast restore", "replicated": "replica", "unknown-read-compatible-feature": "newer",
    ]
}

@Suite("A store of an earlier version", .serialized) struct CompatibilityTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.appending("store") }

    init() throws { directory = try TemporaryDirectory() }

    @Test("is there, for every version that was ever written") func complete() {
        for version in 1...Superblock.currentVersion {
            let names = Fixture.all.filter { $0.version == "version-\(version)" }.map(\.name)
            #expect(names.contains("queues") && names.contains("ledger"), "there are no fixtures of version \(version)")
        }
    }

    @Test("says by every read verb what it said then", arguments: Kept.stores) func reads(fixture: Fixture) throws {
        let kept = try fixture.fingerprint()
        try fixture.copy(to: path)
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let expected = Reading(try String(contentsOf: fixture.expected, encoding: .utf8))
        let difference = try Reading(store: path).difference(from: expected)
        #expect(difference == nil, "\(fixture): \(difference ?? "")")
        #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb")) == data, "reading changed \(fixture)")
        #expect(try fixture.fingerprint() == kept)
    }

    @Test("that is a replica's is opened by no controller, which is told so, and is not touched")
    func replica() async throws {
        try Fixture(name: "replicated").copy(to: path)
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let error = await #expect(throws: HoldfastError.self) { try await RegionFailoverController.open(at: path) }
        #expect(error?.code == .replicatedStore)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb")) == data)
    }

    @Test("is written by this program, and stays whole", arguments: Kept.stores) func writes(fixture: Fixture) throws {
        guard Kept.refused[fixture.name] == nil, Kept.readOnly[fixture.name] == nil else { return }
        try fixture.copy(to: path)
        let before = try queues()
        let line = #"{"origin":"af","incarnation":9,"sequence":1,"key":"new","value":"write"}"# + "\n"
        for region in before.keys.sorted() {
            let appended = try Tool.run(["append", path, "--region", region, "--print-acks"], input: line + line)
            #expect(appended.status == 0, "\(fixture): \(appended.talk)")
            let next = try #require(before[region]?["nextPosition"] as? Int)
            let receipt = try #require(try object(appended.output))
            #expect(["first", "through"].allSatisfy { receipt[$0] as? Int == next }, "\(fixture): \(receipt)")
            #expect(["accepted", "duplicates"].allSatisfy { receipt[$0] as? Int == 1 }, "\(fixture): \(receipt)")
            let got = try Tool.run(["get", path, "--region", region, "--position", "\(next)", "--values", "utf8"])
            #expect(try object(got.output)?["value"] as? String == "write", "\(fixture): \(got.talk)")
        }
        try check(fixture)
        for (region, queue) in try queues() {
            let last = try #require(queue["nextPosition"] as? Int) - 1
            let acknowledged = try Tool.run(["ack", path, "--region", region, "--through", "\(last)"])
            #expect(acknowledged.status == 0, "\(fixture): \(acknowledged.talk)")
        }
        for queue in try queues().values { #expect(queue["entries"] as? Int == 0) }
        try check(fixture)
    }

    private func check(_ fixture: Fixture) throws {
        let check = try Tool.run(["check", path, "--level", "deep"])
        #expect(check.status == 0, "\(fixture): \(check.output)")
    }

    @Test("knows the identities that it had, and forgets none", arguments: ["queues", "left"])
    func identities(name: String) throws {
        for fixture in Kept.stores where fixture.name == name {
            let path = directory.appending(fixture.version)
            try fixture.copy(to: path)
            // What is queued was accepted, so the same lines are duplicates, all of them.
            let dump = try Tool.run(["dump", path, "--entries-only"])
            let entries = try dump.lines.filter { try object($0)?["region"] as? String == "eu" }
            try #require(!entries.isEmpty)
            let again = try Tool.run(
                ["append", path, "--region", "eu", "--format", "json"],
                input: entries.joined(separator: "\n") + "\n"
            )
            #expect(again.status == 0, "\(again.talk)")
            let digest = try Tool.run(["digest", path, "--format", "json"])
            let kept = Reading(try String(contentsOf: fixture.expected, encoding: .utf8))
            let expected = try #require(kept.sections.first { $0.verb.hasPrefix("digest") }?.lines.first)
            #expect(try object(digest.output)?["digest"] as? String == object(expected)?["digest"] as? String)
        }
    }

    @Test(
        "that is newer or not whole is refused with what to do, and left alone",
        arguments: Kept.refused.keys.sorted()
    )
    func refuses(name: String) throws {
        let (status, advice) = try #require(Kept.refused[name])
        let fixtures = Kept.stores.filter { $0.name == name && $0.version == "version-1" }
        try #require(fixtures.count == 1)
        try fixtures[0].copy(to: path)
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        for verb in [["queues"], ["dump"], ["digest"], ["upgrade", "--yes"], ["append", "--region", "eu"]] {
            let outcome = try Tool.run([verb[0], path] + verb.dropFirst())
            #expect(outcome.status == status, "\(verb): \(outcome.talk)")
            for words in advice { #expect(outcome.talk.contains(words), "\(verb): \(outcome.talk)") }
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb")) == data)
    }

    @Test("that may only be read is not changed", arguments: Kept.readOnly.keys.sorted()) func unchanged(name: String)
        throws
    {
        let words = try #require(Kept.readOnly[name])
        let fixtures = Kept.stores.filter { $0.name == name && $0.version == "version-1" }
        try #require(fixtures.count == 1)
        try fixtures[0].copy(to: path)
        let data = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        let line = #"{"origin":"af","incarnation":9,"sequence":1,"key":"new","value":"write"}"# + "\n"
        for verb in [
            ["append", "--region", "eu"], ["ack", "--region", "eu", "--through", "1"], ["drain", "--region", "eu"],
        ] {
            let outcome = try Tool.run([verb[0], path] + verb.dropFirst(), input: line)
            #expect(outcome.status != 0 && !outcome.isSignalled, "\(verb)")
            #expect(outcome.talk.contains(words), "\(verb): \(outcome.talk)")
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb")) == data)
    }

    private func queues() throws -> [String: [String: Any]] {
        let outcome = try Tool.run(["queues", path, "--format", "jsonl"])
        let rows = try outcome.lines.compactMap { try object($0) }
        return Dictionary(rows.map { ($0["region"] as? String ?? "", $0) }) { first, _ in first }
    }

    private func object(_ line: String) throws -> [String: Any]? {
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    }

    // MARK: Ledgers

    /// Identities whose standing a ledger's fixture tells.
    private static var asked: [OutstandingWrite] {
        let us = (1...41 as ClosedRange<UInt64>).map { FixtureMaker.write($0) }
        let eu = (1...4 as ClosedRange<UInt64>).map { FixtureMaker.write($0, origin: "eu") }
        let ap = (1...4 as ClosedRange<UInt64>).map { FixtureMaker.write(5, origin: "ap", incarnation: $0) }
        return us + eu + ap
    }

    @Test("of a receiver knows what it knew, and takes what is new", arguments: Kept.ledgers)
    func ledger(fixture: Fixture) async throws {
        try fixture.copy(to: path)
        guard fixture.name == "ledger" else {
            let error = await #expect(throws: HoldfastError.self) {
                try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
            }
            #expect(error?.code == .formatTooNew)
            #expect(error?.message.contains("Use a newer one") == true)
            return
        }
        let ledger = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
        let expected = Reading(try String(contentsOf: fixture.expected, encoding: .utf8))
        let difference = try await Reading(ledger: ledger, Self.asked).difference(from: expected)
        #expect(difference == nil, "\(fixture): \(difference ?? "")")
        #expect(try await ledger.record([FixtureMaker.write(1), FixtureMaker.write(1000)], epoch: 8) == 1)
        await ledger.close()
        let again = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
        #expect(try await again.record([FixtureMaker.write(1), FixtureMaker.write(1000)], epoch: 8) == 0)
        await again.close()
    }

    // MARK: A new set

    @Test("is made once for each version", .enabled(if: makesFixtures)) func make() async throws {
        let root = Fixture.root.appending(path: Fixture.current)
        try #require(!FileManager.default.fileExists(atPath: root.path), "\(root.path) is there, and never overwritten")
        try await FixtureMaker().makeAll()
        for fixture in Fixture.all where fixture.version == Fixture.current {
            let path = directory.appending(fixture.name)
            try fixture.copy(to: path)
            let reading: Reading
            if !fixture.isLedger {
                reading = try Reading(store: path)
            } else if fixture.name == "ledger" {
                let ledger = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
                reading = try await Reading(ledger: ledger, Self.asked)
                await ledger.close()
            } else {
                continue
            }
            try Data(reading.text.utf8).write(to: fixture.expected)
        }
    }
}
