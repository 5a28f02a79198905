import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import TestSupport
import Testing

@Suite("A child of a process that was killed") struct ForkedChildTests {
    @Test("does not keep the lock of its store") func lock() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.appending("store")
        let process = Tool.process(["fork", path], program: Tool.path("CrashWorker"))
        let said = Pipe()
        process.standardOutput = said
        try process.run()
        // A line, and not all: the child has the other end too.
        let line = String(decoding: said.fileHandleForReading.availableData, as: UTF8.self)
        let child = try #require(pid_t(line.trimmingCharacters(in: .newlines)))
        defer { kill(child, SIGKILL) }
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL)
        // Nobody has unlocked: the lock goes with the last copy of its descriptor.
        let controller = try await RegionFailoverController.open(at: path, options: .small)
        #expect(try await controller.append([.numbered("us", 1, 2)], to: "eu").accepted == 1)
        await controller.close()
        #expect(kill(child, 0) == 0, "the child did not live to the end")
    }
}
