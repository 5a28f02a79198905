import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Testing

/// Each in a process of its own, whose other threads rest: a child has only the thread that forked, and must not find a lock
/// of the runtime or of a sanitizer taken by another one.
@Suite("A fork of the process") struct ForkTests {
    @Test("has no store, and does not keep its lock") func store() async {
        await #expect(processExitsWith: .success) { try await storeRefusesFork() }
    }

    @Test("has no ledger") func ledger() async {
        await #expect(processExitsWith: .success) { try await ledgerRefusesFork() }
    }
}

/// Swift hides fork, since a child of a process with threads may do almost nothing.
///
/// These children ask, and leave.
private func forkProcess() -> pid_t {
    typealias Fork = @convention(c) () -> pid_t
    let symbol = unsafe dlsym(nil, "fork")
    return unsafe unsafeBitCast(symbol, to: Fork.self)()
}

private func storeRefusesFork() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("store")
    let configuration = FailoverConfiguration(local: "us", regions: ["us", "eu"])
    let controller = try await RegionFailoverController.create(
        at: path,
        configuration: configuration,
        options: Deployment.options
    )
    // Once before, so that the child finds all that the runtime makes on first use.
    #expect(await code { try await controller.append([write(1)], to: "eu") } == nil)
    var answer: [CInt] = [-1, -1]
    try #require(unsafe pipe(&answer) == 0)
    defer { close(answer[0]) }
    let child = forkProcess()
    if child == 0 {
        let refused = await code { try await controller.append([write(2)], to: "eu") } == .forkedChild
        _ = unsafe Glibc.write(answer[1], refused ? "r" : "a", 1)
        sleep(600)
        _exit(1)
    }
    close(answer[1])
    defer {
        kill(child, SIGKILL)
        _ = waitpid(child, nil, 0)
    }
    // A child that is not refused waits for ever, for a writer thread that it does not have.
    var waiting = pollfd(fd: answer[0], events: Int16(POLLIN), revents: 0)
    try #require(unsafe poll(&waiting, 1, 20_000) == 1, "the child was not refused")
    var said: UInt8 = 0
    #expect(unsafe read(answer[0], &said, 1) == 1 && said == UInt8(ascii: "r"), "the child was not refused")
    // It has none of the descriptors with a lock: with one, it would keep the lock when this process is killed.
    let (mine, others) = (try descriptors(getpid(), below: path), try descriptors(child, below: path))
    #expect(mine.contains("LOCK") && !others.contains("LOCK"))
    let data = [mine, others].map { names in names.count { $0 == "data.mdb" } }
    #expect(data[0] == data[1] + 1, "\(data)")
    await controller.close()
    // The child is there still, and so would be its copy of the lock.
    let again = try await RegionFailoverController.open(at: path, options: Deployment.options)
    #expect(try await again.append([write(2)], to: "eu").accepted == 1)
    await again.close()
    var status: CInt = 0
    #expect(unsafe waitpid(child, &status, WNOHANG) == 0, "the child did not live to the end")
}

/// The names of the files of a store that a process has open, one for each descriptor.
private func descriptors(_ process: pid_t, below path: String) throws -> [String] {
    let place = "/proc/\(process)/fd"
    return try FileManager.default.contentsOfDirectory(atPath: place).compactMap { number in
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(place)/\(number)")
        return target.flatMap { $0.hasPrefix(path + "/") ? String($0.dropFirst(path.count + 1)) : nil }
    }
}

private func ledgerRefusesFork() async throws {
    let receiver = try Receiver()
    let ledger = try await receiver.create()
    #expect(await code { try await ledger.record([write(1)]) } == nil)
    let child = forkProcess()
    if child == 0 { _exit(await code { try await ledger.record([write(2)]) } == .forkedChild ? 7 : 1) }
    var status: CInt = 0
    #expect(unsafe waitpid(child, &status, 0) == child)
    #expect(status == 7 << 8)
    #expect(try await ledger.record([write(2)]) == 1)
    await ledger.close()
}
