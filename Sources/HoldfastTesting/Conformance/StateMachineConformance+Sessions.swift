import RaftApply
import ReplayStore

extension StateMachineConformance {
    // MARK: 3. Each command is executed once

    var sessions: [ConformanceCase] {
        [
            ConformanceCase(3, "a command that comes again is not executed, and has the same outcome") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.session
                    let first = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                    let before = try await value(of: machine, &log)
                    let again = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                    try demand(again, is: first, "the outcome")
                    try demand(try await value(of: machine, &log), is: before, "the value")
                }
            },
            ConformanceCase(3, "a command that comes again after a restart is not executed") {
                var log = ConformanceLog(commands)
                let directory = try TemporaryDirectory()
                let path = directory.appending("machine")
                var machine = try await opening(path)
                try await apply(log.entries, to: machine)
                let session = log.session
                let first = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                let before = try await value(of: machine, &log)
                await machine.close()
                machine = try await opening(path)
                let again = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                let after = try await value(of: machine, &log)
                await machine.close()
                try demand(again, is: first, "the outcome")
                try demand(after, is: before, "the value")
            },
            ConformanceCase(3, "a command that comes twice in one batch is executed once") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let session = log.session
                    let entries = (0..<3).map { _ in log.add(commands.step, session, 60) }
                    let results = try await machine.apply(entries)
                    try demand(Set(results.map(\.outcome)).count, is: 1, "outcomes")
                    try demand(abs(try await value(of: machine, &log) - before), is: 1, "steps that were executed")
                }
            },
            ConformanceCase(3, "a command that overtook another one does not end it") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let session = log.open()
                    let entries = [log.last] + [4, 2, 3, 1].map { log.add(commands.step, session, UInt64($0)) }
                    try await apply(entries, to: machine)
                    try demand(abs(try await value(of: machine, &log) - before), is: 4, "steps that were executed")
                }
            },
            ConformanceCase(3, "every outcome of the window is kept, not the last one alone") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.open()
                    try await apply([log.last], to: machine)
                    var first: [[UInt8]] = []
                    for sequence in 1...20 as ClosedRange<UInt64> {
                        first.append(try executed(try await machine.apply([log.add(commands.step, session, sequence)])))
                    }
                    for sequence in (1...20 as ClosedRange<UInt64>).reversed() {
                        let again = try executed(try await machine.apply([log.add(commands.step, session, sequence)]))
                        try demand(again, is: first[Int(sequence) - 1], "the outcome of command \(sequence)")
                    }
                }
            },
            ConformanceCase(3, "two sessions have nothing to do with each other") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let (first, second) = (log.open(), log.open())
                    let opened = Array(log.entries.suffix(2))
                    let entries = opened + [first, second].map { log.add(commands.step, $0, 1) }
                    try await apply(entries, to: machine)
                    try demand(abs(try await value(of: machine, &log) - before), is: 2, "steps that were executed")
                }
            },
            ConformanceCase(3, "a session that was never opened is expired, and nothing is executed") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let nobody = SessionID(index: 1, nonce: 77)
                    let results = try await machine.apply([log.add(commands.step, nobody, 1)])
                    try demand(try outcome(results), is: .sessionExpired, "the outcome")
                    try demand(try await value(of: machine, &log), is: before, "the value")
                }
            },
            ConformanceCase(3, "the proposal that opens a session opens another one when it comes again") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let session = log.open()
                    let opened = log.last
                    try await apply([opened, log.add(commands.step, session, 1)], to: machine)
                    // What has been executed in the first one is not forgotten by it.
                    let again = log.add(try CommandEnvelope(decoding: opened.command))
                    try await apply([again, log.add(commands.step, session, 1)], to: machine)
                    try demand(abs(try await value(of: machine, &log) - before), is: 1, "steps that were executed")
                }
            },
        ]
    }

    var sessionBounds: [ConformanceCase] {
        [
            ConformanceCase(3, "below what the client knows a command is expired, and not executed again") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.open()
                    let opened = log.last
                    let steps = (1...5).map { log.add(commands.step, session, UInt64($0)) }
                    try await apply(
                        [opened] + steps + [log.add(commands.step, session, 6, respondedBelow: 4)],
                        to: machine
                    )
                    let before = try await value(of: machine, &log)
                    let results = try await machine.apply([log.add(commands.step, session, 3)])
                    try demand(try outcome(results), is: .sessionExpired, "the outcome below")
                    let kept = try await machine.apply([log.add(commands.step, session, 4)])
                    _ = try executed(kept)
                    try demand(try await value(of: machine, &log), is: before, "the value")
                }
            },
            ConformanceCase(3, "what the client knows never goes back") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.open()
                    try await apply([log.last, log.add(commands.step, session, 9, respondedBelow: 9)], to: machine)
                    let before = try await value(of: machine, &log)
                    let results = try await machine.apply([log.add(commands.step, session, 8, respondedBelow: 1)])
                    try demand(try outcome(results), is: .sessionExpired, "the outcome")
                    try demand(try await value(of: machine, &log), is: before, "the value")
                }
            },
            ConformanceCase(3, "above the window a command is overloaded; it is executed once there is room") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.open()
                    try await apply([log.last], to: machine)
                    let before = try await value(of: machine, &log)
                    let above = 1 + ReplicationLimits.sessionWindow
                    let refused = try await machine.apply([log.add(commands.step, session, above)])
                    try demand(try outcome(refused), is: .overloaded, "the outcome above")
                    try demand(try await value(of: machine, &log), is: before, "the value")
                    _ = try executed(try await machine.apply([log.add(commands.step, session, above - 1)]))
                    let room = try await machine.apply([log.add(commands.step, session, above, respondedBelow: 2)])
                    _ = try executed(room)
                    try demand(abs(try await value(of: machine, &log) - before), is: 2, "steps that were executed")
                }
            },
            ConformanceCase(3, "one session too many ends the one that was used longest ago, and it stays ended") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let (first, second) = (log.open(), log.open())
                    var entries = Array(log.entries.suffix(2))
                    let opened = entries[0]
                    entries.append(log.add(commands.step, first, 1))
                    entries.append(log.add(commands.step, second, 1))
                    // The log's own session is used last of the three; two others go as the last ones come.
                    for _ in 0..<(ReplicationLimits.sessionsMax - 3) {
                        _ = log.open()
                        entries.append(log.last)
                    }
                    entries.append(log.add(commands.look))
                    _ = log.open()
                    entries.append(log.last)
                    try await apply(entries, to: machine)
                    let before = try await value(of: machine, &log)
                    let gone = try await machine.apply([log.add(commands.step, first, 1)])
                    try demand(try outcome(gone), is: .sessionExpired, "the outcome of the oldest")
                    _ = try executed(try await machine.apply([log.add(commands.step, second, 1)]))
                    // A late copy of what opened it does not bring it back.
                    let late = log.add(try CommandEnvelope(decoding: opened.command))
                    try await apply([late], to: machine)
                    let still = try await machine.apply([log.add(commands.step, first, 1)])
                    try demand(try outcome(still), is: .sessionExpired, "the outcome of the oldest, again")
                    try demand(try await value(of: machine, &log), is: before, "the value")
                }
            },
        ]
    }

    // MARK: 5. A refusal is an outcome; what cannot be applied stops the machine

    var outcomes: [ConformanceCase] {
        [
            ConformanceCase(5, "a refusal is an outcome, and the machine goes on") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let before = try await value(of: machine, &log)
                    _ = try executed(try await machine.apply([log.add(commands.refused)]))
                    try demand(try await value(of: machine, &log), is: before, "the value")
                    try await apply([log.add(commands.step)], to: machine)
                    try demand(abs(try await value(of: machine, &log) - before), is: 1, "steps that were executed")
                }
            },
            ConformanceCase(5, "a refusal is kept as the outcome of its command") {
                var log = ConformanceLog(commands)
                try await withMachine { (machine, _) in
                    try await apply(log.entries, to: machine)
                    let session = log.session
                    let first = try executed(try await machine.apply([log.add(commands.refused, session, 50)]))
                    // Under the same identity the same command is meant, whatever comes.
                    let again = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                    try demand(again, is: first, "the outcome")
                }
            },
            ConformanceCase(5, "an entry that is no command stops the machine before it") {
                try await stops(at: [1, 2, 3])
            },
            ConformanceCase(5, "a command with a flipped bit stops the machine before it") {
                var log = ConformanceLog(commands)
                var bytes = log.add(commands.step).command
                bytes[bytes.count / 2] ^= 4
                try await stops(at: bytes)
            },
            ConformanceCase(12, "a command of an unknown kind stops the machine before it") {
                try await stops(at: nil, kind: 255, version: 1, with: .unknownCommand)
            },
            ConformanceCase(12, "a command of a newer version stops the machine before it") {
                try await stops(at: nil, kind: commands.step.kind, version: 255, with: .unknownCommand)
            },
        ]
    }

    /// Applies steps around an entry that cannot be applied: those before it are, it and those behind it are not.
    private func stops(
        at command: [UInt8]?,
        kind: UInt8 = 0,
        version: UInt8 = 1,
        with expected: HoldfastError.Code? = nil
    ) async throws {
        var log = ConformanceLog(commands)
        log.add(commands.step)
        let before = log.entries
        let whole = try await digest(of: before)
        let bad: LogEntry
        if let command {
            bad = LogEntry(index: log.last.index + 5, term: 1, command: command)
        } else {
            let id = ProposalID(session: log.session, sequence: 100)
            bad = log.add(
                CommandEnvelope(id: id, respondedBelow: 1, now: log.now, kind: kind, kindVersion: version, payload: [])
            )
        }
        let after = LogEntry(index: bad.index + 1, term: 1, command: log.add(commands.step, log.session, 101).command)
        let directory = try TemporaryDirectory()
        let path = directory.appending("machine")
        for round in 0..<2 {
            let machine = try await opening(path)
            let code = try await code { _ = try await machine.apply(before + [bad, after]) }
            // One that marks itself begins anew at the next opening; then it comes there again.
            let found = try await machine.digest()
            await machine.close()
            try demand(code != nil, "round \(round): it went on")
            if let expected { try demand(code, is: expected, "the error") }
            try demand(found.position.index < bad.index, "round \(round): it is at \(found.position.index)")
            if round == 0, found.position.index == before.last?.index {
                try demand(found.digest, is: whole, "the state before it")
            }
        }
    }
}
