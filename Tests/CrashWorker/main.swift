import Glibc
import Holdfast

/// `CrashWorker STORE RECORD APPENDERS APPENDS`: makes a store, and appends single writes from many tasks at once.
///
/// After each append a line `A <transaction>` is added to the record, in one write, as its receipt tells.
let arguments = CommandLine.arguments
guard arguments.count == 5, let appenders = Int(arguments[3]), let appends = Int(arguments[4]) else {
    print("usage: CrashWorker STORE RECORD APPENDERS APPENDS")
    exit(64)
}
let controller = try await RegionFailoverController.create(
    at: arguments[1],
    configuration: FailoverConfiguration(local: "us", regions: ["us", "eu"])
)
let record = unsafe open(arguments[2], O_WRONLY | O_APPEND | O_CREAT, 0o600)
note("B", record)
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
                note("A \(transaction)", record)
            }
        }
    }
    try await group.waitForAll()
}
note("E", record)
await controller.close()

func note(_ text: String, _ record: CInt) {
    let line = Array((text + "\n").utf8)
    guard unsafe write(record, line, line.count) == line.count else { exit(1) }
}
