internal import Holdfast
private import Platform
internal import RaftApply
import RegionFailover
import ReplayFormat
internal import ReplayStore

/// The commands of ``FailoverStateMachine``: its value is how many writes wait for one region, and a step takes one out.
public struct FailoverConformanceCommands: ConformanceCommands {
    private static let regions: [RegionID] = ["us", "eu", "ap"]
    /// The region whose queue is counted; random commands leave it alone.
    private static let counted: RegionID = "counted"

    /// Creates the commands.
    public init() {}

    private static func command(_ command: FailoverCommand) -> ConformanceCommand {
        ConformanceCommand(kind: command.kind, payload: command.encoded())
    }

    private static func writes(_ sequences: ClosedRange<UInt64>, _ bytes: Int, incarnation: UInt64 = 1)
        -> [OutstandingWrite]
    {
        sequences.map { sequence in
            var random = SplitMix64(seed: sequence)
            let value = (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) }
            return OutstandingWrite(
                origin: "us",
                incarnation: incarnation,
                sequence: sequence,
                key: Array("key \(sequence % 13)".utf8),
                value: value
            )
        }
    }

    private static func append(_ writes: [OutstandingWrite], to regions: [RegionID], ifEpoch: UInt64? = nil)
        -> FailoverCommand
    {
        .append(
            regions,
            LogFrame.build(writes, enqueuedAt: Timestamp(milliseconds: 1_800_000_000_000), level: 1),
            ifEpoch: ifEpoch
        )
    }

    /// A deployment, and 2,500 writes to take out.
    public var setUp: [ConformanceCommand] {
        let configuration = FailoverConfiguration(
            local: "us",
            regions: Self.regions + [Self.counted],
            historyCapacity: 40
        )
        return [
            Self.command(.configure(configuration, limits: nil, force: false, ifEpoch: nil)),
            Self.command(Self.append(Self.writes(1...2500, 8, incarnation: 7), to: [Self.counted])),
        ]
    }

    /// Takes one write out.
    public var step: ConformanceCommand { Self.command(.drain(Self.counted, max: 1)) }

    /// Takes none out.
    public var look: ConformanceCommand { Self.command(.drain(Self.counted, max: 0)) }

    /// An acknowledgement of what was never queued.
    public var refused: ConformanceCommand {
        Self.command(.acknowledge(Self.counted, through: .max - 1, batch: nil, ifEpoch: nil))
    }

    /// Appends one write: it changes the value by one as well, in the other direction.
    public func large(_ bytes: Int) -> ConformanceCommand? {
        Self.command(Self.append(Self.writes(1...1, bytes, incarnation: 9), to: [Self.counted]))
    }

    /// How many writes wait.
    public func value(_ outcome: [UInt8]) -> Int? {
        guard let row = try? RaftRows.Outcome(decoding: outcome.span),
            case .drained(let receipt)? = try? FailoverOutcome.decode(row)
        else { return nil }
        return Int(receipt.remaining)
    }

    /// Any command, to the other queues.
    public func any(_ random: inout SplitMix64) -> ConformanceCommand {
        let region = Self.regions[Int.random(in: 0..<Self.regions.count, using: &random)]
        let epoch: UInt64? = Int.random(in: 0..<4, using: &random) == 0 ? UInt64.random(in: 1...3, using: &random) : nil
        return Self.command(Self.any(&random, region, epoch))
    }

    private static func any(_ random: inout SplitMix64, _ region: RegionID, _ epoch: UInt64?) -> FailoverCommand {
        let position = UInt64.random(in: 0...60, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0: return .heartbeat(region)
        case 1:
            return .observe(
                regions.map {
                    FailoverCommand.RegionSilence($0, milliseconds: Int64.random(in: 0...20_000, using: &random))
                }
            )
        case 2: return .demoteAndPromote(region, ifEpoch: epoch)
        case 3: return .switchover(region, ifEpoch: epoch)
        case 4:
            return .readmit(region, maximumPending: position, force: Bool.random(using: &random), ifEpoch: epoch)
        case 5: return .pause(region, reason: "because \(position)", until: nil)
        case 6: return .resume(region, until: nil)
        case 7: return .clearResync(region)
        case 8: return .acknowledge(region, through: position, batch: nil, ifEpoch: epoch)
        case 9: return .drain(region, max: UInt32.random(in: 0...30, using: &random))
        case 10:
            let overflow: QueueLimits.Overflow = Bool.random(using: &random) ? .dropOldest : .reject
            var limits = QueueLimits()
            limits.entriesMax = 20 + position
            limits.bytesMax = Bool.random(using: &random) ? 4_000 + position : nil
            limits.overflow = overflow
            return .setLimits(region, limits)
        case 11: return .setReplaySettings(region, ReplaySettings())
        case 12:
            let range = FailoverCommand.ParkedRange(
                queue: UInt32.random(in: 1...4, using: &random),
                first: max(1, position),
                last: max(1, position) + 2,
                cause: .attempts,
                attempts: 3,
                reason: "refused"
            )
            return .park(region, range)
        case 13: return .retryDead(region, .all, below: .max)
        case 14: return .dropDead(region, .all, below: .max)
        case 15: return .raiseVersion(1)
        case 16:
            let place = FailoverCommand.QueuePlace(queue: UInt32.random(in: 1...4, using: &random), position: position)
            return .setAttempts(region, at: place, UInt32.random(in: 0...3, using: &random))
        default:
            let first = UInt64.random(in: 1...200, using: &random)
            let writes = writes(first...(first + UInt64.random(in: 0...12, using: &random)), 40)
            let targets = Bool.random(using: &random) ? regions : [region]
            return append(writes, to: targets, ifEpoch: epoch)
        }
    }
}
