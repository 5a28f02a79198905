internal import LMDB
internal import ReplayFormat
public import ReplayStore

/// What a receiver keeps in an ``AppliedLedger``: pairs of a key and a value, in the transaction of the writes.
///
/// Its changes and the marks of the writes become durable together, or not at all. It is valid inside the closure that it
/// was given to. Every value has a checksum, which each read verifies.
public struct LedgerState: ~Copyable {
    /// The most bytes in a key: 511, and at least 1.
    public static let keySizeMax = Environment.keySizeMax
    /// The most bytes in a value: 16 MiB.
    public static let valueSizeMax = 16 << 20
    /// The most bytes of keys and values that one transaction sets: 64 MiB.
    public static let transactionBytesMax = 64 << 20

    var lmdb: Transaction
    private let table: Database
    /// How many pairs were set or removed.
    private(set) var changes = 0
    /// The bytes of the pairs that were set.
    private(set) var bytes = 0
    /// Set when LMDB failed: the transaction must not commit then, whatever became of the error.
    private(set) var failure: HoldfastError?

    init(_ lmdb: consuming Transaction, _ table: Database) {
        self.lmdb = lmdb
        self.table = table
    }

    // MARK: Reading

    /// The value of a key; nil when there is none.
    ///
    /// - Parameter key: Any bytes; one that is empty or longer than ``keySizeMax`` has no value.
    /// - Returns: The value as it was set, in this transaction or an earlier one.
    /// - Throws: ``HoldfastError`` with `damaged` when it is not what was set, or `ioFailed`.
    public func value(for key: [UInt8]) throws(HoldfastError) -> [UInt8]? {
        guard !key.isEmpty, key.count <= Self.keySizeMax else { return nil }
        guard let stored = try ledgerEngine({ () throws(LMDBError) in try lmdb.value(of: key, in: table) }) else {
            return nil
        }
        return try Self.open(key, stored.span)
    }

    /// The value of a key, both as text in UTF-8; nil when there is none.
    ///
    /// - Parameter key: The key; one that is empty or longer than ``keySizeMax`` has no value.
    /// - Returns: The value; bytes that are no UTF-8 become U+FFFD.
    /// - Throws: ``HoldfastError``, as for bytes.
    public func value(for key: String) throws(HoldfastError) -> String? {
        try value(for: Array(key.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Calls `body` with each pair from a key on, in the order of the keys' bytes.
    ///
    /// - Parameters:
    ///   - key: The first key that is wanted, or one before it; empty for all.
    ///   - body: Gets a key and its value, and says whether to go on.
    /// - Throws: ``HoldfastError`` as ``value(for:)-([UInt8])`` does, or what `body` throws.
    public func scan(
        from key: [UInt8] = [],
        _ body: (_ key: [UInt8], _ value: [UInt8]) throws(HoldfastError) -> Bool
    ) throws(HoldfastError) {
        let start = Array(key.prefix(Self.keySizeMax))
        try scanLedger(lmdb, table, from: start) { (found, value) throws(HoldfastError) in
            // A key that is too long was cut, so the first one found may lie before it.
            if found.lexicographicallyPrecedes(key) { return true }
            return try body(found, try Self.open(found, value))
        }
    }

    private static func open(_ key: [UInt8], _ stored: Span<UInt8>) throws(HoldfastError) -> [UInt8] {
        do throws(FormatError) {
            return try Row.open(stored, key: key, in: LedgerTable.state)
        } catch {
            throw .ledgerRow("A value in the state", error)
        }
    }

    // MARK: Changing

    /// Sets the value of a key.
    ///
    /// - Parameters:
    ///   - value: At most ``valueSizeMax`` bytes.
    ///   - key: 1 to ``keySizeMax`` bytes.
    /// - Throws: ``HoldfastError`` with `tooLarge`, whose `field` names the limit, and nothing is set; with `full` or
    ///   `ioFailed`, and the whole transaction is given up.
    public mutating func set(_ value: [UInt8], for key: [UInt8]) throws(HoldfastError) {
        guard !key.isEmpty, key.count <= Self.keySizeMax else {
            throw .tooLarge(
                "A key is 1 to \(Self.keySizeMax) bytes; this one has \(key.count).",
                index: nil,
                limit: "keySizeMax"
            )
        }
        guard value.count <= Self.valueSizeMax else {
            throw .tooLarge(
                "A value is at most \(Self.valueSizeMax) bytes; this one has \(value.count).",
                index: nil,
                limit: "valueSizeMax"
            )
        }
        guard bytes + key.count + value.count <= Self.transactionBytesMax else {
            throw .tooLarge(
                "A transaction sets at most \(Self.transactionBytesMax) bytes. Apply fewer writes in each call.",
                index: nil,
                limit: "transactionBytesMax"
            )
        }
        bytes += key.count + value.count
        try put(Row.seal(value, key: key, in: LedgerTable.state), for: key, in: table)
    }

    /// Sets the value of a key, both as text in UTF-8.
    ///
    /// - Parameters:
    ///   - value: At most ``valueSizeMax`` bytes.
    ///   - key: 1 to ``keySizeMax`` bytes.
    /// - Throws: ``HoldfastError``, as for bytes.
    public mutating func set(_ value: String, for key: String) throws(HoldfastError) {
        try set(Array(value.utf8), for: Array(key.utf8))
    }

    /// Removes a key and its value.
    ///
    /// - Parameter key: The key.
    /// - Returns: Whether it had a value.
    /// - Throws: ``HoldfastError`` with `full` or `ioFailed`, and the whole transaction is given up.
    @discardableResult
    public mutating func remove(_ key: [UInt8]) throws(HoldfastError) -> Bool {
        guard !key.isEmpty, key.count <= Self.keySizeMax else { return false }
        return try delete(key, in: table)
    }

    /// Removes a key and its value.
    ///
    /// - Parameter key: The key, as text in UTF-8.
    /// - Returns: Whether it had a value.
    /// - Throws: ``HoldfastError``, as for bytes.
    @discardableResult
    public mutating func remove(_ key: String) throws(HoldfastError) -> Bool { try remove(Array(key.utf8)) }

    /// Stores a sealed value in any table of the ledger.
    mutating func put(_ value: [UInt8], for key: [UInt8], in table: Database) throws(HoldfastError) {
        do throws(LMDBError) {
            try lmdb.put(key, value.span, in: table)
            changes += 1
        } catch {
            throw failed(error)
        }
    }

    /// Removes a pair from any table of the ledger.
    @discardableResult
    mutating func delete(_ key: [UInt8], in table: Database) throws(HoldfastError) -> Bool {
        do throws(LMDBError) {
            let isRemoved = try lmdb.delete(key, in: table)
            if isRemoved { changes += 1 }
            return isRemoved
        } catch {
            throw failed(error)
        }
    }

    private mutating func failed(_ error: LMDBError) -> HoldfastError {
        let mapped = HoldfastError(error)
        failure = failure ?? mapped
        return mapped
    }

    consuming func commit() throws(LMDBError) { try lmdb.commit() }
}
