package import Holdfast

/// A call of a receiver's ledger, and what its caller knows of it.
package struct LedgerCall: Codable, Sendable {
    /// What a caller has heard.
    package enum Fate: String, Codable, Sendable {
        /// It has returned: all of it is durable.
        case returned
        /// It has thrown, and nothing of it is there.
        case refused
        /// Nobody knows.
        case unknown
    }

    package var sequences: [UInt64]
    package var epoch: UInt64?
    package var fate: Fate

    package init(_ sequences: [UInt64], epoch: UInt64?, _ fate: Fate = .unknown) {
        (self.sequences, self.epoch, self.fate) = (sequences, epoch, fate)
    }

    package static func write(_ sequence: UInt64) -> OutstandingWrite {
        OutstandingWrite(origin: "us", incarnation: 1, sequence: sequence, key: "key", value: "value")
    }

    /// Applies the writes, with a pair of the state for each that is new, and gives how many those are.
    ///
    /// `bytes`: The size of each pair's value.
    @discardableResult
    package func apply(to ledger: AppliedLedger, bytes: Int = 20) async throws(HoldfastError) -> Int {
        try await ledger.apply(sequences.map(Self.write), epoch: epoch) { (new, state) throws(HoldfastError) in
            for write in new {
                let key = "\(write.sequence)"
                guard try state.value(for: key) == nil else {
                    throw HoldfastError(code: .alreadyExists, message: "Write \(key) is applied a second time.")
                }
                let byte = UInt8(truncatingIfNeeded: write.sequence)
                try state.set([UInt8](repeating: byte, count: bytes), for: Array(key.utf8))
            }
            return new.count
        }
    }
}

/// What a ledger holds of such calls.
package struct LedgerContents: Sendable, Equatable {
    /// The sequences that are marked.
    package var applied: Set<UInt64>
    /// Those that have had their effect.
    package var effects: Set<UInt64>
    package var epoch: UInt64

    /// Asks a ledger; `end` is the first sequence that no call has.
    package init(_ ledger: AppliedLedger, before end: UInt64) async throws(HoldfastError) {
        var marked = Set(1..<max(end, 1))
        for write in try await ledger.filter((1..<max(end, 1)).map(LedgerCall.write)) { marked.remove(write.sequence) }
        applied = marked
        effects = try await ledger.read { (state) throws(HoldfastError) in
            var effects: Set<UInt64> = []
            try state.scan { (key, _) throws(HoldfastError) in
                effects.insert(UInt64(String(decoding: key, as: UTF8.self)) ?? 0)
                return true
            }
            return effects
        }
        epoch = ledger.highestEpoch
    }

    /// What of it cannot be after those calls.
    package func faults(after calls: [LedgerCall]) -> [String] {
        var faults: [String] = []
        if applied != effects {
            faults.append("marked \(applied.subtracting(effects)), done \(effects.subtracting(applied))")
        }
        var possible: Set<UInt64> = []
        var certain: Set<UInt64> = []
        for call in calls where call.fate != .refused {
            possible.formUnion(call.sequences)
            if call.fate == .returned { certain.formUnion(call.sequences) }
        }
        if !certain.isSubset(of: applied) { faults.append("forgotten: \(certain.subtracting(applied).sorted())") }
        if !applied.isSubset(of: possible) { faults.append("never applied: \(applied.subtracting(possible).sorted())") }
        let unknown = calls.filter { $0.fate == .unknown }
        for call in unknown {
            let own = Set(call.sequences).subtracting(certain)
            let others = unknown.filter { $0.sequences != call.sequences }.flatMap(\.sequences)
            let found = own.subtracting(others).intersection(applied)
            if !found.isEmpty, found != own.subtracting(others) { faults.append("half of a call: \(found.sorted())") }
        }
        let epochs = calls.filter { $0.fate != .refused }.compactMap(\.epoch)
        let highest = calls.filter { $0.fate == .returned }.compactMap(\.epoch).max() ?? 0
        if epoch < highest || epoch != 0 && !epochs.contains(epoch) { faults.append("epoch \(epoch), not \(highest)") }
        return faults
    }
}
