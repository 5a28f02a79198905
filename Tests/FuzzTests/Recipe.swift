import HoldfastTesting
import ReplayFormat
import TestSupport

/// A damaged data file: a fixture, and what is done to it.
///
/// Thirteen bytes a step behind one that names the fixture.
struct Recipe {
    enum Step: UInt8, CaseIterable {
        /// Bits of a byte flip.
        case flip
        /// One, two, four or eight bytes are set, low ones first.
        case set8, set16, set32, set64
        /// A page takes the place of another, and says its number or not.
        case copyPage, movePage
        /// The file ends there.
        case cut
        /// A byte of a row's fields changes, and its checksum with it.
        case row
        /// Eight bytes of a row's fields are an extreme number, and its checksum fits.
        case rowNumber
    }

    static let pageSize = 4096
    private static let stepSize = 13

    /// The data files, by their number in a recipe.
    static let bases = Result {
        var ledger = try Fixture(name: "ledger").data()
        // The room that it keeps ahead is nothing to be damaged.
        while ledger.count > pageSize, ledger.suffix(pageSize).allSatisfy({ $0 == 0 }) { ledger.removeLast(pageSize) }
        return try Seeds.stores.map { try Fixture(name: $0).data() } + [ledger]
    }

    /// The recipe of a receiver's ledger alone.
    static var ledger: [UInt8] { [UInt8(Seeds.stores.count)] }

    /// The size of the file that a recipe makes, at most.
    static func size(_ recipe: [UInt8]) -> Int {
        guard let base = try? base(recipe) else { return 0 }
        return base.count
    }

    private static func base(_ recipe: [UInt8]) throws -> [UInt8] {
        let all = try bases.get()
        return all[Int(recipe.first ?? 0) % all.count]
    }

    /// A recipe of a fixture alone, for each fixture.
    static var plain: [[UInt8]] { Seeds.stores.indices.map { [UInt8($0)] } }

    /// Adds a step or a few to a recipe.
    static func mutate(_ mutator: inout Mutator, _ corpus: [[UInt8]]) -> [UInt8] {
        var recipe = mutator.pick(corpus)
        guard let base = try? base(recipe) else { return recipe }
        if recipe.isEmpty { recipe = [0] }
        for _ in 0...mutator.number(below: mutator.isOne(of: 4) ? 8 : 2) {
            let step = mutator.pick(Step.allCases)
            recipe.append(step.rawValue)
            let page = mutator.number(below: base.count / pageSize)
            // What leads the way on a page is at both of its ends.
            let offset = mutator.isOne(of: 2) ? mutator.number(below: 152) : mutator.number(below: pageSize)
            let value = mutator.isOne(of: 2) ? mutator.extreme() : UInt64(mutator.number(below: base.count / pageSize))
            number(UInt64(page * pageSize + offset), 4, &recipe)
            number(value, 8, &recipe)
        }
        return recipe
    }

    private static func number(_ value: UInt64, _ width: Int, _ bytes: inout [UInt8]) {
        for index in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The file that a recipe makes.
    static func file(_ recipe: [UInt8]) throws -> [UInt8] {
        var file = try base(recipe)
        var place = 1
        while place + stepSize <= recipe.count {
            let step = Step(rawValue: recipe[place] % UInt8(Step.allCases.count)) ?? .flip
            let offset = Int(number(recipe[(place + 1)..<(place + 5)])) % max(1, file.count)
            let value = number(recipe[(place + 5)..<(place + stepSize)])
            apply(step, offset, value, &file)
            place += stepSize
        }
        return file
    }

    private static func apply(_ step: Step, _ offset: Int, _ value: UInt64, _ file: inout [UInt8]) {
        func set(_ width: Int, _ file: inout [UInt8]) {
            for index in 0..<width where offset + index < file.count {
                file[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
            }
        }
        guard !file.isEmpty else { return }
        let pages = max(1, file.count / pageSize)
        switch step {
        case .flip: file[offset] ^= UInt8(truncatingIfNeeded: value) | 1
        case .set8: set(1, &file)
        case .set16: set(2, &file)
        case .set32: set(4, &file)
        case .set64: set(8, &file)
        case .copyPage, .movePage:
            let (from, to) = (offset / pageSize % pages, Int(value % UInt64(pages)))
            guard (from + 1) * pageSize <= file.count, (to + 1) * pageSize <= file.count else { return }
            var page = Array(file[(from * pageSize)..<((from + 1) * pageSize)])
            if step == .movePage {
                for index in 0..<8 { page[index] = UInt8(truncatingIfNeeded: to >> (8 * index)) }
            }
            file.replaceSubrange((to * pageSize)..<((to + 1) * pageSize), with: page)
        case .cut: file.removeLast(offset / (value % 2 == 0 ? 1 : pageSize))
        case .row, .rowNumber: changeRow(offset, value, isNumber: step == .rowNumber, &file)
        }
    }

    /// Changes the fields of a row of the leaf that holds `offset`, and makes its checksum fit.
    private static func changeRow(_ offset: Int, _ value: UInt64, isNumber: Bool, _ file: inout [UInt8]) {
        let page = offset / pageSize * pageSize
        guard page + pageSize <= file.count, file[page + 10] == 2, file[page + 11] == 0 else { return }
        let count = (Int(number(file[(page + 12)..<(page + 14)])) - 16) / 2
        guard count > 0, count < pageSize / 2 - 8 else { return }
        let pointer = page + 16 + 2 * (offset % count)
        let node = page + Int(number(file[pointer..<(pointer + 2)]))
        guard node + 8 <= page + pageSize, number(file[(node + 4)..<(node + 6)]) == 0 else { return }
        let (size, keySize) = (Int(number(file[node..<(node + 4)])), Int(number(file[(node + 6)..<(node + 8)])))
        let start = node + 8 + keySize
        guard keySize > 0, size > 8, start + size <= page + pageSize else { return }
        let key = Array(file[(node + 8)..<start])
        let stored = Array(file[start..<(start + size)])
        let tables =
            [Table.superblock, .regions, .lost, .controller, .history, .dictionaries, .raft]
            + (1...8 as ClosedRange<UInt32>).flatMap { [Table.seen($0), .dead($0)] }
        let table = tables.first { (try? Row.open(stored.span, key: key, in: $0)) != nil }
        let ledgerTable = LedgerTable.allCases.first { (try? Row.open(stored.span, key: key, in: $0)) != nil }
        guard table != nil || ledgerTable != nil else { return }
        var fields = Array(stored.dropLast(8))
        let place = offset / count % fields.count
        for index in 0..<(isNumber ? 8 : 1) where place + index < fields.count {
            fields[place + index] = UInt8(truncatingIfNeeded: value >> UInt64(isNumber ? 56 - 8 * index : 0))
        }
        let sealed =
            table.map { Row.seal(fields, key: key, in: $0) } ?? ledgerTable.map { Row.seal(fields, key: key, in: $0) }
        file.replaceSubrange(start..<(start + size), with: sealed ?? stored)
    }
}
