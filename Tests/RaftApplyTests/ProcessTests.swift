import Foundation
import HoldfastTesting
import TestSupport
import Testing

@Suite("Processes that apply one log") struct ProcessTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let commands = environment["HOLDFAST_LOG_COMMANDS"].flatMap(Int.init) ?? 4096
    /// The program that applies the log; one that was built for release takes a long one in minutes.
    private static let program = environment["HOLDFAST_LOG_WORKER"] ?? Tool.path("LogWorker")

    @Test("have one digest at each 1,024th command, whatever their hash seeds, locales and batches")
    func digests() async throws {
        let directory = try TemporaryDirectory()
        let environments = [
            ["LC_ALL": "C"], ["LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"],
            ["LC_ALL": "C.UTF-8", "SWIFT_DETERMINISTIC_HASHING": "1"],
        ]
        let outputs = try await withThrowingTaskGroup(of: Tool.Outcome.self) { group in
            for (number, environment) in environments.enumerated() {
                let replica = directory.appending("replica-\(number)")
                let arguments = ["apply", replica, "7", "\(Self.commands)", "\(number + 1)"]
                group.addTask {
                    try await Tool.runBeside(arguments, program: Self.program, environment: environment)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for output in outputs {
            #expect(output.status == 0, "\(output.talk)")
            #expect(output.lines.count == (Self.commands + 1023) / 1024)
            #expect(output.lines == outputs[0].lines)
        }
        #expect(Set(outputs[0].lines.map { $0.split(separator: " ").last }).count == outputs[0].lines.count)
        print("\(Self.commands) commands in three processes: \(outputs[0].lines.count) digests are the same")
    }
}
