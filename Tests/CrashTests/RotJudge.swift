import Foundation
import HoldfastTesting
import Pages
import ReplayFormat
import TestSupport

/// A store, and what every verb and a service say of it while nothing is damaged.
struct RotSubject {
    let directory: TemporaryDirectory
    let bytes: Data
    private let lock: Data
    private var said: [[String]: String] = [:]
    private var replayed: [String] = []
    /// The line that a service prints of each queued entry, by region and position.
    private var entries: [String: [UInt64: String]] = [:]
    private let reach: RotReach
    /// Verbs that every image is shown to, and those of which each image is shown to every second one.
    private var verbs = [
        ["dump"], ["queues", "--format", "jsonl"], ["records", "--format", "jsonl"], ["lost", "--format", "jsonl"],
        ["history", "--format", "jsonl"], ["snapshot"], ["digest"], ["dlq list", "--format", "jsonl"],
    ]
    private var others = [["info"], ["region status"], ["doctor"]]

    init(seed: UInt64, steps: Int) throws {
        directory = try TemporaryDirectory()
        let path = directory.appending("original")
        let made = try Tool.run(
            ["workload", path, directory.appending("marks"), "\(seed)", "\(steps)"],
            program: Tool.path("CrashWorker")
        )
        guard made.status == 0 else { throw RotFailure("no store: \(made.talk)") }
        bytes = try Data(contentsOf: URL(fileURLWithPath: path + "/data.mdb"))
        lock = try Data(contentsOf: URL(fileURLWithPath: path + "/LOCK"))
        reach = try RotReach(path)
        let image = try write(bytes)
        let outcome = try Tool.run(["replay", image + "/store"], program: Tool.path("CrashWorker"))
        guard outcome.status == 0, outcome.lines.last == "clean" else { throw RotFailure("\(outcome)") }
        replayed = outcome.lines
        for line in replayed where line.hasPrefix("entry ") && !line.isOfSecondLife {
            let words = line.split(separator: " ")
            guard let position = UInt64(words[2]) else { throw RotFailure(line) }
            entries[String(words[1]), default: [:]][position] = line
        }
        try remove(image)
        try listen(path)
    }

    /// Notes what each verb says, those of single entries too.
    private mutating func listen(_ original: String) throws {
        others.append(["diff", original])
        // A process for each region would take more time than it is worth.
        if let (region, all) = entries.max(by: { ($0.value.count, $0.key) < ($1.value.count, $1.key) }) {
            let positions = all.keys.sorted()
            others.append(["get", "--region", region, "--position", "\(positions[positions.count / 2])"])
        }
        if let letter = replayed.first(where: { $0.hasPrefix("dead ") })?.split(separator: " ").map(String.init) {
            others.append(["dlq show", "--region", letter[1], "--position", letter[2]])
            others.append(["dlq export", "--region", letter[1], "--all"])
        }
        let image = try write(bytes)
        for verb in verbs + others {
            let outcome = try Self.run(verb, image)
            guard outcome.status == 0 else { throw RotFailure("\(verb): \(outcome.talk)") }
            said[verb] = outcome.output
        }
        try remove(image)
    }

    /// Writes an image into a directory of its own.
    func write(_ image: Data) throws -> String {
        let path = directory.appending("image-\(UUID().uuidString)")
        try FileManager.default.createDirectory(atPath: path + "/store", withIntermediateDirectories: true)
        try image.write(to: URL(fileURLWithPath: path + "/store/data.mdb"))
        try lock.write(to: URL(fileURLWithPath: path + "/store/LOCK"))
        return path
    }

    func remove(_ image: String) throws { try FileManager.default.removeItem(atPath: image) }

