import Foundation
import Glibc
import Holdfast
import HoldfastTesting
import Pages
import Platform
import RegionFailover
import ReplayFormat
import ReplayStore
import TestSupport

/// The decoders of a receiver's ledger: its rows, and the whole file.
enum LedgerTargets {
    static let all: [FuzzTarget] = [row, file]

    // MARK: Rows

    /// The rows of the ledger that is kept: the table's number, the key's length, the key, the fields.
    private static func rows() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        let path = directory.appending("ledger.mdb")
        try Data(try Fixture(name: "ledger").data()).write(to: URL(fileURLWithPath: path))
        let pages = try PageFile(File(regular: path, O_RDONLY))
        let snapshot = try PageSnapshot(pages, try pages.newestMeta())
        var inputs: [[UInt8]] = []
        for (name, tree) in snapshot.tables {
            guard let number = tables.firstIndex(where: { Array($0.rawValue.utf8) == name }) else {
                throw Broken("a table has no name that is known")
            }
            var cursor = try snapshot.cursor(tree)
            while try cursor.next() {
                let (key, value) = (cursor.key, try cursor.value())
                inputs.append([UInt8(number), UInt8(key.count)] + key + value.dropLast(8))
            }
        }
        // The kinds that there must be: a format, an epoch, ranges, floors, pairs of the state.
        let kinds = Set(inputs.map { [$0[0], $0[2]] })
        guard kinds.count >= 6 else { throw Broken("the ledger has rows of \(kinds.count) kinds only") }
        return inputs
    }

    private static let tables = LedgerTable.allCases

    private static let row = FuzzTarget(
        name: "ledger-row",
        allowance: 1 << 20,
        seeds: { try rows() },
        decode: { input in
            guard input.count >= 2, input.count >= 2 + Int(input[1]) else { return false }
            let table = tables[Int(input[0]) % tables.count]
            let key = Array(input[2..<(2 + Int(input[1]))])
            let fields = Array(input[(2 + key.count)...])
            // What has no checksum that fits is refused.
            if let opened = try? Row.open(fields.span, key: key, in: table) {
                try FormatTargets.same(Row.seal(opened, key: key, in: table), fields)
            }
            let value = Row.seal(fields, key: key, in: table)
            try FormatTargets.same(try Row.open(value.span, key: key, in: table), fields)
            do {
                try decode(table, key, fields, value)
                return true
            } catch is FormatError {
                return false
            }
        }
    )

    private static func decode(
        _ table: LedgerTable,
        _ key: [UInt8],
        _ fields: [UInt8],
        _ value: [UInt8]
    ) throws {
        switch table {
        case .state: return
        case .applied:
            switch try AppliedPair(key, value.span) {
            case .range(let origin, let incarnation, let first, let last):
                try FormatTargets.same(Key.seenRange(origin, incarnation: incarnation, first: first), key)
                try FormatTargets.same(SeenRow.last(last), fields)
            case .floor(let origin, let incarnation, let sequence):
                try FormatTargets.same(Key.seenFloor(origin), key)
                try FormatTargets.same(SeenRow.floor(incarnation, sequence), fields)
            }
        case .ledger:
            if key == LedgerRow.epochKey {
                try FormatTargets.same(Key.number(try Key.number(from: fields.span)), fields)
            } else {
                let version = try LedgerRow.format(decoding: fields.span)
                // A newer one may have more behind it.
                let written = LedgerRow.format(version)
                let isCurrent = version == LedgerRow.currentVersion
                try FormatTargets.same(written, isCurrent ? fields : Array(fields.prefix(written.count)))
            }
        }
    }

    // MARK: The file

    /// A receiver that opens the ledger, asks it, applies writes and opens it again.
    ///
    /// LMDB trusts leaves and values, and so does whoever opens a ledger: a file that is damaged there alone is left out. Rows
    /// are changed behind their checksums.
    private static let file = StoreTargets.target(
        "ledger",
        allowance: 8 << 20,
        file: "ledger.mdb",
        seeds: [Recipe.ledger]
    ) { path, _ in
        let isProved = (try? DataFile.prove(path + "/ledger.mdb", .branches)) != nil
        let isWhole = isWhole(path + "/ledger.mdb")
        guard isWhole || !isProved else { return false }
        return try TextTargets.wait {
            let ledger: AppliedLedger
            do throws(HoldfastError) {
                ledger = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
            } catch {
                guard !error.message.isEmpty else { throw Broken("no message") }
                return false
            }
            guard isProved else { throw Broken("a file that is not proved was opened") }
            let isTaken = try await use(ledger)
            await ledger.close()
            let again = try await AppliedLedger.open(at: path, mapSizeBytes: 1 << 30)
            if isTaken, try await again.filter(writes) != [] { throw Broken("it forgot what was applied") }
            await again.close()
            return isTaken
        }
    }

    private static func isWhole(_ path: String) -> Bool {
        do {
            let pages = try PageFile(File(regular: path, O_RDONLY))
            return try PageWalk(pages, try pages.newestMeta(), .values).findings.isEmpty
        } catch {
            return false
        }
    }

    private static let writes = ["us", "eu", "ap", "new"].map { origin in
        OutstandingWrite(origin: RegionID(stringLiteral: origin), incarnation: 9, sequence: 2_000, key: "k", value: "v")
    }

    /// Whether all of it was taken.
    private static func use(_ ledger: AppliedLedger) async throws -> Bool {
        do throws(HoldfastError) {
            _ = try await ledger.read { (state) throws(HoldfastError) in
                var bytes = 0
                try state.scan { (key, value) throws(HoldfastError) in
                    bytes += key.count + value.count
                    return true
                }
                return bytes
            }
            _ = try await ledger.filter(writes)
            try await ledger.apply(writes, epoch: .max) { (new, state) throws(HoldfastError) in
                for write in new { try state.set(write.value, for: write.key) }
            }
            return true
        } catch {
            guard error.code != .poisoned, !error.message.isEmpty else { throw Broken("\(error)") }
            return false
        }
    }
}
