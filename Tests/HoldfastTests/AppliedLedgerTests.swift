import Glibc
import Holdfast
import HoldfastTesting
import ReplayFormat
import ReplayStore
import Testing

/// A receiver's ledger in a directory of its own.
struct Receiver {
    let directory: TemporaryDirectory
    let path: String
    /// A map of a size that the sanitizers can shadow.
    static let mapSizeBytes = 1 << 30

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.appending("ledger")
    }

    func create() async throws(HoldfastError) -> AppliedLedger {
        try await AppliedLedger.create(at: path, mapSizeBytes: Self.mapSizeBytes)
    }

    func open(_ limits: AppliedSet.Limits = AppliedSet.Limits()) async throws(HoldfastError) -> AppliedLedger {
        try await AppliedLedger.open(at: path, mapSizeBytes: Self.mapSizeBytes, limits: limits)
    }

    /// Applies writes by adding a line for each to a log in the state, and gives how many were new.
    @discardableResult
    static func log(
        _ writes: [OutstandingWrite],
        _ ledger: AppliedLedger,
        epoch: UInt64? = nil
    ) async throws(HoldfastError) -> Int {
        try await ledger.apply(writes, epoch: epoch) { (new, state) throws(HoldfastError) in
            var lines = try state.value(for: "log") ?? ""
            for write in new { lines += "\(write.origin)/\(write.incarnation)/\(write.sequence) " }
            if !new.isEmpty { try state.set(lines, for: "log") }
            return new.count
        }
    }

    /// The lines of the log.
    static func log(_ ledger: AppliedLedger) async throws(HoldfastError) -> [String] {
        try await ledger.read { (state) throws(HoldfastError) in
            (try state.value(for: "log") ?? "").split(separator: " ").map(String.init)
        }
    }
}

@Suite("A receiver's ledger") struct AppliedLedgerTests {
    private let receiver: Receiver

    init() throws { receiver = try Receiver() }

    @Test("applies what comes again once, also after it was opened again") func exactlyOnce() async throws {
        let ledger = try await receiver.create()
        #expect(try await Receiver.log([write(1), write(2)], ledger) == 2)
        #expect(try await Receiver.log([write(2), write(3), write(1), write(3)], ledger) == 1)
        await ledger.close()
        let again = try await receiver.open()
        #expect(try await Receiver.log([write(1), write(2), write(3)], again) == 0)
        #expect(try await Receiver.log([write(4)], again) == 1)
        #expect(try await Receiver.log(again) == (1...4).map { "us-east-1/0/\($0)" })
        await again.close()
    }

