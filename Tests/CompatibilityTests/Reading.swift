import Foundation
import Holdfast
import TestSupport

@testable import HoldfastTool
@testable import Lines

/// What the read verbs say of a store, as text that is kept with a fixture.
///
/// A verb's line is `$ verb`, then come its lines, then `exit N`. What the clock, the place of the store or the version of
/// a library tells is left out.
struct Reading {
    /// A verb, what it printed, and how it ended.
    struct Section: Equatable {
        var verb: String
        var lines: [String] = []
        var status: Int32 = -1
    }

    var sections: [Section] = []

    static let verbs: [[String]] = [
        ["info", "--format", "json"], ["queues", "--format", "jsonl"], ["snapshot"], ["history", "--format", "jsonl"],
        ["lost", "--values", "hex", "--format", "jsonl"], ["dlq list", "--format", "jsonl"], ["dlq export"],
        ["digest", "--format", "json"], ["check", "--level", "deep", "--format", "json"], ["dump"],
    ]

    /// Reads a store by every read verb.
    init(store path: String) throws {
        for words in Self.verbs {
            let verb = words[0].split(separator: " ").map(String.init)
            let outcome = try Tool.run(verb + [path] + words.dropFirst())
            var section = Section(verb: words.joined(separator: " "), status: outcome.isSignalled ? -1 : outcome.status)
            section.lines = outcome.lines.filter { !$0.isEmpty }.map { Self.lasting($0, verb[0]) }
            sections.append(section)
        }
    }

    /// Reads a ledger.
    init(ledger: AppliedLedger, _ writes: [OutstandingWrite]) async throws {
        sections.append(Section(verb: "epoch", lines: ["\(ledger.highestEpoch)"], status: 0))
        let state = try await ledger.read { (state) throws(HoldfastError) in
            var lines: [String] = []
            try state.scan { (key, value) throws(HoldfastError) in
                lines.append("\(Data(key).base64EncodedString()) \(Data(value).base64EncodedString())")
                return true
            }
            return lines
        }
        sections.append(Section(verb: "state", lines: state, status: 0))
        var standings: [String] = []
        for write in writes {
            let name = "\(write.origin) \(write.incarnation) \(write.sequence)"
            do throws(HoldfastError) {
                standings.append(try await ledger.filter([write]).isEmpty ? "\(name) applied" : "\(name) new")
            } catch {
                standings.append("\(name) \(error.code)")
            }
        }
        sections.append(Section(verb: "writes", lines: standings, status: 0))
    }

    private static let fleeting: Set<String> = [
        "store", "lmdb", "zstd", "open", "openedBy", "formatVersion", "limitUse", "path", "message", "action",
    ]

    /// A line without what another moment, place or library says differently.
    private static func lasting(_ line: String, _ verb: String) -> String {
        guard let json = try? JSON(parsing: Array(line.utf8)) else { return line }
        var fleeting = Self.fleeting
        if verb == "queues" || verb == "snapshot" { fleeting.insert("oldestMs") }
        // The digest is one over lines that name the newest format.
        if verb == "dump" { fleeting.insert("digest") }
        return without(fleeting, json).line
    }

    private static func without(_ names: Set<String>, _ json: JSON) -> JSON {
        switch json {
        case .object(let members):
            .object(members.filter { !names.contains($0.0) }.map { ($0.0, without(names, $0.1)) })
        case .array(let values): .array(values.map { without(names, $0) })
        default: json
        }
    }

    // MARK: Text

    var text: String {
        sections.map { "$ \($0.verb)\n" + $0.lines.map { $0 + "\n" }.joined() + "exit \($0.status)\n" }.joined()
    }

    /// Reads ``text``.
    init(_ text: String) {
        for line in text.split(separator: "\n") {
            if line.hasPrefix("$ ") {
                sections.append(Section(verb: String(line.dropFirst(2))))
            } else if line.hasPrefix("exit "), let status = Int32(line.dropFirst(5)) {
                sections[sections.count - 1].status = status
            } else {
                sections[sections.count - 1].lines.append(String(line))
            }
        }
    }

    /// The first thing that this does not say and `expected` does; nil when all is there.
    ///
    /// A member that an object did not have before is no difference.
    func difference(from expected: Reading) -> String? {
        guard sections.map(\.verb) == expected.sections.map(\.verb) else { return "other verbs" }
        for (mine, theirs) in zip(sections, expected.sections) {
            guard mine.status == theirs.status else {
                return "'\(mine.verb)' ended with \(mine.status), not \(theirs.status)"
            }
            guard mine.lines.count == theirs.lines.count else {
                return "'\(mine.verb)' printed \(mine.lines.count) lines, not \(theirs.lines.count)"
            }
            for (line, wanted) in zip(mine.lines, theirs.lines) where !Self.says(line, wanted) {
                return "'\(mine.verb)' printed\n\(line)\nnot\n\(wanted)"
            }
        }
        return nil
    }

    private static func says(_ line: String, _ wanted: String) -> Bool {
        if line == wanted { return true }
        guard let line = try? JSON(parsing: Array(line.utf8)), let wanted = try? JSON(parsing: Array(wanted.utf8))
        else {
            return false
        }
        return says(line, wanted)
    }

    private static func says(_ json: JSON, _ wanted: JSON) -> Bool {
        switch (json, wanted) {
        case (.object, .object(let members)):
            guard let mine = json.members else { return false }
            return members.allSatisfy { name, value in mine[name].map { says($0, value) } ?? false }
        case (.array(let mine), .array(let theirs)):
            return mine.count == theirs.count && zip(mine, theirs).allSatisfy { says($0, $1) }
        default: return json == wanted
        }
    }
}
