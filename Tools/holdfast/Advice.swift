import ArgumentParser
import FoundationEssentials
import Holdfast
import Platform
import ReplayStore

/// What the tool adds to an error of the library, which knows neither the verb nor what can be typed.
enum Advice {
    /// The verbs after which a missing store can be made: they were given what may be the place for one.
    private static let verbsBeforeInit: Set<String> = ["append", "info", "queues"]

    /// Whether the verb was given the path of a store that may not have been made yet.
    static func mayMakeStore(at path: String, verb: String?) -> Bool {
        guard let verb, verbsBeforeInit.contains(verb), !FileSystem.exists(path) else { return false }
        return FileSystem.isDirectory(parent(of: path))
    }

    /// The directory that `path` is in.
    static func parent(of path: String) -> String {
        var path = Substring(path)
        while path.hasSuffix("/"), path.count > 1 { path.removeLast() }
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// What to say of a path without a store where none is to be made.
    static func missing(_ path: String, verb: String?, _ said: String) -> String {
        let isThere = FileSystem.exists(path)
        let noun = verb == "restore" ? "neither a backup nor a store" : "no store"
        let what: String =
            if !isThere, verb == "restore" {
                "There is no backup at '\(path)': it is not there."
            } else if !isThere {
                "There is no store at '\(path)': it is not there."
            } else if !FileSystem.isDirectory(path) {
                "'\(path)' is no directory, so it is \(noun)."
            } else {
                "'\(path)' is \(noun). \(said)"
            }
        return "\(what) Is the path right, and is the disk mounted?"
    }

    /// `text` with the store's path in the commands that it names.
    static func naming(_ path: String, _ text: String) -> String {
        // The library names the path of a copy there, and means what it was made from.
        guard !text.contains("on the source") else { return text }
        let (store, new) = (shellQuoted(path), shellQuoted(path + "-recovered"))
        return text.replacing("holdfast recover STORE --to NEW", with: "holdfast recover \(store) --to \(new)")
            .replacing("holdfast check --level", with: "holdfast check \(store) --level")
            .replacing("clear-resync STORE", with: "clear-resync \(store)")
    }

    /// What to do with a write whose identity is forgotten up to `floor`.
    static func floor(_ floor: WriteIdentity?) -> String {
        let next = floor.map { ", such as \($0.incarnation &+ 1)" } ?? ""
        return " Do not append again what the region may have had already. A new write needs an identity that is not "
            + "forgotten: a greater sequence, or a greater incarnation\(next), on its line, or by --incarnation where the line "
            + "has none."
    }

    /// The names of a store's regions; none where it cannot be read.
    static func regions(of path: String) -> [String] {
        let names = try? StoreReader.open(path).look { (view) throws(HoldfastError) in try view.regionRows().map(\.0) }
        return (names ?? []).map(\.rawValue)
    }

    /// `message` with who has a store in words: the process's number, its host, and since when it runs.
    ///
    /// A lock's text also has the process's start in clock ticks and the boot's identity, which tell two runs apart.
    static func withOwner(_ message: String) -> String {
        message.replacing(/pid ([0-9]+), start ([0-9]+|unknown), boot ([^,]+), host ([^ ,.)]+(?:\.[^ ,.)]+)*)/) {
            match in
            let (pid, host) = (match.output.1, match.output.4)
            let isThisBoot = firstLine("/proc/sys/kernel/random/boot_id") == match.output.3
            guard isThisBoot, let ticks = Int64(match.output.2) else { return "pid \(pid) on host \(host)" }
            let ticksPerSecond: Int64 = 100
            let bootMilliseconds = System.wallMilliseconds - System.elapsedMilliseconds
            let start = Timestamp(milliseconds: bootMilliseconds + ticks * 1000 / ticksPerSecond)
            return "pid \(pid) on host \(host), which runs since \(timeText(start))"
        }
    }

    private static func firstLine(_ path: String) -> String {
        let bytes = (try? File(path, 0).read(atMost: 256)) ?? []
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    // MARK: The command line

    /// What is valid, where the parser's message only says that a value is not; nil for other messages.
    static func valid(_ message: String) -> String? {
        guard let match = message.firstMatch(of: /is invalid for '(--[a-z-]+) <([a-z]+)>'/) else { return nil }
        let limits: Set<Substring> = [
            "--entries", "--bytes", "--age", "--share", "--total-entries", "--total-bytes", "--rate", "--bytes-rate",
            "--attempts-max",
        ]
        let none = limits.contains(match.output.1) ? ", or none" : ""
        return switch match.output.2 {
        case "duration":
            "It is a whole number and ms, s, min, h or d, such as 250ms, 5min or 7d, at most 36500d\(none)."
        case "size":
            "It is a whole number of bytes, or one with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, such as 4096, 64MiB or "
                + "10GB\(none)."
        case "percent": "It is a whole number from 0 to 100\(none)."
        case "n", "limit", "max", "count", "position", "from", "to", "through":
            "It is a whole number from 0 to \(UInt64.max)\(none)."
        default: nil
        }
    }

    /// Refuses a word that is no verb, in better words than the parser's, which takes it for an argument.
    static func checkVerb(_ arguments: [String]) throws {
        var (command, path): (any ParsableCommand.Type, String) = (HoldfastTool.self, "holdfast")
        for word in arguments {
            let known = verbs(of: command)
            guard !known.isEmpty, !word.hasPrefix("-") else { return }
            if let next = known.first(where: { $0.name == word })?.type {
                (command, path) = (next, "\(path) \(word)")
                continue
            }
            if word == "help" { return }
            let near = known.map { ($0.name, distance($0.name, word)) }.min { $0.1 < $1.1 }
            let hint = near.flatMap {
                $0.1 <= max(1, min(2, $0.0.count / 2)) ? " Did you mean '\(path) \($0.0)'?" : nil
            }
            throw Failure(
                .usage,
                code: "usage",
                "'\(path)' has no verb '\(word)'.\(hint ?? "")",
                next: path == "holdfast" ? "holdfast help" : "\(path) --help"
            )
        }
    }

    private static func verbs(of command: any ParsableCommand.Type) -> [(name: String, type: any ParsableCommand.Type)]
    {
        let configuration = command.configuration
        let types = configuration.subcommands + configuration.groupedSubcommands.flatMap(\.subcommands)
        return Array(types.map { (name: $0._commandName, type: $0) })
    }

    /// How many letters must be changed, added or taken away to make one word of the other.
    static func distance(_ first: String, _ second: String) -> Int {
        let (first, second) = (Array(first), Array(second))
        var row = Array(0...second.count)
        for (i, letter) in first.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in second.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (letter == other ? 0 : 1))
                diagonal = above
            }
        }
        return row[second.count]
    }
}
