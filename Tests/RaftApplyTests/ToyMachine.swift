import Foundation
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayStore
import Synchronization

/// What can be wrong with a state machine; each is a mistake that somebody has made.
enum Defect: String, CaseIterable, Sendable {
    /// The applied index is written after the effects, not with them.
    case indexOutsideTheTransaction
    /// A snapshot is taken without its index.
    case restoreWithoutIndex
    /// A command that cannot be read is passed over.
    case skipsWhatItCannotRead
    /// Writing the state anew forgets the index.
    case rewriteDropsTheIndex
    /// A snapshot has the values, and not the sessions.
    case sessionsNotInTheSnapshot
    /// Of a session only the last command is known.
    case onlyTheLastSequence
    /// What an entry does depends on the time here.
    case localClockInApply
    /// A command is refused by a limit of this replica alone.
    case localLimitInApply
    /// A command that was overtaken is taken for one that came before.
    case overtakenIsADuplicate
    /// A repeated command gives a new outcome.
    case outcomeNotStored
    /// A session that is not known begins by itself.
    case sessionsBeginThemselves
    /// What the client knows is never forgotten, and never expires.
    case nothingExpires
    /// The term enters the digest.
    case termInTheDigest
    /// A batch counts: what it holds depends on how entries came together.
    case batchInTheDigest
    /// An entry that comes again is applied again.
    case redeliveryIsApplied
    /// A snapshot is taken without a look at it.
    case snapshotNotProved
    /// One index may have two commands.
    case noHashOfTheCommand
    /// A time from the future is taken.
    case anyTime
}

