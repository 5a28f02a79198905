import Glibc
import Holdfast

/// Makes a store, and appends single writes from many tasks at once.
///
/// After each append a line `A <transaction>` is added to the record, in one write, as its receipt tells.
func runAppenders(_ arguments: [String]) async throws {
    guard arguments.count == 4, let appenders = Int(arguments[2]), let appends = Int(arguments[3]) else { exit(64) }
    let controller = try await RegionFailoverController.create(
        at: arguments[0],
        configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"])
    )
    let record = Record(arguments[1])
    record.note("B")
    try await withThrowingTaskGroup(of: Void.self) { group in
        for appender in 0..<appenders {
            group.addTask {
                for index in 0..<appends {
                    let write = OutstandingWrite(
                        origin: "us",
                        incarnation: UInt64(appender),
                        sequence: UInt64(index),
                        key: "key",
                        value: "value"
                    )
                    // More incarnations than are remembered would be forgotten, so they go to as many origins.
                    var named = write
                    named.origin = try RegionID("us-" + String(appender))
                    let receipt = try await controller.append([named], to: "eu")
                    guard case .synced(let transaction) = receipt.durability else { exit(1) }
                    record.note("A \(transaction)")
                }
            }
        }
        try await group.waitForAll()
    }
    record.note("E")
    await controller.close()
}

/// The recorder's file, to which a program adds what it has to say.
struct Record: Sendable {
    private let descriptor: CInt

    init(_ path: String) {
        descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CREAT, 0o600)
        guard descriptor >= 0 else { exit(1) }
    }

    func note(_ text: String) {
        let line = Array((text + "\n").utf8)
        guard unsafe write(descriptor, line, line.count) == line.count else { exit(1) }
    }
}
