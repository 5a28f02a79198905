private import Bytes
package import RegionFailover
package import ReplayFormat
package import ReplayStore

/// A command of the failover controller, as an envelope carries it.
///
/// Numbers are big-endian; a name is one byte of length, then its bytes; what can be missing is a byte 0 or 1, then the value.
/// A kind and its number are never used for another thing.
package enum FailoverCommand: Sendable, Hashable {
    /// The deployment: the first one makes it, with `local` as its primary.
    case configure(FailoverConfiguration, limits: QueueLimits?, force: Bool, ifEpoch: UInt64?)
    case heartbeat(RegionID)
    /// What the detector has seen: how long each region has been silent, in milliseconds.
    ///
    /// Regions that are not named keep their silence. Entries that are too old are dropped with it, where that is the policy.
    case observe([RegionSilence])
    case demoteAndPromote(RegionID, ifEpoch: UInt64?)
    case switchover(RegionID, ifEpoch: UInt64?)
    case readmit(RegionID, maximumPending: UInt64, force: Bool, ifEpoch: UInt64?)
    case pause(RegionID, reason: String, until: Timestamp?)
    /// `until`: The pause that is meant, where only one that was to last until then is.
    case resume(RegionID, until: Timestamp?)
    case clearResync(RegionID)
    case append([RegionID], [LogFrame], ifEpoch: UInt64?)
    /// `batch`: What was sent, where it was a batch.
    case acknowledge(RegionID, through: UInt64, batch: SentBatch?, ifEpoch: UInt64?)
    case drain(RegionID, max: UInt32)
    case setLimits(RegionID, QueueLimits)
    case setTotalLimits(TotalLimits)
    case setReplaySettings(RegionID, ReplaySettings)
    case park(RegionID, ParkedRange)
    case retryDead(RegionID, DeadLetterSelection, below: UInt64)
    case dropDead(RegionID, DeadLetterSelection, below: UInt64)
    /// How often the entry at the head, if it is still that one, was refused.
    case setAttempts(RegionID, at: QueuePlace, UInt32)
    /// From here on commands mean what they mean in this version.
    case raiseVersion(UInt32)

    /// How long a region has been silent.
    package struct RegionSilence: Sendable, Hashable {
        package var region: RegionID
        package var milliseconds: Int64

        package init(_ region: RegionID, milliseconds: Int64) {
            self.region = region
            self.milliseconds = milliseconds
        }
    }

    /// The batch that an acknowledgement is about.
    package struct SentBatch: Sendable, Hashable {
        package var queue: UInt32
        package var entries: UInt32
        /// Entries that had left the queue without being received when it was read.
        package var goneBefore: UInt64

        package init(queue: UInt32, entries: UInt32, goneBefore: UInt64) {
            self.queue = queue
            self.entries = entries
            self.goneBefore = goneBefore
        }
    }

    /// A position of one queue.
    package struct QueuePlace: Sendable, Hashable {
        package var queue: UInt32
        package var position: UInt64

        package init(queue: UInt32, position: UInt64) {
            self.queue = queue
            self.position = position
        }
    }

    /// Entries at the head of a queue that become dead letters.
    package struct ParkedRange: Sendable, Hashable {
        package var queue: UInt32
        package var first: UInt64
        package var last: UInt64
        package var cause: DeadRow.Cause
        package var attempts: UInt32
        package var reason: String

        package init(
            queue: UInt32,
            first: UInt64,
            last: UInt64,
            cause: DeadRow.Cause,
            attempts: UInt32,
            reason: String
        ) {
            self.queue = queue
            self.first = first
            self.last = last
            self.cause = cause
            self.attempts = attempts
            self.reason = reason
        }
    }

    /// The versions of the commands' meaning that this program knows, up to this one.
    package static let versionMax: UInt32 = 1
    /// The version of every payload.
    package static let kindVersion: UInt8 = 1

    private enum Kind: UInt8 {
        case configure = 16
        case heartbeat, observe, demoteAndPromote, switchover, readmit, pause, resume, clearResync, append, acknowledge
        case drain, setLimits, setTotalLimits, setReplaySettings, park, retryDead, dropDead, raiseVersion, setAttempts
    }

    /// The number of the command's kind.
    package var kind: UInt8 {
        let kind: Kind =
            switch self {
            case .configure: .configure
            case .heartbeat: .heartbeat
            case .observe: .observe
            case .demoteAndPromote: .demoteAndPromote
            case .switchover: .switchover
            case .readmit: .readmit
            case .pause: .pause
            case .resume: .resume
            case .clearResync: .clearResync
            case .append: .append
            case .acknowledge: .acknowledge
            case .drain: .drain
            case .setLimits: .setLimits
            case .setTotalLimits: .setTotalLimits
            case .setReplaySettings: .setReplaySettings
            case .park: .park
            case .retryDead: .retryDead
            case .dropDead: .dropDead
            case .raiseVersion: .raiseVersion
            case .setAttempts: .setAttempts
            }
        return kind.rawValue
    }
}

