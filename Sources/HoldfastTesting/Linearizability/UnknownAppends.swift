public import RegionFailover
public import ReplayFormat

/// Gives appends of unknown outcome the outcome that they must have had, by what was found in the end.
///
/// A search that must guess of hundreds of appends whether they took effect has no end; what is found in the queues
/// says it. This is sound, that is, no good history becomes a bad one:
///
/// - A write that a queue takes stays in it until it is acknowledged or drained, and whoever does that was handed it.
///   So an append whose writes are neither queued in the end nor were ever delivered has not taken effect before the
///   end, and nobody can have seen an effect of it: it is removed.
/// - A write that is found was appended by a call that named it. Where that was one call alone, that call took effect,
///   and its writes have the positions that were found. It is given that outcome, and no return: it may have taken
///   effect at any moment after its invocation, which is more than is true, and so rejects nothing that is true.
/// - Where several calls named a write, as a retry does, and one of them was told that it queued it, an unknown one has
///   nothing left to do but to be answered as a duplicate, which changes nothing: it is removed. Where none was told,
///   it is any of them: they stay unknown, and the search decides.
///
/// An append of which a part is found, or whose positions have gaps, is given an outcome that no queue answers: an
/// append is all or nothing, so the search will say that the history is bad.
public struct UnknownAppends: Sendable {
    /// The position of everything that is queued in the end or was ever delivered, for each region that was looked at.
    public var found: [RegionID: [WriteIdentity: UInt64]]

    /// Creates it from what was found.
    ///
    /// - Parameter found: The positions of everything that is queued after the last operation of the history has ended,
    ///   or was ever delivered, also by a drain. Nothing may have been acknowledged that was not delivered, and where
    ///   the outcome of a drain is unknown, what it took is missing here: leave that region out. Appends to regions
    ///   that are not in it stay as they are.
    public init(found: [RegionID: [WriteIdentity: UInt64]]) { self.found = found }

    /// A history whose appends have outcomes.
    ///
    /// - Parameter history: The operations, in any order.
    /// - Returns: The operations in the same order, without those that never took effect.
    public func resolve(_ history: [Operation<QueueModel.Call, QueueModel.Outcome>]) -> [Operation<
        QueueModel.Call, QueueModel.Outcome
    >] {
        let claims = Claims(history)
        return history.compactMap { operation in
            guard operation.outcome == nil, case .append(let identities, let region) = operation.call,
                let positions = found[region]
            else { return operation }
            switch fate(of: identities, positions, claims.of(region)) {
            case .never: return nil
            case .undecided: return operation
            case .outcome(let outcome):
                return Operation(
                    client: operation.client,
                    call: operation.call,
                    outcome: outcome,
                    invoked: operation.invoked,
                    returned: nil
                )
            }
        }
    }

    private enum Fate {
        case never
        case undecided
        case outcome(QueueModel.Outcome)
    }

    private func fate(
        of identities: [WriteIdentity],
        _ positions: [WriteIdentity: UInt64],
        _ claims: Claims.Region
    ) -> Fate {
        let isFound = identities.contains { positions[$0] != nil }
        guard isFound else { return .never }
        if identities.contains(where: { claims.calls[$0, default: 0] > 1 }) {
            return identities.allSatisfy(claims.queued.contains) ? .never : .undecided
        }
        var given: [UInt64] = []
        var duplicates: [Int] = []
        var known: Set<WriteIdentity> = []
        for (index, identity) in identities.enumerated() {
            if known.insert(identity).inserted, let position = positions[identity] {
                given.append(position)
            } else {
                // Named twice in the call; or not found, so that the outcome says what cannot be.
                duplicates.append(index)
            }
        }
        let first = given.first ?? 0
        let isWhole = zip(given, first...).allSatisfy { $0 == $1 }
        return .outcome(.appended(first: first, accepted: isWhole ? given.count : 0, duplicates: duplicates))
    }
}

/// Which appends of a history named each write.
private struct Claims {
    struct Region {
        /// How many appends named a write.
        var calls: [WriteIdentity: Int] = [:]
        /// The writes of which an append was told that it queued them.
        var queued: Set<WriteIdentity> = []
    }

    private var regions: [RegionID: Region] = [:]

    init(_ history: [Operation<QueueModel.Call, QueueModel.Outcome>]) {
        for operation in history {
            guard case .append(let identities, let name) = operation.call else { continue }
            var region = regions[name, default: Region()]
            for identity in Set(identities) { region.calls[identity, default: 0] += 1 }
            if case .appended(_, _, let duplicates) = operation.outcome {
                let repeated = Set(duplicates)
                for (index, identity) in identities.enumerated() where !repeated.contains(index) {
                    region.queued.insert(identity)
                }
            }
            regions[name] = region
        }
    }

    func of(_ region: RegionID) -> Region { regions[region] ?? Region() }
}
