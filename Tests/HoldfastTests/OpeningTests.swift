import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import ReplayStore
import TestSupport
import Testing

@Suite("Opening") struct OpeningTests {
    @Test("A store is open once in a process, by whatever name") func twiceInOneProcess() async throws {
        let directory = try TemporaryDirectory()
        let controller = try await create(directory.appending("store"))
        _ = unsafe symlink(directory.appending("store"), directory.appending("link"))
        for name in ["store", "link"] {
            let path = directory.appending(name)
            #expect(
                await code { try await RegionFailoverController.open(at: path, options: Deployment.options) }
                    == .alreadyOpen
            )
        }
        await controller.close()
        let again = try await RegionFailoverController.open(
            at: directory.appending("link"),
            options: Deployment.options
        )
        await again.close()
    }

    @Test("A lock that somebody else holds is told, with what it says") func foreignLock() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        await (try await create(path)).close()
        let descriptor = unsafe open(path + "/LOCK", O_RDWR)
        defer { Glibc.close(descriptor) }
        // An ordinary record lock, as any program takes it, in place of the store's own kind.
        var range = flock()
        range.l_type = Int16(F_WRLCK)
        try #require(unsafe fcntl(descriptor, F_SETLK, &range) == 0)
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: path, options: Deployment.options)
        }
        #expect(error?.code == .inUse)
        #expect(error?.message.contains("pid \(getpid())") == true)
    }

    /// A record lock of POSIX would be gone with the first descriptor of the file that the process closes.
    @Test("A lock is kept when somebody in the process opens its file and closes it")
    func closedDescriptor() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let controller = try await create(path)
        for name in ["LOCK", "data.mdb"] {
            let descriptor = unsafe open(path + "/" + name, O_RDWR)
            try #require(descriptor >= 0)
            close(descriptor)
        }
        let line = #"{"origin":"us","incarnation":1,"sequence":1,"key":"k","value":"v"}"#
        let other = try Tool.run(["append", path, "--region", "eu"], input: line)
        #expect(other.status == 75, "\(other.talk)")
        try await controller.append([write(1)], to: "eu")
        await controller.close()
    }

    /// A program that is being started has copies of all descriptors until it runs, which nothing can keep back.
    @Test("A store that was closed opens again, whoever has a copy of the descriptor of its lock")
    func copiedDescriptor() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let controller = try await create(path)
        let lock = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").first { descriptor in
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")
            return target?.hasSuffix("\(directory.path.split(separator: "/").last ?? "")/store/LOCK") == true
        }
        let copy = dup(try #require(lock.flatMap { Int32($0) }))
        defer { Glibc.close(copy) }
        await controller.close()
        await (try await RegionFailoverController.open(at: path, options: Deployment.options)).close()
    }

    @Test("A path without a store, and one with something else, are told apart") func nothingThere() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        #expect(
            await code { try await RegionFailoverController.open(at: path, options: Deployment.options) } == .notFound
        )
        await (try await create(path)).close()
        #expect(await code { try await create(path) } == .alreadyExists)
        try #require(unsafe mkdir(directory.appending("full"), 0o700) == 0)
        try #require(unsafe creat(directory.appending("full/other"), 0o600) >= 0)
        #expect(await code { try await create(directory.appending("full")) } == .alreadyExists)
        #expect(await code { try await create(directory.appending("no/parent")) } == .notFound)
    }

    @Test("A file that is too short or has no meta page never reaches LMDB", arguments: [0, 1, 2, 3, 4])
    func brokenFile(kind: Int) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let controller = try await create(path)
        try await controller.append((1...3000).map { write($0, "key \($0)", "value \($0 &* 0x9E37_79B9)") }, to: "eu")
        await controller.close()
        let descriptor = unsafe open(path + "/data.mdb", O_RDWR)
        let zeros = [UInt8](repeating: 0, count: 4096)
        switch kind {
        case 0: _ = ftruncate(descriptor, 8192)
        case 1: _ = unsafe pwrite(descriptor, zeros, 4096, 0)
        case 2: _ = unsafe pwrite(descriptor, zeros, 4096, 4096)
        case 3: _ = unsafe pwrite(descriptor, zeros + zeros, 8192, 0)
        default: _ = ftruncate(descriptor, 100)
        }
        close(descriptor)
        let error = await #expect(throws: HoldfastError.self) {
            try await RegionFailoverController.open(at: path, options: Deployment.options)
        }
        #expect(error?.code == .damaged)
        #expect(error?.message.contains("holdfast recover") == true)
        #expect(try StoreCheck.run(path, level: .quick).isClean == false)
    }

    @Test("The files are for their owner alone") func permissions() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        await (try await create(path)).close()
        func mode(_ path: String) -> UInt32 {
            var status = stat()
            return unsafe stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
        }
        #expect(mode(path) == 0o700)
        #expect(
            ["data.mdb", "LOCK", "lock.mdb", "reserve"].map { mode(path + "/" + $0) } == [0o600, 0o600, 0o600, 0o600]
        )
    }

    /// Makes a store that fails before its first commit, and says how.
    private func interruptedMaking(_ path: String) async -> HoldfastError.Code? {
        await code {
            _ = try await ReplayStore.open(
                path,
                .new(.random(), created: Timestamp(milliseconds: 0)),
                options: Deployment.options
            ) { (_) throws(HoldfastError) -> (Int, StoreHooks) in
                throw HoldfastError(code: .ioFailed, message: "as if the machine had stopped")
            }
        }
    }

    @Test("A program that the process starts inherits no descriptor of a store") func descriptors() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let controller = try await create(path)
        try await controller.append([write(1)], to: "eu")
        for try await _ in controller.batches(for: "eu") { break }
        var found: Set<String> = []
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)"),
                let place = target.range(of: path.split(separator: "/").suffix(2).joined(separator: "/")),
                let descriptor = Int32(name)
            else { continue }
            #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0, "\(target)")
            found.insert(String(target[place.upperBound...]))
        }
        #expect(found.isSuperset(of: ["/LOCK", "/data.mdb", "/lock.mdb"]), "\(found)")
        await controller.close()
    }

    @Test("A making that failed before its first commit is taken over by the next one") func failedCreate() async throws
    {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        #expect(await interruptedMaking(path) == .ioFailed)
        let reopened = await code { try await RegionFailoverController.open(at: path, options: Deployment.options) }
        #expect(reopened == .notFound)
        let controller = try await create(path)
        #expect(try await controller.append([write(1)], to: "eu").accepted == 1)
        await controller.close()
    }

    @Test(
        "A making that a loss of power has cut off in its first write is taken over by the next one",
        arguments: 0..<4
    )
    func tornCreate(kind: Int) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        _ = await interruptedMaking(path)
        // LMDB writes its two meta pages in one call: one of them is there, or a part of one, or neither.
        let descriptor = unsafe open(path + "/data.mdb", O_RDWR)
        let zeros = [UInt8](repeating: 0, count: 4096)
        if kind != 1 { _ = unsafe pwrite(descriptor, zeros, 4096, 0) }
        if kind != 0 { _ = unsafe pwrite(descriptor, zeros, 4096, 4096) }
        if kind == 3 { _ = ftruncate(descriptor, 4096) }
        close(descriptor)
        let reopened = await code { try await RegionFailoverController.open(at: path, options: Deployment.options) }
        #expect(reopened == .notFound)
        let controller = try await create(path)
        #expect(try await controller.append([write(1)], to: "eu").accepted == 1)
        await controller.close()
        // What was a store once is not made anew over its pages, whatever is left of them.
        let again = unsafe open(path + "/data.mdb", O_RDWR)
        defer { close(again) }
        _ = unsafe pwrite(again, zeros + zeros, 8192, 0)
        #expect(await code { try await create(path) } == .alreadyExists)
        let lock = try Data(contentsOf: URL(fileURLWithPath: path + "/LOCK"))
        _ = unsafe unlink(path + "/LOCK")
        #expect(await code { try await create(path) } == .alreadyExists)
        // Nor when nothing is left: the LOCK tells.
        try lock.write(to: URL(fileURLWithPath: path + "/LOCK"))
        _ = ftruncate(again, 0)
        #expect(
            await code { try await RegionFailoverController.open(at: path, options: Deployment.options) } == .damaged
        )
        #expect(await code { try await create(path) } == .alreadyExists)
    }

    @Test("A making that was interrupted is taken over by the next one", arguments: [0, 512, 4096])
    func interruptedCreate(bytes: Int) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        // What is there of LMDB's two meta pages when the write of both is cut off.
        let other = directory.appending("other")
        await (try await create(other)).close()
        let begun = try Data(contentsOf: URL(fileURLWithPath: other + "/data.mdb")).prefix(bytes)
        try #require(unsafe mkdir(path, 0o700) == 0)
        try begun.write(to: URL(fileURLWithPath: path + "/data.mdb"))
        #expect(
            await code { try await RegionFailoverController.open(at: path, options: Deployment.options) } == .notFound
        )
        let controller = try await create(path)
        #expect(try await controller.append([write(1)], to: "eu").accepted == 1)
        await controller.close()
    }
}