// MARK: - Bytes

extension FailoverCommand {
    /// The payload.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .configure(let configuration, let limits, let force, let ifEpoch):
            bytes.append(field: ControllerRows.configuration(configuration))
            bytes.append(optional: limits) { $0.append(field: Self.encoded($1)) }
            bytes.append(force ? 1 : 0)
            bytes.append(epoch: ifEpoch)
        case .heartbeat(let region), .clearResync(let region): bytes.append(region: region)
        case .observe(let silences):
            bytes.append(bigEndian: UInt16(silences.count))
            for silence in silences {
                bytes.append(region: silence.region)
                bytes.append(bigEndian: silence.milliseconds)
            }
        case .demoteAndPromote(let region, let ifEpoch), .switchover(let region, let ifEpoch):
            bytes.append(region: region)
            bytes.append(epoch: ifEpoch)
        case .readmit(let region, let maximumPending, let force, let ifEpoch):
            bytes.append(region: region)
            bytes.append(bigEndian: maximumPending)
            bytes.append(force ? 1 : 0)
            bytes.append(epoch: ifEpoch)
        case .pause(let region, let reason, let until):
            bytes.append(region: region)
            bytes.append(field: Array(reason.utf8))
            bytes.append(optional: until) { $0.append(bigEndian: $1.milliseconds) }
        case .resume(let region, let until):
            bytes.append(region: region)
            bytes.append(optional: until) { $0.append(bigEndian: $1.milliseconds) }
        case .append(let regions, let frames, let ifEpoch):
            bytes.reserveCapacity(frames.reduce(64) { $0 + $1.bytes.count + 16 })
            bytes.append(bigEndian: UInt16(regions.count))
            for region in regions { bytes.append(region: region) }
            bytes.append(epoch: ifEpoch)
            bytes.append(varint: UInt64(frames.count))
            for frame in frames { frame.append(to: &bytes) }
        case .acknowledge(let region, let through, let batch, let ifEpoch):
            bytes.append(region: region)
            bytes.append(bigEndian: through)
            bytes.append(optional: batch) { bytes, batch in
                bytes.append(bigEndian: batch.queue)
                bytes.append(bigEndian: batch.entries)
                bytes.append(bigEndian: batch.goneBefore)
            }
            bytes.append(epoch: ifEpoch)
        case .drain(let region, let max):
            bytes.append(region: region)
            bytes.append(bigEndian: max)
        case .setLimits(let region, let limits):
            bytes.append(region: region)
            bytes.append(field: Self.encoded(limits))
        case .setTotalLimits(let limits): bytes.append(field: limits.encoded())
        case .setReplaySettings(let region, let settings):
            bytes.append(region: region)
            bytes.append(field: settings.encoded())
        case .park(let region, let range):
            bytes.append(region: region)
            bytes.append(bigEndian: range.queue)
            bytes.append(bigEndian: range.first)
            bytes.append(bigEndian: range.last)
            bytes.append(range.cause.rawValue)
            bytes.append(bigEndian: range.attempts)
            bytes.append(field: Array(range.reason.utf8))
        case .retryDead(let region, let selection, let end), .dropDead(let region, let selection, let end):
            bytes.append(region: region)
            bytes.append(selection: selection)
            bytes.append(bigEndian: end)
        case .raiseVersion(let version): bytes.append(bigEndian: version)
        case .setAttempts(let region, let place, let attempts):
            bytes.append(region: region)
            bytes.append(bigEndian: place.queue)
            bytes.append(bigEndian: place.position)
            bytes.append(bigEndian: attempts)
        }
        return bytes
    }

    /// A region's limits, as a row of no other meaning carries them.
    private static func encoded(_ limits: QueueLimits) -> [UInt8] {
        var row = RegionRow(number: 0)
        row.limits = limits
        return row.encoded()
    }

    /// Reads a payload; nil for a kind that this program does not know.
    package static func decode(kind: UInt8, _ payload: [UInt8]) throws(FormatError) -> Self? {
        guard let kind = Kind(rawValue: kind) else { return nil }
        var reader = ByteReader(payload.span)
        let command = try decode(kind, &reader)
        try reader.end("a command")
        return command
    }

    private static func decode(_ kind: Kind, _ reader: inout ByteReader) throws(FormatError) -> Self {
        switch kind {
        case .configure: return try configure(&reader)
        case .heartbeat: return .heartbeat(try reader.region("region"))
        case .clearResync: return .clearResync(try reader.region("region"))
        case .observe: return try observe(&reader)
        case .demoteAndPromote:
            return .demoteAndPromote(try reader.region("region"), ifEpoch: try reader.epoch())
        case .switchover: return .switchover(try reader.region("region"), ifEpoch: try reader.epoch())
        case .readmit:
            return .readmit(
                try reader.region("region"),
                maximumPending: try reader.number(UInt64.self, "maximum pending"),
                force: try reader.flag("force"),
                ifEpoch: try reader.epoch()
            )
        case .pause:
            let region = try reader.region("region")
            return .pause(region, reason: try reader.text("reason"), until: try reader.time("until"))
        case .resume: return .resume(try reader.region("region"), until: try reader.time("until"))
        case .append: return try append(&reader)
        case .acknowledge: return try acknowledge(&reader)
        case .drain:
            return .drain(try reader.region("region"), max: try reader.number(UInt32.self, "most entries"))
        case .setLimits: return .setLimits(try reader.region("region"), try limits(&reader))
        case .setTotalLimits:
            let fields = try reader.field("total limits")
            return .setTotalLimits(try TotalLimits(decoding: fields.span))
        case .setReplaySettings:
            let region = try reader.region("region")
            let fields = try reader.field("settings")
            return .setReplaySettings(region, try ReplaySettings(decoding: fields.span))
        case .park: return try park(&reader)
        case .retryDead, .dropDead:
            let region = try reader.region("region")
            let selection = try reader.selection()
            let end = try reader.number(UInt64.self, "end")
            if kind == .retryDead { return .retryDead(region, selection, below: end) }
            return .dropDead(region, selection, below: end)
        case .raiseVersion: return .raiseVersion(try reader.number(UInt32.self, "version"))
        case .setAttempts:
            let region = try reader.region("region")
            let queue = try reader.number(UInt32.self, "queue")
            let place = QueuePlace(queue: queue, position: try reader.number(UInt64.self, "position"))
            return .setAttempts(region, at: place, try reader.number(UInt32.self, "attempts"))
        }
    }

    private static func configure(_ reader: inout ByteReader) throws(FormatError) -> Self {
        let fields = try reader.field("configuration")
        let configuration = try ControllerRows.configuration(decoding: fields.span)
        var limits: QueueLimits?
        if try reader.flag("limits") { limits = try Self.limits(&reader) }
        let force = try reader.flag("force")
        return .configure(configuration, limits: limits, force: force, ifEpoch: try reader.epoch())
    }

    private static func observe(_ reader: inout ByteReader) throws(FormatError) -> Self {
        var silences: [RegionSilence] = []
        for _ in 0..<(try reader.number(UInt16.self, "silences")) {
            let region = try reader.region("region")
            silences.append(RegionSilence(region, milliseconds: try reader.signed("silence")))
        }
        return .observe(silences)
    }

    private static func limits(_ reader: inout ByteReader) throws(FormatError) -> QueueLimits {
        let fields = try reader.field("limits")
        return try RegionRow(decoding: fields.span).limits
    }

    private static func append(_ reader: inout ByteReader) throws(FormatError) -> Self {
        var regions: [RegionID] = []
        for _ in 0..<(try reader.number(UInt16.self, "regions")) { regions.append(try reader.region("region")) }
        let ifEpoch = try reader.epoch()
        var frames: [LogFrame] = []
        for _ in 0..<(try reader.length("frames", limit: StoreLimits.callEntriesMax)) {
            frames.append(try LogFrame(&reader))
        }
        return .append(regions, frames, ifEpoch: ifEpoch)
    }

    private static func acknowledge(_ reader: inout ByteReader) throws(FormatError) -> Self {
        let region = try reader.region("region")
        let through = try reader.number(UInt64.self, "position")
        var batch: SentBatch?
        if try reader.flag("batch") {
            batch = SentBatch(
                queue: try reader.number(UInt32.self, "queue"),
                entries: try reader.number(UInt32.self, "entries"),
                goneBefore: try reader.number(UInt64.self, "gone before")
            )
        }
        return .acknowledge(region, through: through, batch: batch, ifEpoch: try reader.epoch())
    }

    private static func park(_ reader: inout ByteReader) throws(FormatError) -> Self {
        let region = try reader.region("region")
        let queue = try reader.number(UInt32.self, "queue")
        let first = try reader.number(UInt64.self, "first position")
        let last = try reader.number(UInt64.self, "last position")
        guard first <= last, let cause = DeadRow.Cause(rawValue: try reader.byte("cause")) else {
            throw FormatError("a range of entries to park is none")
        }
        return .park(
            region,
            ParkedRange(
                queue: queue,
                first: first,
                last: last,
                cause: cause,
                attempts: try reader.number(UInt32.self, "attempts"),
                reason: try reader.text("reason")
            )
        )
    }
}
