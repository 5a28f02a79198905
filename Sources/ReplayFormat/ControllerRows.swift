private import Bytes
package import RegionFailover

/// The rows of the table `controller`: the failover machine's snapshot.
package enum ControllerRows {
    /// The names of the `m` rows.
    package enum Name: String, CaseIterable, Sendable {
        case epoch, configuration, time, events, limits
    }

    /// A number: the epoch, or the number that the next event gets.
    package static func number(_ value: UInt64) -> [UInt8] { Key.number(value) }

    /// Reads a number.
    package static func number(decoding fields: Span<UInt8>) throws(FormatError) -> UInt64 {
        try Key.number(from: fields)
    }

    /// The machine's time, and that of its last tick.
    package static func time(_ time: Timestamp, lastTick: Timestamp?) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: time.milliseconds)
        bytes.append(lastTick == nil ? 0 : 1)
        bytes.append(bigEndian: lastTick?.milliseconds ?? 0)
        return bytes
    }

    /// Reads the time.
    package static func time(decoding fields: Span<UInt8>) throws(FormatError) -> (Timestamp, lastTick: Timestamp?) {
        var reader = ByteReader(fields)
        let time = Timestamp(milliseconds: try reader.signed("time"))
        let ticked = try reader.flag("ticked")
        let lastTick = Timestamp(milliseconds: try reader.signed("last tick"))
        try reader.end("the time")
        return (time, ticked ? lastTick : nil)
    }

    private static let roles: [RegionRole] = [.primary, .secondary, .promotedSecondary, .demotedPrimary]
    private static let states: [RegionState] = [.healthy, .suspect, .failed, .recovering]

    /// A region's role, state and when it was last heard from.
    ///
    /// Silence is the machine's time less that.
    package static func region(_ role: RegionRole, _ state: RegionState, lastSeen: Timestamp) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(UInt8(roles.firstIndex(of: role) ?? 0))
        bytes.append(UInt8(states.firstIndex(of: state) ?? 0))
        bytes.append(bigEndian: lastSeen.milliseconds)
        return bytes
    }

    /// Reads a region's row.
    package static func region(
        decoding fields: Span<UInt8>
    ) throws(FormatError) -> (role: RegionRole, state: RegionState, lastSeen: Timestamp) {
        var reader = ByteReader(fields)
        let role = Int(try reader.byte("role"))
        let state = Int(try reader.byte("state"))
        guard role < roles.count, state < states.count else {
            throw FormatError("role \(role) or state \(state) is unknown")
        }
        let lastSeen = Timestamp(milliseconds: try reader.signed("last seen"))
        try reader.end("a controller row")
        return (roles[role], states[state], lastSeen)
    }

    /// What of a row is state and not time, for the digest of a store; nil for none of it.
    ///
    /// The controller's time moves on with every transaction, and a region's last seen with it.
    package static func timeless(_ key: [UInt8], _ fields: [UInt8]) -> [UInt8]? {
        if key == Key.controller(Name.time.rawValue) { return nil }
        return key.first == UInt8(ascii: "r") ? Array(fields.prefix(2)) : fields
    }

    /// The configuration in use.
    package static func configuration(_ configuration: FailoverConfiguration) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(region: configuration.local)
        bytes.append(bigEndian: UInt16(configuration.regions.count))
        for region in configuration.regions { bytes.append(region: region) }
        bytes.append(bigEndian: UInt16(configuration.tiers.count))
        for tier in configuration.tiers {
            bytes.append(bigEndian: UInt16(tier.count))
            for region in tier { bytes.append(region: region) }
        }
        bytes.append(bigEndian: configuration.suspectAfterMilliseconds)
        bytes.append(bigEndian: UInt32(clamping: configuration.historyCapacity))
        bytes.append(configuration.detectorPauseAfterMilliseconds == nil ? 0 : 1)
        bytes.append(bigEndian: configuration.detectorPauseAfterMilliseconds ?? 0)
        bytes.append(configuration.automaticFailover ? 1 : 0)
        return bytes
    }

    /// Reads the configuration.
    package static func configuration(decoding fields: Span<UInt8>) throws(FormatError) -> FailoverConfiguration {
        var reader = ByteReader(fields)
        func regions(_ reader: inout ByteReader) throws(FormatError) -> [RegionID] {
            var regions: [RegionID] = []
            for _ in 0..<(try reader.number(UInt16.self, "regions")) { regions.append(try reader.region("region")) }
            return regions
        }
        var configuration = FailoverConfiguration(local: try reader.region("local region"), regions: [])
        configuration.regions = try regions(&reader)
        for _ in 0..<(try reader.number(UInt16.self, "tiers")) { configuration.tiers.append(try regions(&reader)) }
        configuration.suspectAfterMilliseconds = try reader.signed("suspect after")
        configuration.historyCapacity = Int(try reader.number(UInt32.self, "history capacity"))
        let pauses = try reader.flag("detector pause")
        let pauseAfter = try reader.signed("detector pause")
        configuration.detectorPauseAfterMilliseconds = pauses ? pauseAfter : nil
        configuration.automaticFailover = try reader.flag("automatic failover")
        try reader.end("the configuration")
        return configuration
    }
}

