import RaftApply
import RegionFailover
import ReplayStore

extension StateMachineConformance {
    // MARK: 4. Apply is a function of the log alone

    var determinism: [ConformanceCase] {
        let seeds = (1...8 as ClosedRange<UInt64>).map { seed in
            ConformanceCase(4, "the same log in any batches gives the same state (seed \(seed))") {
                var random = SplitMix64(seed: seed)
                var log = ConformanceLog(commands)
                log.addRandom(commands, 150, &random)
                let whole = try await digest(of: log.entries)
                let batches = (0..<log.entries.count).map { _ in Int.random(in: 1...9, using: &random) }
                try demand(try await digest(of: log.entries, in: batches), is: whole, "in batches of 1 to 9")
                let ones = Array(repeating: 1, count: log.entries.count)
                try demand(try await digest(of: log.entries, in: ones), is: whole, "one by one")
            }
        }
        return seeds + [
            ConformanceCase(4, "restarts in between change nothing") {
                var random = SplitMix64(seed: 21)
                var log = ConformanceLog(commands)
                log.addRandom(commands, 100, &random)
                let whole = try await digest(of: log.entries)
                let directory = try TemporaryDirectory()
                var (start, found) = (0, "")
                while start < log.entries.count {
                    let end = min(log.entries.count, start + Int.random(in: 5...40, using: &random))
                    let machine = try await opening(directory.appending("machine"))
                    try await apply(Array(log.entries[start..<end]), to: machine)
                    found = try await machine.digest().digest
                    await machine.close()
                    start = end
                }
                try demand(found, is: whole, "the digest")
            },
            ConformanceCase(4, "outcomes are the same in any batches") {
                var random = SplitMix64(seed: 22)
                var log = ConformanceLog(commands)
                log.addRandom(commands, 120, &random)
                let entries = log.entries
                var outcomes: [[ProposalOutcome]] = []
                for size in [entries.count, 1, 7] {
                    try await withMachine { (machine, _) in
                        let batches = Array(repeating: size, count: entries.count)
                        outcomes.append(try await apply(entries, to: machine, in: batches).map(\.outcome))
                    }
                }
                try demand(outcomes[1] == outcomes[0] && outcomes[2] == outcomes[0], "outcomes differ")
            },
            ConformanceCase(4, "another time in the commands is another state, the same one is the same") {
                var log = ConformanceLog(commands)
                var later = ConformanceLog(commands)
                later.now = later.now.advanced(by: 1000)
                for _ in 0..<3 {
                    log.add(commands.step)
                    later.add(commands.step)
                }
                let first = try await digest(of: log.entries)
                try demand(try await digest(of: log.entries), is: first, "the same times")
                try demand(try await digest(of: later.entries) != first, "the time does not enter the state")
            },
            ConformanceCase(4, "a time too far ahead is refused, and the command executed with a right one") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let right = log.now
                    log.now = right.advanced(by: ReplicationLimits.clockStepMilliseconds + 1000)
                    let session = log.session
                    let far = try await machine.apply([log.add(commands.step, session, 50)])
                    log.now = right
                    try demand(try await value(of: machine, &log), is: before, "the value")
                    let again = try await machine.apply([log.add(commands.step, session, 50)])
                    try demand(try outcome(again) != (try outcome(far)), "the refusal was kept as its outcome")
                    try demand(abs(try await value(of: machine, &log) - before), is: 1, "steps that were executed")
                }
            },
            ConformanceCase(4, "a time that goes back counts as the last one") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    log.now = log.now.advanced(by: -5_000_000)
                    _ = try executed(try await machine.apply([log.add(commands.step)]))
                }
            },
        ]
    }

    // MARK: 10. A command that is larger than an entry

    var parts: [ConformanceCase] {
        guard let large = commands.large(40_000) else { return [] }
        return [
            ConformanceCase(10, "the last part applies the whole; the others change nothing") {
                try await inParts(large, order: [0, 1, 2, 3], executed: 1)
            },
            ConformanceCase(10, "parts come in any order before the last one") {
                try await inParts(large, order: [2, 0, 1, 3], executed: 1)
            },
            ConformanceCase(10, "parts that come twice count once") {
                try await inParts(large, order: [0, 0, 1, 2, 1, 3, 3], executed: 1)
            },
            ConformanceCase(10, "the last part alone executes nothing; with the others it does") {
                try await inParts(large, order: [0, 2, 3], executed: 0)
                try await inParts(large, order: [0, 2, 3, 1, 3], executed: 1)
            },
            ConformanceCase(10, "parts enter the state, and survive a restart") {
                var log = ConformanceLog(commands)
                let parts = log.parts(large, log.session, 70, count: 4)
                let none = try await digest(of: log.entries)
                var entries = log.entries
                for part in parts.dropLast() { entries.append(log.add(part)) }
                let staged = try await digest(of: entries)
                try demand(staged != none, "the parts do not enter the state")
                let directory = try TemporaryDirectory()
                var machine = try await opening(directory.appending("machine"))
                try await apply(entries, to: machine)
                await machine.close()
                machine = try await opening(directory.appending("machine"))
                let last = log.add(parts[3])
                let result = try await machine.apply([last])
                await machine.close()
                _ = try executed(result)
            },
        ]
    }

    private func inParts(_ command: ConformanceCommand, order: [Int], executed: Int) async throws {
        var log = ConformanceLog(commands)
        try await withMachine { (machine, _) in
            try await apply(log.entries, to: machine)
            let before = try await value(of: machine, &log)
            let parts = log.parts(command, log.session, 70, count: 4)
            for part in order { try await apply([log.add(parts[part])], to: machine) }
            try demand(abs(try await value(of: machine, &log) - before), is: executed, "commands that were executed")
        }
    }

    // MARK: 11. Digests

    var digests: [ConformanceCase] {
        [
            ConformanceCase(11, "an entry stores the digest of the state before it") {
                var log = ConformanceLog(commands)
                for _ in 0..<5 { log.add(commands.step) }
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let digest = try await machine.digest().digest
                    let entry = log.addDigest()
                    try await apply([entry], to: machine)
                    try demand(try await machine.storedDigests()[entry.index], is: digest, "the stored digest")
                }
            },
            ConformanceCase(11, "it is the same in any batches") {
                var log = ConformanceLog(commands)
                for _ in 0..<4 {
                    log.add(commands.step)
                    log.addDigest()
                    log.add(commands.step)
                }
                var stored: [[UInt64: String]] = []
                for size in [100, 1, 3] {
                    try await withMachine { (machine, _) in
                        try await apply(log.entries, to: machine, in: Array(repeating: size, count: 100))
                        stored.append(try await machine.storedDigests())
                    }
                }
                try demand(stored[0].count, is: 4, "stored digests")
                try demand(stored[1] == stored[0] && stored[2] == stored[0], "the digests differ")
            },
            ConformanceCase(11, "the last \(ReplicationLimits.digestsMax) are kept") {
                var log = ConformanceLog(commands)
                var indices: [UInt64] = []
                for _ in 0..<(ReplicationLimits.digestsMax + 3) { indices.append(log.addDigest().index) }
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let kept = try await machine.storedDigests().keys.sorted()
                    try demand(kept, is: Array(indices.suffix(ReplicationLimits.digestsMax)), "the indices")
                }
            },
        ]
    }
}