/// A counter in a file: as small as a state machine on a disk can be, right where no defect is asked for.
///
/// The file is replaced by a rename, so that effects and index are of one moment.
actor ToyMachine: OnDiskStateMachine {
    private struct Session {
        var respondedBelow: UInt64 = 1
        var lastIndex: UInt64
        var outcomes: [UInt64: String] = [:]
        var parts: [UInt64: Set<UInt32>] = [:]
    }

    private struct State {
        var index: UInt64 = 0
        var term: UInt64 = 0
        var command = "none"
        var time: Int64?
        var value = 0
        var sessions: [String: Session] = [:]
        var digests: [UInt64: String] = [:]
        var batches = 0

        /// A line for each thing that is known, in an order of their own.
        var lines: [String] {
            var lines = ["state \(index) \(term) \(command) \(time.map(String.init) ?? "-") \(value) \(batches)"]
            for (name, session) in sessions {
                lines.append("session \(name) \(session.respondedBelow) \(session.lastIndex)")
                for (sequence, outcome) in session.outcomes { lines.append("outcome \(name) \(sequence) \(outcome)") }
                for (sequence, parts) in session.parts {
                    for part in parts { lines.append("part \(name) \(sequence) \(part)") }
                }
            }
            for (index, digest) in digests { lines.append("digest \(index) \(digest)") }
            return lines.sorted()
        }

        init() {}

        /// Reads the lines; nil where they are none.
        init?(_ text: String) {
            for line in text.split(separator: "\n") {
                let words = line.split(separator: " ").map(String.init)
                guard words.count >= 3 else { return nil }
                switch words[0] {
                case "state":
                    guard words.count == 7, let index = UInt64(words[1]), let term = UInt64(words[2]),
                        let value = Int(words[5]), let batches = Int(words[6])
                    else { return nil }
                    (self.index, self.term, command, time) = (index, term, words[3], Int64(words[4]))
                    (self.value, self.batches) = (value, batches)
                case "session":
                    guard let below = UInt64(words[2]), let last = UInt64(words[3]) else { return nil }
                    sessions[words[1], default: Session(lastIndex: last)].respondedBelow = below
                    sessions[words[1]]?.lastIndex = last
                case "outcome":
                    guard let sequence = UInt64(words[2]) else { return nil }
                    sessions[words[1], default: Session(lastIndex: 0)].outcomes[sequence] = words[3]
                case "part":
                    guard let sequence = UInt64(words[2]), let part = UInt32(words[3]) else { return nil }
                    sessions[words[1], default: Session(lastIndex: 0)].parts[sequence, default: []].insert(part)
                case "digest":
                    guard let index = UInt64(words[1]) else { return nil }
                    digests[index] = words[2]
                default: return nil
                }
            }
        }
    }

    private static func hash(_ bytes: some Sequence<UInt8>) -> String {
        // FNV-1a, which is enough to tell two states of a test apart.
        String(bytes.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }, radix: 16)
    }

    private let path: String
    private let defect: Defect?
    private var state = State()
    private var failure: HoldfastError?
    private nonisolated let shared = AppliedBox()

    static let step: UInt8 = 20
    static let look: UInt8 = 21
    static let refuse: UInt8 = 22

    init(path: String, defect: Defect? = nil) throws {
        self.path = path
        self.defect = defect
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        if let text = try? String(contentsOfFile: path + "/state", encoding: .utf8) { state = State(text) ?? State() }
        if defect == .indexOutsideTheTransaction {
            let text = (try? String(contentsOfFile: path + "/index", encoding: .utf8)) ?? "0"
            state.index = UInt64(text) ?? 0
        }
        shared.value = AppliedPosition(index: state.index, term: state.term)
    }

    nonisolated var applied: AppliedPosition { shared.value }

    func close() {}

    func sync() throws(HoldfastError) -> UInt64 { state.index }

    func storedDigests() throws(HoldfastError) -> [UInt64: String] { state.digests }

    func digest() throws(HoldfastError) -> (position: AppliedPosition, digest: String) {
        (AppliedPosition(index: state.index, term: state.term), text(of: state))
    }

    private func text(of state: State) -> String {
        var agreed = state
        agreed.digests = [:]
        if defect != .termInTheDigest { agreed.term = 0 }
        if defect != .batchInTheDigest { agreed.batches = 0 }
        return Self.hash(agreed.lines.joined(separator: "\n").utf8)
    }

    private func save() {
        // The disk of a test has room.
        try? state.lines.joined(separator: "\n").write(toFile: path + "/state", atomically: true, encoding: .utf8)
        if defect == .indexOutsideTheTransaction {
            // It is written one batch late: a crash in between finds the effects without it.
            try? "\(shared.value.index)".write(toFile: path + "/index", atomically: true, encoding: .utf8)
        }
        shared.value = AppliedPosition(index: state.index, term: state.term)
    }

    // MARK: Applying

    func apply(_ entries: [LogEntry]) throws(HoldfastError) -> [AppliedEntry] {
        if let failure { throw failure }
        var results: [AppliedEntry] = []
        defer { save() }
        if !entries.isEmpty { state.batches += 1 }
        for entry in entries {
            do throws(HoldfastError) {
                results.append(try apply(entry))
            } catch {
                failure = error
                throw error
            }
        }
        return results
    }

    private func apply(_ entry: LogEntry) throws(HoldfastError) -> AppliedEntry {
        if entry.index <= state.index, defect != .redeliveryIsApplied {
            let isOther = entry.index == state.index && Self.hash(entry.command) != state.command
            if isOther, defect != .noHashOfTheCommand {
                throw HoldfastError(code: .logConflict, message: "two commands")
            }
            return AppliedEntry(index: entry.index, id: nil, outcome: .skipped)
        }
        let envelope: CommandEnvelope
        do throws(HoldfastError) {
            envelope = try CommandEnvelope(decoding: entry.command)
            let known = [CommandEnvelope.openSession, CommandEnvelope.checkDigest, Self.step, Self.look, Self.refuse]
            guard known.contains(envelope.kind), envelope.kindVersion == 1 else {
                throw HoldfastError(code: .unknownCommand, message: "unknown")
            }
        } catch {
            guard defect == .skipsWhatItCannotRead else { throw error }
            state.index = entry.index
            return AppliedEntry(index: entry.index, id: nil, outcome: .skipped)
        }
        let digest = text(of: state)
        let outcome = execute(envelope, entry.index, digest)
        (state.index, state.term, state.command) = (entry.index, entry.term, Self.hash(entry.command))
        return AppliedEntry(index: entry.index, id: envelope.id, outcome: outcome)
    }

    private func execute(_ envelope: CommandEnvelope, _ index: UInt64, _ digest: String) -> ProposalOutcome {
        let now = envelope.now.milliseconds
        if let time = state.time, defect != .anyTime,
            now > time + envelope.elapsedMilliseconds + ReplicationLimits.clockStepMilliseconds
        {
            return .executed(Array("clock".utf8))
        }
        state.time = max(state.time ?? now, now)
        if envelope.kind == CommandEnvelope.openSession {
            let session = SessionID(index: index, nonce: envelope.id.session.nonce)
            if state.sessions.count >= ReplicationLimits.sessionsMax,
                let oldest = state.sessions.min(by: { ($0.value.lastIndex, $0.key) < ($1.value.lastIndex, $1.key) })
            {
                state.sessions[oldest.key] = nil
            }
            state.sessions[session.description] = Session(lastIndex: index)
            return .executed(Array("opened".utf8))
        }
        let name = envelope.id.session.description
        if state.sessions[name] == nil {
            guard defect == .sessionsBeginThemselves else { return .sessionExpired }
            state.sessions[name] = Session(lastIndex: index)
        }
        guard var session = state.sessions[name] else { return .sessionExpired }
        defer { state.sessions[name] = session }
        return execute(envelope, index, digest, &session)
    }

    private func execute(
        _ envelope: CommandEnvelope,
        _ index: UInt64,
        _ digest: String,
        _ session: inout Session
    ) -> ProposalOutcome {
        let sequence = envelope.id.sequence
        session.lastIndex = index
        if envelope.respondedBelow > session.respondedBelow, defect != .nothingExpires {
            session.respondedBelow = envelope.respondedBelow
            session.outcomes = session.outcomes.filter { $0.key >= envelope.respondedBelow }
            session.parts = session.parts.filter { $0.key >= envelope.respondedBelow }
        }
        guard sequence >= session.respondedBelow else { return .sessionExpired }
        if defect == .overtakenIsADuplicate, let last = session.outcomes.keys.max(), sequence < last {
            return .executed(Array((session.outcomes[last] ?? "").utf8))
        }
        if let outcome = session.outcomes[sequence] {
            return .executed(Array((defect == .outcomeNotStored ? "again" : outcome).utf8))
        }
        guard sequence - session.respondedBelow < ReplicationLimits.sessionWindow || defect == .nothingExpires else {
            return .overloaded
        }
        if envelope.parts > 1 {
            guard envelope.id.part == envelope.parts - 1 else {
                session.parts[sequence, default: []].insert(envelope.id.part)
                return .staged
            }
            guard session.parts[sequence]?.count == Int(envelope.parts) - 1 else { return .partMissing }
            session.parts[sequence] = nil
        }
        let outcome = run(envelope, index, digest)
        if defect == .onlyTheLastSequence { session.outcomes = [:] }
        session.outcomes[sequence] = outcome
        return .executed(Array(outcome.utf8))
    }

    private func run(_ envelope: CommandEnvelope, _ index: UInt64, _ digest: String) -> String {
        switch envelope.kind {
        case CommandEnvelope.checkDigest:
            state.digests[index] = digest
            while state.digests.count > ReplicationLimits.digestsMax, let oldest = state.digests.keys.min() {
                state.digests[oldest] = nil
            }
            return "kept"
        case Self.step:
            // As it would be with half of the disk of another replica.
            if defect == .localLimitInApply, path.utf8.reduce(0, { $0 &+ Int($1) }) % 2 == 0, state.value % 5 == 4 {
                return "full"
            }
            state.value += 1
            if defect == .localClockInApply { state.time = Int64(Date().timeIntervalSince1970 * 1e6) }
        case Self.refuse: return "refused"
        default: break
        }
        return "value-\(state.value)"
    }

    // MARK: Snapshots

    func writeSnapshot(to path: String) throws(HoldfastError) -> SnapshotManifest {
        guard !FileManager.default.fileExists(atPath: path) else {
            throw HoldfastError(code: .alreadyExists, message: "there")
        }
        var copy = state
        if defect == .sessionsNotInTheSnapshot { copy.sessions = [:] }
        let text = copy.lines.joined(separator: "\n")
        try? text.write(toFile: path, atomically: true, encoding: .utf8)
        if defect == .rewriteDropsTheIndex {
            state.index = 0
            save()
        }
        return SnapshotManifest(
            cluster: "toy",
            index: copy.index,
            term: copy.term,
            digest: self.text(of: copy),
            bytes: UInt64(text.utf8.count),
            checksum: Self.hash(text.utf8)
        )
    }

    func installSnapshot(from path: String, _ manifest: SnapshotManifest) throws(HoldfastError) -> Bool {
        let wrong = HoldfastError(code: .damaged, message: "wrong")
        let bytes = (try? Data(contentsOf: URL(fileURLWithPath: path))) ?? Data()
        if defect != .snapshotNotProved {
            guard manifest.version == 1, manifest.cluster == "toy", manifest.bytes == UInt64(bytes.count),
                manifest.checksum == Self.hash(bytes)
            else { throw wrong }
        }
        guard manifest.index > state.index else { return false }
        guard var next = State(String(decoding: bytes, as: UTF8.self)) else { throw wrong }
        if defect != .snapshotNotProved {
            guard next.index == manifest.index, text(of: next) == manifest.digest else { throw wrong }
        }
        if defect == .restoreWithoutIndex { next.index = state.index }
        state = next
        save()
        return true
    }
}

/// The applied position, for readers that do not wait for the actor.
final class AppliedBox: Sendable {
    private let position = Mutex(AppliedPosition.zero)

    var value: AppliedPosition {
        get { position.withLock { $0 } }
        set { position.withLock { $0 = newValue } }
    }
}

/// The commands of ``ToyMachine``.
struct ToyCommands: ConformanceCommands {
    var setUp: [ConformanceCommand] { [step] }
    var step: ConformanceCommand { ConformanceCommand(kind: ToyMachine.step, payload: []) }
    var look: ConformanceCommand { ConformanceCommand(kind: ToyMachine.look, payload: []) }
    var refused: ConformanceCommand { ConformanceCommand(kind: ToyMachine.refuse, payload: []) }

    func any(_ random: inout SplitMix64) -> ConformanceCommand {
        [step, step, look, refused].randomElement(using: &random) ?? step
    }

    func large(_ bytes: Int) -> ConformanceCommand? {
        ConformanceCommand(kind: ToyMachine.step, payload: Array(repeating: 7, count: bytes))
    }

    func value(_ outcome: [UInt8]) -> Int? {
        let text = String(decoding: outcome, as: UTF8.self)
        return text.hasPrefix("value-") ? Int(text.dropFirst(6)) : nil
    }
}
