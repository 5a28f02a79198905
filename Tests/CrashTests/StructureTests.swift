import Foundation
import HoldfastTesting
import TestSupport
import Testing

/// LMDB has no checksum on how many rows a page has, on where they stand and on where the branches lead.
@Suite("A bit of LMDB's own that flips", .serialized) struct StructureTests {
    private static func count(_ variable: String, _ standard: Int) -> Int {
        ProcessInfo.processInfo.environment[variable].flatMap { Int($0) } ?? standard
    }

    private static let seed = UInt64(count("HOLDFAST_STRUCTURE_SEED", 1))

    @Test(
        "hides nothing: each reader, opening, and each change is right or told",
        arguments: [(kind: "short", standard: 24), (kind: "long", standard: 8)]
    )
    func flips(kind: String, standard: Int) throws {
        let directory = try TemporaryDirectory()
        let store = directory.appending("store")
        let made = try Tool.run(["structure", "make", kind, store], program: Tool.path("CrashWorker"))
        try #require(made.status == 0, "\(made.talk)")
        let whole = try sweep(store, ["whole"], directory.appending("scratch"))
        let right = StructureJudge(try #require(whole.images.first?.lines))
        try #require(!whole.isSignalled && right.isWhole, "\(whole)")
        let bits = try StructureBits(store)
        let places = bits.sample(Self.count("HOLDFAST_STRUCTURE_FLIPS", standard), seed: Self.seed)
        var (tally, bad) = (StructureTally(), 0)
        var left = places[...]
        while !left.isEmpty, bad < 20 {
            let part = left.prefix(200)
            let swept = try sweep(store, part.map { "\($0.offset) \($0.bit)" }, directory.appending("scratch"))
            for (place, image) in zip(part, swept.images) {
                let faults = right.faults(of: image.lines, isSignalled: !image.isEnded, &tally)
                guard !faults.isEmpty else { continue }
                bad += 1
                let what = "\(place.kind), page \(place.page), byte \(place.offset % 4096), bit \(place.bit)"
                Issue.record("\(kind), \(what):\n\(faults.prefix(6).joined(separator: "\n"))")
            }
            try #require(swept.images.count == part.count || swept.isSignalled, "\(swept.talk)")
            left = left.dropFirst(swept.images.count)
        }
        print("\(kind): \(places.count) of \(bits.places.count) bits: \(tally.text), seed \(Self.seed)")
    }

    /// What a worker has said of some images, until it came to the last, or a signal ended it.
    private struct Swept {
        var images: [(lines: [String], isEnded: Bool)]
        var isSignalled: Bool
        var talk: String
    }

    private func sweep(_ store: String, _ images: [String], _ scratch: String) throws -> Swept {
        let outcome = try Tool.run(
            ["structure", "sweep", store, scratch],
            input: images.joined(separator: "\n") + "\n",
            program: Tool.path("CrashWorker")
        )
        var found: [(lines: [String], isEnded: Bool)] = []
        for line in outcome.lines {
            if line.hasPrefix("image ") {
                found.append(([], false))
            } else if line == "end" {
                found[found.count - 1].isEnded = true
            } else {
                found[found.count - 1].lines.append(line)
            }
        }
        return Swept(images: found, isSignalled: outcome.isSignalled, talk: "\(outcome.status) \(outcome.talk)")
    }
}

/// What a whole store says, and what an image of it may say.
struct StructureJudge {
    private var before: [String: String] = [:]
    private var stages: [[String: String]] = []
    private var changes: [(name: String, said: String)] = []

    /// Splits a line into what was looked at and what was found.
    private static func split(_ line: String) -> (name: String, said: String) {
        for word in [" ok", " told"] {
            if let range = line.range(of: word) {
                return (String(line[..<range.lowerBound]), String(line[range.lowerBound...].dropFirst()))
            }
        }
        return (line, "")
    }

    init(_ lines: [String]) {
        for line in lines {
            let (name, said) = Self.split(line)
            if name.hasPrefix("before ") {
                before[String(name.dropFirst(7))] = said
            } else if name.hasPrefix("change ") {
                changes.append((name, said))
            } else if let number = Int(name.dropFirst(6).prefix { $0.isNumber }) {
                while stages.count <= number { stages.append([:]) }
                stages[number][String(name.dropFirst(7 + "\(number)".count))] = said
            }
        }
    }

    /// Whether all that was looked at and changed went well.
    var isWhole: Bool {
        let said = before.values + changes.map(\.said) + stages.flatMap(\.values)
        return changes.count == 8 && stages.count == 9 && before.count > 80 && said.allSatisfy { $0.hasPrefix("ok") }
    }

    /// What is wrong with what an image says.
    func faults(of lines: [String], isSignalled: Bool, _ tally: inout StructureTally) -> [String] {
        var faults: [String] = []
        var (told, isRefused, made) = (Set<String>(), false, 0)
        for line in lines {
            let (name, said) = Self.split(line)
            var wanted: String?
            if name.hasPrefix("before ") {
                let what = String(name.dropFirst(7))
                wanted = before[what]
                if said == "told" { told.insert(what) }
            } else if name.hasPrefix("change ") {
                wanted = made < changes.count ? changes[made].said : nil
                if said == "told" { isRefused = true } else { made += 1 }
            } else if name.hasPrefix("stage ") {
                // Right is what is there after the changes that were made, or after one that was not heard of.
                wanted = stages[made][String(name.dropFirst(7 + "\(made)".count))]
            }
            if said != "told", said != wanted { faults.append("\(line), and not \(wanted ?? "anything")") }
        }
        // Before the changes begin, a process only reads, and opens.
        let isOpened = lines.contains { $0.hasPrefix("change ") }
        if isSignalled, !isOpened { faults.append("a signal before anything was changed") }
        let isNamed = told.contains("check") || told.contains("open")
        if !told.isEmpty, !isNamed { faults.append("told by \(told.sorted()), and the check finds nothing") }
        tally.add(isSignalled ? "ended by a signal in LMDB" : isNamed ? "named by check" : "clean to check")
        if isOpened { tally.add(isRefused ? made == 0 ? "refused at once" : "refused later" : "changed as if whole") }
        if !isNamed, isRefused || isSignalled { faults.append("clean to check, and a change was refused or died") }
        return faults
    }
}

/// What all images came to.
struct StructureTally {
    private var outcomes: [String: Int] = [:]

    mutating func add(_ outcome: String) { outcomes[outcome, default: 0] += 1 }

    var text: String { outcomes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ") }
}
