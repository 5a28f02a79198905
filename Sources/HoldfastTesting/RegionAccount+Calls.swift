import Holdfast

/// What a call of `append` that nobody has heard of left in one region.
enum CallTrace: Sendable {
    /// Some of its writes have, or had, a position: then all must.
    case found
    /// It has left nothing.
    case nothing
    /// Its writes may be among those that left before anybody had seen them, or not.
    case unknown
}

extension RegionAccount {
    /// Looks for the writes of a call, all of which are at neighbouring positions in the order of the call, or none.
    ///
    /// Call it after ``compare(_:_:)``, which says where each write is.
    func trace(of sequences: Range<UInt64>, _ violations: inout ConservationViolations) -> CallTrace {
        func start(_ sequence: UInt64) -> UInt64? {
            let appended = fates[Int(sequence)].appendedAt
            return appended == 0 ? nil : appended &- (sequence - sequences.lowerBound)
        }
        guard let first = sequences.lazy.compactMap(start).first else {
            return mayHaveLeft(sequences) ? .unknown : .nothing
        }
        for sequence in sequences {
            let wanted = first &+ (sequence - sequences.lowerBound)
            if let found = start(sequence) {
                guard found != first else { continue }
                violations.add(
                    .outOfOrder,
                    region,
                    fates[Int(sequence)].appendedAt,
                    "write \(sequence) is here, and the other writes of its call put it at \(wanted)"
                )
            } else if !isUnknown(wanted) {
                violations.add(
                    .missing,
                    region,
                    wanted,
                    "write \(sequence) is not here, where the other writes of its call put it"
                )
            }
        }
        return .found
    }

    /// Whether the queue has given the position, and nobody has seen what was there.
    private func isUnknown(_ position: UInt64) -> Bool {
        position > 0 && position < UInt64(places.count) && places[Int(position)].sequence == 0
    }

    /// Whether there is a run of unknown positions that is as long as the call, where it may have been.
    private func mayHaveLeft(_ sequences: Range<UInt64>) -> Bool {
        guard !sequences.isEmpty else { return true }
        var run = 0
        for position in places.indices.dropFirst(Int(fates[Int(sequences.lowerBound)].after) + 1) {
            run = isUnknown(UInt64(position)) ? run + 1 : 0
            if run == sequences.count { return true }
        }
        return false
    }
}
