import Glibc
import Holdfast

/// `ReceiverWorker LEDGER`: a receiver that keeps a log of what it has applied in its ledger.
///
/// It reads writes from standard input, a line `ORIGIN INCARNATION SEQUENCE` each, and applies them as a batch at a line
/// `.`. After each batch it prints `A`, with how many of the batch were new.
///
/// `ReceiverWorker --lines LEDGER` receives one batch for `holdfast replay --exec`, and ends with 75 while another one has
/// the ledger.
guard let path = CommandLine.arguments.last, CommandLine.arguments.count > 1 else {
    print("usage: ReceiverWorker [--lines] LEDGER")
    exit(64)
}
if CommandLine.arguments.contains("--lines") { try notePID(path + ".pid") }
let ledger: AppliedLedger
do throws(HoldfastError) {
    ledger = try await openOrCreate(path)
} catch {
    // The one before may be at work still, though nobody waits for it.
    guard error.code == .inUse else { throw error }
    exit(75)
}
if CommandLine.arguments.contains("--lines") {
    try await receiveLines(ledger)
    await ledger.close()
    exit(0)
}
print("R")
fflush(nil)
var batch: [OutstandingWrite] = []
while let line = readLine() {
    guard line == "." else {
        batch.append(try parse(line))
        continue
    }
    let applied = try await ledger.apply(batch, epoch: 1) { (new, state) throws(HoldfastError) in
        var count = try state.value(for: "count").flatMap { UInt64($0) } ?? 0
        for write in new {
            count += 1
            let text = String(count)
            let key = "log/" + String(repeating: "0", count: 20 - text.count) + text
            try state.set("\(write.origin) \(write.incarnation) \(write.sequence)", for: key)
        }
        if !new.isEmpty { try state.set(String(count), for: "count") }
        return new.count
    }
    batch = []
    print("A \(applied)")
    fflush(nil)
}
await ledger.close()

func openOrCreate(_ path: String) async throws(HoldfastError) -> AppliedLedger {
    do throws(HoldfastError) {
        return try await AppliedLedger.open(at: path)
    } catch {
        guard error.code == .notFound else { throw error }
        return try await AppliedLedger.create(at: path)
    }
}

func parse(_ line: String) throws -> OutstandingWrite {
    let words = line.split(separator: " ")
    guard words.count == 3, let incarnation = UInt64(words[1]), let sequence = UInt64(words[2]) else {
        throw HoldfastError(code: .invalidConfiguration, message: "'\(line)' is no write.")
    }
    return OutstandingWrite(
        origin: try RegionID(String(words[0])),
        incarnation: incarnation,
        sequence: sequence,
        key: "key",
        value: "value"
    )
}
