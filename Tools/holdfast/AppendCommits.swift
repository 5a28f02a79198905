import Holdfast
import Lines

/// Commits batches one after the other, while the next one is being read.
///
/// One commit is on its way at a time: the queue has the order of the input, and the acknowledgements its order too.
final class AppendCommits {
    /// What came of all commits, for one region.
    struct Total: Sendable {
        var region: RegionID
        var accepted: UInt64 = 0
        var duplicates: UInt64 = 0
        var dropped: UInt64 = 0
        var positions: ClosedRange<UInt64>?

        fileprivate mutating func add(_ receipt: AppendReceipt) {
            accepted += UInt64(receipt.accepted)
            duplicates += UInt64(receipt.duplicates.count)
            dropped += receipt.dropped
            if receipt.accepted > 0 { positions = (positions?.lowerBound ?? receipt.first)...receipt.through }
        }
    }

    fileprivate struct Answer: Sendable {
        var receipts: [AppendReceipt]
        var isPipeClosed: Bool
    }

    private let controller: RegionFailoverController
    private let regions: [RegionID]
    private let ifEpoch: UInt64?
    /// Whether acknowledgements are printed: not any more once nobody reads them, but the writes go on all the same.
    private var printsAcks: Bool
    private var pending: Task<Answer, any Error>?
    private(set) var totals: [Total]

    init(_ controller: RegionFailoverController, _ regions: [RegionID], ifEpoch: UInt64?, printsAcks: Bool) {
        self.controller = controller
        self.regions = regions
        self.ifEpoch = ifEpoch
        self.printsAcks = printsAcks
        totals = regions.map { Total(region: $0) }
    }

    /// Waits for the commit before, and begins this one; `lines` are the numbers of the writes' lines.
    func submit(_ writes: [OutstandingWrite], _ lines: [UInt64]) async throws {
        try await finish()
        guard !writes.isEmpty else { return }
        let call = Call(controller: controller, regions: regions, ifEpoch: ifEpoch, printsAcks: printsAcks)
        pending = Task { try await call.commit(writes, lines) }
    }

    /// Waits for the commit that is on its way.
    func finish() async throws {
        guard let commit = pending else { return }
        pending = nil
        let answer = try await commit.value
        if answer.isPipeClosed { printsAcks = false }
        for index in totals.indices { totals[index].add(answer.receipts[index]) }
    }
}

/// One batch on its way.
private struct Call: Sendable {
    var controller: RegionFailoverController
    var regions: [RegionID]
    var ifEpoch: UInt64?
    var printsAcks: Bool

    /// Queues the writes, and prints the acknowledgements itself: the reader of the input may be waiting for a line.
    func commit(_ writes: [OutstandingWrite], _ lines: [UInt64]) async throws -> AppendCommits.Answer {
        do {
            let receipts = try await controller.append(writes, to: regions, ifEpoch: ifEpoch)
            let isPipeClosed = printsAcks ? try !print(receipts) : false
            return AppendCommits.Answer(receipts: receipts, isPipeClosed: isPipeClosed)
        } catch let error as Failure {
            var failure = error
            if let first = lines.first, let last = lines.last {
                let those = first == last ? "Line \(first) is" : "Lines \(first) to \(last) are"
                failure.message += " \(those) queued all the same\(first > 1 ? ", and what stands before" : "")."
            }
            failure.message += " Running the same input again is safe: what was accepted is not queued again."
            throw failure
        } catch let error as HoldfastError {
            // Told at once: whoever writes the input may be waiting for this line's acknowledgement.
            await controller.close()
            HoldfastTool.end(with: named(error, lines), asJSON: HoldfastTool.wantsJSON)
        }
    }

    /// The error with the line's number, where it is about one write.
    private func named(_ error: HoldfastError, _ lines: [UInt64]) -> HoldfastError {
        var named = error
        if let first = lines.first, let last = lines.last {
            let those = first == last ? "Line \(first) was not" : "None of lines \(first) to \(last) was"
            named.message.replace(
                "Nothing of the call was queued",
                with: "\(those) queued" + (first > 1 ? "; what stands before is" : "")
            )
        }
        if let index = error.index, lines.indices.contains(index) {
            named.message = "Line \(lines[index]): \(Self.withoutPlaces(named.message, lines))"
        }
        return named
    }

    /// A message about one write of the call without its place in the call, which nobody who has lines can count.
    private static func withoutPlaces(_ message: String, _ lines: [UInt64]) -> String {
        if let places = message.firstMatch(of: /^Writes ([0-9]+) and [0-9]+ of the call differ, but both are/),
            let earlier = Int(places.output.1), lines.indices.contains(earlier)
        {
            let said = "It differs from line \(lines[earlier]), but both are"
            return said + message[places.range.upperBound...]
        }
        return message.replacing(/^Write [0-9]+, sequence/, with: "Sequence")
            .replacing(/that of write [0-9]+, sequence/, with: "that of sequence")
    }

    /// Prints a line for each receipt, in one call to the system; false when nobody reads it.
    private func print(_ receipts: [AppendReceipt]) throws -> Bool {
        let output = Output()
        for receipt in receipts {
            var members: [(String, JSON)] = [
                ("region", .string(receipt.region.rawValue)), ("first", .unsigned(receipt.first)),
                ("through", .unsigned(receipt.through)), ("accepted", .unsigned(UInt64(receipt.accepted))),
                ("duplicates", .unsigned(UInt64(receipt.duplicates.count))),
            ]
            if receipt.dropped > 0 { members.append(("dropped", .unsigned(receipt.dropped))) }
            try output.line(.object(members))
        }
        do {
            try output.flush()
            return true
        } catch is ClosedPipe {
            return false
        }
    }
}
