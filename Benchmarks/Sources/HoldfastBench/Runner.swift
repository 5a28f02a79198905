import Foundation
import HoldfastTesting

/// What went wrong; its text says with whom and where.
struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Lets every contestant do the same work in turns.
///
/// In each round each has one turn, in an order that the seed decides, so that what else the machine does meets all of
/// them. What was written is read back and compared: every record, in order, also after closing and opening again.
struct Runner {
    var directory: String
    var rounds: Int
    var seed: UInt64
    /// Parts of the names of contestants; empty for all.
    var peers: [String]
    /// Whether what each turn left in memory goes to the disk before the next one, which would have to wait for it.
    var settles: Bool
    var tell: (String) -> Void

    private func entrants(_ work: Work) -> [any Contestant] {
        var all: [any Contestant] = [HoldfastContestant(level: 0), HoldfastContestant(level: 1)]
        all += PeerKind.all.map { PeerContestant($0) }
        return all.filter { contestant in
            work.includes(contestant.name) && (peers.isEmpty || peers.contains { contestant.name.contains($0) })
        }
    }

    /// One contestant with its directory.
    private struct Seat {
        var contestant: any Contestant
        var path: String
        var figures: Figures
        var expected = RecordSum()
    }

    /// Does one kind of work.
    func run(_ work: Work) async throws -> WorkResult {
        var random = SplitMix64(seed: seed)
        var seats: [Seat] = []
        for contestant in entrants(work) {
            let path = "\(directory)/\(work.name)-\(contestant.name)"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            seats.append(Seat(contestant: contestant, path: path, figures: Figures(name: contestant.name)))
        }
        defer { for seat in seats { try? FileManager.default.removeItem(atPath: seat.path) } }
        if case .open(let pending) = work.job { return try await measureOpening(work, pending, seats, &random) }

        let records = Records(work.kind, valueSize: work.valueSize, count: work.entries, seed: seed)
        for index in seats.indices {
            try await seats[index].contestant.open(seats[index].path)
            try await fillOnce(work, records, &seats[index])
        }
        if case .disk = work.job { return try await measureDisk(work, records, &seats) }
        // The first round is not counted: it makes files, and fills caches.
        for round in 0...rounds {
            for index in seats.indices.shuffled(using: &random) {
                tell("\(work.name), round \(round) of \(rounds): \(seats[index].contestant.name)")
                if settles { System.sync(directory) }
                let cost = try await turn(work, records, &seats[index])
                if round > 0 { Self.note(cost, work, &seats[index].figures) }
            }
        }
        for index in seats.indices { try await verifyAgain(work, &seats[index]) }
        return WorkResult(work: work, rounds: rounds, figures: seats.map(\.figures))
    }

    private static func note(_ cost: Cost, _ work: Work, _ figures: inout Figures) {
        let seconds = Double(cost.nanoseconds) / 1e9
        let cpuSeconds = Double(cost.cpuNanoseconds) / 1e9
        figures.entries = cost.entries
        figures.seconds.append(seconds)
        figures.cpuSeconds.append(cpuSeconds)
        switch work.job {
        case .acknowledge: figures.values.append(Double(cost.entries) / cpuSeconds)
        case .open: figures.values.append(1 / seconds)
        default: figures.values.append(Double(cost.entries) / seconds)
        }
    }

    // MARK: Turns

    /// Puts in what is there before the first turn.
    private func fillOnce(_ work: Work, _ records: Records, _ seat: inout Seat) async throws {
        switch work.job {
        case .drain: try await fill(records, records.count, &seat)
        case .disk:
            _ = try await seat.contestant.append(records, 0..<records.count, batch: Work.group)
            seat.expected.add(records, 0..<records.count, first: 1)
        default: break
        }
    }

    /// Appends `count` records in large calls; not measured.
    private func fill(_ records: Records, _ count: Int, _ seat: inout Seat) async throws {
        let batch = max(Work.group, min(65_536, (32 << 20) / (records.payloadBytes / records.count)))
        for start in stride(from: 0, to: count, by: records.count) {
            let range = 0..<min(records.count, count - start)
            _ = try await seat.contestant.append(records, range, batch: batch)
            seat.expected.add(records, range, first: seat.expected.last + 1)
        }
    }

    private func turn(_ work: Work, _ records: Records, _ seat: inout Seat) async throws -> Cost {
        let all = 0..<records.count
        let contestant = seat.contestant
        switch work.job {
        case .append(let batch):
            seat.expected.add(records, all, first: seat.expected.last + 1)
            return try await contestant.append(records, all, batch: batch)
        case .callers(let count):
            seat.expected.add(records, all, first: seat.expected.last + 1)
            return try await contestant.append(records, all, callers: count)
        case .drain:
            var sum = RecordSum()
            let cost = try await contestant.read(max: Int.max, into: &sum)
            try check(sum, seat.expected, work, contestant)
            return cost
        case .replay:
            var before = seat.expected
            try await fill(records, records.count, &seat)
            // What came in earlier turns has left the queue, and the sum goes on from there.
            let cost = try await contestant.replay(batch: Work.group, into: &before)
            try check(before, seat.expected, work, contestant)
            return cost
        case .acknowledge(let batch):
            try await fill(records, records.count, &seat)
            return try await contestant.acknowledge(batch: batch)
        case .disk, .open: preconditionFailure("\(work.name) has no turns")
        }
    }

