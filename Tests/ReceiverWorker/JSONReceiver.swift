import Foundation
import Holdfast

/// Says who is the receiver now, so that a test can kill it.
func notePID(_ path: String) throws {
    try Data("\(ProcessInfo.processInfo.processIdentifier)".utf8).write(to: URL(fileURLWithPath: path))
}

/// Receives one batch for `holdfast replay --exec`: JSON lines on standard input, applied as one transaction.
///
/// The ledger's state has the log of what was applied, how many writes that is, and how many came again.
func receiveLines(_ ledger: AppliedLedger) async throws {
    struct Line: Decodable {
        var origin: String
        var incarnation: UInt64
        var sequence: UInt64
    }
    var batch: [OutstandingWrite] = []
    while let text = readLine() {
        // The sender may have been killed in the middle of a line: what is whole counts, and the rest comes again.
        guard let line = try? JSONDecoder().decode(Line.self, from: Data(text.utf8)) else { break }
        batch.append(
            OutstandingWrite(
                origin: try RegionID(line.origin),
                incarnation: line.incarnation,
                sequence: line.sequence,
                key: "key",
                value: ""
            )
        )
    }
    let writes = batch
    try await ledger.apply(writes) { (new, state) throws(HoldfastError) in
        var count = try state.value(for: "count").flatMap { UInt64($0) } ?? 0
        let again = try state.value(for: "again").flatMap { Int($0) } ?? 0
        for write in new {
            count += 1
            let text = String(count)
            let key = "log/" + String(repeating: "0", count: 20 - text.count) + text
            try state.set("\(write.origin) \(write.incarnation) \(write.sequence)", for: key)
        }
        try state.set(String(count), for: "count")
        try state.set(String(again + writes.count - new.count), for: "again")
    }
}
