internal import Holdfast
package import RegionFailover
package import ReplayStore

extension FailoverEvent {
    /// The event as `history`, `simulate` and `snapshot` print it.
    package var json: JSON {
        var members: [(String, JSON)] = [("event", .string(name))]
        if let region { members.append(("region", .string(region.rawValue))) }
        switch kind {
        case .promoted(let replaced, let epoch, let pending), .switchedOver(let replaced, let epoch, let pending):
            members.append(("replaced", .string(replaced.rawValue)))
            members.append(("atMs", .integer(at.milliseconds)))
            members.append(("epoch", .unsigned(epoch)))
            members.append(("pending", pending.json))
            return .object(members)
        default: members.append(("atMs", .integer(at.milliseconds)))
        }
        switch kind {
        case .demoted(let epoch): members.append(("epoch", .unsigned(epoch)))
        case .replayed(let entries): members.append(("replayed", .unsigned(entries)))
        case .readmitted(let forced) where forced: members.append(("forced", .bool(true)))
        case .configured(let added, let removed):
            members.append(("added", .array(added.map { .string($0.rawValue) })))
            members.append(("removed", .array(removed.map { .string($0.rawValue) })))
        default: break
        }
        return .object(members)
    }
}

extension QueueSummary {
    /// What waited in a queue, as an event tells it.
    ///
    /// A mark is told only where it is set.
    package var json: JSON {
        var members: [(String, JSON)] = [
            ("entries", .unsigned(entries)), ("bytes", .unsigned(bytes)), ("oldestMs", .integer(oldestMilliseconds)),
        ]
        if needsResync { members.append(("needsResync", .bool(true))) }
        return .object(members)
    }
}

extension HoldfastError {
    /// The error as one JSON object; only the members that are set are there.
    package var json: JSON { .object([("error", .object(members))]) }

    /// The members of that object's value.
    package var members: [(String, JSON)] {
        var members: [(String, JSON)] = [("code", .string(code.description))]
        if let region { members.append(("region", .string(region.rawValue))) }
        members.append(("message", .string(message)))
        if let role { members.append(("role", .string(role.rawValue))) }
        if let state { members.append(("state", .string(state.rawValue))) }
        if let attempted { members.append(("attempted", .string(attempted))) }
        if let count { members.append((code == .staleEpoch ? "current" : "count", .unsigned(count))) }
        if let field { members.append((code == .full || code == .tooLarge ? "limit" : "field", .string(field))) }
        if let index { members.append(("index", .integer(Int64(index)))) }
        if let identity {
            members.append(("origin", .string(identity.origin.rawValue)))
            members.append(("incarnation", .unsigned(identity.incarnation)))
            members.append(("sequence", .unsigned(identity.sequence)))
        }
        if let floor {
            members.append(
                (
                    "floor",
                    .object([("incarnation", .unsigned(floor.incarnation)), ("sequence", .unsigned(floor.sequence))])
                )
            )
        }
        if let path { members.append(("path", .string(path))) }
        if let systemCall { members.append(("systemCall", .string(systemCall))) }
        return members
    }
}