    private static func run(_ verb: [String], _ image: String) throws -> Tool.Outcome {
        var outcome = try Tool.run(
            verb[0].split(separator: " ").map(String.init) + [image + "/store"] + verb.dropFirst()
        )
        switch verb[0] {
        case "queues", "info", "region status", "snapshot":
            // How long something has waited goes on, and what that uses of a limit; how long the file is, is of no matter.
            outcome.output.replace(/"(oldestMs|silenceMs|fileBytes|limitUse)":[-+0-9.e]+/, with: "")
            outcome.output.replace(image, with: "")
        case "doctor":
            let changing = [#""check":"free space""#, #""check":"data file","verdict":"ok""#]
            outcome.output = outcome.lines.filter { line in !changing.contains { line.contains($0) } }
                .map { $0.replacing(image, with: "") }.joined(separator: "\n")
        default: break
        }
        return outcome
    }

    /// What `check` says of an image.
    private struct Check: Decodable {
        struct Finding: Decodable {
            var code: String
            var severity: String
            var region: String?
            var first: UInt64?
            var table: String?
            var page: UInt64?
        }
        var findings: [Finding]

        /// Whether an error is named in a region, with positions, or by the page that it is in: one of its own, or one that
        /// every region needs.
        ///
        /// `queue`: The table of its queue, which is all that can be said of a page where the regions' rows cannot be read.
        func names(_ region: String, queue: String?) -> Bool {
            findings.contains { found in
                guard found.severity == "error" else { return false }
                if found.region == region { return found.first != nil || found.page != nil }
                guard found.region == nil, found.page != nil else { return false }
                guard let table = found.table else { return true }
                return table == queue || Self.common.contains(table)
            }
        }

        private static let common = Set(PageWalk.lists + [Table.regions.name])
    }

    /// What is wrong with what a damaged image is said to hold; nothing when all of it is right or told.
    ///
    /// `isInPlace`: Whether the image is that of the store but for damaged pages.
    func faults(of image: Data, isInPlace: Bool, _ tally: inout RotTally) throws -> [String] {
        let path = try write(image)
        defer { try? remove(path) }
        tally.images += 1
        var faults: [String] = []
        let check = try Tool.run(["check", path + "/store", "--level", "deep", "--format", "json"])
        if check.isSignalled { faults.append("check: signal \(check.status)") }
        let isClean = check.status == 0
        if !isClean, check.status != 65 { faults.append("check: \(check.status) \(check.talk)") }
        if !isClean, check.output.contains(#""findings":[]"#) || check.output.isEmpty {
            faults.append("check names nothing: \(check.output)")
        }
        tally.add(isClean ? "clean to check" : "named by check")
        let shown = verbs + others.indices.filter { ($0 + tally.images) % 2 == 0 }.map { others[$0] }
        let findings = (try? JSONDecoder().decode(Check.self, from: Data(check.output.utf8))) ?? Check(findings: [])
        for verb in shown { faults += try self.faults(of: verb, path, isClean: isClean, findings) }
        let touched = isInPlace ? reach.touched(by: image) : nil
        faults += try recoverFaults(path, isClean: isClean, touched, &tally)
        faults += try replayFaults(path, isClean: isClean, findings, &tally)
        return faults
    }

    private func faults(of verb: [String], _ path: String, isClean: Bool, _ check: Check) throws -> [String] {
        let outcome = try Self.run(verb, path)
        let name = verb.joined(separator: " ")
        let right = said[verb] ?? ""
        if outcome.isSignalled { return ["\(name): signal \(outcome.status)"] }
        // Where LMDB counts pages that it does not have, the pairs are all there, and nothing differs.
        if verb[0] == "diff", outcome.status == 0,
            let found = check.findings.first(where: {
                $0.severity == "error" && $0.region != nil && $0.code != "page.counts"
            })
        {
            return ["diff says that nothing differs, and check \(found)"]
        }
        guard outcome.status != 0 else {
            return outcome.output == right
                ? [] : ["\(name) is wrong and says nothing: \(Self.difference(outcome.output, right))"]
        }
        // What `doctor` finds it prints.
        let isTold = !outcome.talk.isEmpty || verb == ["doctor"] && outcome.output.contains(#""verdict":"fail""#)
        guard outcome.status == 65, isTold else { return ["\(name): \(outcome.status) \(outcome.talk)"] }
        // What is printed beside the error is right; a frame around it may say that something is missing.
        let known = Set(right.split(separator: "\n"))
        let strange = outcome.output.split(separator: "\n").filter {
            // A dump's first line names the blocks that it cannot read.
            !known.contains($0) && !(verb == ["doctor"] && $0.contains(#""verdict":"fail""#))
                && !(verb == ["dump"] && $0.hasPrefix(#"{"dump":"#))
        }
        let silent = isClean ? ["\(name) says 65, and check nothing: \(outcome.talk)"] : []
        return silent + strange.map { "\(name) prints what was never there: \($0)" }
    }

    private static func difference(_ found: String, _ right: String) -> String {
        let (found, right) = (Set(found.split(separator: "\n")), Set(right.split(separator: "\n")))
        return "more: \(Array(found.subtracting(right)).prefix(3)), less: \(Array(right.subtracting(found)).prefix(3))"
    }

    private struct Recovery: Decodable {
        struct Range: Decodable {
            var first: UInt64
            var last: UInt64
        }
        struct Region: Decodable {
            var region: String
            var lost: [Range]
            var unaccounted: UInt64
            var unknownAck: Bool
        }
        var complete: Bool
        var controllerNew: Bool
        var regions: [Region]
    }

    private func recoverFaults(
        _ path: String,
        isClean: Bool,
        _ touched: [String: Set<UInt64>]?,
        _ tally: inout RotTally
    ) throws -> [String] {
        let new = path + "/new"
        let outcome = try Tool.run([
            "recover", path + "/store", "--to", new, "--local", "us", "--epoch", "1", "--format", "json",
        ])
        if outcome.isSignalled { return ["recover: signal \(outcome.status)"] }
        guard outcome.status == 0 || outcome.status == 65, !outcome.output.isEmpty else {
            tally.add("refused by recover")
            return isClean || outcome.status != 65 ? ["recover: \(outcome.status) \(outcome.talk)"] : []
        }
        let report = try JSONDecoder().decode(Recovery.self, from: Data(outcome.output.utf8))
        guard report.complete == (outcome.status == 0) else { return ["recover: \(outcome.status), \(outcome.output)"] }
        tally.add(report.complete ? "recovered whole" : "recovered in part")
        let check = try Tool.run(["check", new, "--level", "deep"])
        guard check.status == 0 else { return ["recover made a store that is not clean: \(check.output)"] }
        let replay = try Tool.run(["replay", new], program: Tool.path("CrashWorker"))
        guard replay.status == 0, replay.lines.last == "clean" else { return ["recover: replay: \(replay)"] }
        var faults = entryFaults(report, replay.lines, touched).map { "\($0): \(outcome.output)" }
        for told in report.regions where !told.lost.isEmpty || told.unaccounted > 0 || told.unknownAck {
            let isMarked = replay.lines.contains { $0.hasPrefix("queue \(told.region) ") && $0.hasSuffix(" true") }
            if !isMarked { faults.append("recover does not mark \(told.region) as needing a resynchronisation") }
        }
        if report.complete {
            let state = replay.lines.filter { !$0.hasPrefix("entry") && !$0.hasPrefix("event") }
            let right = replayed.filter { !$0.hasPrefix("entry") && !$0.hasPrefix("event") }
            if state != right { faults.append("recover says that it is complete: \(state), not \(right)") }
        }
        return faults
    }

    /// What is wrong with the entries of a recovered store.
    private func entryFaults(_ report: Recovery, _ lines: [String], _ touched: [String: Set<UInt64>]?) -> [String] {
        var faults: [String] = []
        var found: [String: Set<UInt64>] = [:]
        for line in lines where line.hasPrefix("entry ") && !line.isOfSecondLife {
            let words = line.split(separator: " ").map(String.init)
            let position = UInt64(words[2]) ?? 0
            found[reach.nameless[words[1]] ?? words[1], default: []].insert(position)
            let isUnknown = report.regions.first { $0.region == words[1] }?.unknownAck ?? false
            if entries[words[1]]?[position] != line, !isUnknown {
                faults.append("recover brings back what was not queued: \(line)")
            }
        }
        for (region, all) in entries {
            let missing = Set(all.keys).subtracting(found[region] ?? [])
            let told = report.regions.first { $0.region == region }
            let isTold = missing.allSatisfy { position in
                told?.lost.contains { ($0.first...$0.last).contains(position) } ?? false
            }
            // Without the region's row nobody knows how far its queue went.
            let isUnknown = told.map { $0.unknownAck || $0.unaccounted > 0 } ?? report.controllerNew
            if !isTold, !isUnknown { faults.append("recover leaves out without a word: \(region) \(missing.sorted())") }
            // What is known or not: an entry that no damaged page held comes back.
            let whole = touched.map { missing.subtracting($0[region] ?? []) } ?? []
            if !whole.isEmpty { faults.append("recover leaves out what can be read: \(region) \(whole.sorted())") }
        }
        return faults
    }

    private func replayFaults(
        _ path: String,
        isClean: Bool,
        _ check: Check,
        _ tally: inout RotTally
    ) throws -> [String] {
        let data = URL(fileURLWithPath: path + "/store/data.mdb")
        let image = try Data(contentsOf: data)
        let outcome = try Tool.run(["replay", path + "/store"], program: Tool.path("CrashWorker"))
        var faults: [String] = []
        let lines = outcome.lines
        if lines.first?.hasPrefix("refused") == true, try Data(contentsOf: data) != image {
            faults.append("opening was refused, and the data file was touched")
        }
        if outcome.isSignalled {
            tally.died += 1
            if !lines.contains("open") { faults.append("opening: signal \(outcome.status)") }
            if isClean { faults.append("check found nothing, and replay died: signal \(outcome.status)") }
        } else if outcome.status != 0 {
            faults.append("replay: \(outcome.status) \(outcome.talk)")
        }
        tally.add(lines.first.map { $0.hasPrefix("refused") ? $0 : "opened" } ?? "died at opening")
        if let first = lines.first, first.hasPrefix("refused"), first != "refused damaged" || isClean {
            faults.append("opening: \(first)")
        }
        let held = Set(lines.filter { $0.hasPrefix("held ") }.map { String($0.split(separator: " ")[1]) })
        if isClean, !held.isEmpty { faults.append("check found nothing, and \(held) are held up") }
        faults += stateFaults(lines, isSignalled: outcome.isSignalled)
        for (region, all) in entries {
            let got = lines.filter { $0.hasPrefix("entry \(region) ") && !$0.isOfSecondLife }
            let positions = got.compactMap { UInt64($0.split(separator: " ")[2]) }
            for (line, position) in zip(got, positions) where all[position] != line {
                faults.append("delivered: \(line)")
            }
            if positions != positions.sorted() || Set(positions).count != positions.count {
                faults.append("out of order, or twice: \(region) \(positions)")
            }
            let missing = UInt64(all.count - Set(positions).count)
            guard missing > 0, !outcome.isSignalled, lines.contains("open") else { continue }
            if !check.names(region, queue: reach.tables[region]) {
                faults.append("\(region): \(missing) are missing, and check says \(check)")
            }
            guard !held.contains(region) else { continue }
            let told = lines.last { $0.hasPrefix("delivered \(region) ") }?.split(separator: " ") ?? []
            let before = replayed.last { $0.hasPrefix("delivered \(region) ") }?.split(separator: " ") ?? []
            let lost = (UInt64(told.dropFirst(2).first ?? "") ?? 0) - (UInt64(before.dropFirst(2).first ?? "") ?? 0)
            if lost != missing || told.last != "true" {
                faults.append("\(region): \(missing) are missing, and \(told) says so")
            }
        }
        guard !outcome.isSignalled, lines.contains("open") else { return faults }
        for line in lines where line.hasPrefix("appended ") {
            let region = String(line.split(separator: " ")[1])
            if line.hasSuffix(" 0") { faults.append("a new write is taken for an old one: \(line)") }
            let isThere = lines.contains { $0.hasPrefix("entry \(region) ") && $0.isOfSecondLife }
            if !isThere, !held.contains(region) { faults.append("an accepted write is gone: \(line)") }
        }
        return faults
    }
}

extension RotSubject {
    /// What a service says of the store itself that is wrong, or that is not there without a word that it cannot be told.
    private func stateFaults(_ lines: [String], isSignalled: Bool) -> [String] {
        func isOfState(_ line: String) -> Bool {
            ["epoch", "role", "event", "queue", "dead"].contains(String(line.prefix { $0 != " " }))
        }
        let known = Set(replayed)
        var faults = lines.filter { isOfState($0) && !known.contains($0) }.map { "wrong: \($0)" }
        guard !isSignalled, lines.contains("open") else { return faults }
        let said = Set(lines)
        for line in replayed where isOfState(line) && !said.contains(line) {
            let words = line.split(separator: " ")
            let reason =
                switch words[0] {
                case "event": "held history "
                case "queue": "held statistics "
                case "dead": "held dead letters of \(words[1]) "
                default: "held \(words[0]) "
                }
            if !lines.contains(where: { $0.hasPrefix(reason) }) { faults.append("left out: \(line)") }
        }
        return faults
    }
}

extension String {
    /// Whether a worker's line is of an entry that it appended itself, in an incarnation that no workload has.
    fileprivate var isOfSecondLife: Bool {
        let words = split(separator: " ")
        return words.count > 4 && words[3...4] == ["us", "99"]
    }
}

struct RotFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// What all images came to.
struct RotTally: Sendable {
    var images = 0
    /// Processes that a signal ended while they wrote or read through LMDB.
    var died = 0
    private(set) var outcomes: [String: Int] = [:]

    mutating func add(_ outcome: String) { outcomes[outcome, default: 0] += 1 }

    var text: String {
        let words = outcomes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        return "\(images) images: \(words); ended by a signal in LMDB: \(died)"
    }
}