    @Test("leaves nothing of a call that throws") func refusal() async throws {
        let ledger = try await receiver.create()
        try await Receiver.log([write(1)], ledger, epoch: 3)
        let refused = await #expect(throws: HoldfastError.self) {
            try await ledger.apply([write(2)], epoch: 4) { (new, state) throws(HoldfastError) in
                try state.set("half", for: "log")
                throw HoldfastError(code: .cancelled, message: "no")
            }
        }
        #expect(refused?.code == .cancelled && refused?.message == "no")
        #expect(ledger.highestEpoch == 3)
        let stale = await #expect(throws: HoldfastError.self) { try await Receiver.log([write(2)], ledger, epoch: 2) }
        #expect(stale?.code == .staleEpoch && stale?.count == 3)
        #expect(stale?.path == receiver.path)
        let conflict = await #expect(throws: HoldfastError.self) {
            try await Receiver.log([write(2), write(3, "a"), write(3, "b")], ledger)
        }
        #expect(conflict?.code == .identityConflict && conflict?.index == 2)
        #expect(await code { try await ledger.filter([write(3, "a"), write(3, "b")]) } == .identityConflict)
        for _ in 0..<2 {
            #expect(try await ledger.filter([write(1), write(2), write(3)]) == [write(2), write(3)])
        }
        #expect(try await Receiver.log(ledger) == ["us-east-1/0/1"])
        await ledger.close()
        let again = try await receiver.open()
        #expect(again.highestEpoch == 3)
        #expect(try await again.filter([write(1), write(2)]) == [write(2)])
        await again.close()
        #expect(await code { try await again.filter([write(2)]) } == .closed)
    }

    @Test("marks what had its effect elsewhere") func record() async throws {
        let ledger = try await receiver.create()
        let writes = [write(1), write(2), write(1)]
        #expect(try await ledger.filter(writes) == [write(1), write(2)])
        // A crash before the mark: they are new still.
        #expect(try await ledger.filter(writes) == [write(1), write(2)])
        #expect(try await ledger.record(writes, epoch: 1) == 2)
        #expect(try await ledger.record(writes, epoch: 1) == 0)
        #expect(try await ledger.filter(writes) == [])
        await ledger.close()
    }

    @Test("agrees with a plain set and a plain array", arguments: 0..<6 as Range<UInt64>)
    func model(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        var ledger = try await receiver.create()
        var model: Set<WriteIdentity> = []
        var log: [String] = []
        var epoch: UInt64 = 0
        for step in 0..<60 {
            let comment: Comment = "seed \(seed), step \(step)"
            let writes = (0..<Int.random(in: 0..<30, using: &random)).map { _ in
                OutstandingWrite(
                    origin: ["us", "eu"].randomElement(using: &random) ?? "us",
                    incarnation: UInt64.random(in: 0..<3, using: &random),
                    sequence: UInt64.random(in: 0..<200, using: &random),
                    key: "key",
                    value: "value"
                )
            }
            let sender = UInt64.random(in: 1...8, using: &random)
            let isStale = sender < epoch
            if Int.random(in: 0..<4, using: &random) == 0 {
                await ledger.close()
                ledger = try await receiver.open()
            }
            do throws(HoldfastError) {
                let expected = writes.filter { model.insert($0.identity).inserted }
                if isStale { for write in expected { model.remove(write.identity) } }
                let applied = try await Receiver.log(writes, ledger, epoch: sender)
                #expect(applied == expected.count && !isStale, comment)
                log += expected.map { "\($0.origin)/\($0.incarnation)/\($0.sequence)" }
                epoch = sender
            } catch {
                #expect(error.code == .staleEpoch && isStale, comment)
            }
            #expect(try await Receiver.log(ledger) == log, comment)
            #expect(ledger.highestEpoch == epoch, comment)
        }
        await ledger.close()
    }

    @Test("applies each write once, with many tasks at once") func concurrent() async throws {
        let ledger = try await receiver.create()
        let total = try await withThrowingTaskGroup(of: Int.self) { group in
            for task in 0..<8 {
                group.addTask {
                    var applied = 0
                    for start in stride(from: 0, to: 80, by: 10) {
                        let first = UInt64((start + task * 20) % 80)
                        applied += try await Receiver.log((first..<(first + 20)).map { write($0) }, ledger)
                    }
                    return applied
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(total == 90)
        #expect(Set(try await Receiver.log(ledger)).count == 90)
        #expect(try await Receiver.log(ledger).count == 90)
        await ledger.close()
    }

    @Test("refuses what may have been forgotten, and keeps its floor") func floors() async throws {
        var limits = AppliedSet.Limits()
        limits.ranges = 2
        await (try await receiver.create()).close()
        for life in 0..<3 {
            let ledger = try await receiver.open(limits)
            if life == 0 { #expect(try await Receiver.log([write(9), write(7), write(5), write(3)], ledger) == 4) }
            let error = await #expect(throws: HoldfastError.self) {
                try await Receiver.log([write(6), write(4)], ledger)
            }
            #expect(error?.code == .identityBelowFloor && error?.index == 1)
            #expect(error?.floor?.sequence == 5)
            #expect(await code { try await ledger.filter([write(5)]) } == .identityBelowFloor)
            #expect(try await ledger.filter([write(6), write(7), write(9)]) == [write(6)])
            await ledger.close()
        }
        // The floor moves into another incarnation.
        limits.incarnations = 1
        let ledger = try await receiver.open(limits)
        var later = write(1)
        later.incarnation = 5
        #expect(try await Receiver.log([later], ledger) == 1)
        await ledger.close()
        let again = try await receiver.open(limits)
        #expect(await code { try await again.filter([write(9)]) } == .identityBelowFloor)
        #expect(try await again.filter([later]) == [])
        await again.close()
    }

    @Test("knows origins beyond those that it keeps in memory") func manyOrigins() async throws {
        var limits = AppliedSet.Limits()
        limits.origins = 3
        await (try await receiver.create()).close()
        let ledger = try await receiver.open(limits)
        for round in 0..<2 {
            for number in 0..<10 {
                var named = write(UInt64(number))
                named.origin = try RegionID("region-\(number)")
                #expect(try await Receiver.log([named], ledger) == (round == 0 ? 1 : 0))
                // One origin that was just met, with others that were met long ago.
                let three = try (number...(number + 2)).map { other in
                    var write = write(UInt64(other % 10))
                    write.origin = try RegionID("region-\(other % 10)")
                    return write
                }
                let new = try await ledger.filter(three)
                #expect(new.count == (round == 0 ? max(0, min(2, 9 - number)) : 0))
            }
        }
        await ledger.close()
    }

    @Test("has a file as long as it says after each call", arguments: 0..<4 as Range<UInt64>)
    func fileLength(seed: UInt64) async throws {
        let ledger = try await receiver.create()
        for step in 0..<60 {
            try await ledger.apply([]) { (_, state) throws(HoldfastError) in
                var random = SplitMix64(seed: seed << 32 + UInt64(step))
                // Pages that a transaction takes and gives back: LMDB does not write them.
                for _ in 0..<Int.random(in: 1...80, using: &random) {
                    let key = Key.number(UInt64.random(in: 0..<100, using: &random))
                    if Bool.random(using: &random) {
                        let size = Int.random(in: 0...(Bool.random(using: &random) ? 300 : 20_000), using: &random)
                        try state.set([UInt8](repeating: 1, count: size), for: key)
                    } else {
                        try state.remove(key)
                    }
                }
            }
            // The process might be killed now, and the next one looks at the file before LMDB does.
            try DataFile.inspect(receiver.path + "/ledger.mdb")
        }
        await ledger.close()
        await (try await receiver.open()).close()
    }

    @Test("keeps any pair of the state, in order") func state() async throws {
        let ledger = try await receiver.create()
        let longest = [UInt8](repeating: 7, count: LedgerState.keySizeMax)
        let large = [UInt8](repeating: 1, count: 100_000)
        try await ledger.apply([]) { (_, state) throws(HoldfastError) in
            try state.set(large, for: longest)
            try state.set("", for: "empty")
            try state.set("first", for: "twice")
            try state.set("second", for: "twice")
            #expect(try state.remove("none") == false)
            #expect(try state.value(for: "twice") == "second")
            #expect(try state.value(for: "") == nil)
            #expect(try state.value(for: longest + [7]) == nil)
        }
        await ledger.close()
        let again = try await receiver.open()
        try await again.read { (state) throws(HoldfastError) in
            var keys: [[UInt8]] = []
            try state.scan { (key, value) throws(HoldfastError) in
                #expect(try state.value(for: key) == value)
                keys.append(key)
                return true
            }
            #expect(keys == [longest, Array("empty".utf8), Array("twice".utf8)])
            keys = []
            try state.scan(from: longest + [7]) { (key, _) throws(HoldfastError) in
                keys.append(key)
                return false
            }
            #expect(keys == [Array("empty".utf8)])
        }
        try await again.apply([]) { (_, state) throws(HoldfastError) in
            #expect(try state.remove("twice"))
            for (key, value) in [([], []), (longest + [7], []), ([1], [UInt8](repeating: 0, count: 16 << 20 + 1))] {
                let error = #expect(throws: HoldfastError.self) { try state.set(value, for: key) }
                #expect(error?.code == .tooLarge)
            }
        }
        #expect(try await again.read { (state) throws(HoldfastError) in try state.value(for: "twice") } == nil)
        let many = (0...UInt64(StoreLimits.callEntriesMax)).map { write($0) }
        #expect(await code { try await again.filter(many) } == .tooLarge)
        #expect(try await Receiver.log(Array(many.dropLast()), again) == StoreLimits.callEntriesMax)
        await again.close()
    }

    @Test("writes nothing for a call in which nothing is new") func noChange() async throws {
        let ledger = try await receiver.create()
        try await Receiver.log([write(1)], ledger, epoch: 1)
        let before = try modified()
        try await Receiver.log([write(1)], ledger, epoch: 1)
        try await ledger.admit(1)
        _ = try await ledger.filter([write(2)])
        #expect(try modified() == before)
        try await Receiver.log([write(2)], ledger, epoch: 1)
        #expect(try modified() != before)
        await ledger.close()
    }

    /// The number of the newest transaction, as the meta pages have it.
    private func modified() throws -> [UInt8] {
        let descriptor = unsafe Glibc.open(receiver.path + "/ledger.mdb", O_RDONLY)
        defer { Glibc.close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        try #require(unsafe pread(descriptor, &bytes, bytes.count, 0) == bytes.count)
        return bytes
    }
}