/// The rows of the table `history`: events, each under its number.
package enum EventRow {
    /// The event's fields: those that its kind does not use are zero or empty.
    package static func encoded(_ event: FailoverEvent) -> [UInt8] {
        var fields = Fields()
        let kind: UInt8
        switch event.kind {
        case .suspect: kind = 1
        case .failed: kind = 2
        case .recovering: kind = 3
        case .healthy: kind = 4
        case .demoted(let epoch): (kind, fields.epoch) = (5, epoch)
        case .promoted(let replaced, let epoch, let pending):
            (kind, fields.replaced, fields.epoch, fields.pending) = (6, [replaced], epoch, pending)
        case .replayed(let entries): (kind, fields.pending.entries) = (7, entries)
        case .readmitted(let forced): (kind, fields.forced) = (8, forced)
        case .switchedOver(let replaced, let epoch, let pending):
            (kind, fields.replaced, fields.epoch, fields.pending) = (9, [replaced], epoch, pending)
        case .configured(let added, let removed): (kind, fields.added, fields.replaced) = (10, added, removed)
        case .paused: kind = 11
        case .resumed: kind = 12
        case .resyncNeeded: kind = 13
        case .resyncCleared: kind = 14
        case .detectorPaused: kind = 15
        }
        fields.region = event.region.map { [$0] } ?? []
        return [kind] + fields.encoded(at: event.at)
    }

    /// Reads a stored pair, and proves it.
    package static func read(_ key: [UInt8], _ value: Span<UInt8>) throws(FormatError) -> (UInt64, FailoverEvent) {
        let fields = try Row.open(value, key: key, in: .history)
        return (try Key.number(from: key.span), try decode(fields.span))
    }

    /// Reads an event.
    package static func decode(_ bytes: Span<UInt8>) throws(FormatError) -> FailoverEvent {
        var reader = ByteReader(bytes)
        let number = try reader.byte("event kind")
        let at = Timestamp(milliseconds: try reader.signed("event time"))
        let fields = try Fields(&reader)
        try reader.end("an event")
        func replaced() throws(FormatError) -> RegionID {
            guard let region = fields.replaced.first else { throw FormatError("an event that replaces no region") }
            return region
        }
        let kind: FailoverEvent.Kind
        switch number {
        case 1: kind = .suspect
        case 2: kind = .failed
        case 3: kind = .recovering
        case 4: kind = .healthy
        case 5: kind = .demoted(epoch: fields.epoch)
        case 6: kind = .promoted(replaced: try replaced(), epoch: fields.epoch, pending: fields.pending)
        case 7: kind = .replayed(entries: fields.pending.entries)
        case 8: kind = .readmitted(forced: fields.forced)
        case 9: kind = .switchedOver(replaced: try replaced(), epoch: fields.epoch, pending: fields.pending)
        case 10: kind = .configured(added: fields.added, removed: fields.replaced)
        case 11: kind = .paused
        case 12: kind = .resumed
        case 13: kind = .resyncNeeded
        case 14: kind = .resyncCleared
        case 15: kind = .detectorPaused
        default: throw FormatError("event kind \(number) is unknown")
        }
        return FailoverEvent(kind: kind, at: at, region: fields.region.first)
    }

    /// What follows the kind and the time, the same for every kind.
    private struct Fields {
        var region: [RegionID] = []
        var replaced: [RegionID] = []
        var added: [RegionID] = []
        var epoch: UInt64 = 0
        var forced = false
        var pending = QueueSummary.empty

        init() {}

        init(_ reader: inout ByteReader) throws(FormatError) {
            region = try Self.regions(&reader)
            replaced = try Self.regions(&reader)
            added = try Self.regions(&reader)
            epoch = try reader.number(UInt64.self, "epoch")
            pending.entries = try reader.number(UInt64.self, "entries")
            pending.bytes = try reader.number(UInt64.self, "bytes")
            pending.oldestMilliseconds = try reader.signed("oldest")
            pending.dead = try reader.number(UInt64.self, "dead")
            let flags = try reader.byte("flags")
            guard flags & ~7 == 0 else { throw FormatError("event flags \(flags) are unknown") }
            forced = flags & 1 != 0
            pending.needsResync = flags & 2 != 0
            pending.isPaused = flags & 4 != 0
        }

        func encoded(at time: Timestamp) -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(bigEndian: time.milliseconds)
            for regions in [region, replaced, added] {
                bytes.append(bigEndian: UInt16(regions.count))
                for region in regions { bytes.append(region: region) }
            }
            bytes.append(bigEndian: epoch)
            bytes.append(bigEndian: pending.entries)
            bytes.append(bigEndian: pending.bytes)
            bytes.append(bigEndian: pending.oldestMilliseconds)
            bytes.append(bigEndian: pending.dead)
            bytes.append((forced ? 1 : 0) | (pending.needsResync ? 2 : 0) | (pending.isPaused ? 4 : 0))
            return bytes
        }

        private static func regions(_ reader: inout ByteReader) throws(FormatError) -> [RegionID] {
            var regions: [RegionID] = []
            for _ in 0..<(try reader.number(UInt16.self, "regions")) { regions.append(try reader.region("region")) }
            return regions
        }
    }
}