    // MARK: Verifying

    private func check(
        _ sum: RecordSum,
        _ expected: RecordSum,
        _ work: Work,
        _ contestant: any Contestant
    ) throws {
        // Callers overtake each other: then the order is nobody's, and the rest is the same.
        let isSame: Bool
        if case .callers = work.job {
            isSame = sum.count == expected.count && sum.last == expected.last && sum.set == expected.set
        } else {
            isSame = sum == expected
        }
        guard isSame else {
            throw BenchError(
                "\(work.name): \(contestant.name) gave back \(sum.count) records up to position \(sum.last), not the "
                    + "\(expected.count) up to \(expected.last) that it was given, or with other bytes"
            )
        }
    }

    /// Closes the store, opens it again, and compares what is in it.
    private func verifyAgain(_ work: Work, _ seat: inout Seat) async throws {
        tell("\(work.name): reading back from \(seat.contestant.name)")
        await seat.contestant.close()
        try await seat.contestant.open(seat.path)
        var sum = RecordSum()
        _ = try await seat.contestant.read(max: Int.max, into: &sum)
        switch work.job {
        case .replay, .acknowledge: try check(sum, RecordSum(), work, seat.contestant)
        default: try check(sum, seat.expected, work, seat.contestant)
        }
        await seat.contestant.close()
        try? FileManager.default.removeItem(atPath: seat.path)
    }

    // MARK: Work without turns

    private func measureDisk(_ work: Work, _ records: Records, _ seats: inout [Seat]) async throws -> WorkResult {
        for index in seats.indices {
            tell("\(work.name): \(seats[index].contestant.name)")
            await seats[index].contestant.close()
            guard let bytes = System.diskBytes(below: seats[index].path) else {
                throw BenchError("\(work.name): cannot tell how large \(seats[index].path) is")
            }
            seats[index].figures.entries = records.count
            seats[index].figures.values = [Double(bytes) / Double(records.payloadBytes)]
            try await verifyAgain(work, &seats[index])
        }
        let payload = Figures(name: Goal.payload, values: [1])
        return WorkResult(work: work, rounds: 1, figures: seats.map(\.figures) + [payload])
    }

    private func measureOpening(
        _ work: Work,
        _ pending: Int,
        _ seats: [Seat],
        _ random: inout SplitMix64
    ) async throws -> WorkResult {
        let records = Records(work.kind, valueSize: work.valueSize, count: min(pending, 65_536), seed: seed)
        var seats = seats
        for name in WorkResult.ours {
            guard let own = entrants(work).first(where: { $0.name == name }) else { continue }
            let path = "\(directory)/\(work.name)-empty-\(name)"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            let figures = Figures(name: "\(Goal.ownEmpty) \(name)")
            seats.append(Seat(contestant: own, path: path, figures: figures))
        }
        for index in seats.indices {
            tell("\(work.name): filling \(seats[index].figures.name)")
            try await seats[index].contestant.open(seats[index].path)
            if !seats[index].figures.name.hasPrefix(Goal.ownEmpty) {
                try await fill(records, pending, &seats[index])
            } else {
                // One entry, acknowledged: then it is a store that was used, with nothing pending.
                _ = try await seats[index].contestant.append(records, 0..<1, batch: 1)
                _ = try await seats[index].contestant.acknowledge(batch: 1)
            }
            await seats[index].contestant.close()
        }
        for round in 0...rounds {
            for index in seats.indices.shuffled(using: &random) {
                let (contestant, path) = (seats[index].contestant, seats[index].path)
                tell("\(work.name), round \(round) of \(rounds): \(seats[index].figures.name)")
                if settles { System.sync(directory) }
                var expected = RecordSum()
                if seats[index].expected.count > 0 { expected.add(records, 0..<Work.group, first: 1) }
                var sum = RecordSum()
                let cost = try await Cost.of(expected.count) {
                    try await contestant.open(path)
                    _ = try await contestant.read(max: Work.group, into: &sum)
                }
                await contestant.close()
                try check(sum, expected, work, contestant)
                if round > 0 { Self.note(cost, work, &seats[index].figures) }
            }
        }
        for seat in seats { try? FileManager.default.removeItem(atPath: seat.path) }
        return WorkResult(work: work, rounds: rounds, figures: seats.map(\.figures))
    }
}
