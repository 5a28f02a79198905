import ArgumentParser
import Holdfast
import Lines
import Platform

/// What the tool's exit code says; the numbers are those of `sysexits.h`.
enum ExitStatus: Int32, Sendable {
    /// The store is whole and refused, or something else happened.
    case other = 1
    case usage = 64
    /// The store, or what was to be appended, is not what it should be.
    case damaged = 65
    case notFound = 66
    case cannotCreate = 73
    case inputOutput = 74
    case inUse = 75
    case notPermitted = 77
    case formatTooNew = 78

    var exitCode: ExitCode { ExitCode(rawValue) }
}

/// The end of a verb that did not do what it was asked.
struct Failure: Error {
    var status: ExitStatus
    /// What happened and what to do, for people.
    var message: String
    /// The command to type next.
    var next: String?
    /// The object for standard error under `--format json`.
    var json: JSON

    init(_ status: ExitStatus, code: String, _ message: String, next: String? = nil, _ more: [(String, JSON)] = []) {
        self.status = status
        self.message = message
        self.next = next
        json = .object([("error", .object([("code", .string(code)), ("message", .string(message))] + more))])
    }

    init(_ error: HoldfastError) {
        var error = error
        if error.code == .notFound, let path = error.path, let refused = Self.refusal(path) { error = refused.at(path) }
        var more: [(String, JSON)] = []
        next = error.next
        if let path = error.path {
            let verb = HoldfastTool.verb
            switch error.code {
            case .notFound where error.message.contains("a store was here"): break
            // It was open, and is somewhere else now: a new one in its place would hide it.
            case .notFound where error.hasMovedAway: break
            case .notFound where Advice.mayMakeStore(at: path, verb: verb): break
            case .notFound:
                error.message = Advice.missing(path, verb: verb, error.message)
                next = nil
            case .unknownRegion:
                let names = Advice.regions(of: path)
                if !names.isEmpty {
                    error.message =
                        "Region '\(error.region?.rawValue ?? "")' is not part of this deployment, whose "
                        + "regions are \(names.joined(separator: ", "))."
                    more.append(("regions", .array(names.map { .string($0) })))
                }
            case .incomplete:
                // Only where nobody is writing it now.
                if (try? DirectoryLock.user(of: path)) == .some(nil) { next = "rm -r \(shellQuoted(path))" }
            default: break
            }
        }
        if error.code == .damaged, HoldfastTool.verb == "recover" {
            // Who recovers has looked, and was sent here by what he saw.
            error.message = error.message.replacing(
                "Stop, keep a copy of the directory, and run 'holdfast check --level deep'.",
                with: "Nothing can be recovered. Restore a backup, if there is one."
            )
        }
        if error.code == .identityBelowFloor { error.message += Advice.floor(error.floor) }
        // The library's words for what a program does; the tool has no such verb.
        error.message = Advice.withOwner(error.message.replacing(", or add it with configure", with: ""))
        if let path = error.path { error.message = Advice.naming(path, error.message) }
        status = error.status
        message = error.message
        json = .object([("error", .object(error.members + more))])
        if let systemCall = error.systemCall { message += " [\(systemCall)]" }
    }

    /// Why one cannot look whether there is a store at `path`; nil when one can, and there is none.
    private static func refusal(_ path: String) -> HoldfastError? {
        do throws(SystemError) {
            _ = try FileSystem.identity(of: path)
            return nil
        } catch {
            let refused = HoldfastError(error)
            return refused.code == .notPermitted ? refused : nil
        }
    }

    /// An input that could not be opened or read.
    init(reading name: String?, _ error: SystemError) {
        let (status, code): (ExitStatus, String) =
            switch error.number {
            case 2, 20: (.notFound, "notFound")
            case 1, 13: (.notPermitted, "notPermitted")
            default: (.inputOutput, "ioFailed")
            }
        self.init(status, code: code, "The input '\(name ?? "-")' cannot be read: \(error.description).")
    }

    /// Adds members to the object for standard error, in place of those with the same names.
    mutating func add(_ more: [(String, JSON)]) {
        guard case .object(let outer) = json, case .object(let members)? = outer.first?.1 else { return }
        let kept = members.filter { member in !more.contains { $0.0 == member.0 } }
        json = .object([("error", .object(kept + more))])
    }

    /// The object for standard error, with the command to type next.
    var line: String {
        guard let next, case .object(let outer) = json, case .object(let members)? = outer.first?.1 else {
            return json.line
        }
        return JSON.object([("error", .object(members + [("next", .string(next))]))]).line
    }
}

/// Whoever read standard output has gone, which is no failure.
struct ClosedPipe: Error {}

extension HoldfastError {
    /// The exit code for each code: the only such map.
    var status: ExitStatus {
        switch code {
        case .unknownRegion, .invalidConfiguration: .usage
        case .damaged, .incomplete: .damaged
        case .poisoned where cause == .damaged: .damaged
        // The input is at fault, as with a malformed line.
        case .tooLarge, .identityConflict: .damaged
        case .notFound: .notFound
        case .alreadyExists: .cannotCreate
        case .ioFailed, .poisoned: .inputOutput
        case .inUse, .alreadyOpen, .replayerActive: .inUse
        case .notPermitted: .notPermitted
        case .formatTooNew: .formatTooNew
        // The store is whole and says no: noSecondaryAvailable, illegalTransition, replayPending, needsResync,
        // staleEpoch, full, identityBelowFloor, positionOutOfRange, networkFileSystem, backup, replicatedStore and codes yet to come.
        default: .other
        }
    }