@Suite("After a restart") struct RestartTests {
    private func deployment() async throws -> Deployment { try await Deployment(["us", "eu", "ap"]) }

    @Test("everything is as it was") func everythingIsKept() async throws {
        let deployment = try await deployment()
        var controller = deployment.controller
        try await controller.append((1...20).map { write($0) }, to: ["eu", "ap"])
        try await controller.demoteAndPromote("us", ifEpoch: 1)
        try await controller.pause("ap", reason: "maintenance", until: Timestamp(milliseconds: 5))
        try await controller.setLimits(QueueLimits(entriesMax: 30, overflow: .dropOldest), for: "eu")
        let history = try await controller.history()
        let statistics = try await controller.statistics()
        let statuses = controller.statuses
        let id = controller.storeID
        controller = try await deployment.reopened()
        #expect(controller.statuses == statuses)
        #expect(controller.epoch == 2)
        #expect(controller.storeID == id)
        #expect(try await controller.history() == history)
        #expect(try await controller.statistics() == statistics)
        // What was asked for, too: what was never stored would be the same before and after.
        #expect(history.count == 3)
        let ap = try #require(statistics.first { $0.region == "ap" })
        let eu = try #require(statistics.first { $0.region == "eu" })
        #expect(ap.isPaused && ap.pauseReason == "maintenance" && ap.pausedUntil == Timestamp(milliseconds: 5))
        #expect(eu.limits == QueueLimits(entriesMax: 30, overflow: .dropOldest))
        #expect([ap.entries, eu.entries] == [20, 20])
        await controller.close()
    }

