private import Foundation
import RaftApply
import ReplayStore

extension StateMachineConformance {
    // MARK: 1. Entries come serially; one index never means two commands

    var order: [ConformanceCase] {
        [
            ConformanceCase(1, "indices rise, with gaps") {
                var log = ConformanceLog(commands)
                for _ in 0..<20 { log.add(commands.step) }
                try await withMachine { (machine, _) in
                    let results = try await apply(log.entries, to: machine)
                    try demand(results.map(\.index), is: log.entries.map(\.index), "results are in order")
                    try demand(machine.applied.index, is: log.last.index, "the applied index")
                }
            },
            ConformanceCase(1, "a result names its proposal") {
                var log = ConformanceLog(commands)
                let entry = log.add(commands.step)
                try await withMachine { (machine, _) in
                    let results = try await apply(log.entries, to: machine)
                    let id = try CommandEnvelope(decoding: entry.command).id
                    try demand(results.last?.id, is: id, "the proposal")
                }
            },
            ConformanceCase(1, "no entries are no change") {
                let log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await machine.digest().digest
                    try demand(try await machine.apply([]).count, is: 0, "results of nothing")
                    try demand(try await machine.digest().digest, is: before, "the digest")
                }
            },
            ConformanceCase(1, "another command at the last index stops the machine") {
                try await twoCommands(restarting: false)
            },
            ConformanceCase(1, "another command at the last index stops the machine after a restart, too") {
                try await twoCommands(restarting: true)
            },
            ConformanceCase(1, "a machine that has stopped applies nothing more, and says why") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let digest = try await machine.digest().digest
                    let bad = LogEntry(index: log.last.index, command: log.entries[0].command)
                    let first = try await code { _ = try await machine.apply([bad]) }
                    let entry = log.add(commands.step)
                    let second = try await code { _ = try await machine.apply([entry]) }
                    try demand(
                        first != nil && second == first,
                        "it stopped with \(String(describing: first)), then \(String(describing: second))"
                    )
                    try demand(try await machine.digest().digest, is: digest, "the digest")
                }
            },
        ]
    }

    private func twoCommands(restarting: Bool) async throws {
        var log = ConformanceLog(commands)
        log.add(commands.step)
        let entries = log.entries
        let directory = try TemporaryDirectory()
        let path = directory.appending("machine")
        var machine = try await opening(path)
        try await apply(entries, to: machine)
        let digest = try await machine.digest().digest
        if restarting {
            await machine.close()
            machine = try await opening(path)
        }
        let other = LogEntry(index: log.last.index, term: 1, command: entries[0].command)
        let code = try await code { _ = try await machine.apply([other]) }
        let after = try await machine.digest().digest
        await machine.close()
        try demand(code, is: .logConflict, "the error")
        try demand(after, is: digest, "the digest")
    }

    // MARK: 2. Redelivery is skipped; the applied index is in the transaction of the effects

    var redelivery: [ConformanceCase] {
        [
            ConformanceCase(2, "an entry that comes again is skipped") {
                var log = ConformanceLog(commands)
                log.add(commands.step)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let digest = try await machine.digest().digest
                    let again = try await machine.apply([log.last])
                    try demand(try outcome(again), is: .skipped, "the outcome")
                    try demand(try await machine.digest().digest, is: digest, "the digest")
                }
            },
            ConformanceCase(2, "the whole log that comes again is skipped") {
                var log = ConformanceLog(commands)
                for _ in 0..<30 { log.add(commands.step) }
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let digest = try await machine.digest().digest
                    let again = try await machine.apply(log.entries)
                    try demand(again.allSatisfy { $0.outcome == .skipped }, "every outcome is skipped")
                    try demand(try await machine.digest().digest, is: digest, "the digest")
                }
            },
            ConformanceCase(2, "of a batch that begins below the applied index the rest is applied") {
                var log = ConformanceLog(commands)
                for _ in 0..<10 { log.add(commands.step) }
                let (first, all) = (Array(log.entries.prefix(7)), log.entries)
                let whole = try await digest(of: all)
                try await withMachine { (machine, _) in
                    try await apply(first, to: machine)
                    let results = try await machine.apply(Array(all[4...]))
                    try demand(results.prefix(3).allSatisfy { $0.outcome == .skipped }, "the first three are skipped")
                    try demand(try await machine.digest().digest, is: whole, "the digest")
                }
            },
            ConformanceCase(2, "the applied index survives a restart, and what was applied is skipped") {
                var log = ConformanceLog(commands)
                for _ in 0..<10 { log.add(commands.step) }
                let directory = try TemporaryDirectory()
                let path = directory.appending("machine")
                var machine = try await opening(path)
                try await apply(log.entries, to: machine)
                let digest = try await machine.digest().digest
                await machine.close()
                machine = try await opening(path)
                let index = machine.applied.index
                let again = try await machine.apply(log.entries)
                let after = try await machine.digest().digest
                await machine.close()
                try demand(index, is: log.last.index, "the applied index")
                try demand(again.allSatisfy { $0.outcome == .skipped }, "every outcome is skipped")
                try demand(after, is: digest, "the digest")
            },
            ConformanceCase(2, "a machine that was not closed has index and effects of one moment") {
                // Copies of its directory, taken between batches, are what a crash of the process leaves.
                var log = ConformanceLog(commands)
                var random = SplitMix64(seed: 5)
                log.addRandom(commands, 40, &random)
                let entries = log.entries
                let directory = try TemporaryDirectory()
                let path = directory.appending("machine")
                let machine = try await opening(path)
                var digests: [UInt64: String] = [0: try await machine.digest().digest]
                for (number, entry) in entries.enumerated() {
                    _ = try await machine.apply([entry])
                    digests[entry.index] = try await machine.digest().digest
                    guard number % 9 == 0 else { continue }
                    let copy = directory.appending("copy-\(number)")
                    try FileManager.default.copyItem(atPath: path, toPath: copy)
                    let found = try await opening(copy)
                    let (position, digest) = try await found.digest()
                    let applied = found.applied.index
                    try await apply(entries, to: found)
                    let whole = try await found.digest().digest
                    await found.close()
                    try demand(position.index, is: applied, "the index of the digest")
                    try demand(digest, is: digests[applied] ?? "none", "the state at index \(applied)")
                    try demand(whole, is: try await self.digest(of: entries), "the state after the rest")
                }
                await machine.close()
            },
            ConformanceCase(2, "the term is no part of the state") {
                var log = ConformanceLog(commands)
                log.add(commands.step)
                let other = log.entries.map { LogEntry(index: $0.index, term: $0.term + 7, command: $0.command) }
                try demand(try await digest(of: other), is: try await digest(of: log.entries), "the digest")
            },
            ConformanceCase(2, "the term is stored beside the index") {
                let log = ConformanceLog(commands)
                let other = log.entries.map { LogEntry(index: $0.index, term: 9, command: $0.command) }
                let directory = try TemporaryDirectory()
                let path = directory.appending("machine")
                var machine = try await opening(path)
                try await apply(other, to: machine)
                await machine.close()
                machine = try await opening(path)
                let applied = machine.applied
                await machine.close()
                try demand(applied, is: AppliedPosition(index: log.last.index, term: 9), "what is stored")
            },
            ConformanceCase(7, "sync says no more than what is applied, and no less than what was") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    try demand(try await machine.sync(), is: log.last.index, "what is synced")
                    let entry = log.add(commands.step)
                    _ = try await machine.apply([entry])
                    try demand(try await machine.sync(), is: entry.index, "what is synced")
                }
            },
        ]
    }
}
