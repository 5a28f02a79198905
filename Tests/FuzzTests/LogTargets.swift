import Bytes
import HoldfastTesting
import RaftApply
import RegionFailover
import ReplayFormat
import ReplayStore
import Zstd

/// The decoders of a replicated log: the envelope, the commands, what they come to, and the rows that a replica keeps of them.
enum LogTargets {
    static let all: [FuzzTarget] = [envelope, command, append, outcome, row]

    /// Commands of every kind.
    private static func commands() -> [ConformanceCommand] {
        let commands = FailoverConformanceCommands()
        var random = SplitMix64(seed: 1)
        return commands.setUp + [commands.step, commands.look, commands.refused]
            + (0..<150).map { _ in commands.any(&random) }
    }

    private static let envelope = FuzzTarget(
        name: "envelope",
        allowance: 1 << 20,
        seeds: {
            commands().prefix(40).enumerated().map { number, command in
                let id = ProposalID(session: SessionID(index: 3, nonce: 7), sequence: UInt64(number))
                let envelope = CommandEnvelope(
                    id: id,
                    respondedBelow: 1,
                    now: Timestamp(milliseconds: 5),
                    kind: command.kind,
                    payload: command.payload
                )
                return Array(envelope.encoded().dropLast(8))
            }
        },
        decode: { input in
            var bytes = input
            bytes.append(bigEndian: XXH3.hash64(input.span))
            guard let envelope = try? CommandEnvelope(decoding: bytes) else { return false }
            guard envelope.encoded() == bytes else { throw Broken("it encodes to something else") }
            return true
        }
    )

    private static let command = FuzzTarget(
        name: "command",
        allowance: 1 << 20,
        seeds: { commands().map { [$0.kind] + $0.payload } },
        decode: { input in
            guard let kind = input.first,
                let command = try? FailoverCommand.decode(kind: kind, Array(input.dropFirst()))
            else { return false }
            // Several bytes can mean one command; what it encodes to means the same.
            let again = command.encoded()
            guard command.kind == kind, try FailoverCommand.decode(kind: kind, again) == command else {
                throw Broken("it encodes to something else")
            }
            return true
        }
    )

    /// The frames of an append, as a replica reads them: a command of a megabyte may be a bomb.
    private static let append = FuzzTarget(
        name: "append",
        allowance: 4 * StoreLimits.callBytesMax,
        seeds: {
            commands().compactMap { command in
                guard case .append? = try? FailoverCommand.decode(kind: command.kind, command.payload) else {
                    return nil
                }
                return [command.kind] + command.payload
            }
        },
        decode: { input in
            guard let kind = input.first,
                case .append(let regions, let frames, let epoch)? = try? FailoverCommand.decode(
                    kind: kind,
                    Array(input.dropFirst())
                )
            else { return false }
            let call = try? AppendCall(
                frames,
                to: regions,
                ifEpoch: epoch,
                enqueuedAt: Timestamp(milliseconds: 0),
                codec: FrameCodec()
            )
            return call != nil
        }
    )

    private static let outcome = FuzzTarget(
        name: "outcome",
        allowance: 1 << 20,
        seeds: {
            let write = OutstandingWrite(origin: "us", incarnation: 1, sequence: 2, key: "key", value: "value")
            let entry = QueueEntry(position: 9, enqueuedAt: Timestamp(milliseconds: 4), write: write)
            let event = FailoverEvent(kind: .readmitted(forced: true), at: Timestamp(milliseconds: 3), region: "eu")
            var refusal = HoldfastError(code: .identityBelowFloor, message: "too old", region: "eu")
            (refusal.index, refusal.identity, refusal.floor) = (3, write.identity, write.identity)
            let receipt = AppendReceipt(
                region: "eu",
                positions: 4..<9,
                duplicates: [0, 7],
                dropped: 2,
                durability: .applied,
                events: [event]
            )
            let outcomes: [FailoverOutcome] = [
                .done, .events([event]), .promotion(Promotion(failed: "us", promoted: "eu", epoch: 2, events: [event])),
                .appended([receipt, receipt]),
                .acknowledged(
                    AcknowledgeReceipt(region: "eu", acknowledged: 3, goneBefore: 1, remaining: 4, events: [event])
                ),
                .drained(DrainReceipt(entries: [entry, entry], remaining: 1, events: [])),
                .count(3, isLast: false), .refused(refusal),
            ]
            return outcomes.map { $0.row.encoded() }
        },
        decode: { input in
            guard let row = try? RaftRows.Outcome(decoding: input.span), let outcome = try? FailoverOutcome.decode(row)
            else { return false }
            guard try FailoverOutcome.decode(outcome.row) == outcome else {
                throw Broken("it encodes to something else")
            }
            return true
        }
    )

    /// A key and its row: the key's length, the key, the fields.
    private static let row = FuzzTarget(
        name: "raft-row",
        allowance: 1 << 20,
        seeds: {
            let session = (high: 3 as UInt64, low: 4 as UInt64)
            let rows: [([UInt8], [UInt8])] = [
                (RaftRows.appliedKey, RaftRows.Applied().encoded()),
                (RaftRows.sessionKey(session), RaftRows.Session(respondedBelow: 3, lastIndex: 9).encoded()),
                (RaftRows.outcomeKey(session, 8), RaftRows.Outcome(agreed: [1, 2], message: "text").encoded()),
                (RaftRows.partKey(session, 8, 1), [1, 2, 3]), (RaftRows.digestKey(77), Array(repeating: 5, count: 16)),
            ]
            return rows.map { [UInt8($0.0.count)] + $0.0 + $0.1 }
        },
        decode: { input in
            guard let count = input.first, input.count > Int(count) else { return false }
            let (key, fields) = (Array(input[1..<(1 + Int(count))]), Array(input[(1 + Int(count))...]))
            guard let subject = try? RaftRows.subject(key) else { return false }
            _ = RaftRows.agreed(key, fields)
            switch subject {
            case .applied:
                guard let row = try? RaftRows.Applied(decoding: fields.span) else { return false }
                guard row.encoded() == fields else { throw Broken("it encodes to something else") }
            case .session(let session):
                guard let row = try? RaftRows.Session(decoding: fields.span) else { return false }
                guard row.encoded() == fields, RaftRows.sessionKey(session) == key else {
                    throw Broken("it encodes to something else")
                }
            case .outcome(let session, let sequence):
                guard RaftRows.outcomeKey(session, sequence) == key else { throw Broken("the key is another one") }
                return (try? RaftRows.Outcome(decoding: fields.span)) != nil
            case .part(let session, let sequence, let part):
                guard RaftRows.partKey(session, sequence, part) == key else { throw Broken("the key is another one") }
            case .digest(let index):
                guard RaftRows.digestKey(index) == key else { throw Broken("the key is another one") }
            }
            return true
        }
    )
}
