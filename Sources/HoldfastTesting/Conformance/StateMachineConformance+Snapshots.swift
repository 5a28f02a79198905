private import Foundation
import RaftApply
import ReplayStore

extension StateMachineConformance {
    // MARK: 6. Snapshots

    var snapshots: [ConformanceCase] {
        [
            ConformanceCase(6, "a snapshot has the state, its index and its term") {
                let log = mixed(31)
                try await withSnapshot(of: log.entries) { (path, manifest) in
                    let digest = try await digest(of: log.entries)
                    try demand(manifest.digest, is: digest, "the manifest's digest")
                    try demand(manifest.index, is: log.last.index, "the manifest's index")
                    try await withMachine { (machine, _) in
                        try demand(try await machine.installSnapshot(from: path, manifest), "it was not taken")
                        try demand(try await machine.digest().digest, is: digest, "the digest")
                        try demand(
                            machine.applied,
                            is: AppliedPosition(index: log.last.index, term: 1),
                            "what is applied"
                        )
                    }
                }
            },
            ConformanceCase(6, "making one leaves the machine as it was, also after a restart") {
                let log = mixed(30)
                let directory = try TemporaryDirectory()
                let path = directory.appending("machine")
                var machine = try await opening(path)
                try await apply(log.entries, to: machine)
                let digest = try await machine.digest().digest
                _ = try await machine.writeSnapshot(to: path + ".snapshot")
                for _ in 0..<2 {
                    let found = try await machine.digest()
                    let again = try await machine.apply([log.last])
                    await machine.close()
                    try demand(found.digest, is: digest, "the digest")
                    try demand(found.position.index, is: log.last.index, "the index")
                    try demand(try outcome(again), is: .skipped, "the outcome of what was applied")
                    machine = try await opening(path)
                }
                await machine.close()
            },
            ConformanceCase(6, "what comes after it gives the state that the whole log gives") {
                var log = mixed(32)
                let before = log.entries
                var random = SplitMix64(seed: 33)
                log.addRandom(commands, 60, &random)
                let whole = try await digest(of: log.entries)
                try await withSnapshot(of: before) { (path, manifest) in
                    try await withMachine { (machine, _) in
                        try await machine.installSnapshot(from: path, manifest)
                        try await apply(Array(log.entries[before.count...]), to: machine)
                        try demand(try await machine.digest().digest, is: whole, "the digest")
                    }
                }
            },
            ConformanceCase(6, "entries at or below its index are skipped afterwards") {
                let log = mixed(34)
                try await withSnapshot(of: log.entries) { (path, manifest) in
                    try await withMachine { (machine, _) in
                        try await machine.installSnapshot(from: path, manifest)
                        let results = try await machine.apply(log.entries)
                        try demand(results.allSatisfy { $0.outcome == .skipped }, "every outcome is skipped")
                        try demand(try await machine.digest().digest, is: manifest.digest, "the digest")
                    }
                }
            },
            ConformanceCase(6, "sessions and outcomes are in it: nothing is executed again") {
                var log = ConformanceLog(commands)
                let session = log.session
                log.add(commands.step, session, 50)
                try await withSnapshot(of: log.entries) { (path, manifest) in
                    try await withMachine { (machine, _) in
                        try await machine.installSnapshot(from: path, manifest)
                        let before = try await value(of: machine, &log)
                        _ = try executed(try await machine.apply([log.add(commands.step, session, 50)]))
                        try demand(try await value(of: machine, &log), is: before, "the value")
                    }
                }
            },
            ConformanceCase(6, "parts that wait and stored digests are in it") {
                var log = ConformanceLog(commands)
                let parts = commands.large(20_000).map { log.parts($0, log.session, 70, count: 3) } ?? []
                for part in parts.dropLast() { log.add(part) }
                let digest = log.addDigest()
                try await withSnapshot(of: log.entries) { (path, manifest) in
                    try await withMachine { (machine, _) in
                        try await machine.installSnapshot(from: path, manifest)
                        try demand(try await machine.storedDigests()[digest.index] != nil, "the stored digest is gone")
                        if let last = parts.last { _ = try executed(try await machine.apply([log.add(last)])) }
                    }
                }
            },
            ConformanceCase(6, "it survives a restart, and the next one is taken in its place") {
                var log = mixed(35)
                let first = log.entries
                for _ in 0..<10 { log.add(commands.step) }
                let second = log.entries
                let directory = try TemporaryDirectory()
                let place = directory.appending("machine")
                for entries in [first, second] {
                    try await withSnapshot(of: entries) { (path, manifest) in
                        var machine = try await opening(place)
                        let isTaken = try await machine.installSnapshot(from: path, manifest)
                        await machine.close()
                        machine = try await opening(place)
                        let found = try await machine.digest()
                        await machine.close()
                        try demand(isTaken, "it was not taken")
                        try demand(found.digest, is: manifest.digest, "the digest")
                        try demand(found.position.index, is: manifest.index, "the index")
                    }
                }
            },
            ConformanceCase(6, "one at or below the applied index changes nothing") {
                var log = mixed(36)
                let before = log.entries
                log.add(commands.step)
                try await withSnapshot(of: before) { (path, manifest) in
                    for entries in [before, log.entries] {
                        try await withMachine { (machine, _) in
                            try await apply(entries, to: machine)
                            let digest = try await machine.digest().digest
                            try demand(try await !machine.installSnapshot(from: path, manifest), "it was taken")
                            try demand(try await machine.digest().digest, is: digest, "the digest")
                        }
                    }
                }
            },
            ConformanceCase(6, "it is of one moment, while entries go on being applied") {
                var log = mixed(37)
                let before = log.entries
                for _ in 0..<60 { log.add(commands.step) }
                let more = Array(log.entries[before.count...])
                var digests: [UInt64: String] = [:]
                try await withMachine { (machine, _) in
                    try await apply(before, to: machine)
                    digests[machine.applied.index] = try await machine.digest().digest
                    for entry in more {
                        try await apply([entry], to: machine)
                        digests[entry.index] = try await machine.digest().digest
                    }
                }
                let known = digests
                try await withMachine { (machine, path) in
                    try await apply(before, to: machine)
                    async let written = machine.writeSnapshot(to: path + ".snapshot")
                    for entry in more { _ = try await machine.apply([entry]) }
                    let manifest = try await written
                    try demand(manifest.digest, is: known[manifest.index] ?? "none", "the state at its index")
                    try demand(machine.applied.index, is: log.last.index, "the applied index")
                }
            },
        ]
    }

