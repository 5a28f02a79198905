import Holdfast
import Lines

/// A line that is no command.
///
/// Nothing changes, not even the time.
struct BadCommand: Error {
    var message: String

    init(_ message: String) { self.message = message }

    /// The line's answer.
    var json: JSON {
        .object([("error", .object([("code", .string("badCommand")), ("message", .string(message))]))])
    }
}

/// One line of a scenario, understood: every word and key is known, and every value has its type.
struct ScenarioCommand {
    /// What can be done.
    enum Word: String, CaseIterable {
        case configure, heartbeat, tick, demoteAndPromote, readmit, switchover, append, acknowledge, drain
        case pause, resume, clearResync, role, state, pending, history, epoch

        /// The keys that a line with this word must have.
        var required: [String] {
            switch self {
            case .configure: ["local", "regions"]
            case .heartbeat, .demoteAndPromote, .readmit, .switchover, .drain, .pause, .resume, .clearResync: ["region"]
            case .role, .state, .pending: ["region"]
            case .append: ["region", "writes"]
            case .acknowledge: ["region", "through"]
            case .tick, .history, .epoch: []
            }
        }

        /// The keys that it may have, beside `atMs`.
        var optional: [String] {
            switch self {
            case .configure: ["tiers", "suspectAfterMs", "historyCapacity", "limits", "force", "ifEpoch"]
            case .readmit: ["maximumPending", "force", "ifEpoch"]
            case .demoteAndPromote, .switchover, .append, .acknowledge: ["ifEpoch"]
            case .heartbeat, .tick, .drain, .pause, .resume, .clearResync, .role, .state, .pending, .history, .epoch: []
            }
        }
    }

    /// What `configure` says: names that may not be names, and numbers that may be out of range.
    struct Deployment {
        var local: String
        var regions: [String]
        var tiers: [[String]]
        var suspectAfterMilliseconds: Int64?
        var historyCapacity: Int64?
        var limits: QueueLimits
    }

    var word: Word
    /// When the command is given; nil for the time of the last one.
    var atMilliseconds: Int64?
    /// Whatever stands for a region; empty where the word names none.
    var region: String
    var deployment: Deployment?
    var writes: [OutstandingWrite]
    var through: UInt64
    var maximumPending: UInt64
    var force: Bool
    var ifEpoch: UInt64?
}

