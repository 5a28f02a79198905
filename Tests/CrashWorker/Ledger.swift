import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import LMDB
import ReplayStore
import TestSupport

/// Applies writes to a new ledger, and says before and after each call what it asks for and that it has returned.
func runLedger(_ arguments: [String]) async throws {
    guard arguments.count == 4, let seed = UInt64(arguments[2]), let steps = Int(arguments[3]) else { exit(64) }
    let record = Record(arguments[1])
    var random = SplitMix64(seed: seed)
    var ledger = try await AppliedLedger.create(at: arguments[0], mapSizeBytes: 1 << 30)
    record.note("created")
    var (next, epoch): (UInt64, UInt64) = (1, 0)
    for _ in 0..<steps {
        let count = [0, 1, 1, 2, 8, 40].randomElement(using: &random) ?? 1
        var sequences = (0..<count).map { next + UInt64($0) }
        next += UInt64(count) + (Int.random(in: 0..<4, using: &random) == 0 ? 2 : 0)
        if next > 4, Bool.random(using: &random) { sequences += [1, 2, 3] }
        if count == 0 || Int.random(in: 0..<4, using: &random) == 0 { epoch += 1 }
        let call = LedgerCall(sequences, epoch: epoch > 0 ? epoch : nil)
        record.note(String(decoding: try JSONEncoder().encode(call), as: UTF8.self))
        let sizes = count > 2 ? [20, 400] : [20, 400, 5_000, 100_000]
        try await call.apply(to: ledger, bytes: sizes.randomElement(using: &random) ?? 20)
        record.note("done")
        guard Int.random(in: 0..<12, using: &random) == 0 else { continue }
        await ledger.close()
        ledger = try await AppliedLedger.open(at: arguments[0], mapSizeBytes: 1 << 30)
    }
    await ledger.close()
}

/// Begins read transactions of a store's LMDB environment, says so, and waits to be killed.
func holdReaders(_ arguments: [String]) {
    guard arguments.count == 2, let wanted = Int(arguments[1]) else { exit(64) }
    do {
        let environment = try Environment(
            path: arguments[0],
            access: .readOnly,
            mapSizeBytes: nil,
            databasesMax: 1,
            readersMax: StoreLimits.readersMax
        )
        hold(wanted, of: environment)
    } catch {
        print("refused: \(error)")
        exit(1)
    }
}

/// A transaction cannot be kept in an array: each is held by the call that began it.
private func hold(_ wanted: Int, of environment: Environment) {
    guard wanted > 0 else {
        print("held")
        fflush(nil)
        while true { pause() }
    }
    do {
        let transaction = try environment.beginRead()
        hold(wanted - 1, of: environment)
        _ = transaction.number
    } catch {
        print("refused: \(error)")
        exit(1)
    }
}