    var wrongSnapshots: [ConformanceCase] {
        let changes: [(String, @Sendable (inout SnapshotManifest) -> Void)] = [
            ("another index", { $0.index += 1 }),
            ("another digest", { $0.digest = String($0.digest.reversed()) }),
            ("another checksum", { $0.checksum = String($0.checksum.reversed()) }),
            ("another length", { $0.bytes += 1 }),
            ("another log", { $0.cluster += "00" }),
            ("a newer version", { $0.version += 1 }),
        ]
        let wrong = changes.map { (name, change) in
            ConformanceCase(6, "a snapshot whose manifest says \(name) is refused, and nothing changes") {
                try await refuses { (_, manifest) in change(&manifest) }
            }
        }
        return wrong + [
            ConformanceCase(6, "a snapshot with a flipped bit is refused, and nothing changes") {
                try await refuses { (path, _) in
                    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
                    bytes[bytes.count / 3] ^= 16
                    try bytes.write(to: URL(fileURLWithPath: path))
                }
            },
            ConformanceCase(6, "a snapshot that was cut off is refused, and nothing changes") {
                try await refuses { (path, _) in
                    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
                    try bytes.prefix(bytes.count / 2).write(to: URL(fileURLWithPath: path))
                }
            },
            ConformanceCase(6, "a snapshot is not written over something") {
                try await withMachine { (machine, path) in
                    let log = ConformanceLog(commands)
                    try await apply(log.entries, to: machine)
                    try Data("mine".utf8).write(to: URL(fileURLWithPath: path + ".snapshot"))
                    let code = try await code { _ = try await machine.writeSnapshot(to: path + ".snapshot") }
                    try demand(code != nil, "it was written")
                    let kept = try Data(contentsOf: URL(fileURLWithPath: path + ".snapshot"))
                    try demand(kept, is: Data("mine".utf8), "what was there")
                }
            },
        ]
    }

    /// A log with commands of every kind.
    private func mixed(_ seed: UInt64) -> ConformanceLog {
        var random = SplitMix64(seed: seed)
        var log = ConformanceLog(commands)
        log.addRandom(commands, 80, &random)
        return log
    }

    /// Calls `body` with a snapshot of the state after some entries.
    private func withSnapshot(
        of entries: [LogEntry],
        _ body: (_ path: String, _ manifest: SnapshotManifest) async throws -> Void
    ) async throws {
        try await withMachine { (machine, path) in
            try await apply(entries, to: machine)
            let manifest = try await machine.writeSnapshot(to: path + ".snapshot")
            try await body(path + ".snapshot", manifest)
        }
    }

    /// Demands that a snapshot that `change` has changed is refused by a machine that then goes on.
    private func refuses(_ change: (_ path: String, _ manifest: inout SnapshotManifest) throws -> Void) async throws {
        var log = mixed(38)
        let before = log.entries
        for _ in 0..<5 { log.add(commands.step) }
        let whole = try await digest(of: log.entries)
        try await withSnapshot(of: log.entries) { (path, manifest) in
            var manifest = manifest
            try change(path, &manifest)
            let changed = manifest
            try await withMachine { (machine, _) in
                try await apply(before, to: machine)
                let digest = try await machine.digest().digest
                let code = try await code { try await machine.installSnapshot(from: path, changed) }
                try demand(code != nil, "it was taken")
                try demand(try await machine.digest().digest, is: digest, "the digest")
                try await apply(log.entries, to: machine)
                try demand(try await machine.digest().digest, is: whole, "the state after the rest")
            }
        }
    }
}