extension ScenarioCommand {
    /// Understands a line.
    init(parsing line: [UInt8]) throws(BadCommand) {
        let json: JSON
        do throws(JSONError) {
            json = try JSON(parsing: line)
        } catch {
            throw BadCommand("The line is no command: \(error.description)")
        }
        let fields = try ScenarioFields(json, "The line")
        guard let name = try fields.text("do") else { throw BadCommand(#"The line is no command: "do" is missing."#) }
        guard let word = Word(rawValue: name) else {
            throw BadCommand("The word \(ScenarioFields.quoted(name)) is unknown. \(Self.words)")
        }
        try fields.check(required: ["do"] + word.required, optional: ["atMs"] + word.optional)
        self.word = word
        atMilliseconds = try fields.signed("atMs")
        region = try fields.text("region") ?? ""
        deployment = word == .configure ? try Deployment(fields) : nil
        writes = try fields.list("writes").enumerated().map { (item) throws(BadCommand) in
            try OutstandingWrite(scenario: ScenarioFields(item.element, "Write \(item.offset)"))
        }
        through = try fields.unsigned("through") ?? 0
        maximumPending = try fields.unsigned("maximumPending") ?? 0
        force = try fields.truth("force") ?? false
        ifEpoch = try fields.unsigned("ifEpoch")
    }

    private static let words = "Known are: \(Word.allCases.map(\.rawValue).joined(separator: " "))."
}

extension ScenarioCommand.Deployment {
    fileprivate init(_ fields: ScenarioFields) throws(BadCommand) {
        local = try fields.text("local") ?? ""
        regions = try fields.names("regions")
        tiers = try fields.list("tiers").enumerated().map { (item) throws(BadCommand) in
            try ScenarioFields.names(item.element, "Tier \(item.offset)")
        }
        suspectAfterMilliseconds = try fields.signed("suspectAfterMs")
        historyCapacity = try fields.signed("historyCapacity")
        limits = .unlimited
        guard let value = fields["limits"] else { return }
        let bounds = try ScenarioFields(value, #""limits""#)
        try bounds.check(required: [], optional: ["entries", "bytes", "overflow"])
        limits.entriesMax = try bounds.unsigned("entries")
        limits.bytesMax = try bounds.unsigned("bytes")
        guard let name = try bounds.text("overflow") else { return }
        guard let overflow = QueueLimits.Overflow(name: name) else {
            throw BadCommand(#""overflow" is "reject" or "dropOldest"."#)
        }
        limits.overflow = overflow
    }
}

extension OutstandingWrite {
    fileprivate init(scenario fields: ScenarioFields) throws(BadCommand) {
        try fields.check(required: ["origin", "sequence", "key", "value"], optional: ["incarnation"])
        guard let origin = RegionID(utf8: (try fields.text("origin") ?? "").utf8) else {
            throw BadCommand("\(fields.what): \"origin\" is no name of a region: 1 to 63 of A-Z a-z 0-9 . _ -")
        }
        self.init(
            origin: origin,
            incarnation: try fields.unsigned("incarnation") ?? 0,
            sequence: try fields.unsigned("sequence") ?? 0,
            key: try fields.text("key") ?? "",
            value: try fields.text("value") ?? ""
        )
    }
}

/// The members of one object of a line.
struct ScenarioFields {
    /// Which object, for messages.
    let what: String
    private let members: [String: JSON]

    init(_ json: JSON, _ what: String) throws(BadCommand) {
        guard let members = json.members else { throw BadCommand("\(what) is no JSON object.") }
        self.what = what
        self.members = members
    }

    subscript(name: String) -> JSON? { members[name] }

    /// Refuses a key that is not known, and the lack of one that must be there.
    func check(required: [String], optional: [String]) throws(BadCommand) {
        let known = required + optional
        for name in members.keys.sorted() where !known.contains(name) {
            throw BadCommand(
                "\(what): the key \(Self.quoted(name)) is unknown here. Known are: \(known.joined(separator: " "))."
            )
        }
        for name in required where members[name] == nil {
            throw BadCommand("\(what): the key \(Self.quoted(name)) is missing.")
        }
    }

    func text(_ name: String) throws(BadCommand) -> String? { try value(name, \.stringValue, "a text") }

    func truth(_ name: String) throws(BadCommand) -> Bool? { try value(name, \.boolValue, "true or false") }

    func unsigned(_ name: String) throws(BadCommand) -> UInt64? {
        try value(name, \.unsignedValue, "a whole number from 0 to \(UInt64.max)")
    }

    func signed(_ name: String) throws(BadCommand) -> Int64? {
        try value(name, \.signedValue, "a whole number from \(Int64.min) to \(Int64.max)")
    }

    /// The values of a list; none when the key is not there.
    func list(_ name: String) throws(BadCommand) -> [JSON] {
        try value(name, { (json) in if case .array(let values) = json { values } else { nil } }, "a list") ?? []
    }

    func names(_ name: String) throws(BadCommand) -> [String] {
        guard let json = members[name] else { return [] }
        return try Self.names(json, "\(what): \(Self.quoted(name))")
    }

    /// The texts of a list.
    static func names(_ json: JSON, _ what: String) throws(BadCommand) -> [String] {
        guard case .array(let values) = json else { throw BadCommand("\(what) is no list.") }
        return try values.map { (value) throws(BadCommand) in
            guard let name = value.stringValue else { throw BadCommand("\(what) is no list of texts.") }
            return name
        }
    }

    private func value<Value>(
        _ name: String,
        _ read: (JSON) -> Value?,
        _ kind: String
    ) throws(BadCommand) -> Value? {
        guard let json = members[name] else { return nil }
        guard let value = read(json) else { throw BadCommand("\(what): \(Self.quoted(name)) is not \(kind).") }
        return value
    }

    /// The beginning of a name from outside, as a JSON text.
    static func quoted(_ name: String) -> String { JSON.string(String(name.prefix(40))).line }
}
