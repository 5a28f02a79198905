private import Bytes
private import Glibc
internal import LMDB
internal import Platform
package import ReplayFormat

/// Brings a store of an older format to that of this program.
///
/// A step leads from one version to the next one in a single transaction, which writes the new version too. So the version on
/// the disk always says which step comes next: an upgrade that was interrupted goes on where it was.
package enum StoreUpgrade {
    /// What leads from one version to the next one.
    package struct Step: Sendable {
        /// The version that the store has before.
        package var from: UInt32
        /// What the step does, in a few words.
        package var name: String
        package var apply: @Sendable (inout Change) throws(HoldfastError) -> Void

        package init(
            from: UInt32,
            name: String,
            apply: @escaping @Sendable (inout Change) throws(HoldfastError) -> Void
        ) {
            self.from = from
            self.name = name
            self.apply = apply
        }
    }

    /// The steps from version 1 to this program's, in order: version 1 is the first, so there is none yet.
    package static let steps: [Step] = []

    /// What an upgrade comes to.
    package struct Report: Sendable, Hashable {
        /// The version before.
        package var from: UInt32
        /// The version that the steps lead to.
        package var to: UInt32
        /// The names of the steps, in order.
        package var steps: [String]
        /// Whether they were done; otherwise they are a plan.
        package var isDone: Bool

        package init(from: UInt32, to: UInt32, steps: [String], isDone: Bool) {
            (self.from, self.to) = (from, to)
            (self.steps, self.isDone) = (steps, isDone)
        }
    }

    /// Upgrades the closed store at `path`.
    ///
    /// When it throws, the steps that were done stay done, and calling it again goes on with the next one.
    ///
    /// `isDry`: Whether it only says which steps there are.
    /// `steps`: One for each version below `target`.
    ///
    /// - Throws: ``HoldfastError``, with `formatTooNew`, which names both versions, or `inUse` while a process has the
    ///   store open.
    package static func run(
        _ path: String,
        isDry: Bool,
        steps: [Step] = Self.steps,
        to target: UInt32 = Superblock.currentVersion
    ) throws(HoldfastError) -> Report {
        do throws(HoldfastError) {
            try DataFile.inspect(path + "/" + DataFile.name)
            let held = try StoreDirectory.hold(path) { _ in }
            let environment = try held.openEnvironment(mapSizeBytes: StoreLimits.mapSizeBytes)
            let file = try system { () throws(SystemError) in try File(path + "/" + DataFile.name, O_RDWR) }
            let version = try Change(environment).version(atMost: target)
            FaultPoint.reach(.upgradeBegin)
            let pending = steps.filter { $0.from >= version && $0.from < target }
            precondition(pending.map(\.from) == Array(version..<target), "a step for each version, in order")
            for step in isDry ? [] : pending {
                var change = try Change(environment)
                try step.apply(&change)
                FaultPoint.reach(.upgradeStep)
                try change.commit(version: step.from + 1, environment, file)
            }
            held.noteClosed()
            return Report(from: version, to: target, steps: pending.map(\.name), isDone: !isDry)
        } catch {
            throw error.at(path)
        }
    }

    /// The transaction of one step.
    package struct Change: ~Copyable {
        private var lmdb: Transaction
        private var puts = 0
        private var bytes = 0

        fileprivate init(_ environment: Environment) throws(HoldfastError) {
            lmdb = try engine { () throws(LMDBError) in try environment.beginWrite() }
        }

        private static let formatKey = Key.text(Superblock.Name.format.rawValue)

        /// The fields of every row of a table, by key, checked.
        package func rows(of table: Table) throws(HoldfastError) -> [[UInt8]: [UInt8]] {
            let database = try engine { () throws(LMDBError) in try lmdb.database(table.name, create: false) }
            guard let database else { return [:] }
            return try lmdb.rows(of: table, database)
        }

        /// Stores a row: its fields and their checksum.
        package mutating func put(_ fields: [UInt8], key: [UInt8], in table: Table) throws(HoldfastError) {
            let value = Row.seal(fields, key: key, in: table)
            puts += 1
            bytes += value.count
            do throws(LMDBError) {
                guard let database = try lmdb.database(table.name, create: true) else {
                    preconditionFailure("mdb_dbi_open with MDB_CREATE gave no database")
                }
                try lmdb.put(key, value.span, in: database)
            } catch {
                throw HoldfastError(error)
            }
        }

        /// The store's version; one above `newest` is refused, and so is a store that is not whole, and a backup.
        fileprivate consuming func version(atMost newest: UInt32) throws(HoldfastError) -> UInt32 {
            let superblock = try rows(of: .superblock)
            guard superblock[Key.text(Superblock.Name.incomplete.rawValue)] == nil else { throw StoreView.incomplete }
            guard superblock[Key.text(Superblock.Name.backup.rawValue)] == nil else { throw .isBackup }
            let (version, features, _) = try format("The superblock") { () throws(FormatError) in
                guard let row = superblock[Self.formatKey] else { throw FormatError("it has no row 'format'") }
                return try Superblock.format(decoding: row)
            }
            guard version <= newest, features & ~Superblock.knownIncompatibleFeatures == 0 else {
                throw .tooNew(version, features)
            }
            return version
        }

        /// Commits with the new version; on return it is on the disk.
        fileprivate consuming func commit(
            version: UInt32,
            _ environment: Environment,
            _ file: File
        ) throws(HoldfastError) {
            var fields = try rows(of: .superblock)[Self.formatKey] ?? []
            var number: [UInt8] = []
            number.append(bigEndian: version)
            fields.replaceSubrange(..<number.count, with: number)
            try put(fields, key: Self.formatKey, in: .superblock)
            let pageSize = Int64(try engine { () throws(LMDBError) in try environment.pageSize() })
            let before = try Self.end(of: environment, pageSize)
            // LMDB leaves out pages that a transaction took and gave back, and the file must never be shorter than it says: it
            // is made as long as the transaction can make it, without taking disk space, and cut afterwards.
            let longest = before + Int64(bytes) + (Int64(puts) * 8 + 64) * pageSize
            let size = try system { () throws(SystemError) in try file.size() }
            try system { () throws(SystemError) in try file.truncate(to: max(size, longest)) }
            FaultPoint.reach(.upgradeLengthen)
            do throws(LMDBError) {
                try lmdb.commit()
            } catch {
                throw HoldfastError(error)
            }
            FaultPoint.reach(.upgradeCommit)
            let end = try Self.end(of: environment, pageSize)
            try system { () throws(SystemError) in try file.truncate(to: max(size, end)) }
            FaultPoint.reach(.upgradeCut)
            try system { () throws(SystemError) in try file.sync() }
            FaultPoint.reach(.upgradeSync)
        }

        private static func end(of environment: Environment, _ pageSize: Int64) throws(HoldfastError) -> Int64 {
            let information = try engine { () throws(LMDBError) in try environment.information() }
            return (Int64(information.lastPage) + 1) * pageSize
        }
    }
}

extension HoldfastError {
    /// What a store is refused with that a newer program wrote.
    static func tooNew(_ version: UInt32, _ features: UInt64) -> Self {
        Self(
            code: .formatTooNew,
            message: "The store has format \(version) with features \(features); this program reads up to format "
                + "\(Superblock.currentVersion) with features \(Superblock.knownIncompatibleFeatures). Use a newer holdfast."
        )
    }
}
