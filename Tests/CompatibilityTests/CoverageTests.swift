import Bytes
import HoldfastTesting
import RegionFailover
import ReplayFormat
import TestSupport
import Testing
import Zstd

@testable import ReplayStore

/// What the rows and blocks of a set of fixtures use of their format.
private struct Uses {
    var tables: Set<String> = []
    var blockFlags: Set<UInt8> = []
    var regionFlags: UInt8 = 0
    var overflows: Set<QueueLimits.Overflow> = []
    var lost: Set<LostRow.Reason> = []
    var causes: Set<DeadRow.Cause> = []
    var seen: Set<String> = []
    var events: Set<String> = []
    var eventFlags: UInt8 = 0
    var controller: Set<String> = []
    var roles: Set<RegionRole> = []
    var states: Set<RegionState> = []
    var settingsFlags: UInt8 = 0
    var exhaustions: Set<ReplaySettings.Exhaustion> = []
    var limitFlags: UInt8 = 0
    var superblock: Set<String> = []
    var kinds: Set<OutstandingWrite.Kind> = []
    var isLarge = false

    mutating func take(_ table: Table, _ key: [UInt8], _ value: [UInt8], _ codec: FrameCodecs) throws {
        tables.insert(String(table.name.split(separator: "/")[0]))
        guard table.hasRows else { return try take(value, codec) }
        let fields = try Row.open(value.span, key: key, in: table)
        switch table {
        case .superblock: superblock.insert(String(decoding: key, as: UTF8.self))
        case .regions:
            regionFlags |= fields[1]
            overflows.insert(try RegionRow(decoding: fields.span).limits.overflow)
        case .seen: seen.insert(String(decoding: key.prefix(1), as: UTF8.self))
        case .dead(let number):
            causes.insert(try DeadRow.read(key, value.span, in: .dead(number)).row.cause)
        case .lost: lost.insert(try LostRow.read(key, value.span).1.reason)
        case .controller: try takeController(String(decoding: key, as: UTF8.self), fields)
        case .history:
            events.insert(try EventRow.decode(fields.span).name)
            eventFlags |= fields.last ?? 0
        case .dictionaries, .raft, .queue: break
        }
    }

    private mutating func takeController(_ key: String, _ fields: [UInt8]) throws {
        switch key.first {
        case "r":
            controller.insert("r")
            let (role, state, _) = try ControllerRows.region(decoding: fields.span)
            roles.insert(role)
            states.insert(state)
        case "p":
            controller.insert("p")
            settingsFlags |= fields[0]
            exhaustions.insert(try ReplaySettings(decoding: fields.span).exhaustion)
        default:
            controller.insert(key)
            if key == "mlimits" { limitFlags |= fields[0] }
        }
    }

    private mutating func take(_ block: [UInt8], _ codec: FrameCodecs) throws {
        blockFlags.insert(block[1])
        if block.count > 4096 { isLarge = true }
        let header = try BlockHeader(verifying: block.span)
        let verified = try VerifiedBlock(block.span, store: header.store, queue: header.queue, firstPosition: nil)
        for entry in try verified.frameEntries(codec.codec) { kinds.insert(entry.write.kind) }
    }
}

/// The dictionaries of a store.
private struct FrameCodecs {
    let reader: StoreReader
    var codec: FrameCodec { reader.codec }
}

@Suite("The stores that are kept of this version") struct CoverageTests {
    @Test("use every table, every kind of row and block, and every flag") func everything() throws {
        var uses = Uses()
        let directory = try TemporaryDirectory()
        let refused = ["newer-version", "unknown-feature", "incomplete"]
        for fixture in Fixture.all
        where fixture.version == Fixture.current && !fixture.isLedger && !refused.contains(fixture.name) {
            let path = directory.appending(fixture.name)
            try fixture.copy(to: path)
            let reader = try StoreReader.open(path)
            let pairs = try reader.look { (view) throws(HoldfastError) -> [(Table, [UInt8], [UInt8])] in
                var pairs: [(Table, [UInt8], [UInt8])] = []
                for table in view.tables {
                    try view.scan(table) { (key, value) throws(HoldfastError) in
                        pairs.append((table, key, value.array))
                        return true
                    }
                }
                return pairs
            }
            for (table, key, value) in pairs { try uses.take(table, key, value, FrameCodecs(reader: reader)) }
        }
        #expect(
            uses.tables == [
                "superblock", "regions", "queue", "seen", "dead", "lost", "controller", "history", "dictionaries",
                "raft",
            ]
        )
        // Raw, compressed and with a dictionary; and one with entries that are skipped.
        #expect(uses.blockFlags.isSuperset(of: [0, 1, 5]), "\(uses.blockFlags)")
        #expect(uses.blockFlags.contains { $0 & 2 != 0 }, "\(uses.blockFlags)")
        #expect(uses.regionFlags == 127 && uses.overflows == Set(QueueLimits.Overflow.allCases))
        #expect(uses.lost == Set(LostRow.Reason.allCases))
        #expect(uses.causes == Set(DeadRow.Cause.allCases))
        #expect(uses.seen == ["r", "f"])
        #expect(uses.events.count == 15 && uses.eventFlags == 7, "\(uses.events.sorted())")
        #expect(
            uses.controller == ["mepoch", "mtime", "mevents", "mconfiguration", "mlimits", "p", "r"],
            "\(uses.controller.sorted())"
        )
        #expect(uses.roles.count == 4 && uses.states.count == 4, "\(uses.roles) \(uses.states)")
        #expect(uses.settingsFlags == 7 && uses.exhaustions == Set(ReplaySettings.Exhaustion.allCases))
        #expect(uses.limitFlags == 3)
        // No program opens one that is incomplete.
        #expect(uses.superblock == Set(Superblock.Name.allCases.map(\.rawValue)).subtracting(["incomplete"]))
        #expect(uses.kinds == Set(OutstandingWrite.Kind.allCases))
        #expect(uses.isLarge)
    }
}