    @Test("silence before it counts, and the downtime does not") func silence() async throws {
        let deployment = try await deployment()
        deployment.time.advance(milliseconds: 10_000)
        #expect(try await deployment.controller.tick() == [])
        await deployment.controller.close()
        deployment.time.advance(milliseconds: 3_600_000)
        let controller = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(try await controller.tick() == [])
        deployment.time.advance(milliseconds: 4_999)
        #expect(try await controller.tick() == [])
        try await controller.heartbeat("eu")
        deployment.time.advance(milliseconds: 1)
        #expect(try await controller.tick().map(\.region) == ["ap", "us"])
        await controller.close()
    }

    @Test("a crash loop does not hide a region's silence") func crashLoop() async throws {
        let deployment = try await deployment()
        await deployment.controller.close()
        var suspects: [RegionID?] = []
        // Each life is shorter than suspectAfter, and ends without a close: the copy is taken while the store is open.
        var path = deployment.path
        for life in 1...8 where suspects.isEmpty {
            let controller = try await RegionFailoverController.open(
                at: path,
                options: Deployment.options,
                time: deployment.time
            )
            for _ in 0..<4 {
                deployment.time.advance(milliseconds: 1_000)
                suspects += try await controller.tick().map(\.region)
            }
            let copy = deployment.directory.appending("life-\(life)")
            try #require(unsafe mkdir(copy, 0o700) == 0)
            try Self.copyFile(path + "/data.mdb", to: copy + "/data.mdb")
            await controller.close()
            path = copy
        }
        #expect(suspects == ["ap", "eu", "us"])
    }

    private static func copyFile(_ source: String, to destination: String) throws {
        let (from, to) = unsafe (open(source, O_RDONLY), open(destination, O_WRONLY | O_CREAT, 0o600))
        defer { _ = (close(from), close(to)) }
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let got = unsafe read(from, &piece, piece.count)
            guard got > 0 else { return }
            try #require(unsafe write(to, piece, got) == got)
        }
    }

    @Test("a wall clock that is set back does not turn time back") func wallClock() async throws {
        let deployment = try await deployment()
        deployment.time.advance(milliseconds: 7_000)
        try await deployment.controller.append([write(1)], to: "eu")
        let before = deployment.controller.now
        await deployment.controller.close()
        deployment.time.wallMilliseconds = 0
        let controller = try await RegionFailoverController.open(
            at: deployment.path,
            options: Deployment.options,
            time: deployment.time
        )
        #expect(controller.now >= before)
        await controller.close()
    }

    @Test("Heartbeats and quiet ticks cost no transaction, transitions do") func commits() async throws {
        let deployment = try await deployment()
        let controller = deployment.controller
        func transaction() async throws -> UInt64 {
            guard
                case .synced(let number) = try await controller.append([write(.random(in: 1...(.max)))], to: "eu")
                    .durability
            else { return 0 }
            return number
        }
        let before = try await transaction()
        for _ in 0..<1000 {
            deployment.time.advance(milliseconds: 1)
            try await controller.heartbeat("eu")
            try await controller.tick()
        }
        #expect(try await transaction() == before + 1)
        try await controller.heartbeat("eu")
        deployment.time.advance(milliseconds: 20_000)
        try await controller.tick()
        #expect(try await transaction() == before + 3)
        // Transitions alone: the silence was stored with the commit just before.
        #expect(try await controller.heartbeat("eu").map(\.kind) == [.recovering])
        #expect(try await transaction() == before + 5)
        deployment.time.advance(milliseconds: 13_000)
        #expect(try await controller.heartbeat("eu").map(\.kind) == [.healthy])
        deployment.time.advance(milliseconds: 12_000)
        #expect(try await transaction() == before + 7)
        deployment.time.advance(milliseconds: 3_000)
        #expect(try await controller.tick().map(\.region) == ["eu"])
        #expect(try await transaction() == before + 9)
    }
}

private let configuration = FailoverConfiguration(local: "us", regions: ["us", "eu"])
private let manualTime = ManualTime(wallMilliseconds: 1_000_000)

private func create(_ path: String) async throws -> RegionFailoverController {
    try await RegionFailoverController.create(
        at: path,
        configuration: configuration,
        options: Deployment.options,
        time: manualTime
    )
}