    /// Whether the store was open here, and its directory has gone elsewhere since.
    fileprivate var hasMovedAway: Bool { message.contains(" any more: its directory was") }

    /// Whether the path leads to a data file.
    private var hasStore: Bool { path.map { FileSystem.exists($0 + "/data.mdb") } ?? false }

    /// The command to type next, where there is one that helps.
    fileprivate var next: String? {
        guard let path = path.map(shellQuoted) else { return nil }
        let region = region?.rawValue ?? "REGION"
        return switch code {
        case .notFound where message.contains("a store was here"): "ls -la \(path)"
        case .notFound where hasMovedAway: "ls -la \(shellQuoted(Advice.parent(of: self.path ?? "")))"
        case .invalidConfiguration where field == "reserve" || field == "lock.mdb":
            "rm \(shellQuoted((self.path ?? "") + "/" + (field ?? "")))"
        case .notFound: "holdfast init \(path) --local us-east-1 --regions us-east-1,eu-west-1"
        case .alreadyExists where message.contains("was interrupted"): "rm -r \(path)"
        case .unknownRegion, .illegalTransition, .noSecondaryAvailable, .staleEpoch: "holdfast region status \(path)"
        // There is nothing to look at any more, or nothing that a look would help.
        case .damaged where HoldfastTool.verb == "recover": nil
        // What is wrong with a page shows in a walk over the pages.
        case .damaged where message.contains("The data file"): "holdfast check \(path) --level deep"
        case .poisoned where cause == .damaged: "holdfast check \(path) --level deep"
        case .damaged: "holdfast check \(path) --level full"
        // No look at the store shows that limit.
        case .full where !hasStore || field == "fileSize": nil
        case .needsResync: "holdfast region clear-resync \(path) \(region)"
        case .full, .replayPending, .positionOutOfRange: "holdfast queues \(path)"
        case .inUse: "holdfast doctor \(path)"
        case .backup: "holdfast restore \(path) --to \(shellQuoted((self.path ?? "") + "-restored"))"
        default: nil
        }
    }
}

/// `text` as one word of a shell command.
func shellQuoted(_ text: String) -> String {
    let plain = text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "+"): true
        default: false
        }
    }
    if plain, !text.isEmpty, !text.hasPrefix("-") { return text }
    return "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
}

extension HoldfastTool {
    /// The first word of the command line.
    static var verb: String? { CommandLine.arguments.dropFirst().first }

    /// Whether this process's command line asks for JSON.
    static var wantsJSON: Bool { wantsJSON(Array(CommandLine.arguments.dropFirst())) }

    /// Whether the command line asks for JSON: known before the command line is understood, since that may fail.
    static func wantsJSON(_ arguments: [String]) -> Bool {
        for (index, argument) in arguments.enumerated() {
            if argument == "--" { return false }
            if argument == "--format=json" || argument == "--format=jsonl" { return true }
            guard argument == "--format", index + 1 < arguments.count else { continue }
            return arguments[index + 1] == "json" || arguments[index + 1] == "jsonl"
        }
        return false
    }

    /// Says what went wrong, and ends the process.
    static func end(with error: any Error, asJSON: Bool) -> Never {
        let failure: Failure
        switch error {
        case let interrupted as Interrupted:
            tell(interrupted.failure, asJSON)
            System.end(bySignal: interrupted.signal)
        case is ClosedPipe: exit(withError: ExitCode.success)
        case let code as ExitCode: exit(withError: code)
        case let error as Failure: failure = error
        case let error as HoldfastError: failure = Failure(error)
        case let error as FailoverError: failure = Failure(HoldfastError(error))
        case let error as SystemError: failure = Failure(HoldfastError(error))
        default:
            let code = exitCode(for: error)
            guard code != .success else { exit(withError: error) }
            // The parser's own words: what was wrong, the usage, and where to read more.
            let label = "Error: "
            let full = fullMessage(for: error)
            let status: ExitStatus = code == .validationFailure ? .usage : .other
            let said = message(for: error)
            let valid = Advice.valid(said).map { ". \($0)" } ?? ""
            if asJSON {
                failure = Failure(status, code: status == .usage ? "usage" : "other", said + valid)
            } else {
                let text = full.hasPrefix(label) ? String(full.dropFirst(label.count)) : full
                failure = Failure(status, code: "usage", text.replacing(said, with: said + valid, maxReplacements: 1))
            }
        }
        tell(failure, asJSON)
        exit(withError: failure.status.exitCode)
    }

    private static func tell(_ failure: Failure, _ asJSON: Bool) {
        if asJSON {
            talk(failure.line)
        } else {
            talk("holdfast: \(printable(failure.message, keepingLines: true))")
            if let next = failure.next { talk("  \(printable(next))") }
        }
    }
}
